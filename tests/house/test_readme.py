"""The README is true.

Pinned: the Quickstart is two commands; every `olal` command in it parses, and every launch resolves to a config; its
Python runs, its YAML loads, its own environment can be played; its links lead somewhere.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from olal.cli import app
from olal.config import load_config
from olal.experiments.build import build_env

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


def olal_commands() -> list[str]:
    """Every `olal ...` in a shell block, a printed session or inline code."""
    shell = "".join(blocks("bash") + blocks("text"))
    lines = re.findall(r"^(?:\$ )?(?:\w+=\S+ )*(olal .+)$", shell, flags=re.MULTILINE)
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`(olal [^`]+)`", prose)
    return sorted({*lines, *inline})


COMMANDS = olal_commands()
LAUNCHES = [command for command in COMMANDS if command.split()[1] == "launch" and len(command.split()) > 2]


def write_own_environment(folder: Path) -> Path:
    """Lay the README's own environment out as it says; returns the config."""
    [module] = [text for text in blocks("python") if "gymnasium.Env" in text]
    [config] = blocks("yaml")
    (folder / "thermostat.py").write_text(module, encoding="utf-8")
    path = folder / "thermostat.yaml"
    path.write_text(config, encoding="utf-8")
    return path


def test_the_quickstart_is_two_commands():
    quickstart = README.split("## Quickstart")[1].split("## ")[0]
    [block] = re.findall(r"```bash\n(.*?)```", quickstart, flags=re.DOTALL)
    assert block == "make demo\nmake test\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_parses(command):
    group = typer.main.get_command(app)
    _, name, *arguments = shlex.split(command)
    with group.make_context("olal", [name, *arguments]) as context:
        subcommand = group.get_command(context, name)  # pyright: ignore[reportAttributeAccessIssue]
        subcommand.make_context(name, arguments, parent=context).close()


@pytest.mark.parametrize("command", LAUNCHES)
def test_a_launch_resolves_to_a_config(command, monkeypatch, tmp_path):
    write_own_environment(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [*shlex.split(command)[1:], "--dry-run"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("text", blocks("python"))
def test_a_python_block_runs(text):
    exec(compile(text, "README.md", "exec", dont_inherit=True), {"__name__": "readme"})


def test_the_own_environment_can_be_played(monkeypatch, tmp_path):
    config = load_config([write_own_environment(tmp_path)])
    monkeypatch.syspath_prepend(str(tmp_path))
    env = build_env(config)
    assert env.reset(0).observation.startswith("thermostat degrees=")
    env.step(env.action_grammar().parse("heat"))


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!https?://)([^)#]+)\)", README))))
def test_a_link_leads_to_a_file(target):
    assert (ROOT / target).is_file()
