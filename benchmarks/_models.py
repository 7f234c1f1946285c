"""Models to measure on: the tiny base, and untrained Llamas of realistic shapes, made here instead of downloaded.

Speed depends on shapes, not on what the weights know, so an untrained model of a real one's shape stands in for it.
"""

from __future__ import annotations

import copy
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from olal.grammar import Vocabulary
from olal.models.base_model import BaseModel
from olal.models.causal_network import CausalNetwork
from olal.models.heap import keep_freed_memory
from olal.models.lora_bank import LoraBank
from olal.models.model_path import TINY_PATH
from olal.models.policy_network import PolicyNetwork
from olal.models.tiny_recipe import EOS, PAD
from olal.types import AdapterUpdate

CACHE = Path(__file__).parent / "out"
LARGE_VOCABULARY = 32_000
_CORPUS_BYTES = 12_000_000
_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role + ': ' + message.content + '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a decoder.

    Attributes:
        name: how it is told in a table.
        layers: decoder layers.
        hidden: width.
        heads: attention heads.
        kv_heads: key and value heads.
        intermediate: width inside the feed-forward layers.
    """

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    intermediate: int


LOOP = Shape("random-2x128", 2, 128, 4, 2, 384)
MIDDLE = Shape("random-8x512", 8, 512, 8, 4, 1536)
SMALL_LLM = Shape("random-30x576", 30, 576, 9, 3, 1536)
SHAPES = {shape.name: shape for shape in (LOOP, MIDDLE, SMALL_LLM)}


@dataclass(frozen=True, slots=True)
class Pair:
    """One model twice: as transformers gives it, for the baselines, and with an adapter, for olal.

    Attributes:
        name: of the model.
        plain: the transformers model, without LoRA layers.
        tokenizer: of the baselines; theirs to change.
        policy: the same weights under a LoRA bank.
    """

    name: str
    plain: Any
    tokenizer: Any
    policy: PolicyNetwork

    @property
    def num_parameters(self) -> int:
        """Weights of the base model."""
        return sum(parameter.numel() for parameter in self.plain.parameters())


def load_pair(name: str, *, large_vocabulary: bool = False) -> Pair:
    """The tiny base ("tiny"), or an untrained model of one of `SHAPES`.

    Args:
        name: of the model.
        large_vocabulary: give an untrained model 32,000 tokens; otherwise it has the tiny base's tokenizer.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    disable_progress_bar()
    tokenizer = large_tokenizer() if large_vocabulary else AutoTokenizer.from_pretrained(TINY_PATH)
    if name == "tiny":
        plain: Any = AutoModelForCausalLM.from_pretrained(TINY_PATH, dtype=torch.float32)
    else:
        plain = untrained(SHAPES[name], len(tokenizer))
    plain.eval().requires_grad_(False)
    return Pair(name, plain, tokenizer, make_policy(name, copy.deepcopy(plain), copy.deepcopy(tokenizer)))


def make_policy(name: str, network: Any, tokenizer: Any) -> PolicyNetwork:
    """The network under a LoRA bank of the default rank, on every linear layer."""
    vocabulary = Vocabulary(
        tokenizer.backend_tokenizer.to_str(),
        size=network.get_output_embeddings().weight.shape[0],
        eos_token_id=tokenizer.eos_token_id,
    )
    bank = LoraBank(network, rank=8, alpha=16, targets="all-linear", seed=0)
    return PolicyNetwork(BaseModel(name, network, tokenizer, vocabulary), bank)


def first_layer(pair: Pair) -> CausalNetwork:
    """The first half of the tiny base as a draft model: one of its two layers, then its output layer."""
    network = copy.deepcopy(pair.plain)
    network.model.layers = network.model.layers[:1]
    network.config.num_hidden_layers = 1
    base = pair.policy.base
    return CausalNetwork(BaseModel(f"{pair.name}, first layer", network, base.tokenizer, base.vocabulary))


def untrained(shape: Shape, vocabulary_size: int) -> LlamaForCausalLM:
    """A Llama with random weights, the same every time."""
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(config)


def fresh_adapter(policy: PolicyNetwork, version: int) -> AdapterUpdate:
    """An adapter that no earlier one equals, near the untrained one: loading it leaves nothing to find in a cache."""
    noise = np.random.default_rng(version).standard_normal(policy.bank.layout.num_parameters)
    flat = (policy.bank.initial + 1e-3 * noise).astype(np.float32)
    return AdapterUpdate(version, policy.bank.layout.digest(flat), flat)


def large_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 32,000 tokens, trained on the standard library's sources and kept for the next run."""
    path = CACHE / f"bpe-{LARGE_VOCABULARY}.json"
    if not path.exists():
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
        tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
        trainer = trainers.BpeTrainer(
            vocab_size=LARGE_VOCABULARY,
            special_tokens=[PAD, EOS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(_sources(), trainer)
        path.parent.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(path))
    fast = PreTrainedTokenizerFast(tokenizer_file=str(path), pad_token=PAD, eos_token=EOS)
    if len(fast) != LARGE_VOCABULARY:
        raise RuntimeError(f"the tokenizer must have {LARGE_VOCABULARY} tokens; the corpus gave {len(fast)}")
    fast.chat_template = _CHAT_TEMPLATE
    return fast


def _sources() -> Iterator[str]:
    """Texts of the standard library, in the order of their paths, about 12 MB of them."""
    size = 0
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(path for path in library.rglob("*.py") if "site-packages" not in path.parts):
        text = path.read_text(encoding="utf-8", errors="ignore")
        size += len(text)
        yield text
        if size > _CORPUS_BYTES:
            return
