"""New samples: taken in from a folder, kept in the model's collection, and assessed before anything is trained on them."""

from edgewright.pipeline.intake.assessing import assess
from edgewright.pipeline.intake.assessment import Assessment, Figure
from edgewright.pipeline.intake.collection import (
    Collection,
    collected_artifacts,
    mark_in_use,
    open_collection,
    refuse,
)
from edgewright.pipeline.intake.ledger import Batch
from edgewright.pipeline.intake.report import IntakeReport, RejectedFile, TakenFile
from edgewright.pipeline.intake.taking import incoming_folder, take_in

__all__ = [
    "Assessment",
    "Batch",
    "Collection",
    "Figure",
    "IntakeReport",
    "RejectedFile",
    "TakenFile",
    "assess",
    "collected_artifacts",
    "incoming_folder",
    "mark_in_use",
    "open_collection",
    "refuse",
    "take_in",
]
