"""Trials before a training: a network that does not fit, or that pruning would break, is told of in time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from edgewright.pipeline.architecture import DsCnnSettings, EntryPointSettings
from edgewright.pipeline.models.checks import check_network

SOURCE = '''
import torch
from torch import nn
from edgewright.pipeline.models.attention import SelfAttention

def conv(inputs, outputs, **more):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, **more), nn.BatchNorm2d(outputs), nn.ReLU())

class Pooled(nn.Module):
    def __init__(self, classes, width=24, groups=1):
        super().__init__()
        self.body = nn.Sequential(conv(1, width), conv(width, width, groups=groups))
        self.head = nn.Linear(width, classes)
    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))

class Flattened(nn.Sequential):
    """Channels and places become one axis."""
    def __init__(self, classes):
        super().__init__(conv(1, 16), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(16 * 4, 40), nn.ReLU(), nn.Linear(40, classes))

class Concatenated(Pooled):
    def __init__(self, classes):
        super().__init__(classes)
        self.left, self.right, self.head = conv(24, 16), conv(24, 32), nn.Linear(48, classes)
    def forward(self, x):
        x = self.body(x)
        return self.head(torch.cat([self.left(x), self.right(x)], 1).mean((2, 3)))

class WithNumbers(Pooled):
    """Writes down the width that pruning changes."""
    def forward(self, x):
        return self.head(self.body(x).reshape(-1, 24, 64).mean(2))

class TwoEnds(Pooled):
    """Both ends make the scores, so neither may lose outputs."""
    def __init__(self, classes):
        super().__init__(classes)
        self.other = nn.Linear(24, classes)
    def forward(self, x):
        x = self.body(x).mean((2, 3))
        return self.head(x) + self.other(x)

class Gated(Pooled):
    def __init__(self, classes):
        super().__init__(classes)
        self.memory = nn.LSTM(24, 24, batch_first=True)
    def forward(self, x):
        return self.head(self.memory(self.body(x).flatten(2).transpose(1, 2))[0].mean(1))

class Scaled(Pooled):
    def __init__(self, classes):
        super().__init__(classes)
        self.scale = nn.Parameter(torch.ones(24))
    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)) * self.scale)

class Attentive(Pooled):
    """Attention of ours in a network of theirs; the stream that it adds to is named, or not."""
    def __init__(self, classes, named):
        super().__init__(classes)
        self.attention, self.named = SelfAttention(24, 3, 64), named
    def forward(self, x):
        tokens = self.body(x).flatten(2).transpose(1, 2)
        return self.head((tokens + self.attention(tokens)).mean(1))
    def keeps_width(self):
        return [self.body[1][0]] if self.named else []
'''


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module in the current folder."""
    name = "nets_to_prune"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


def problems(entry_point: str, classes: int = 5, **arguments: object) -> list[tuple[str, str]]:
    own = EntryPointSettings.model_validate({"name": "entry_point", "entry_point": entry_point, "arguments": arguments})
    found = check_network(own, (1, 8, 8), classes, {"variants[2].prune": 0.5})
    return [(problem.key, problem.message) for problem in found]


@pytest.mark.parametrize("name", ["Pooled", "Flattened", "Concatenated"])
def test_networks_of_known_parts_can_be_pruned(nets: str, name: str) -> None:
    assert problems(f"{nets}:{name}") == []


def test_depthwise_filters_can_be_pruned_and_other_groups_are_refused(nets: str) -> None:
    assert problems(f"{nets}:Pooled", groups=24) == []
    ((key, message),) = problems(f"{nets}:Pooled", groups=4)
    assert key == "variants[2].prune"
    assert message.startswith("Conv2d body.1.0 has 4 groups of several channels, which cannot be pruned evenly.")


def test_attention_in_a_network_of_your_own_loses_heads_when_its_stream_is_named(nets: str) -> None:
    assert problems(f"{nets}:Attentive", named=True) == []
    ((_, message),) = problems(f"{nets}:Attentive", named=False)
    assert "keeps_width()" in message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "Gated",
            "LSTM memory holds weights that pruning cannot narrow safely. Build from BatchNorm1d, BatchNorm2d, Conv1d",
        ),
        ("Scaled", "Scaled the model itself holds weights that pruning cannot narrow safely."),
        ("WithNumbers", "WithNumbers breaks when channels are removed: "),
        ("TwoEnds", "pruning left channels {'head': 40} where"),
    ],
)
def test_what_pruning_would_break_is_refused_by_the_variants_key(nets: str, name: str, message: str) -> None:
    ((key, found),) = problems(f"{nets}:{name}", classes=40)
    assert key == "variants[2].prune"
    assert found.startswith(message), found
    assert "remove prune" in found.lower()


def test_what_cannot_be_built_is_told_once_and_by_the_key_of_the_network(nets: str) -> None:
    ((key, message),) = problems(f"{nets}:Absent")
    assert (key, message) == ("architecture.entry_point", f'module "{nets}" has no "Absent". Correct the name.')


def test_trials_leave_the_random_numbers_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    settings = DsCnnSettings(name="ds_cnn", channels=16, blocks=1)
    assert check_network(settings, (1, 8, 8), 5, {"variants[1].prune": 0.5}) == []
    assert torch.equal(torch.rand(2), expected)
