"""An image under limits, run by the kernel alone: what its process and its user get, and that a kill leaves nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from edgewright.pipeline.images.chroot_leftovers import remove_chroot_leftovers
from edgewright.pipeline.images.chroot_run import ChrootRun
from edgewright.pipeline.images.confinement import Limits, Start
from edgewright.pipeline.images.control_group import ROOT, ControlGroup
from edgewright.pipeline.images.descriptor import Descriptor
from edgewright.pipeline.images.layer import Tree
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.ownership import owner_tag
from kernel_confinement import require_kernel_confinement

SLEEP = f"4{os.getpid()}"  # seconds; a number that no other program of this machine sleeps
PROVE = """
import sys, time
from pathlib import Path
from edgewright.pipeline.images.chroot_run import ChrootRun
from edgewright.pipeline.images.confinement import Limits, Start
from edgewright.pipeline.images.oci_layout import OciLayout
layout = OciLayout(Path(sys.argv[1]))
with ChrootRun(layout, layout.find(sys.argv[2]), Limits(), Start((sys.argv[3],), {})) as run:
    print("runs", flush=True)
    run.execute(["/bin/sleep", sys.argv[3]], 60.0) if len(sys.argv) > 4 else time.sleep(60)
"""
NAME = "from edgewright.pipeline.images.ownership import owner_tag; print(owner_tag())"


def sleeper(folder: Path) -> tuple[OciLayout, Descriptor]:
    """An image whose command is this machine's ``sleep``, as nobody."""
    layout, tree = OciLayout.create(folder), Tree()
    said = subprocess.run(["ldd", "/bin/sleep"], capture_output=True, text=True, check=True).stdout
    for name in ["/bin/sleep", *re.findall(r"(/\S+) \(0x", said)]:
        tree.file(name.lstrip("/"), Path(name).read_bytes(), 0o755)
    config = {"config": {"User": "65532:65532", "Entrypoint": ["/bin/sleep"], "Env": ["PATH=/bin"]}}
    with layout.writing() as writer:
        layer, _ = writer.add_layer(tree)
        image = writer.add_image(config, [layer])
        writer.entries.append(image)
    return layout, image


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[OciLayout, Descriptor]:
    require_kernel_confinement()
    return sleeper(tmp_path_factory.mktemp("layout"))


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield tmp_path
    monkeypatch.setattr("tempfile.tempdir", None)


def sleeping() -> list[int]:
    return [
        each.pid for each in psutil.process_iter() if _command(each)[-1:] == [SLEEP] and "sleep" in _command(each)[0]
    ]


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def wait_until(holds: Callable[[], bool], longest_s: float = 10.0) -> bool:
    stop_at = time.monotonic() + longest_s
    while not holds() and time.monotonic() < stop_at:
        time.sleep(0.02)
    return holds()


def groups_of(pid: int) -> list[Path]:
    return sorted(ROOT.glob(f"**/edgewright-*-{pid}-*"))


@pytest.mark.slow
@pytest.mark.parametrize("asking", [(), ("asking",)])
def test_a_killed_proof_takes_its_processes_along_and_the_next_removes_the_rest(
    asking: tuple[str, ...], image: tuple[OciLayout, Descriptor], scratch: Path
) -> None:
    layout, found = image
    words = [sys.executable, "-c", PROVE, str(layout.root), found.digest, SLEEP, *asking]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"runs\n"
            assert wait_until(lambda: len(sleeping()) > len(asking))
        finally:
            process.send_signal(signal.SIGKILL)
    assert wait_until(lambda: not sleeping()), "nothing runs on that nobody will end"
    left = [*groups_of(process.pid), *scratch.iterdir()]
    assert len(left) >= 2
    assert set(remove_chroot_leftovers()) >= set(left)
    assert not any(path.exists() for path in left)


def test_what_still_runs_in_a_group_that_nobody_owns_is_ended_with_it(
    image: tuple[OciLayout, Descriptor], scratch: Path
) -> None:
    said = subprocess.run([sys.executable, "-c", NAME], capture_output=True, text=True, check=True, timeout=60)
    with ControlGroup(Limits()) as group:
        abandoned = [path.with_name(f"edgewright-{said.stdout.strip()}") for path in group.folders]
    for path in abandoned:
        path.mkdir()
    with subprocess.Popen(["sleep", SLEEP]) as left:
        for path in abandoned:
            (path / "cgroup.procs").write_text(str(left.pid))
        assert set(remove_chroot_leftovers()) >= set(abandoned)
        assert left.wait(10.0) == -signal.SIGKILL
    assert not any(path.exists() for path in abandoned)


def test_what_the_living_and_strangers_made_stays(image: tuple[OciLayout, Descriptor], scratch: Path) -> None:
    said = subprocess.run([sys.executable, "-c", NAME], capture_output=True, text=True, check=True, timeout=60)
    gone = said.stdout.strip()
    names = [gone, owner_tag(), re.sub("^[0-9a-f]{8}", "00000000", gone), "other"]
    for name in names:
        (scratch / f"edgewright-proof-{name}" / "root").mkdir(parents=True)
    with ControlGroup(Limits()) as group:
        assert [path for path in remove_chroot_leftovers() if path.parent == scratch] == [
            scratch / f"edgewright-proof-{gone}"
        ]
        assert all(folder.exists() for folder in group.folders)
    assert {path.name for path in scratch.iterdir()} == {f"edgewright-proof-{name}" for name in names[1:]}


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o000])
def test_a_umask_keeps_nobody_out_of_the_image(umask: int, image: tuple[OciLayout, Descriptor], scratch: Path) -> None:
    before = os.umask(umask)
    try:
        with ChrootRun(*image, Limits(), Start((SLEEP,), {})) as run:
            ended = run.execute(["sleep", "0"], 10.0)
            assert (run.is_running(), ended.status) == (True, 0), run.log() + ended.output
            run.stop(0.0)
    finally:
        os.umask(before)
    assert list(scratch.iterdir()) == []


def test_it_asks_for_no_more_processors_than_there_are(image: tuple[OciLayout, Descriptor]) -> None:
    there = len(os.sched_getaffinity(0))
    assert ChrootRun(*image, Limits(cpus=64.0), Start((), {})).limits.cpus == there
    assert ChrootRun(*image, Limits(cpus=0.5), Start((), {})).limits.cpus == 0.5


def test_a_fault_of_the_set_up_is_none_of_the_image(image: tuple[OciLayout, Descriptor], tmp_path: Path) -> None:
    """Its user cannot use the state: what ends then, ends before the mark that hands over to the image."""
    for name in ("root/bin", "state"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "state").chmod(0o700)  # root's, and the image's user is another
    asked = {
        "root": str(tmp_path / "root"),
        "state": str(tmp_path / "state"),
        "state_mount": "/var/lib/edgewright",
        "tmp_mib": 1,
        "user": 65532,
        "mark": str(tmp_path / "mark"),
        "member_files": [],
        "command": ["/bin/none"],
        "environment": {},
    }
    (tmp_path / "start.json").write_text(json.dumps(asked))
    command = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", sys.executable, "-m"]
    command += ["edgewright.pipeline.images.chroot_start", str(tmp_path / "start.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "user 65532 may not use the folder of the state" in done.stderr
    assert (tmp_path / "mark").read_text() == ""
