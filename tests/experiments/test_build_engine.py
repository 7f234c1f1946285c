"""Pinned: the engine section of a config becomes the engine it describes, and a wrong draft is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from olal.config import load_config
from olal.errors import ConfigError, ModelInvalid
from olal.experiments.build import build_network, build_worker
from olal.experiments.build_engine import build_transformers_engine
from olal.experiments.seeds import training_tasks
from olal.learners.batch import make_batch
from olal.learners.scorer import ContextScorer
from olal.models.tiny_recipe import make_network, train_tokenizer
from olal.rollout import outcome_of
from olal.types import DraftStatistics, SamplingParams

SPECULATION: dict[str, dict[str, Any]] = {
    "ngram": {"engine.speculation.kind": "ngram"},
    "suffix": {"engine.speculation.kind": "suffix"},
    "draft_model": {"engine.speculation.kind": "draft_model", "engine.speculation.draft_model": "tiny"},
}


def play(settings: dict[str, Any]) -> list[Any]:
    config = load_config([], {"env.id": "gridworld", "env.options.max_moves": 3, **settings})
    collector = build_worker(config, 0).collector
    return collector.collect(training_tasks(0, 0, 16), SamplingParams())


@pytest.mark.parametrize("kind", SPECULATION)
def test_the_same_episodes_are_played_with_and_without_speculation(kind: str) -> None:
    plain, drafted = play({}), play(SPECULATION[kind])

    assert [[turn.completion.token_ids for turn in one.turns] for one in drafted] == [
        [turn.completion.token_ids for turn in one.turns] for one in plain
    ]
    drafts = DraftStatistics.total(outcome_of(one).drafts for one in drafted)
    assert sum(drafts.accepted) > 0
    saved = sum(outcome_of(one).num_passes for one in plain) - sum(outcome_of(one).num_passes for one in drafted)
    assert saved >= 0
    assert saved > 0 or kind == "ngram"  # an action alone hardly repeats itself


def test_bfloat16_weights_are_served_and_learned_from_alike() -> None:
    config = load_config([], {"env.id": "gridworld", "model.dtype": "bfloat16"})
    network = build_network(config)
    trajectories = play({"model.dtype": "bfloat16", "env.options.max_moves": 1})

    batch = make_batch(trajectories, network.base.vocabulary, gamma=0.99)
    logprobs, _ = ContextScorer(network, batch, temperature=1.0).survey(batch)

    assert network.base.network.dtype == torch.bfloat16
    assert len(batch) > 50
    assert (
        np.abs(logprobs - batch.behaviour_logprobs).max() < 0.1
    )  # 8 bits of mantissa: a logit of 8 is rounded by up to 0.03


def test_a_draft_model_with_another_vocabulary_is_refused(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["other words make other tokens"] * 3, vocabulary_size=300)
    make_network(len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = load_config(
        [], {"engine.speculation.kind": "draft_model", "engine.speculation.draft_model": str(tmp_path)}
    )

    with pytest.raises(ConfigError, match=r"a draft model must have the tokenizer .* of the same family"):
        build_transformers_engine(config, build_network(config))


def test_a_draft_model_that_is_not_there_is_refused() -> None:
    config = load_config([], {"engine.speculation.kind": "draft_model", "engine.speculation.draft_model": "./not/here"})

    with pytest.raises(ModelInvalid, match=r"no such model"):
        build_transformers_engine(config, build_network(config))
