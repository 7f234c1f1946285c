"""The canonical text of a grammar: JSON in llguidance's notation, a list of named grammars of which the first begins.

A grammar refers to another of the same list as `@name`. Everything that builds a GrammarSpec writes through here, so
that equal grammars have equal texts and so equal digests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from olal.errors import GrammarError
from olal.types import GrammarSpec

Member = Mapping[str, Any]

# A string, a pattern or a comment of a Lark text, in which an @ refers to nothing; or a reference.
_REFERENCE = re.compile(r'"(?:\\.|[^"\\])*"|/(?:\\.|[^/\\\n])+/|//[^\n]*|#[^\n]*|@(?P<name>[A-Za-z_][A-Za-z0-9_-]*)')


def make_spec(members: Sequence[Member], decisions: Sequence[str] = ()) -> GrammarSpec:
    """A grammar of these members, the first one being where a sentence begins.

    Raises:
        GrammarError: a member holds what JSON cannot.
    """
    try:
        text = json.dumps({"grammars": list(members)}, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise GrammarError(f"a schema must hold JSON values only ({error}): {members!r}") from error
    return GrammarSpec(text, tuple(dict.fromkeys(decisions)))


def members_of(spec: GrammarSpec, prefix: str) -> list[Member]:
    """The members of a grammar under the names `prefix`, `prefix_1`, ..., so that several grammars fit in one list.

    Raises:
        GrammarError: the text is not one that olal wrote.
    """
    try:
        members: list[dict[str, Any]] = json.loads(spec.text)["grammars"]
        names = [str(member.get("name", "")) for member in members]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise GrammarError(f"a part of a grammar must be a grammar's text itself: {spec.text[:200]!r}") from error
    renamed = {name: prefix if i == 0 else f"{prefix}_{i}" for i, name in enumerate(names)}
    return [_rename(member, renamed[name], renamed) for member, name in zip(members, names, strict=True)]


def _rename(member: Member, name: str, renamed: Mapping[str, str]) -> Member:
    if "lark_grammar" not in member:
        return {**member, "name": name}

    def refer(match: re.Match[str]) -> str:
        old = match["name"]
        return match[0] if old is None else f"@{renamed.get(old, old)}"

    return {**member, "name": name, "lark_grammar": _REFERENCE.sub(refer, member["lark_grammar"])}
