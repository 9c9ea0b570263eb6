"""Parts of transformers whose every form is known here: what pruning may take, and how it exports cleanly.

Use them in a network of your own too, if its attention is to be pruned by heads.
"""

from __future__ import annotations

import torch
from torch import nn


class SelfAttention(nn.Module):
    """Multi-head self-attention over a fixed number of tokens.

    The number of heads follows from the width of the projections, so that a model that lost heads needs nothing but its
    weights; the width of one head never changes.
    """

    def __init__(self, embedding: int, heads: int, tokens: int) -> None:
        super().__init__()
        self.head_width, self.tokens = embedding // heads, tokens
        self.query = nn.Linear(embedding, embedding)
        self.key = nn.Linear(embedding, embedding)
        self.value = nn.Linear(embedding, embedding)
        self.merge = nn.Linear(embedding, embedding)

    @property
    def heads(self) -> int:
        """Heads that are left."""
        return self.query.weight.shape[0] // self.head_width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps float32 ``[N, tokens, embedding]`` to the same shape."""
        query, key, value = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        if torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting():
            # Its definition: the TorchScript exporter does not know it below opset 14, and all exporters surround it with
            # shape arithmetic.
            weights = torch.softmax(query @ key.transpose(-2, -1) * self.head_width**-0.5, dim=-1)
            mixed = weights @ value
        else:
            mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        # Only the batch is left open: sizes that the graph would have to ask for are numbers.
        merged: torch.Tensor = self.merge(mixed.transpose(1, 2).reshape(-1, self.tokens, self.heads * self.head_width))
        return merged

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(-1, self.tokens, self.heads, self.head_width).transpose(1, 2)


class PositionEmbedding(nn.Module):
    """Adds a learned vector per token."""

    def __init__(self, tokens: int, embedding: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, tokens, embedding) * 0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps float32 ``[N, tokens, embedding]`` to the same shape."""
        return x + self.weight


class EncoderBlock(nn.Module):
    """Attention and a two-layer network, each behind a layer norm and beside a shortcut (pre-norm)."""

    def __init__(self, embedding: int, heads: int, mlp_width: int, tokens: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embedding)
        self.attention = SelfAttention(embedding, heads, tokens)
        self.norm2 = nn.LayerNorm(embedding)
        self.widen = nn.Linear(embedding, mlp_width)
        self.activation = nn.GELU()
        self.narrow = nn.Linear(mlp_width, embedding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps float32 ``[N, tokens, embedding]`` to the same shape."""
        x = x + self.attention(self.norm1(x))
        y: torch.Tensor = x + self.narrow(self.activation(self.widen(self.norm2(x))))
        return y
