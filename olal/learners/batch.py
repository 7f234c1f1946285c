"""DecisionBatch: trajectories as the token decisions that were really made, with their legal sets rebuilt.

Only decisions enter: prompts, padding, forced tokens and those a draft model wrote by itself carry neither loss nor
gradient. The legal set of a decision is rebuilt from (grammar, tokens so far) with the engine's own matcher; no mask
travels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from olal.errors import GrammarError
from olal.grammar import Vocabulary
from olal.types import Trajectory, Turn


@dataclass(frozen=True, slots=True)
class EpisodeSpan:
    """Where one episode lies in the batch.

    Attributes:
        start: its first decision.
        stop: one past its last.
        bootstrap_context: context whose value continues a truncated episode; -1 when it terminated.
        group: the episodes with which it shares its start; -1 for none.
        episode_return: undiscounted sum of all its rewards.
        adapter_version: version of the policy that acted.
    """

    start: int
    stop: int
    bootstrap_context: int
    group: int = -1
    episode_return: float = 0.0
    adapter_version: int = 0


@dataclass(frozen=True, slots=True)
class DecisionBatch:
    """Decisions of many episodes, episode after episode. N decisions over U distinct contexts.

    Attributes:
        contexts: the U distinct token sequences in which decisions were made.
        legal: per context its sorted legal token ids.
        context_of: int64 (N,): the context of each decision.
        chosen: int64 (N,): position of the sampled token in its legal set.
        behaviour_logprobs: float64 (N,): as the engine reported them; NaN where it reported none.
        log_legal_mass: float64 (N,): as the engine reported it; NaN where it reported none.
        rewards: float64 (N,): reward that followed, on the last decision of a turn.
        elapsed_turns: int64 (N,): turns from this decision to the next: 0 inside a turn.
        weights: float64 (N,): importance weight with which the episode was drawn; a decision's loss counts so often.
        episodes: the span of each episode that holds a decision.
    """

    contexts: tuple[tuple[int, ...], ...]
    legal: tuple[NDArray[np.int64], ...]
    context_of: NDArray[np.int64]
    chosen: NDArray[np.int64]
    behaviour_logprobs: NDArray[np.float64]
    log_legal_mass: NDArray[np.float64]
    rewards: NDArray[np.float64]
    elapsed_turns: NDArray[np.int64]
    weights: NDArray[np.float64]
    episodes: tuple[EpisodeSpan, ...]

    def __len__(self) -> int:
        return len(self.chosen)

    def is_older_than(self, version: int) -> NDArray[np.bool_]:
        """Per decision, shape (N,), whether a policy before `version` made it."""
        old = np.zeros(len(self), bool)
        for episode in self.episodes:
            old[episode.start : episode.stop] = episode.adapter_version < version
        return old


class _Builder:
    """Collects decisions and gives every (tokens, grammar state) one index."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.index: dict[tuple[tuple[int, ...], str, int], int] = {}
        self.contexts: list[tuple[int, ...]] = []
        self.legal: list[NDArray[np.int64]] = []
        self.rows: list[tuple[int, int, float, float]] = []
        self.rewards: list[float] = []
        self.elapsed: list[int] = []
        self.weights: list[float] = []
        self.episodes: list[EpisodeSpan] = []

    def context(self, tokens: tuple[int, ...], grammar_digest: str, length: int, legal: NDArray[np.int64]) -> int:
        key = (tokens, grammar_digest, length)
        if key not in self.index:
            self.index[key] = len(self.contexts)
            self.contexts.append(tokens)
            self.legal.append(legal)
        return self.index[key]

    def add_turn(self, turn: Turn, gamma: float, start: int) -> None:
        before = len(self.rows)
        completion = turn.completion
        for t, (token, is_forced) in enumerate(zip(completion.token_ids, completion.forced, strict=True)):
            prefix = completion.token_ids[:t]
            state = self.vocabulary.state(turn.grammar, prefix)
            if state.is_forced != is_forced:
                raise GrammarError(
                    f"the learner finds {len(state.legal)} legal tokens where the engine says forced={is_forced}; "
                    f"engine and learner must share model and grammar: position {t} of {completion.text!r}"
                )
            place = int(np.searchsorted(state.legal, token))
            if place == len(state.legal) or state.legal[place] != token:
                raise GrammarError(f"token {token} is not legal at position {t} of {completion.text!r}")
            if is_forced or (completion.delegated and completion.delegated[t]):
                continue
            context = self.context((*turn.prompt_token_ids, *prefix), turn.grammar.digest, t, state.legal)
            logprob = completion.logprobs[t] if t < len(completion.logprobs) else np.nan
            mass = completion.log_legal_mass[t] if t < len(completion.log_legal_mass) else np.nan
            self.rows.append((context, place, logprob, mass))
            self.rewards.append(0.0)
            self.elapsed.append(0)
        if len(self.rows) > start:
            if len(self.rows) == before:
                self.rewards[-1] += gamma ** self.elapsed[-1] * turn.reward
            else:
                self.rewards[-1] = turn.reward
            self.elapsed[-1] += 1

    def add(self, trajectory: Trajectory, gamma: float) -> None:
        start = len(self.rows)
        for turn in trajectory.turns:
            self.add_turn(turn, gamma, start)
        if len(self.rows) == start:
            return
        bootstrap = -1
        if trajectory.bootstrap is not None:
            run, state = self.vocabulary.forced_run(trajectory.bootstrap.grammar, ())
            tokens = (*trajectory.bootstrap.prompt_token_ids, *run)
            bootstrap = self.context(tokens, trajectory.bootstrap.grammar.digest, len(run), state.legal)
        group, total = trajectory.task.group, trajectory.episode_return
        version = trajectory.adapter_version
        self.weights += [trajectory.weight] * (len(self.rows) - start)
        self.episodes.append(EpisodeSpan(start, len(self.rows), bootstrap, group, total, version))


def make_batch(trajectories: Sequence[Trajectory], vocabulary: Vocabulary, *, gamma: float) -> DecisionBatch:
    """Lay out the decisions of `trajectories` and rebuild their legal sets.

    Args:
        trajectories: finished episodes; those in which nothing was decided are left out.
        vocabulary: the learner's matcher.
        gamma: discount per turn, used where a turn without any decision pays a reward.

    Raises:
        GrammarError: a token is not legal under its grammar, or forced tokens differ between engine and learner.
    """
    builder = _Builder(vocabulary)
    for trajectory in trajectories:
        builder.add(trajectory, gamma)
    columns = list(zip(*builder.rows, strict=True)) if builder.rows else [(), (), (), ()]
    return DecisionBatch(
        contexts=tuple(builder.contexts),
        legal=tuple(builder.legal),
        context_of=np.array(columns[0], np.int64),
        chosen=np.array(columns[1], np.int64),
        behaviour_logprobs=np.array(columns[2], np.float64),
        log_legal_mass=np.array(columns[3], np.float64),
        rewards=np.array(builder.rewards, np.float64),
        elapsed_turns=np.array(builder.elapsed, np.int64),
        weights=np.array(builder.weights, np.float64),
        episodes=tuple(builder.episodes),
    )
