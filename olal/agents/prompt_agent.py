"""PromptAgent: shows the model the task and what it sees now, nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from olal.types import Message


class PromptAgent:
    """Turns an observation into messages: the instructions as the system, the observation as the user."""

    def __init__(self, instructions: str) -> None:
        """Keep the task's instructions.

        Args:
            instructions: one paragraph; models whose chat template has no system role fold it in themselves.
        """
        self._system = Message("system", instructions)

    def messages(self, observation: str) -> Sequence[Message]:
        """The prompt for one turn.

        >>> [m.role for m in PromptAgent("Reach the goal.").messages("grid x=0 y=0")]
        ['system', 'user']
        """
        return (self._system, Message("user", observation))
