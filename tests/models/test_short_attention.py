"""Short rows against torch's fused attention, and against the formula written out for one token at a time."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.integrations import sdpa_attention

from olal.models import short_attention
from olal.models.short_attention import use_short_attention

LAYER = SimpleNamespace(num_key_value_groups=2, is_causal=True)


def heads(new: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of three rows, four heads and two key heads, of size 8."""
    generator = torch.Generator().manual_seed(new + width)
    return (
        torch.randn(3, 4, new, 8, generator=generator),
        torch.randn(3, 2, width, 8, generator=generator),
        torch.randn(3, 2, width, 8, generator=generator),
    )


def seen(new: int, width: int) -> Tensor:
    """A mask of no pattern in which every token sees at least one, bool of shape (3, 1, new, width)."""
    mask = torch.rand(3, 1, new, width, generator=torch.Generator().manual_seed(9)) < 0.4
    mask[..., 0] = True
    return mask


def added(mask: Tensor) -> Tensor:
    """The same mask as what is added to scores."""
    return torch.zeros(mask.shape).masked_fill_(~mask, torch.finfo(torch.float32).min)


def test_one_token_sees_the_mean_of_values_by_its_scores() -> None:
    query, key, value = heads(2, 3)
    mask = torch.tensor([[True, False, True], [True, True, True]]).expand(3, 1, 2, 3)
    found, _ = short_attention._attend(LAYER, query, key, value, mask, scaling=0.5)
    scores = [math.exp(0.5 * float(query[1, 3, 0] @ key[1, 1, place])) for place in (0, 2)]
    expected = (scores[0] * value[1, 1, 0] + scores[1] * value[1, 1, 2]) / sum(scores)
    torch.testing.assert_close(found[1, 0, 3], expected)


@pytest.mark.parametrize(("new", "width"), [(1, 1), (1, 40), (7, 7), (13, 29), (64, 64)])
@pytest.mark.parametrize("form", [seen, lambda new, width: added(seen(new, width))], ids=["bool", "added"])
def test_is_fused_attention(new: int, width: int, form, monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = heads(new, width)
    wide = [tensor.repeat_interleave(2, dim=1) for tensor in (key, value)]
    expected = scaled_dot_product_attention(query, *wide, attn_mask=form(new, width))
    monkeypatch.setattr(short_attention, "sdpa_attention_forward", lambda *_, **__: pytest.fail("was fused"))
    found, _ = short_attention._attend(LAYER, query, key, value, form(new, width), scaling=8**-0.5)
    torch.testing.assert_close(found, expected.transpose(1, 2))


def test_the_mask_is_left_as_it_was() -> None:
    mask = added(seen(5, 5))
    before = mask.clone()
    short_attention._attend(LAYER, *heads(5, 5), mask, scaling=1.0)
    assert torch.equal(mask, before)


def test_gradients_are_those_of_fused_attention() -> None:
    inputs = [tensor.requires_grad_() for tensor in heads(6, 6)]
    mask = seen(6, 6)
    weight = torch.randn(3, 6, 4, 8, generator=torch.Generator().manual_seed(1))

    def gradients(attend) -> tuple[Tensor, ...]:
        return torch.autograd.grad((attend(LAYER, *inputs, mask, scaling=0.3)[0] * weight).sum(), inputs)

    fused = gradients(sdpa_attention.sdpa_attention_forward)
    for one, other in zip(gradients(short_attention._attend), fused, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("case", ["wide", "no mask", "dropout", "half precision"])
def test_what_it_is_not_made_for_stays_fused(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    width = 65 if case == "wide" else 4
    monkeypatch.setattr(short_attention, "sdpa_attention_forward", lambda *_, **__: ("fused", None))
    dtype = torch.bfloat16 if case == "half precision" else torch.float32
    found = short_attention._attend(
        LAYER,
        *(tensor.to(dtype) for tensor in heads(width, width)),
        None if case == "no mask" else seen(width, width),
        dropout=0.1 if case == "dropout" else 0.0,
    )
    assert found == ("fused", None)


def test_a_model_runs_its_rows_under_it_and_says_the_same() -> None:
    config = LlamaConfig(
        vocab_size=30, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    torch.manual_seed(0)
    network = LlamaForCausalLM(config).eval()
    ids, real = torch.arange(24).view(3, 8), torch.ones(3, 8, dtype=torch.long)
    real[1, 5:] = 0
    with torch.inference_mode():
        expected = network(input_ids=ids, attention_mask=real).logits
        use_short_attention(network)
        assert network.config._attn_implementation == "olal_short"
        found = network(input_ids=ids, attention_mask=real).logits
    torch.testing.assert_close(found[real.bool()], expected[real.bool()])


def test_another_attention_that_was_asked_for_stays() -> None:
    config = LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    network = LlamaForCausalLM._from_config(config, attn_implementation="eager")
    use_short_attention(network)
    assert network.config._attn_implementation == "eager"
