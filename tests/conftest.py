"""What the tests of every floor share: the tiny model as its vocabulary and as networks.

Engine and learner have a network each, as in production. torch is imported only by the tests that ask for a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray
from tokenizers import Tokenizer

from olal.grammar import Vocabulary
from olal.models.model_path import TINY_PATH

if TYPE_CHECKING:
    from olal.inference.speculation import Drafter
    from olal.inference.vllm.engine import VllmEngine
    from olal.models.policy_network import PolicyNetwork

settings.register_profile(
    "olal",
    database=None,
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("olal")


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = "engine under test; vllm needs .venv-vllm"
    parser.addoption("--engines", choices=["transformers", "vllm"], default="transformers", help=help_text)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Tests of the vLLM engine need its environment, and run only where it is asked for."""
    is_vllm = collection_path == Path(__file__).parent / "inference" / "vllm"
    return True if is_vllm and config.getoption("engines") != "vllm" else None


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(TINY_PATH / "tokenizer.json"))


@pytest.fixture(scope="session")
def eos(tokenizer: Tokenizer) -> int:
    return tokenizer.token_to_id("<eos>")


@pytest.fixture(scope="session")
def make_vocabulary(tokenizer: Tokenizer, eos: int) -> Callable[..., Vocabulary]:
    """A fresh vocabulary of the tiny model, without the model."""

    def make(**options: int) -> Vocabulary:
        return Vocabulary(tokenizer.to_str(), size=tokenizer.get_vocab_size(), eos_token_id=eos, **options)

    return make


@pytest.fixture(scope="session")
def vocabulary(make_vocabulary: Callable[..., Vocabulary]) -> Vocabulary:
    return make_vocabulary()


@pytest.fixture(scope="session")
def make_network() -> Callable[..., PolicyNetwork]:
    """A fresh tiny network with its adapter bank."""
    import torch

    from olal.models.base_model import load_base_model
    from olal.models.lora_bank import LoraBank
    from olal.models.policy_network import PolicyNetwork

    torch.set_num_threads(1)

    def make(*, rank: int = 4, alpha: float = 8.0, targets: object = "all-linear", seed: int = 0) -> PolicyNetwork:
        base = load_base_model("tiny", device="cpu")
        return PolicyNetwork(base, LoraBank(base.network, rank=rank, alpha=alpha, targets=targets, seed=seed))

    return make


@pytest.fixture(scope="session")
def tiny_engine(make_network: Callable[..., PolicyNetwork]) -> PolicyNetwork:
    """The network of engines; whoever uses it loads an adapter first."""
    return make_network()


@pytest.fixture(scope="session")
def tiny_learner(make_network: Callable[..., PolicyNetwork]) -> PolicyNetwork:
    """The network of learners; whoever uses it loads an adapter first."""
    return make_network()


@pytest.fixture(scope="session")
def random_flat() -> Callable[..., NDArray[np.float32]]:
    """An adapter far from the initial one: every matrix, B included, gets normal noise."""

    def make(network: PolicyNetwork, *, seed: int, std: float = 0.3) -> NDArray[np.float32]:
        noise = np.random.default_rng(seed).standard_normal(network.bank.layout.num_parameters)
        return (network.bank.initial + std * noise).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def vllm_engine() -> Iterator[VllmEngine]:
    """The one vLLM engine of a test run: making one takes seconds, and a process may not have two."""
    from olal.inference.vllm.engine import VllmEngine
    from olal.models.hollow_model import load_hollow_model
    from olal.models.lora_bank import LoraBank
    from olal.models.policy_network import PolicyNetwork

    base = load_hollow_model("tiny")
    network = PolicyNetwork(base, LoraBank(base.network, rank=4, alpha=8.0, targets="all-linear", seed=0))
    engine = VllmEngine(network, kv_cache_bytes=64 << 20, max_batch=64)
    yield engine
    engine.close()


@pytest.fixture
def reset_vllm_engine(vllm_engine: VllmEngine) -> Callable[..., VllmEngine]:
    """The vLLM engine as if it were new: nothing in flight, another drafter."""

    def reset(*, drafter: Drafter | None = None, **options: int) -> VllmEngine:
        if options:
            pytest.skip(f"vLLM is given these when it starts: {options}")
        while vllm_engine.num_unfinished:
            vllm_engine.step()
        for digest in set(vllm_engine._adapters._slots) - {vllm_engine.adapter_digest}:
            vllm_engine.unload_adapter(digest)
        vllm_engine.drafter = drafter
        return vllm_engine

    return reset
