"""A finished episode: immutable, self-contained, with credit left to the learner."""

from __future__ import annotations

from dataclasses import dataclass

from olal.types.adapter_delta import Perturbation
from olal.types.completion import Completion
from olal.types.failure import FailureKind, FailureReason
from olal.types.grammar_spec import GrammarSpec


@dataclass(frozen=True, slots=True)
class EpisodeTask:
    """One episode to play.

    Attributes:
        episode_id: unique within the run; the ledger's key.
        seed: seeds the environment and every draw of the episode.
        group: episodes of one group share their start, for group-relative advantages; -1 for none.
        perturbation: what the adapter is moved by for this episode alone; such episodes of one group share every draw,
            so that what they differ in is the adapter. None plays under the adapter as it is.
    """

    episode_id: int
    seed: int
    group: int = -1
    perturbation: Perturbation | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One decision of the agent and what came of it.

    Attributes:
        observation: what the agent saw.
        prompt_token_ids: the exact tokens the engine saw.
        grammar: the legal actions in this state.
        completion: the sampled action.
        reward: what was paid for it: by the environment, or by a reward function in its place.
        env_reward: what the environment paid, where a reward function took its place.
    """

    observation: str
    prompt_token_ids: tuple[int, ...]
    grammar: GrammarSpec
    completion: Completion
    reward: float
    env_reward: float | None = None


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The state in which a truncated episode was cut, from which its remaining value is estimated.

    Attributes:
        prompt_token_ids: the prompt that would have come next.
        grammar: the legal actions there.
    """

    prompt_token_ids: tuple[int, ...]
    grammar: GrammarSpec


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One whole episode.

    Attributes:
        task: which episode this was.
        turns: decisions in order; empty only where the environment failed before the first.
        terminated: the task ended.
        truncated: a limit cut it; then `bootstrap` is set.
        success: whether the task was solved; None where that has no meaning.
        adapter_version: version under which every turn was sampled.
        adapter_digest: digest of that adapter.
        worker: index of the rollout worker.
        duration_s: wall time from reset to end.
        bootstrap: the state after the last turn of a truncated episode.
        error: one line when the episode failed, else empty; a failed episode is never trained on.
        weight: importance weight of its draw from the replay buffer; set when it is drawn, not part of what happened.
        failure: whose fault that was; empty where nothing failed.
        reason: what happened, in one word to count by.
    """

    task: EpisodeTask
    turns: tuple[Turn, ...]
    terminated: bool
    truncated: bool
    success: bool | None
    adapter_version: int
    adapter_digest: str
    worker: int = 0
    duration_s: float = 0.0
    bootstrap: Bootstrap | None = None
    error: str = ""
    weight: float = 1.0
    failure: FailureKind = ""
    reason: FailureReason = ""

    @property
    def episode_return(self) -> float:
        """Undiscounted sum of rewards."""
        return sum(turn.reward for turn in self.turns)

    @property
    def num_tokens(self) -> int:
        """Tokens the agent produced, forced ones included."""
        return sum(len(turn.completion.token_ids) for turn in self.turns)
