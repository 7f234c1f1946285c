"""Who plays: from what the agent knows and sees to the messages a model reads."""

from olal.agents.prompt_agent import PromptAgent

__all__ = ["PromptAgent"]
