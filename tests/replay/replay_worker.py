"""A process that uses a buffer without end, call after call, and says so after each; it is there to be killed."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

from olal.replay import EpisodeRecord, Fifo, ReplayBuffer


def make_record(episode_id: int, version: int, error: str) -> EpisodeRecord:
    """An empty episode of a size that depends on its number."""
    payload = (
        f'{{"episode_id": {episode_id}, "group": -1, "adapter_version": {version}, "adapter_digest": "d", '
        f'"return": 0.0, "error": "{error}", "turns": [], "padding": "{"x" * (episode_id * 37 % 3000)}"}}'
    )
    return EpisodeRecord(episode_id, -1, version, "d", 0.0, 0, error, payload.encode())


def calls(buffer: ReplayBuffer, seed: int) -> Iterator[None]:
    """Play, learn, give up and go back, by chance; one call of the buffer that changes it per step."""
    chance = random.Random(seed)
    version, next_episode = 0, 0
    while True:
        match chance.randrange(12):
            case 0:
                version = max(0, version - chance.randrange(3))
                next_episode = max(0, next_episode - chance.choice([0, 0, 9]))
                buffer.rewind(version, next_episode, buffer.epoch + 1)
            case 1:
                buffer.drop([next_episode + 1, chance.randrange(next_episode + 1)], "given_up")
            case 2 | 3:
                buffer.lease(5, version, 3)
            case 4 | 5:
                lent = [lent.record.episode_id for lent in buffer.lease(5, version, 10**6)]
                buffer.commit(lent, version + 1, {"malformed": chance.randrange(2)})
                version += 1
            case _:
                count = chance.randrange(1, 7)
                ids = range(next_episode, next_episode + count)
                buffer.put([make_record(i, version, "broke" if i % 13 == 0 else "") for i in ids], buffer.epoch)
                next_episode += count
        yield


if __name__ == "__main__":
    opened = ReplayBuffer.open(Path(sys.argv[1]), 40, 2**20, Fifo(), segment_episodes=8)
    sys.stdout.write("open\n")
    sys.stdout.flush()
    for _ in calls(opened, int(sys.argv[2])):
        sys.stdout.write("done\n")
        sys.stdout.flush()
