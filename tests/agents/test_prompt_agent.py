"""Pinned: the agent shows the instructions and the observation, as they are and nothing else."""

from __future__ import annotations

from olal.agents import PromptAgent
from olal.types import Message


def test_the_prompt_is_the_instructions_and_the_observation() -> None:
    agent = PromptAgent("Reach the goal.")

    assert list(agent.messages("grid x=0\n y=0 ")) == [
        Message("system", "Reach the goal."),
        Message("user", "grid x=0\n y=0 "),
    ]


def test_an_agent_remembers_nothing() -> None:
    agent = PromptAgent("Go.")
    agent.messages("first")

    assert agent.messages("second") == PromptAgent("Go.").messages("second")
