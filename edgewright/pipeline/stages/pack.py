"""Stage 7: a chosen model becomes a bundle: model file, manifest, golden samples."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgewright.pipeline.answering import labels_of, postprocessing_for
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Outcome, Stage
from edgewright.pipeline.isolation import run_isolated
from edgewright.pipeline.model_engine import ModelEngine
from edgewright.pipeline.progress import ProgressListener, ignore_progress
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.machine import machine_type
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.task_settings import TaskSettings

STAGE = Stage("pack", "edgewright.pipeline.stages.pack", ("numpy",))
_DEADLINE_S = 600.0
# Golden samples are chosen among this many of the validation split: enough to find typical ones of every class.
_GOLDEN_POOL = 1000


@dataclass(frozen=True)
class Label:
    """What a bundle is called.

    Attributes:
        model: Name of the model.
        target: Name of the target.
        variant: Name of the variant.
        build: Identity of the build.
    """

    model: str
    target: str
    variant: str
    build: str


@dataclass(frozen=True)
class PackResult:
    """A bundle in the store.

    Attributes:
        sha256: The bundle's digest: that of its manifest.
        files: Its files by name, the manifest among them.
    """

    sha256: str
    files: dict[str, Artifact]


def run(
    store: ArtifactStore,
    snapshot: SnapshotResult,
    model: Artifact,
    platform: str,
    engine: ModelEngine,
    task: TaskSettings,
    threshold: float | None,
    label: Label,
    on_progress: ProgressListener = ignore_progress,
) -> Outcome[PackResult]:
    """Packs a model.

    Args:
        store: Where artifacts lie.
        snapshot: The data: golden samples come from its validation split.
        model: The model file.
        platform: Operating system and architecture of the device.
        engine: What runs it there.
        task: What it is asked.
        threshold: The score above which it calls a sample an anomaly; None for other tasks.
        label: What the bundle is called.
        on_progress: Hears how far it is.

    Raises:
        DataError: The model answers too few samples firmly enough to be recognised by its answers.
        BundleError: A field breaks a rule.
    """
    inputs = {
        "snapshot": snapshot.sha256,
        "preprocessing": snapshot.preprocessing.to_json(),
        "model": model.sha256,
        "label": [label.model, label.target, label.variant, label.build],
        "task": task.model_dump(mode="json"),
        "threshold": threshold,
        "platform": platform,
        "engine": engine.identity(),
        "machine": machine_type(),
    }
    return store.run_stage(
        STAGE,
        inputs,
        PackResult,
        lambda: run_isolated(
            pack,
            store.root,
            snapshot,
            model,
            platform,
            engine,
            task,
            threshold,
            label,
            work=f"bundle of {label.variant}",
            deadline_s=_DEADLINE_S,
            on_progress=on_progress,
        ),
    )


def pack(
    root: Path,
    snapshot: SnapshotResult,
    model: Artifact,
    platform: str,
    model_engine: ModelEngine,
    task: TaskSettings,
    threshold: float | None,
    label: Label,
    *,
    on_progress: ProgressListener,
) -> PackResult:
    """Does the stage's work; runs in a process of its own."""
    from edgewright.bundle import write_bundle
    from edgewright.engines.engine import open_engine
    from edgewright.golden import choose_golden
    from edgewright.predictor import Predictor, replay_golden

    store = ArtifactStore(root)
    content = store.read(model)
    validation = snapshot_stage.load(store, snapshot).validation
    raw = validation.images[:_GOLDEN_POOL]
    labels = labels_of(validation, task, snapshot.class_names)[:_GOLDEN_POOL]
    postprocessing = postprocessing_for(task, snapshot, threshold)
    engine = open_engine(model_engine.name, content, model_engine.settings)
    with (
        Predictor(snapshot.preprocessing, engine, postprocessing) as predictor,
        tempfile.TemporaryDirectory() as scratch,
    ):
        bundle = write_bundle(
            Path(scratch) / "bundle",
            model=content,
            golden=choose_golden(raw, predictor.predict(raw), labels, postprocessing),
            model_name=label.model,
            target=label.target,
            variant=label.variant,
            platform=platform,
            engine=model_engine.name,
            settings=model_engine.settings,
            input_name=engine.input_name,
            preprocessing=snapshot.preprocessing,
            postprocessing=postprocessing,
            build=label.build,
            data_sha256=snapshot.sha256,
        )
        replay_golden(bundle, engine)
        files = {path.name: store.put_file(path) for path in sorted(bundle.folder.iterdir())}
        return PackResult(bundle.sha256, files)


def unpack(store: ArtifactStore, packed: PackResult, folder: Path) -> Path:
    """Lays a bundle's files out in a new folder; returns it."""
    folder.mkdir(parents=True)
    for name, artifact in packed.files.items():
        (folder / name).write_bytes(store.read(artifact))
    return folder
