"""What MobileNetV1 is made of at width factor 1 (Howard et al. 2017, table 1), for every framework that builds it."""

from __future__ import annotations

STEM_CHANNELS = 32
# Output channels and stride of the thirteen blocks.
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
