"""Pinned: a union has the sentences of its parts and no others, whatever their kinds and however nested; its text is
canonical; what the matcher could not read back is refused.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olal.errors import GrammarError
from olal.grammar import choice_grammar, json_grammar, lark_grammar, regex_grammar, tool_grammar, union_grammar
from olal.types import GrammarSpec

Sentences = Callable[..., set[str]]
WORDS = st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3, unique=True)
BOOLEANS = json_grammar({"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 1})


@given(WORDS, WORDS, st.sampled_from(["[ab]{1,3}", "a(bb)?", "ba|c"]))
def test_regular_parts_are_united_exactly(sentences: Sentences, one: list[str], two: list[str], pattern: str) -> None:
    parts = [choice_grammar(one), choice_grammar(two), regex_grammar(pattern)]

    found = sentences(union_grammar(*parts))

    assert found == set().union(*(sentences(part) for part in parts))


def test_parts_of_every_kind(sentences: Sentences) -> None:
    tree = lark_grammar('start: "(" start ")" | "x"')
    parts = [BOOLEANS, tree, choice_grammar(["left", "xylophone"]), regex_grammar("[0-2]")]

    found = sentences(union_grammar(*parts), longest=9)

    trees = {"(" * n + "x" + ")" * n for n in range(5)}
    assert found == {"[true]", "[false]", "left", "xylophone", "0", "1", "2"} | trees


def test_a_union_may_hold_unions_and_tools(sentences: Sentences) -> None:
    tools = tool_grammar([{"name": "go", "parameters": {"properties": {}, "additionalProperties": False}}])
    inner = union_grammar(BOOLEANS, choice_grammar(["a@g0", "stop"]))

    found = sentences(union_grammar(inner, tools, lark_grammar('start: "@g1" /[xy]/ // @g1')))

    assert found == {"[true]", "[false]", "a@g0", "stop", '{"name":"go","arguments":{}}', "@g1x", "@g1y"}


def test_the_text_of_a_union_depends_on_its_parts_alone() -> None:
    def make() -> GrammarSpec:
        return union_grammar(choice_grammar(["a", "b"]), BOOLEANS, choice_grammar(["a", "b"]))

    assert make().digest == make().digest
    assert make() == union_grammar(choice_grammar(["a", "b"]), BOOLEANS)
    assert union_grammar(BOOLEANS) == BOOLEANS


def test_decisions_of_all_parts_are_kept() -> None:
    one = json_grammar({"properties": {"a": {"type": "null", "x-decision": True}}})
    two = json_grammar({"properties": {"b": {"type": "null", "x-decision": True}}})

    assert union_grammar(one, two, choice_grammar(["c"])).decisions == ("a", "b")


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([], "at least one"),
        ([regex_grammar(".*"), BOOLEANS], "longest"),
        ([regex_grammar("[a-z]{6}"), lark_grammar('start: "left" "er!"')], "longest"),
        ([regex_grammar("("), BOOLEANS], "does not compile"),
        ([GrammarSpec("{}"), BOOLEANS], "does not compile"),
    ],
    ids=["none", "any text beside JSON", "letters beside rules", "bad pattern", "no grammar"],
)
def test_what_cannot_be_united_is_refused_with_its_reason(parts: list[GrammarSpec], reason: str) -> None:
    with pytest.raises(GrammarError, match=reason):
        union_grammar(*parts)
