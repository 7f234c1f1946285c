"""EnvironmentPool: environments on threads of their own, reused from episode to episode, given up where they hang.

An environment is made, played and closed on one thread. Cheap ones share a thread, where a step costs a few
microseconds more than a call; slow ones, by their measured mean, get a thread each and so run side by side. Where a
call overruns its deadline, the thread is left to it and the environments that shared it go on upon another.
"""

from __future__ import annotations

import contextlib
import math
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from olal.envs.base import Environment
from olal.errors import ThreadsExhausted
from olal.grammar import ActionGrammar
from olal.rollout.deadlines import Deadlines
from olal.rollout.episode import Episode, Seen, act, begin, failure_of
from olal.rollout.lane import Answer, Job, Lane, Mailbox
from olal.types import Failure

SLOW_S = 1e-3
"""Mean duration of a call from which on an environment gets a thread of its own."""
_NOISE_S = 8e-3
"""Beside a model pass a call may have to wait this long for Python's lock, which says nothing of its own duration."""
_SHARE_OF_LAST = 0.02
_LONGEST_BLOCK_S = 0.5
_GLANCE_S = 5e-3
_CLOSE_S = 5.0

Made = TypeVar("Made")


@dataclass(eq=False, slots=True)
class _Seat:
    """A place for an episode: an environment, once it is made, and the thread it lives on."""

    lane: Lane
    env: Environment | None = None

    def close(self) -> None:
        """Close the environment, if it was made; called on its thread."""
        env, self.env = self.env, None
        if env is not None:
            with contextlib.suppress(Exception):
                env.close()


