"""Player: the environments' side of many episodes at once, the same for whoever drives the engine.

player.start(episode)                  # reset
for episode in player.wait(timeout_s):     # it is over, or asks: episode.request(sampling)
player.play(episode, completion)       # act
player.expire()                        # episodes beyond their deadline
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from olal.agents import PromptAgent
from olal.envs.base import Environment
from olal.inference import Engine
from olal.rollout.deadlines import Deadlines
from olal.rollout.environment_pool import EnvironmentPool
from olal.rollout.episode import Episode, Seen
from olal.rollout.prompter import Prompter
from olal.types import Completion, Failure


class Player:
    """Starts episodes, plays the engine's answers in them, and says which go on or are over."""

    def __init__(
        self,
        make_env: Callable[[], Environment],
        make_agent: Callable[[Environment], PromptAgent],
        engine: Engine,
        limits: Deadlines,
        clock: Callable[[], float],
    ) -> None:
        """Make the first environment and its agent.

        Args:
            make_env: builds one environment; environments are reused from episode to episode.
            make_agent: builds the agent for an environment.
            engine: encodes prompts.
            limits: of environments and episodes.
            clock: monotonic seconds.
        """
        self._limits, self._clock = limits, clock
        self._pool = EnvironmentPool(make_env, limits, clock)
        self._prompter = Prompter(self._pool.open(make_agent), engine)

    @property
    def num_at_work(self) -> int:
        """Episodes whose environment has not answered yet."""
        return self._pool.num_at_work

    @property
    def num_abandoned(self) -> int:
        """Environments left behind with their threads so far."""
        return self._pool.num_abandoned

    @property
    def is_measured(self) -> bool:
        """Whether it is known how long environments take; until then start one episode alone."""
        return self._pool.is_measured

    @property
    def is_slow(self) -> bool:
        """Whether environments take so long that others should generate meanwhile."""
        return self._pool.is_slow

    def start(self, episode: Episode) -> None:
        """Reset an environment for an episode."""
        self._hand_over(episode)
        self._pool.start(episode)

    def play(self, episode: Episode, completion: Completion) -> bool:
        """Take the engine's answer and act upon it.

        Returns:
            Whether the environment is at work now; otherwise the episode is over, since the answer is no action.
        """
        grammar = episode.seen.grammar
        assert grammar is not None
        episode.answer(completion)
        if episode.is_over:
            self._finish(episode)
            return False
        self._hand_over(episode)
        self._pool.act(episode, grammar, completion.text)
        return True

    def wait(self, timeout_s: float, *, is_noisy: bool = False) -> list[Episode]:
        """Episodes whose environments have answered: within `timeout_s` where none has yet.

        Args:
            timeout_s: seconds to wait at most.
            is_noisy: the model has run since the last call, beside the environments.

        Raises:
            ThreadsExhausted: too many environments hang.
        """
        episodes: list[Episode] = []
        for episode, found in self._pool.wait(timeout_s, is_noisy=is_noisy):
            self._take(episode, found)
            episodes.append(episode)
        return episodes

    def nudge(self) -> None:
        """Let `wait` return soon; the one thing that other threads may call."""
        self._pool.nudge()

    def expire(self, episodes: Iterable[Episode]) -> list[Episode]:
        """End those that take longer than an episode may.

        Returns:
            They; an engine that is still at one of them has to be told.
        """
        now, limit_s = self._clock(), self._limits.episode_s
        late = [
            one
            for one in episodes
            if not one.is_over and now - one.started - one.excused_s - self._pool.waited_s(one) > limit_s
        ]
        ended: list[Episode] = []
        for episode in late:
            if episode.where == "environment" and not self._pool.abandon(episode):
                continue  # it waits for its turn on a thread, or has answered just now
            message = f"the episode took longer than rollout.episode_timeout_s: {limit_s:g} s"
            episode.failure = Failure("data", "episode_timeout", message)
            self._finish(episode)
            ended.append(episode)
        return ended

    def close(self) -> None:
        """Close every environment."""
        self._pool.close()

    def _take(self, episode: Episode, found: Seen | Failure) -> None:
        episode.since = self._clock()
        if isinstance(found, Failure):
            episode.failure = found
        else:
            episode.observe(found)
            self._show(episode)
        if episode.is_over:
            self._finish(episode)

    def _show(self, episode: Episode) -> None:
        """Encode what is to be seen; an observation that cannot be encoded fails its episode alone."""
        if not episode.is_to_be_shown:
            return
        try:
            episode.prompt = self._prompter.prompt(episode.seen.step.observation)
        except Exception as error:
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            episode.failure = Failure("data", "bad_observation", message)

    def _hand_over(self, episode: Episode) -> None:
        episode.where, episode.since = "environment", self._clock()

    def _finish(self, episode: Episode) -> None:
        episode.ended = self._clock()
        self._pool.release(episode)
