"""Finding: one line of what `olal doctor` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked for on this machine.

    Attributes:
        name: what was looked for.
        value: what was found.
        status: "ok", "warn" where it works but not well, "missing" where it is not there.
        advice: what to do, or what it is needed for; empty where all is well.
    """

    name: str
    value: str
    status: Literal["ok", "warn", "missing"]
    advice: str = ""
