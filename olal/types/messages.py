"""A chat message, the form in which an agent speaks to an engine before tokens exist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message.

    Attributes:
        role: who speaks.
        content: plain text.
    """

    role: Literal["system", "user", "assistant"]
    content: str
