"""From a name and options to an environment, with one-line errors that say how to mend them."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

import gymnasium

from olal.envs.base import Environment
from olal.envs.grid_world import GridWorld
from olal.envs.gymnasium_env import GymnasiumEnv
from olal.envs.space_codecs import Names
from olal.errors import ConfigError, EnvironmentUnknown

MEMBERS = ("instructions", "max_turns", "reset", "action_grammar", "step", "sample_action", "close")
Adapter: TypeAlias = "Callable[..., GymnasiumEnv]"


def known_environments() -> list[str]:
    """The ids that need nothing of the user's: the built-in tasks and gymnasium's toy-text tasks."""
    specs = gymnasium.registry.values()
    toy_text = sorted(spec.id for spec in specs if str(spec.entry_point).startswith("gymnasium.envs.toy_text."))
    return ["gridworld", *(f"gymnasium:{env_id}" for env_id in toy_text)]


def make_env(
    env_id: str,
    options: Mapping[str, Any],
    *,
    max_turns: int | None = None,
    action_names: Names | None = None,
    render: str | None = None,
    digits: int = 2,
) -> Environment:
    """Build an environment.

    Args:
        env_id: `gridworld`, `gymnasium:` and a gymnasium id, or `python:package.module:factory` for a callable that
            returns an Environment or a gymnasium.Env.
        options: keyword arguments of GridWorld, of gymnasium.make or of the factory. For a gymnasium environment
            `use_action_mask` goes to GymnasiumEnv.
        max_turns: turns after which an episode is truncated; None leaves it to the environment.
        action_names: words for the actions of a gymnasium environment.
        render: `package.module:function`, observation to text, for a gymnasium environment.
        digits: decimals of floating-point numbers in a gymnasium environment.

    Raises:
        EnvironmentUnknown: no such environment or option.
        ActionSpaceUnsupported: the action space has no grammar.
    """
    adapter_settings = {"action_names": action_names, "render": None if render is None else _import(render)}
    adapt = partial(GymnasiumEnv, max_turns=max_turns, digits=digits, **adapter_settings)
    kind, _, name = env_id.partition(":")
    if kind == "gymnasium" and name:
        return _make_gymnasium(name, options, max_turns, adapt)
    if kind == "python" and name:
        env = _make_python(name, options, adapt)
    elif env_id == "gridworld":
        limit = {} if max_turns is None else {"max_turns": max_turns}
        env = _build(GridWorld, {**options, **limit}, env_id)
    else:
        ids = ["gridworld", *(f"gymnasium:{known}" for known in gymnasium.registry)]
        raise EnvironmentUnknown(
            f"no environment {env_id!r}{_nearest(env_id, ids)}; an id is gridworld, gymnasium:<id> or "
            "python:<package.module>:<factory>"
        )
    given = [setting for setting, value in adapter_settings.items() if value is not None]
    if given and not isinstance(env, GymnasiumEnv):
        raise EnvironmentUnknown(f"{env_id} writes its own texts; leave out {' and '.join(given)}")
    if max_turns is not None and env.max_turns > max_turns:
        raise EnvironmentUnknown(f"{env_id} sets its own limit; give it in the options, not as max_turns={max_turns}")
    return env


def _make_gymnasium(name: str, options: Mapping[str, Any], max_turns: int | None, adapt: Adapter) -> GymnasiumEnv:
    if ":" not in name and name not in gymnasium.registry:
        raise EnvironmentUnknown(
            f"no gymnasium environment {name!r}{_nearest(name, gymnasium.registry)}; an environment of another package "
            "is gymnasium:<module>:<id>"
        )
    settings, mask = _split_mask(options)
    if name in gymnasium.registry:
        entry_point = gymnasium.registry[name].entry_point
        constructor = _import(entry_point) if isinstance(entry_point, str) else entry_point
        accepted = inspect.signature(gymnasium.make).parameters
        _check_options({key for key in settings if key not in accepted}, constructor, name)
    if max_turns is not None:
        settings["max_episode_steps"] = max_turns
    return adapt(_call(partial(gymnasium.make, name, disable_env_checker=True), settings, name), **mask)


def _make_python(name: str, options: Mapping[str, Any], adapt: Adapter) -> Environment:
    settings, mask = _split_mask(options)
    made = _build(_import(name), settings, name)
    if isinstance(made, gymnasium.Env):
        return adapt(made, **mask)
    missing = [member for member in MEMBERS if not hasattr(made, member)]
    if missing:
        raise EnvironmentUnknown(
            f"{name} must return an Environment or a gymnasium.Env; {', '.join(missing)} missing from {made!r}"
        )
    return made


def _build(factory: Callable[..., Any], options: Mapping[str, Any], name: str) -> Any:
    _check_options(options, factory, name)
    return _call(factory, options, name)


def _call(factory: Callable[..., Any], options: Mapping[str, Any], name: str) -> Any:
    try:
        return factory(**options)
    except ConfigError:
        raise
    except Exception as error:  # a constructor refuses its options with whatever it likes
        reason = (str(error).splitlines() or [""])[0]
        refusal = f"{name} refused its options ({type(error).__name__}: {reason})"
        raise EnvironmentUnknown(f"{refusal}: {dict(options)}") from error


def _check_options(options: Iterable[str], factory: Callable[..., Any] | None, name: str) -> None:
    if not callable(factory):
        raise EnvironmentUnknown(f"{name} is no callable: {factory!r}")
    try:
        parameters = inspect.signature(factory).parameters
    except ValueError:  # some built-in callables do not tell
        return
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for option in options:
        if option not in parameters:
            takes = ", ".join(parameters) or "none"
            raise EnvironmentUnknown(f"{name} has no option {option!r}{_nearest(option, parameters)}; it takes {takes}")


def _split_mask(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part the options of the environment from those of its adapter."""
    settings = dict(options)
    mask = {"use_action_mask": settings.pop("use_action_mask")} if "use_action_mask" in settings else {}
    return settings, mask


def _import(path: str) -> Any:
    """The object at `package.module:name`."""
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise EnvironmentUnknown(f"write it as package.module:name, not {path!r}")
    try:
        module = importlib.import_module(module_name)
    except gymnasium.error.DependencyNotInstalled as error:
        raise EnvironmentUnknown(f"cannot import {module_name}: {error}") from error
    except ImportError as error:
        raise EnvironmentUnknown(
            f"cannot import {module_name} ({error}); put the folder that holds it on PYTHONPATH"
        ) from error
    if not hasattr(module, attribute):
        raise EnvironmentUnknown(f"{module_name} has no {attribute!r}{_nearest(attribute, dir(module))}")
    return getattr(module, attribute)


def _nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name whose last part looks most like this one, or nothing."""
    shown = {text.rpartition(":")[2].lower(): text for text in known}
    close = difflib.get_close_matches(name.rpartition(":")[2].lower(), shown, n=1)
    return f" (did you mean {shown[close[0]]}?)" if close else ""
