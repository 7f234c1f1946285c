"""Engine against learner: the log-probabilities of what was sampled, over the legal set and over the vocabulary.

The full-vocabulary control is what a learner without the grammar would compute for the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from _report import Measurement, measure

from olal.learners.batch import make_batch
from olal.learners.scorer import ContextScorer, pack
from olal.models.policy_network import PolicyNetwork
from olal.types import Trajectory


@torch.no_grad()
def exactness(network: PolicyNetwork, trajectories: Sequence[Trajectory]) -> list[Measurement]:
    """Largest gap over the legal set, the same over the full vocabulary, and the control's mean probability ratio.

    Args:
        network: under the adapter that played.
        trajectories: what it played.
    """
    batch = make_batch(trajectories, network.base.vocabulary, gamma=0.99)
    legal, _ = ContextScorer(network, batch, temperature=1.0).score(np.arange(len(batch.contexts)))
    exact = legal.numpy()[batch.context_of, batch.chosen]
    sequences, rows, columns = pack(batch.contexts)
    logits, _ = network.at_positions(sequences, torch.tensor(rows), torch.tensor(columns))
    everything = torch.log_softmax(logits, dim=1).numpy()
    tokens = np.array(
        [batch.legal[context][choice] for context, choice in zip(batch.context_of, batch.chosen, strict=True)]
    )
    control = everything[batch.context_of, tokens]
    behaviour = batch.behaviour_logprobs
    gap, control_gap = float(np.abs(exact - behaviour).max()), float(np.abs(control - behaviour).max())
    return [
        measure("max_logprob_gap", gap, "nats", "<= 1e-4", baseline=control_gap),
        measure("full_vocabulary_mean_ratio", float(np.exp(control - behaviour).mean()), "ratio"),
    ]
