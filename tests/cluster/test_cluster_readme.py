"""The README of cluster/ names files that exist and commands that parse.

Pinned: every `olal` command and every command for submit.py; every file and link; every message that it explains is one
that the code can say.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from olal.cli import app

CLUSTER = Path(__file__).parents[2] / "cluster"
README = (CLUSTER / "README.md").read_text(encoding="utf-8")
SHELL = "".join(re.findall(r"^```bash\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
LINES = SHELL.splitlines()
SUBMITTED = [line.split("submit.py -- ")[-1] for line in LINES if "submit.py -- launch" in line]
SUBMITTED += [line.split("cluster/submit.py ")[1] for line in LINES if line.startswith("python cluster/submit.py")]
OLAL = [line.removeprefix("olal ") for line in LINES if line.startswith("olal ")]
OLAL += re.findall(r"[`']olal ([a-z]+ [^`']+)[`']", README)
MESSAGES = [
    message
    for row in README.split("| it says |")[1].split("And what no check")[0].splitlines()[2:]
    for message in re.findall(r"`([^`]+)`", row.partition(" | ")[0])
]


def parse(line: str) -> None:
    group = typer.main.get_command(app)
    name, *arguments = shlex.split(line)
    with group.make_context("olal", [name, *arguments]) as context:
        subcommand = group.get_command(context, name)  # pyright: ignore[reportAttributeAccessIssue]
        subcommand.make_context(name, arguments, parent=context).close()


@pytest.mark.parametrize("line", sorted({*SUBMITTED, *OLAL}))
def test_a_command_parses(line):
    parse(line)


def test_both_ways_of_submitting_are_shown():
    assert len(SUBMITTED) == 2
    assert all("cluster.placement_timeout_s=1800" in line for line in SUBMITTED)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\bcluster/[\w./-]+\w", SHELL))))
def test_a_file_that_a_command_names_exists(path):
    assert (CLUSTER.parent / path).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!https?://)([^)]+)\)", README))))
def test_a_link_leads_to_a_file_or_a_heading(target):
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.+)$", README, re.MULTILINE)}
    assert target[1:] in headings if target.startswith("#") else (CLUSTER / target).is_file()


@pytest.mark.parametrize("name", sorted(path.name for path in CLUSTER.iterdir() if path.name != "README.md"))
def test_every_file_beside_it_is_mentioned(name):
    assert name in README or name == "Dockerfile.dockerignore"


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_that_is_explained_is_one_that_the_code_says(message):
    sources = "".join(path.read_text(encoding="utf-8") for path in (CLUSTER.parent / "olal/experiments").glob("*.py"))
    words = re.split(r" ?\.\.\. ?|: |, | 16 ", message.replace("Ray ...", "..."))
    assert [word for word in words if word and word not in sources] == []
