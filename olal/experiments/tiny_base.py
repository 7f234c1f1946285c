"""The tiny base model of olal, made again from the built-in tasks: `olal tiny-base DIR`.

Its text is random play, so it knows what the tasks look like and what moves do, but not which moves are good. Four out
of five turns are kept only if the move changed something: a model that has seen what can be done where has learned to
look at the observation before it acts.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from olal.envs import Environment, make_env
from olal.errors import ConfigError

_TASKS = (
    ("gridworld", {}),
    ("gridworld", {"max_moves": 4}),
    ("gridworld", {"forbid_walls": True}),
    ("gridworld", {"forbid_walls": True, "max_moves": 4}),
    ("gymnasium:FrozenLake-v1", {"is_slippery": False}),
    ("gymnasium:FrozenLake-v1", {"is_slippery": True}),
    ("gymnasium:Blackjack-v1", {}),
    ("gymnasium:CliffWalking-v1", {}),
    ("gymnasium:Taxi-v4", {}),
)
_WEIGHTS = (1, 1, 4, 4, 4, 2, 3, 4, 4)
EOS = "<eos>"


def random_transcripts(count: int, *, seed: int = 0) -> list[str]:
    """Texts of one to three consecutive turns of random play, observation and action by turns.

    Args:
        count: texts wanted.
        seed: of everything drawn.
    """
    draw = random.Random(seed)
    envs = [make_env(env_id, options) for env_id, options in _TASKS]
    texts: list[str] = []
    while len(texts) < count:
        env = draw.choices(envs, _WEIGHTS)[0]
        turns, last = _play(env, draw, only_effective=draw.random() < 0.8)
        for _ in range(min(3, 1 + len(turns) // 4)):
            start = draw.randrange(len(turns))
            window = turns[start : start + draw.randint(1, 3)]
            follows = start + len(window)
            texts.append("".join(f"{seen}\n{said}{EOS}" for seen, said in window))
            texts[-1] += (turns[follows][0] if follows < len(turns) else last) + "\n"
    for env in envs:
        env.close()
    return texts[:count]


def make_tiny_base(path: Path, *, on_step: Callable[[int, int, float], None] = lambda step, steps, loss: None) -> float:
    """Write the tiny base model to `path`.

    Args:
        path: a new directory.
        on_step: called with the step, the number of steps and the loss.

    Returns:
        Seconds of training.

    Raises:
        ConfigError: something is in the directory already.
    """
    from olal.models.tiny_recipe import train_tiny_model

    if path.exists() and any(path.iterdir()):
        raise ConfigError(f"the model needs a new or empty directory: {path}")
    steps = 900
    texts = random_transcripts(20_000)
    return train_tiny_model(texts, path, steps=steps, on_step=lambda step, loss: on_step(step, steps, loss))


def _play(env: Environment, draw: random.Random, *, only_effective: bool) -> tuple[list[tuple[str, str]], str]:
    """One random episode of at most 30 turns as (observation, action) pairs, and the observation after the last."""
    step = env.reset(draw.getrandbits(31))
    turns: list[tuple[str, str]] = []
    seen, said = step.observation, ""
    for _ in range(30):
        action = env.sample_action(draw.getrandbits(31))
        said, seen = env.action_grammar().write(action), step.observation
        step = env.step(action)
        if not only_effective or step.observation != seen or step.is_last:
            turns.append((seen, said))
        if step.is_last:
            break
    return turns or [(seen, said)], step.observation
