"""Admission: which trajectories a learner may learn from, and why not the others. Every drop is counted by reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from olal.types import Perturbation, Trajectory, Turn


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of a delivery.

    Attributes:
        kept: to learn from, in the order they came.
        dropped: reason to count, for every reason there is.
    """

    kept: tuple[Trajectory, ...]
    dropped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Gate:
    """What a learner takes.

    Attributes:
        version: its present one.
        max_staleness: most versions that acting may lie behind learning.
        vocabulary_size: of its base model.
        digests: version to the digest of the adapter that it published, as far back as it remembers.
        needs_logprobs: whether it compares with the acting policy.
        members: perturbed adapters that alone may have played, and their digests; None where the published one plays.
    """

    version: int
    max_staleness: int
    vocabulary_size: int
    digests: Mapping[int, str]
    needs_logprobs: bool = True
    members: Mapping[Perturbation, str] | None = None

    def admit(self, trajectories: Sequence[Trajectory]) -> Admission:
        """Sort out what would poison the adapter.

        The reasons: `failed` (the episode ended in an error), `bad_reward` (NaN or infinite), `foreign_base` (tokens
        that the base model does not have), `malformed` (ragged completions), `stale`, `foreign_adapter` (of a version
        not published yet, of a member of a population that none was asked of, or with another digest than this learner
        gave that adapter), `missing_logprobs`.
        """
        kept: list[Trajectory] = []
        dropped: dict[str, int] = {}
        for trajectory in trajectories:
            reason = self.reason(trajectory)
            if reason:
                dropped[reason] = dropped.get(reason, 0) + 1
            else:
                kept.append(trajectory)
        return Admission(tuple(kept), dropped)

    def reason(self, trajectory: Trajectory) -> str:
        """Why a trajectory is refused; empty where it is not."""
        if trajectory.error:
            return "failed"
        if not all(math.isfinite(turn.reward) for turn in trajectory.turns):
            return "bad_reward"
        cut = trajectory.bootstrap
        if any(map(self._is_foreign, trajectory.turns)) or (cut and not self._is_known(cut.prompt_token_ids)):
            return "foreign_base"
        if any(len(turn.completion.forced) != len(turn.completion.token_ids) for turn in trajectory.turns):
            return "malformed"
        if not self.needs_logprobs and self.members is None:
            return ""
        if self.version - trajectory.adapter_version > self.max_staleness:
            return "stale"
        if trajectory.adapter_version > self.version or not self._is_known_adapter(trajectory):
            return "foreign_adapter"
        has_logprobs = not self.needs_logprobs or all(_has_logprobs(turn) for turn in trajectory.turns)
        return "" if has_logprobs else "missing_logprobs"

    def _is_known_adapter(self, trajectory: Trajectory) -> bool:
        told, moved = trajectory.adapter_digest, trajectory.task.perturbation
        if self.members is None:
            return moved is None and told in ("", self.digests.get(trajectory.adapter_version, told))
        return moved is not None and moved in self.members and told in ("", self.members[moved])

    def _is_foreign(self, turn: Turn) -> bool:
        return not (self._is_known(turn.prompt_token_ids) and self._is_known(turn.completion.token_ids))

    def _is_known(self, ids: Sequence[int]) -> bool:
        return bool(ids) and min(ids) >= 0 and max(ids) < self.vocabulary_size


def _has_logprobs(turn: Turn) -> bool:
    completion = turn.completion
    count = len(completion.token_ids)
    return (
        len(completion.logprobs) == count
        and len(completion.log_legal_mass) == count
        and all(math.isfinite(value) for value in completion.logprobs)
    )
