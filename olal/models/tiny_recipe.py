"""The recipe of the tiny base model: a tokenizer and a small Llama decoder trained on text in under a minute.

It learns what prompts and actions look like, not which action is good. The result is an ordinary model directory, so
any Hugging Face model takes its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

PAD, EOS = "<pad>", "<eos>"
_LEARNING_RATE = 5e-3
# The chat template shows the model the observations alone: it is far too small to read instructions.
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'user' %}{{ message.content + '\\n' }}"
    "{% elif message.role == 'assistant' %}{{ message.content + '" + EOS + "' }}{% endif %}{% endfor %}"
)


def train_tokenizer(texts: Sequence[str], vocabulary_size: int = 512) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE in which words, numbers and runs of punctuation never merge with each other.

    Args:
        texts: the corpus.
        vocabulary_size: most tokens; 256 of them are the bytes.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [
            pre_tokenizers.Split(Regex(r" ?[A-Za-z]+| ?[0-9]+|[^A-Za-z0-9\s]+|\s"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[PAD, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS)
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_network(vocabulary_size: int, *, hidden: int = 64, layers: int = 2) -> LlamaForCausalLM:
    """An untrained decoder in a standard architecture, about 130,000 parameters by default."""
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        initializer_range=0.1,  # the usual 0.02 leaves so narrow a network blind to its context for hundreds of steps
    )
    return LlamaForCausalLM(config)


def train_tiny_model(
    texts: Sequence[str],
    path: Path,
    *,
    steps: int = 1000,
    batch_size: int = 32,
    seed: int = 0,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> float:
    """Train tokenizer and decoder on `texts` and save them as a model directory.

    Args:
        texts: transcripts; each is one training sequence.
        path: directory to write.
        steps: optimizer steps.
        batch_size: sequences per step.
        seed: of the initial weights and the batches.
        on_step: called with the step and its loss.

    Returns:
        Wall time in seconds.
    """
    started = time.monotonic()
    disable_progress_bar()
    torch.set_num_threads(1)  # more threads slow so small a network down
    tokenizer = train_tokenizer(texts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make_network(len(tokenizer))
    sequences = [tokenizer.encode(text) for text in texts]
    generator = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=0.01, betas=(0.9, 0.98))
    network.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * min(1.0, (step + 1) / 30) * (1 - 0.9 * step / steps)
        chosen = [sequences[i] for i in generator.choice(len(sequences), batch_size, replace=False)]
        loss = _loss(network, chosen)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        on_step(step, float(loss.detach()))
    network.eval().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return time.monotonic() - started


def _loss(network: LlamaForCausalLM, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
    """Mean next-token cross-entropy over the real tokens of a batch."""
    width = max(len(tokens) for tokens in sequences)
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    labels = torch.full((len(sequences), width), -100)
    for row, tokens in enumerate(sequences):
        ids[row, : len(tokens)] = labels[row, : len(tokens)] = torch.tensor(tokens)
    logits = network(input_ids=ids, use_cache=False).logits
    return cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), ignore_index=-100)
