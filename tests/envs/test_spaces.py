"""Spaces as grammars.

Pinned here:
- what `write` gives, the grammar accepts and `parse` reads back as the same action, within the space;
- what the grammar admits, `parse` reads as an action the space contains;
- Box bounds hold exactly: numbers at the bound are writable, the next ones beyond are not;
- spaces without a grammar are refused with their path and a way out.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from olal.envs import space_grammar
from olal.envs.spaces import discrete_grammar
from olal.errors import GrammarError

STEADY = settings(max_examples=150, deadline=None, derandomize=True, database=None)
SPACES = {
    "discrete": spaces.Discrete(5),
    "discrete-start": spaces.Discrete(12, start=-3),
    "discrete-int8": spaces.Discrete(3, dtype=np.int8),
    "multi-discrete": spaces.MultiDiscrete([3, 20], start=[-1, 4]),
    "multi-discrete-2d": spaces.MultiDiscrete([[2, 3], [4, 100]]),
    "multi-binary": spaces.MultiBinary((2, 3)),
    "box": spaces.Box(-2, 2, (1,)),
    "box-0d": spaces.Box(0, 1, ()),
    "box-empty": spaces.Box(0, 1, (0,)),
    "box-uneven": spaces.Box(np.float32([-1.23456, 0, -100]), np.float32([0.7, 1000, -3.3])),
    "box-double": spaces.Box(-1.0, 1.0, (2, 2), dtype=np.float64),
    "box-half": spaces.Box(0, 60000, (2,), dtype=np.float16),
    "box-wide": spaces.Box(-1e18, 1e18, (1,)),
    "box-bytes": spaces.Box(0, 255, (2,), dtype=np.uint8),
    "box-long": spaces.Box(-(2**63), 2**63 - 2, (2,), dtype=np.int64),
    "box-bool": spaces.Box(0, 1, (2,), dtype=bool),
    "text": spaces.Text(5),
    "text-odd": spaces.Text(6, min_length=0, charset='a"\\\n/é-]^[ \x00\u2028.*{}'),
    "text-empty": spaces.Text(0, min_length=0),
    "tuple": spaces.Tuple((spaces.Discrete(3), spaces.Box(-1, 1, (2,)), spaces.Text(3))),
    "tuple-empty": spaces.Tuple(()),
    "dict": spaces.Dict(
        {'k"/e.y': spaces.Tuple((spaces.MultiBinary(2),)), "b": spaces.Dict({"c": spaces.Discrete(2)})}
    ),
}


@pytest.fixture(params=SPACES)
def space(request):
    space = SPACES[request.param]
    space.seed(7)
    return space


def test_written_samples_are_accepted_and_read_back(space, grammar):
    legal = space_grammar(space)
    for _ in range(15):
        text = legal.write(space.sample())
        action = legal.parse(text)
        assert space.contains(action)
        assert legal.write(action) == text
        assert grammar.accepts(legal.spec, text)


def test_texts_of_the_grammar_are_actions_of_the_space(space, grammar):
    legal = space_grammar(space)
    for seed in range(15):
        text = grammar.sample(legal.spec, seed)
        action = legal.parse(text)
        assert space.contains(action)
        assert legal.write(legal.parse(legal.write(action))) == legal.write(action)


def test_a_changed_character_is_judged_alike_by_grammar_and_parser(space, grammar):
    legal, rng = space_grammar(space), np.random.default_rng(0)
    for _ in range(60):
        text = legal.write(space.sample())
        place = int(rng.integers(len(text) + 1))
        text = text[:place] + str(rng.choice(list('0192.-",[]{}e a'))) + text[place + int(rng.integers(2)) :]
        try:
            parsed = space.contains(legal.parse(text))
        except GrammarError:
            parsed = False
        assert grammar.accepts(legal.spec, text) is parsed


@given(
    low=st.integers(-9999, 9999),
    width=st.integers(0, 9999),
    digits=st.integers(0, 3),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
)
@STEADY
def test_every_rounded_number_in_bounds_is_writable_and_no_other(low, width, digits, dtype):
    low_bound, high_bound = dtype(low / 128), dtype((low + width) / 100)  # off the decimals, and on them
    assume(low_bound <= high_bound)
    first, last = int(float(low_bound) * 10**digits) - 2, int(float(high_bound) * 10**digits) + 2
    inside = {k for k in range(first, last + 1) if low_bound <= dtype(k / 10**digits) <= high_bound}
    assume(inside)
    space = spaces.Box(np.array([low_bound]), np.array([high_bound]), dtype=dtype)
    legal = space_grammar(space, digits=digits)
    for k in {first, first + 1, min(inside), max(inside), last - 1, last}:
        sign, size = "-" if k < 0 else "", f"{abs(k) / 10**digits:.{digits}f}"
        if k in inside:
            assert space.contains(legal.parse(f"[{sign}{size}]"))
        else:
            with pytest.raises(GrammarError):
                legal.parse(f"[{sign}{size}]")


@given(value=st.floats(-0.7, 0.7))
@STEADY
def test_write_rounds_to_the_nearest_number_in_bounds(value):
    legal = space_grammar(spaces.Box(-0.7, 0.7, ()))
    value = np.clip(np.float32(value), np.float32(-0.7), np.float32(0.7))
    assert abs(float(legal.write(np.array(value))) - float(value)) <= 0.005 + 1e-9


def test_a_bound_that_float32_cannot_hold_is_still_writable(grammar):
    legal = space_grammar(spaces.Box(-0.7, 0.7, (1,)))
    for text, is_legal in (("[0.70]", True), ("[-0.70]", True), ("[0.71]", False), ("[-0.71]", False)):
        assert grammar.accepts(legal.spec, text) is is_legal


def test_discrete_actions_are_bare_names_or_numbers(grammar):
    named = space_grammar(spaces.Discrete(3, start=5), ["left", "right", "left wing"])
    assert grammar.sentences(named.spec) == {"left", "right", "left wing"}
    assert (named.parse("left wing"), named.write(np.int64(6))) == (7, "right")
    numbered = space_grammar(spaces.Discrete(3, start=-1))
    assert grammar.sentences(numbered.spec) == {"-1", "0", "1"}
    assert [numbered.parse(text) for text in ("-1", "0", "1")] == [-1, 0, 1]


def test_nested_names_are_json_texts(grammar):
    space = spaces.Dict({"a": spaces.Discrete(2, start=1), "b": spaces.Tuple((spaces.Discrete(2), spaces.Discrete(2)))})
    legal = space_grammar(space, {"a": ['sa"y', "no/w"], "b": [None, ["x", "y"]]})
    texts = grammar.sentences(legal.spec)
    assert len(texts) == 8
    assert '{"a":"sa\\"y","b":[0,"y"]}' in texts
    assert legal.parse('{"a":"no/w","b":[1,"x"]}') == {"a": 2, "b": (1, 0)}
    assert all(legal.write(legal.parse(text)) == text for text in texts)


def test_keys_come_in_the_order_of_the_space():
    space = spaces.Dict([("z", spaces.Discrete(1)), ("a", spaces.Discrete(1))])
    assert space_grammar(space).write({"a": 0, "z": 0}) == json.dumps(dict.fromkeys(space, 0), separators=(",", ":"))


def test_only_allowed_actions_are_in_a_masked_grammar(grammar):
    legal = discrete_grammar(spaces.Discrete(4, start=1), ["n", "e", "s", "w"], allowed=(0, 3))
    assert grammar.sentences(legal.spec) == {"n", "w"}
    with pytest.raises(GrammarError):
        legal.write(2)


@pytest.mark.parametrize(
    ("space", "path", "advice"),
    [
        (spaces.Box(-np.inf, 1, (2,)), "action:", "RescaleAction"),
        (spaces.Box(-3e38, 3e38, (2,)), "action:", "RescaleAction"),
        (spaces.Box(0.001, 0.004, ()), "action:", "raise digits"),
        (spaces.Sequence(spaces.Discrete(2)), "action:", "wrap the environment"),
        (spaces.Graph(spaces.Discrete(2), None), "action:", "wrap the environment"),
        (spaces.OneOf([spaces.Discrete(2)]), "action:", "wrap the environment"),
        (spaces.Tuple((spaces.Discrete(2), spaces.Box(0, np.inf, ()))), "action[1]:", "bounds"),
        (spaces.Dict({"arm": spaces.Tuple((spaces.Sequence(spaces.Discrete(2)),))}), 'action["arm"][0]:', "wrap"),
        (spaces.Dict({1: spaces.Discrete(2)}), "action:", "keys"),
    ],
)
def test_a_space_without_a_grammar_is_refused_with_its_path(refuses, space, path, advice):
    message = refuses(lambda: space_grammar(space))
    assert message.startswith(path)
    assert advice in message


@pytest.mark.parametrize(
    ("space", "names"),
    [
        (spaces.Discrete(3), ["a", "b"]),
        (spaces.Discrete(2), ["a", "a"]),
        (spaces.Discrete(2), ["a", ""]),
        (spaces.Discrete(2), "ab"),
        (spaces.MultiBinary(2), ["a", "b"]),
        (spaces.Tuple((spaces.Discrete(1),)), [["a"], ["b"]]),
        (spaces.Dict({"a": spaces.Discrete(1)}), {"b": ["x"]}),
        (spaces.Dict({"a": spaces.Discrete(1)}), [["x"]]),
    ],
)
def test_names_that_do_not_fit_are_refused(refuses, space, names):
    refuses(lambda: space_grammar(space, names))


@pytest.mark.parametrize(
    ("space", "action"),
    [
        (spaces.Discrete(2), True),
        (spaces.Discrete(2), 2),
        (spaces.Box(0, 1, (2,)), np.float32([0, 2])),
        (spaces.Box(0, 1, (2,)), np.float32([0])),
        (spaces.Box(0, 1, (2,)), [0, float("nan")]),
        (spaces.Text(2), "abc"),
        (spaces.Text(2), "é"),
        (spaces.Tuple((spaces.Discrete(2),)), (0, 0)),
        (spaces.Dict({"a": spaces.Discrete(2)}), {"b": 0}),
    ],
)
def test_actions_outside_the_space_are_not_written(space, action):
    with pytest.raises(GrammarError):
        space_grammar(space).write(action)


@pytest.mark.parametrize("action", [True, 2, -1, 0.0, "a", None, [0]])
def test_what_is_no_action_has_no_name(action):
    with pytest.raises(GrammarError):
        space_grammar(spaces.Discrete(2), ["a", "b"]).write(action)
