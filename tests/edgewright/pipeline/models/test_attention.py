"""Attention: the same answer in PyTorch's fused form and in the form that is exported; heads follow the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgewright.pipeline.models.attention import EncoderBlock, SelfAttention


@pytest.mark.parametrize(("embedding", "heads", "tokens"), [(16, 2, 5), (64, 4, 49), (32, 1, 1)])
def test_the_exported_form_is_scaled_dot_product_attention(
    monkeypatch: pytest.MonkeyPatch, embedding: int, heads: int, tokens: int
) -> None:
    torch.manual_seed(0)
    attention = SelfAttention(embedding, heads, tokens).eval()
    x = 3 * torch.randn(3, tokens, embedding)
    fused = attention(x)
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    torch.testing.assert_close(attention(x), fused, atol=1e-5, rtol=1e-5)


def test_it_computes_what_pytorchs_own_layer_computes() -> None:
    torch.manual_seed(0)
    ours, theirs = SelfAttention(16, 4, 6).eval(), nn.MultiheadAttention(16, 4, batch_first=True).eval()
    inward = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([layer.weight for layer in inward]))
        theirs.in_proj_bias.copy_(torch.cat([layer.bias for layer in inward]))
        theirs.out_proj.weight.copy_(ours.merge.weight)
        theirs.out_proj.bias.copy_(ours.merge.bias)
        x = torch.randn(2, 6, 16)
        torch.testing.assert_close(ours(x), theirs(x, x, x)[0], atol=1e-6, rtol=1e-5)


def test_the_number_of_heads_follows_the_weights() -> None:
    attention = SelfAttention(24, 3, 5)
    assert attention.heads == 3
    for layer in (attention.query, attention.key, attention.value):
        layer.weight, layer.bias = nn.Parameter(layer.weight[:16]), nn.Parameter(layer.bias[:16])
    attention.merge.weight = nn.Parameter(attention.merge.weight[:, :16])
    assert attention.heads == 2
    assert attention(torch.randn(2, 5, 24)).shape == (2, 5, 24)


def test_a_block_changes_values_and_not_the_shape() -> None:
    x = torch.randn(2, 5, 16)
    assert EncoderBlock(16, 2, 24, 5)(x).shape == x.shape
