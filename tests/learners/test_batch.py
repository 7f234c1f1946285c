"""Pinned: only decisions enter a batch; a reward lies on the last decision of its turn; time passes between turns
alone; a cut episode, and no other, has a context to bootstrap from; what the grammar forbids raises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from olal.errors import GrammarError
from olal.grammar import Vocabulary, choice_grammar, regex_grammar
from olal.learners.batch import DecisionBatch, make_batch
from olal.types import Bootstrap, GrammarSpec, Trajectory, Turn

MOVE = choice_grammar(["left", "right", "forward"])
MOVES = regex_grammar(r'\{"moves":\["(left|right)","(left|right)"\]\}')
ONLY = choice_grammar(["stick"])

MakeTurn = Callable[..., Turn]
Episode = Callable[..., Trajectory]


@pytest.fixture
def batch_of(vocabulary: Vocabulary) -> Callable[..., DecisionBatch]:
    def make(*trajectories: Trajectory, gamma: float = 0.5) -> DecisionBatch:
        return make_batch(trajectories, vocabulary, gamma=gamma)

    return make


def altered(turn: Turn, **changes: Any) -> Turn:
    return replace(turn, completion=replace(turn.completion, **changes))


def test_only_decisions_enter(batch_of: Callable[..., DecisionBatch], make_turn: MakeTurn, episode: Episode) -> None:
    turn = make_turn(MOVES, '{"moves":["left","right"]}')
    decided = [t for t, is_forced in enumerate(turn.completion.forced) if not is_forced]

    batch = batch_of(episode([turn]))

    assert len(decided) == 2 < len(turn.completion.token_ids)
    assert [batch.contexts[i] for i in batch.context_of] == [(10, 11, *turn.completion.token_ids[:t]) for t in decided]
    assert batch.behaviour_logprobs.tolist() == [turn.completion.logprobs[t] for t in decided]
    assert batch.log_legal_mass.tolist() == [turn.completion.log_legal_mass[t] for t in decided]
    chosen = [int(batch.legal[c][k]) for c, k in zip(batch.context_of, batch.chosen, strict=True)]
    assert chosen == [turn.completion.token_ids[t] for t in decided]


def test_what_a_draft_model_wrote_by_itself_is_no_decision_of_the_policy(
    batch_of: Callable[..., DecisionBatch], make_turn: MakeTurn, episode: Episode
) -> None:
    turn = make_turn(MOVES, '{"moves":["left","right"]}')
    first, second = (t for t, is_forced in enumerate(turn.completion.forced) if not is_forced)
    delegated = tuple(t == first for t in range(len(turn.completion.token_ids)))

    batch = batch_of(episode([altered(turn, delegated=delegated)]))

    assert [batch.contexts[i] for i in batch.context_of] == [(10, 11, *turn.completion.token_ids[:second])]


def test_legal_sets_are_the_matchers(
    batch_of: Callable[..., DecisionBatch], make_turn: MakeTurn, episode: Episode, vocabulary: Vocabulary
) -> None:
    turn = make_turn(MOVE, "right")

    batch = batch_of(episode([turn]))

    assert batch.legal[batch.context_of[0]].tolist() == vocabulary.state(MOVE, ()).legal.tolist()


def test_rewards_lie_on_the_last_decision_of_their_turn(
    batch_of: Callable[..., DecisionBatch], make_turn: MakeTurn, episode: Episode
) -> None:
    turns = [make_turn(MOVES, '{"moves":["left","right"]}', 3.0), make_turn(MOVE, "left", 5.0)]

    batch = batch_of(episode(turns))

    assert batch.rewards.tolist() == [0.0, 3.0, 5.0]
    assert batch.elapsed_turns.tolist() == [0, 1, 1]


def test_a_turn_without_a_choice_adds_its_reward_later(
    batch_of: Callable[..., DecisionBatch], make_turn: MakeTurn, episode: Episode
) -> None:
    turns = [make_turn(ONLY, "stick", 100.0), make_turn(MOVE, "left", 3.0)]
    turns += [make_turn(ONLY, "stick", 5.0), make_turn(ONLY, "stick", 7.0), make_turn(MOVE, "right", 11.0)]

    batch = batch_of(episode(turns), gamma=0.5)

    assert batch.rewards.tolist() == [3.0 + 0.5 * 5.0 + 0.25 * 7.0, 11.0]
    assert batch.elapsed_turns.tolist() == [3, 1]


def test_an_episode_without_any_choice_is_left_out(
    batch_of: Callable[..., DecisionBatch], make_turn: MakeTurn, episode: Episode
) -> None:
    batch = batch_of(episode([make_turn(ONLY, "stick", 1.0)]), episode([make_turn(MOVE, "left", 2.0)]), episode([]))

    assert [(span.start, span.stop) for span in batch.episodes] == [(0, 1)]
    assert len(batch_of(episode([make_turn(ONLY, "stick", 1.0)]))) == 0
    assert len(batch_of()) == 0


def test_episodes_follow_each_other_and_share_contexts(
    batch_of: Callable[..., DecisionBatch], make_turn: MakeTurn, episode: Episode
) -> None:
    first = [make_turn(MOVE, "left", 1.0), make_turn(MOVE, "right", 2.0, prompt=(20, 21))]

    batch = batch_of(episode(first), episode([make_turn(MOVE, "forward", 3.0)]))

    assert [(span.start, span.stop) for span in batch.episodes] == [(0, 2), (2, 3)]
    assert batch.context_of.tolist() == [0, 1, 0]
    assert batch.contexts == ((10, 11), (20, 21))


def test_one_context_under_two_grammars_is_two(
    batch_of: Callable[..., DecisionBatch], make_turn: MakeTurn, episode: Episode
) -> None:
    other = choice_grammar(["left", "stick"])

    batch = batch_of(episode([make_turn(MOVE, "left"), make_turn(other, "stick")]))

    assert batch.contexts[0] == batch.contexts[1]
    assert batch.legal[0].tolist() != batch.legal[1].tolist()


def test_only_a_cut_episode_has_a_bootstrap(
    batch_of: Callable[..., DecisionBatch], make_turn: MakeTurn, episode: Episode, vocabulary: Vocabulary
) -> None:
    turns = [make_turn(MOVE, "left", 1.0)]
    cut = episode(turns, terminated=False, truncated=True, bootstrap=Bootstrap((30, 31), MOVES))

    batch = batch_of(episode(turns), cut)

    run, state = vocabulary.forced_run(MOVES, ())
    finished, truncated = batch.episodes
    assert finished.bootstrap_context == -1
    assert batch.contexts[truncated.bootstrap_context] == (30, 31, *run)
    assert batch.legal[truncated.bootstrap_context].tolist() == state.legal.tolist()
    assert truncated.bootstrap_context not in batch.context_of


def test_a_bootstrap_may_be_a_context_of_the_batch(
    batch_of: Callable[..., DecisionBatch], make_turn: MakeTurn, episode: Episode
) -> None:
    cut = episode([make_turn(MOVE, "left")], terminated=False, truncated=True, bootstrap=Bootstrap((10, 11), MOVE))

    batch = batch_of(cut)

    assert batch.episodes[0].bootstrap_context == batch.context_of[0] == 0


@pytest.mark.parametrize(
    "grammar", [choice_grammar(["right", "forward"]), ONLY, MOVES], ids=["shorter", "only", "json"]
)
def test_a_completion_of_another_grammar_raises(
    batch_of: Callable[..., DecisionBatch], make_turn: MakeTurn, episode: Episode, grammar: GrammarSpec
) -> None:
    with pytest.raises(GrammarError):
        batch_of(episode([replace(make_turn(MOVE, "left"), grammar=grammar)]))


@pytest.mark.parametrize("text", ['{"moves":["left","right"]}', '{"moves":["right","right"]}'])
def test_any_altered_token_raises(
    batch_of: Callable[..., DecisionBatch],
    make_turn: MakeTurn,
    episode: Episode,
    tokenizer: Tokenizer,
    eos: int,
    text: str,
) -> None:
    turn = make_turn(MOVES, text)
    token_ids = turn.completion.token_ids

    for position in range(len(token_ids)):
        for wrong in {tokenizer.token_to_id("forward"), eos, 99_999} - {token_ids[position]}:
            changed = (*token_ids[:position], wrong, *token_ids[position + 1 :])
            with pytest.raises(GrammarError):
                batch_of(episode([altered(turn, token_ids=changed)]))


def test_forced_flags_that_differ_raise(
    batch_of: Callable[..., DecisionBatch], make_turn: MakeTurn, episode: Episode
) -> None:
    turn = make_turn(MOVES, '{"moves":["left","right"]}')

    for position in range(len(turn.completion.forced)):
        forced = list(turn.completion.forced)
        forced[position] = not forced[position]
        with pytest.raises(GrammarError, match="engine and learner must share"):
            batch_of(episode([altered(turn, forced=tuple(forced))]))


def test_a_cut_completion_counts_as_far_as_it_goes(
    batch_of: Callable[..., DecisionBatch], make_turn: MakeTurn, episode: Episode
) -> None:
    whole = make_turn(MOVES, '{"moves":["left","right"]}', 1.0)
    first = whole.completion.forced.index(False) + 1

    def cut(column: Sequence[Any]) -> Any:
        return tuple(column[:first])

    names = ("token_ids", "logprobs", "forced", "log_legal_mass")
    batch = batch_of(episode([altered(whole, **{name: cut(getattr(whole.completion, name)) for name in names})]))

    assert batch.rewards.tolist() == [1.0]
    assert np.array_equal(batch.elapsed_turns, [1])
