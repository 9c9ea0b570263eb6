"""Retention: what of the store and the registry nobody needs any more, as a plan that a person can read, and its doing.

- ``plan``: the plan as a value, and as Markdown. ``planning``: drawing it up.
- ``records``: stage records and what they need, as a pure function over digests. ``store``: files of the store.
- ``pruning``: doing what a plan says.
"""

from __future__ import annotations

from edgewright.pipeline.retention.plan import Pruned, PruningPlan
from edgewright.pipeline.retention.planning import plan_pruning
from edgewright.pipeline.retention.pruning import apply
from edgewright.pipeline.retention.store import Orphan, orphans, remove_orphans

__all__ = ["Orphan", "Pruned", "PruningPlan", "apply", "orphans", "plan_pruning", "remove_orphans"]
