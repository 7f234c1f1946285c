"""Episode: one episode being played, from its task to its trajectory.

    begin(env, seed) ─▶ observe ─▶ request ─▶ answer ─▶ act(env, ...) ─▶ pay ──▶ trajectory
                                      ▲                                   │
                                      └───────────────────────────────────┘

`begin` and `act` run the environment's code, on whatever thread it lives; everything else is the collector's. Whoever
drives the episodes decides when which of them goes on; draws depend on the task and the turn alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from olal.envs.base import Environment
from olal.envs.check import check_time_step
from olal.errors import BadObservation, BadReward, BadStep, GrammarError
from olal.grammar import ActionGrammar
from olal.types import (
    Bootstrap,
    Completion,
    EpisodeTask,
    Failure,
    FailureReason,
    GenerateRequest,
    SamplingParams,
    TimeStep,
    Trajectory,
    Turn,
)

_REASONS: tuple[tuple[type[Exception], FailureReason], ...] = (
    (BadObservation, "bad_observation"),
    (BadReward, "bad_reward"),
    (BadStep, "bad_step"),
    (GrammarError, "bad_action"),
)


@dataclass(eq=False, slots=True)
class Seen:
    """What an environment showed.

    Attributes:
        step: observation, reward and flags.
        grammar: the actions legal after it; None where the task ended.
    """

    step: TimeStep
    grammar: ActionGrammar | None


def begin(env: Environment, seed: int) -> Seen:
    """Reset an environment to the episode of a seed."""
    return _look(env, check_time_step(env.reset(seed)))


def act(env: Environment, grammar: ActionGrammar, text: str) -> Seen:
    """Read an action and do it."""
    return _look(env, check_time_step(env.step(grammar.parse(text))))


def failure_of(error: BaseException) -> Failure:
    """What an error that came out of an environment's code says of its episode.

    >>> failure_of(RuntimeError("lost the connection"))
    Failure(kind='data', reason='env_raised', message='RuntimeError: lost the connection')
    """
    message = f"{type(error).__name__}: {error}".splitlines()[0]
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return Failure("data", reason, message)
    return Failure("data", "env_raised", message)


@dataclass(eq=False, slots=True)
class Episode:
    """The state of one episode.

    Attributes:
        task: which episode this is.
        version: of the adapter that every turn is sampled under.
        digest: of that adapter.
        started: when it began, in monotonic seconds.
        adapter: what requests name; None for the engine's current adapter.
        seen: what the environment showed last.
        prompt: tokens for the present observation.
        turns: decisions so far.
        failure: why it cannot go on.
        ended: when it was over.
        where: who has it now.
        since: since when, or since when its environment has answered.
        excused_s: seconds that it waited for others, which its deadline does not count.
    """

    task: EpisodeTask
    version: int
    digest: str
    started: float
    adapter: str | None = None
    seen: Seen = field(default_factory=lambda: Seen(TimeStep(""), None))
    prompt: tuple[int, ...] = ()
    turns: list[Turn] = field(default_factory=list[Turn])
    failure: Failure | None = None
    ended: float = 0.0
    where: str = "environment"
    since: float = 0.0
    excused_s: float = 0.0
    _asked: GenerateRequest | None = None
    _answer: Completion | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing follows."""
        return self.failure is not None or self.seen.step.is_last

    @property
    def is_to_be_shown(self) -> bool:
        """Whether the present observation needs a prompt: for the next turn, or for the value of a cut episode."""
        return not self.seen.step.terminated

    def request(self, sampling: SamplingParams) -> GenerateRequest:
        """What to ask the engine for now."""
        assert self.seen.grammar is not None
        stream = self.task.episode_id if self.task.perturbation is None else self.task.group
        seed = (self.task.seed << 80) + (stream << 32) + len(self.turns)
        self._asked = GenerateRequest(self.prompt, self.seen.grammar.spec, sampling, seed, adapter=self.adapter)
        return self._asked

    def answer(self, completion: Completion) -> None:
        """Take what the engine answered; one that is no action fails the episode and is never played."""
        self._answer = completion
        if completion.stop_reason != "grammar":
            self._add_turn(0.0)
            self.failure = _why_unusable(completion)

    def observe(self, seen: Seen) -> None:
        """Take what the environment showed, and its reward for the answer where there was one."""
        if self._answer is not None:
            self._add_turn(float(seen.step.reward))
            self._answer = None
        self.seen = seen

    def trajectory(self, worker: int) -> Trajectory:
        """What is handed on of a finished episode."""
        step, failure = self.seen.step, self.failure
        is_cut = step.truncated and not step.terminated and failure is None
        return Trajectory(
            task=self.task,
            turns=tuple(self.turns),
            terminated=step.terminated,
            truncated=step.truncated,
            success=step.success,
            adapter_version=self.version,
            adapter_digest=self.digest,
            worker=worker,
            duration_s=self.ended - self.started,
            bootstrap=Bootstrap(self.prompt, self.seen.grammar.spec) if is_cut and self.seen.grammar else None,
            error="" if failure is None else failure.message,
            failure="" if failure is None else failure.kind,
            reason="" if failure is None else failure.reason,
        )

    def _add_turn(self, reward: float) -> None:
        assert self._asked is not None
        assert self._answer is not None
        observation = self.seen.step.observation
        self.turns.append(Turn(observation, self._asked.prompt_token_ids, self._asked.grammar, self._answer, reward))


def _look(env: Environment, step: TimeStep) -> Seen:
    return Seen(step, None if step.terminated else env.action_grammar())


def _why_unusable(completion: Completion) -> Failure:
    """Why a completion is no action."""
    match completion.stop_reason:
        case "error":
            return Failure("data", "engine_refused", completion.error)
        case "length":
            count = len(completion.token_ids)
            return Failure("data", "action_cut", f"the action was cut after {count} tokens; raise rollout.max_tokens")
        case reason:
            return Failure("data", "cancelled", f"the action was not finished: {reason}")
