"""AdapterLeases: which adapter an episode plays under, and when nobody needs it any more.

The engine holds several adapters at once and finds them by digest. An episode takes the newest at its beginning and
keeps it; one that was replaced is unloaded when the last of its episodes has ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from olal.adapters import AdapterFollower, FollowerCounts, Stored
from olal.errors import ConfigError
from olal.inference import Engine
from olal.types import AdapterUpdate, EpisodeTask, Perturbation

Reference = TypeVar("Reference")


@dataclass(frozen=True, slots=True)
class Lease:
    """An adapter that an episode plays under.

    Attributes:
        version: policy version.
        digest: its key in the engine.
    """

    version: int
    digest: str


class AdapterLeases:
    """The adapters of one engine, counted by the episodes that use them."""

    def __init__(self, engine: Engine, follower: AdapterFollower | None) -> None:
        """Begin with the engine's current adapter.

        Args:
            engine: where adapters are loaded beside its current one, which stays.
            follower: rebuilds adapters that are published as seeds; None where whole ones alone are loaded.
        """
        self._engine, self._follower = engine, follower
        self._present = Lease(engine.adapter_version, engine.adapter_digest)
        self._loaded: set[str] = set()
        self._users: Counter[str] = Counter()
        self._members: dict[Perturbation, str] = {}

    @property
    def present(self) -> Lease:
        """What the next episode plays under."""
        return self._present

    @property
    def num_loaded(self) -> int:
        """Adapters loaded beside the engine's current one."""
        return len(self._loaded)

    def follow(self, published: Sequence[Reference | bytes], fetch: Callable[[Reference], Stored]) -> FollowerCounts:
        """Let the episodes to come play under the adapter that was published last.

        Args:
            published: as `AdapterPublisher` returns it.
            fetch: gets what a reference stands for.

        Raises:
            AdapterMismatch: it does not belong to the engine's model, or cannot be rebuilt here.
        """
        follower = self._need_follower()
        self.load(follower.load(published, fetch))
        return replace(follower.counts)

    def load(self, update: AdapterUpdate) -> None:
        """Let the episodes to come play under an adapter.

        Raises:
            AdapterMismatch: it does not belong to the engine's model.
        """
        lease, replaced = Lease(update.version, update.digest), self._present
        if lease == replaced:
            return
        self._load(update)
        self._present = lease
        self._members.clear()
        self._drop_unused(replaced.digest)

    def take(self, task: EpisodeTask) -> Lease:
        """The adapter for an episode that begins now, to be given back at its end."""
        lease = self._present
        if task.perturbation is not None:
            lease = Lease(lease.version, self._member(task.perturbation))
        self._users[lease.digest] += 1
        return lease

    def give_back(self, digest: str) -> None:
        """An episode under this adapter has ended, and no request of it is in the engine."""
        self._users[digest] -= 1
        self._drop_unused(digest)

    def _member(self, perturbation: Perturbation) -> str:
        """Digest of the present adapter moved by a record; loaded for as long as an episode uses it."""
        digest = self._members.get(perturbation)
        if digest is None or digest not in self._loaded:
            member = self._need_follower().member(perturbation)
            self._load(member)
            digest = self._members[perturbation] = member.digest
        return digest

    def _load(self, update: AdapterUpdate) -> None:
        if not self._users[update.digest]:
            self._engine.load_adapter(update, is_current=False)
        if update.digest != self._engine.adapter_digest:
            self._loaded.add(update.digest)

    def _drop_unused(self, digest: str) -> None:
        if self._users[digest] or digest == self._present.digest or digest not in self._loaded:
            return
        del self._users[digest]
        self._loaded.discard(digest)
        self._engine.unload_adapter(digest)

    def _need_follower(self) -> AdapterFollower:
        if self._follower is None:
            raise ConfigError("this worker plays under whole adapters alone; give it a follower to rebuild others")
        return self._follower