class EnvironmentPool:
    """Runs environments for episodes; the owner's thread asks and takes answers, and is never held up by them.

    The calling loop:

        pool.start(episode)                           # make an environment where none is free, and reset it
        for episode, seen in pool.wait(timeout_s): ...    # a Seen, or the Failure that ends the episode
        pool.act(episode, grammar, text)
        pool.release(episode)                         # its environment is free for another
    """

    def __init__(self, make_env: Callable[[], Environment], limits: Deadlines, clock: Callable[[], float]) -> None:
        """Begin without environments.

        Args:
            make_env: builds one; it runs on the thread where the environment will live.
            limits: of calls and of episodes.
            clock: monotonic seconds.
        """
        self._make_env, self._limits, self._clock = make_env, limits, clock
        self._mailbox = Mailbox()
        self._unsent: dict[Lane, list[Job]] = {}
        self._lanes: list[Lane] = []
        self._abandoned: list[Lane] = []
        self._free: deque[_Seat] = deque()
        self._seats: dict[Episode, _Seat] = {}
        self._at_work: set[Episode] = set()
        self._shared: Lane | None = None
        self._mean_s = 0.0
        self._num_calls = 0
        self._next_look, self._look_s = -math.inf, min(_LONGEST_BLOCK_S, limits.step_s / 4, limits.episode_s / 4)
        self.num_abandoned = 0
        weakref.finalize(self, _stop, self._lanes)

    @property
    def num_at_work(self) -> int:
        """Episodes whose environment has not answered yet."""
        return len(self._at_work)

    @property
    def is_measured(self) -> bool:
        """Whether it is known how long calls take; until then, it is better to start one episode alone."""
        return self._num_calls > 0

    @property
    def is_slow(self) -> bool:
        """Whether environments take so long that each has a thread of its own."""
        return self._mean_s > SLOW_S

    def open(self, look: Callable[[Environment], Made]) -> Made:
        """Make the first environment and have a look at it, on its thread.

        Raises:
            ThreadsExhausted: it does not answer in time.
        """
        seat, found = self._new_seat(), list[Made]()

        def run() -> None:
            seat.env = self._make_env()
            found.append(look(seat.env))

        seat.lane.put([Job(run, seat.close)])
        answers = self._mailbox.take(self._limits.step_s)
        if not answers:
            raise ThreadsExhausted(
                f"making an environment took longer than rollout.step_timeout_s allows: {self._limits.step_s:g} s"
            )
        [answer] = answers
        if isinstance(answer.value, BaseException):
            raise answer.value
        self._free.append(seat)
        return found[0]

    def start(self, episode: Episode) -> None:
        """Give an episode an environment and reset that."""
        seat = self._free.popleft() if self._free else self._new_seat()
        self._seats[episode] = seat

        def run() -> Seen:
            if seat.env is None:
                seat.env = self._make_env()
            return begin(seat.env, episode.task.seed)

        self._put(episode, seat, run)

    def act(self, episode: Episode, grammar: ActionGrammar, text: str) -> None:
        """Let the environment of an episode do an action."""
        seat = self._seats[episode]
        assert seat.env is not None
        self._put(episode, seat, partial(act, seat.env, grammar, text))

    def release(self, episode: Episode) -> None:
        """Take back the environment of an episode: for the next one, or to be closed where the episode failed."""
        seat = self._seats.pop(episode, None)
        if seat is None:
            return
        crowded = self.is_slow and seat.lane.num_seats > 1
        if crowded or (episode.failure is not None and episode.failure.reason not in _HARMLESS):
            self._retire(seat)
        else:
            self._free.append(seat)

    def wait(self, timeout_s: float, *, is_noisy: bool = False) -> list[tuple[Episode, Seen | Failure]]:
        """Answers that are there; where there are none, the first to come within `timeout_s`.

        Args:
            timeout_s: seconds to wait at most.
            is_noisy: the model has run since the last call, beside the environments.

        Raises:
            ThreadsExhausted: too many environments hang.
        """
        self._send()
        longest = self._look_s if self.is_slow else _GLANCE_S
        answers = self._mailbox.take(min(timeout_s, longest) if self._at_work else 0.0)
        found = [one for answer in answers if (one := self._read(answer, is_noisy=is_noisy)) is not None]
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + self._look_s
            found += self._give_up_late_ones(now)
        return found

    def nudge(self) -> None:
        """Let `wait` return soon; the one thing that other threads may call."""
        self._mailbox.nudge()

    def abandon(self, episode: Episode) -> bool:
        """Give up the call that the environment of an episode is in; whether there was one."""
        seat = self._seats.get(episode)
        self._send()
        current = None if seat is None else seat.lane.current
        if seat is None or current is None or current[0].owner is not episode:
            return False
        waiting = seat.lane.abandon(current[0])
        if waiting is None:
            return False
        self._at_work.discard(episode)
        del self._seats[episode]
        self._leave(seat.lane, waiting)
        return True

    def waited_s(self, episode: Episode) -> float:
        """How long the present call of an episode has waited, or did, for others on its thread."""
        seat = self._seats.get(episode)
        if seat is None or episode not in self._at_work:
            return 0.0
        current = seat.lane.current
        began = current[1] if current is not None and current[0].owner is episode else self._clock()
        return began - episode.since

    def close(self) -> None:
        """Close every environment, and wait a few seconds for it."""
        for seat in [*self._free, *self._seats.values()]:
            self._retire(seat)
        self._free.clear()
        self._seats.clear()
        self._at_work.clear()
        self._send()
        for lane in self._lanes:
            lane.stop()
        until = self._clock() + min(_CLOSE_S, self._limits.step_s)
        for lane in self._lanes:
            lane.join(max(until - self._clock(), 0.0))
        self._lanes.clear()
        self._shared = None

    def _new_seat(self) -> _Seat:
        """On the thread that cheap environments share, or on one that has none."""
        if not self.is_slow:
            if self._shared is None:
                self._shared = self._new_lane()
            lane = self._shared
        else:
            lane = next((lane for lane in self._lanes if not lane.num_seats), None) or self._new_lane()
        lane.num_seats += 1
        return _Seat(lane)

    def _new_lane(self) -> Lane:
        self._lanes.append(Lane(self._mailbox, self._clock))
        return self._lanes[-1]

    def _put(self, episode: Episode, seat: _Seat, run: Callable[[], Seen]) -> None:
        self._at_work.add(episode)
        self._unsent.setdefault(seat.lane, []).append(Job(run, seat.close, episode))

    def _retire(self, seat: _Seat) -> None:
        """Close an environment where it lives; nobody waits for that."""
        seat.lane.put([Job(seat.close, _nothing)])
        seat.lane.num_seats -= 1

    def _send(self) -> None:
        """Hand out what was asked for since the last time, a batch to each thread."""
        for lane, jobs in self._unsent.items():
            lane.put(jobs)
        self._unsent.clear()

    def _read(self, answer: Answer, *, is_noisy: bool) -> tuple[Episode, Seen | Failure] | None:
        episode, value = answer.job.owner, answer.value
        if not isinstance(episode, Episode) or episode not in self._at_work:
            return None  # a closed environment, or one whose episode nobody plays any more
        self._at_work.discard(episode)
        episode.excused_s += max(0.0, self._clock() - episode.since - answer.duration_s)
        if not (is_noisy and SLOW_S < answer.duration_s < _NOISE_S):
            self._num_calls += 1
            self._mean_s += max(_SHARE_OF_LAST, 1 / self._num_calls) * (answer.duration_s - self._mean_s)
        return episode, value if isinstance(value, Seen) else failure_of(value or RuntimeError("no answer"))

    def _give_up_late_ones(self, now: float) -> list[tuple[Episode, Seen | Failure]]:
        found: list[tuple[Episode, Seen | Failure]] = []
        for lane in list(self._lanes):
            current = lane.current
            if current is None or now - current[1] <= self._limits.step_s:
                continue
            waiting = lane.abandon(current[0])
            if waiting is None:
                continue
            episode = current[0].owner
            if isinstance(episode, Episode) and episode in self._at_work:
                self._at_work.discard(episode)
                del self._seats[episode]
                limit = f"{self._limits.step_s:g} s"
                message = f"the environment did not answer within rollout.step_timeout_s: {limit}"
                found.append((episode, Failure("data", "env_timeout", message)))
            self._leave(lane, waiting)
        return found

    def _leave(self, lane: Lane, waiting: Sequence[Job]) -> None:
        """Go on without a thread that hangs: its other environments move to a new one."""
        self._lanes.remove(lane)
        self._abandoned = [one for one in (*self._abandoned, lane) if one.is_alive]
        self.num_abandoned += 1
        waiting = [*waiting, *self._unsent.pop(lane, ())]
        others = [seat for seat in (*self._free, *self._seats.values()) if seat.lane is lane]
        if lane is self._shared:
            self._shared = None
        if others or waiting:
            heir = self._new_lane()
            heir.num_seats = len(others)
            for seat in others:
                seat.lane = heir
            heir.put(waiting)
            self._shared = self._shared or heir
        if len(self._abandoned) >= self._limits.most_abandoned:
            raise ThreadsExhausted(
                f"environments hang, and their threads can be ended only with the process, which must be started "
                f"anew; threads left behind: {len(self._abandoned)}"
            )


_HARMLESS = ("action_cut", "engine_refused", "cancelled", "episode_timeout")
"""Reasons of failure that say nothing against the environment."""


def _nothing() -> None:
    """A closed environment needs no more."""


def _stop(lanes: list[Lane]) -> None:
    for lane in lanes:
        lane.stop()
