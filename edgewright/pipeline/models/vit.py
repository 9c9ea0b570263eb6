"""A small vision transformer (Dosovitskiy et al. 2020): patches, encoder blocks, the mean over tokens, one linear layer.

The mean takes the place of a class token: the graph then needs neither a concatenation nor a look-up.
"""

from __future__ import annotations

import torch
from torch import nn

from edgewright.pipeline.models.attention import EncoderBlock, PositionEmbedding
from edgewright.pipeline.models.geometry import InputShape, patch_geometry


class Vit(nn.Module):
    """A vision transformer without a class token."""

    def __init__(
        self, input_shape: InputShape, outputs: int, patch: int, embedding: int, depth: int, heads: int, mlp_width: int
    ) -> None:
        super().__init__()
        size, padding, self.tokens = patch_geometry(input_shape, patch)
        self.embedding = embedding
        self.patches = nn.Conv2d(input_shape[0], embedding, size, stride=size, padding=padding)
        self.position = PositionEmbedding(self.tokens, embedding)
        self.blocks = nn.Sequential(*(EncoderBlock(embedding, heads, mlp_width, self.tokens) for _ in range(depth)))
        self.norm = nn.LayerNorm(embedding)
        self.head = nn.Linear(embedding, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps float32 ``[N, C, H, W]`` to float32 ``[N, outputs]``."""
        tokens = self.patches(x).reshape(-1, self.embedding, self.tokens).transpose(1, 2)
        tokens = self.norm(self.blocks(self.position(tokens)))
        outputs: torch.Tensor = self.head(tokens.mean(dim=1))
        return outputs

    def keeps_width(self) -> list[nn.Module]:
        """Layers whose outputs pruning must leave: all that write into the embedding, which every block reads and adds to."""
        return [self.patches, *(block.narrow for block in self.blocks if isinstance(block, EncoderBlock))]
