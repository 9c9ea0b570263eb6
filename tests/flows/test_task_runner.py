"""Where a build's stages run is a setting; what cannot work is refused with what to set instead."""

from __future__ import annotations

import importlib.util
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.settings import PREFECT_API_URL, temporary_settings

from dask_cluster import dask_cluster
from edgewright.errors import EdgewrightError, SharedStoreError, StageError, UsageError
from flows.task_runner import TASK_RUNNER, VARIABLE, Cluster, read_setting
from flows.variants import call, submit


@task
def double(number: int) -> int:
    return 2 * number


@flow(task_runner=TASK_RUNNER)
def double_twice(number: int) -> Any:
    return call(double, submit(double, number).result())


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEWRIGHT_SHARED", raising=False)
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.mark.parametrize("text", ["", "threads", " threads "])
def test_threads_are_what_is_used_where_nothing_is_set(text: str) -> None:
    assert read_setting(text) is None


def test_processes_of_this_machine_need_no_shared_store() -> None:
    assert read_setting("dask-local:2") == Cluster(processes=2)


@pytest.mark.parametrize("scheme", ["dask", "tcp"])
def test_a_scheduler_is_named_by_its_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scheme: str) -> None:
    monkeypatch.setenv("EDGEWRIGHT_SHARED", str(tmp_path))
    assert read_setting(f"{scheme}://127.0.0.1:8786") == Cluster("tcp://127.0.0.1:8786")
    assert read_setting("tls://localhost:8786") == Cluster("tls://localhost:8786")
    assert read_setting("dask://[::1]:8786") == Cluster("tcp://[::1]:8786")


_MEANINGLESS = [
    "thread", "dask", "dask-local", "dask-local:0", "dask-local:-1", "dask-local:two", "dask://", "dask://host",
    "dask://host:0", "dask://host:65536", "dask://host:8786/x", "http://host:8786", "dask://ho st:1", "dask-local:2\nx",
]  # fmt: skip


@pytest.mark.parametrize("text", _MEANINGLESS)
def test_what_means_nothing_is_refused_with_what_does(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_setting(text)
    told = str(caught.value)
    assert told.startswith(
        f"EDGEWRIGHT_TASK_RUNNER={text} is no way to run a build's tasks. Set it to threads, dask-local:2"
    )


def test_without_dask_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs Dask, which is not installed: pip install 'edgewright\[scale\]'"):
        read_setting("dask-local:2")


def test_several_machines_without_a_shared_store_are_refused() -> None:
    with pytest.raises(UsageError, match=r"EDGEWRIGHT_SHARED is not set.* Set it here and for every worker"):
        read_setting("dask://127.0.0.1:8786")


def test_several_machines_with_a_shared_store_of_no_kind_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_SHARED", "ftp://team")
    with pytest.raises(SharedStoreError, match="names no shared store"):
        read_setting("dask://127.0.0.1:8786")


def test_workers_elsewhere_need_a_prefect_server_that_they_reach(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_SHARED", str(tmp_path))
    for url in (None, "http://127.0.0.1:4200/api", "http://localhost:4200/api"):
        with (
            temporary_settings({PREFECT_API_URL: url}),
            pytest.raises(UsageError, match="Set PREFECT_API_URL to a server that the workers reach, too"),
        ):
            read_setting("dask://cluster:8786")
    with temporary_settings({PREFECT_API_URL: "http://prefect:4200/api"}):
        assert read_setting("dask://cluster:8786") == Cluster("tcp://cluster:8786")


def test_by_threads(prefect_api: None) -> None:
    assert double_twice(3) == 12


def test_a_wrong_setting_fails_the_run_and_says_why(prefect_api: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "nonsense")
    state = double_twice(3, return_state=True)
    assert state.is_failed()
    with pytest.raises(UsageError, match="EDGEWRIGHT_TASK_RUNNER=nonsense is no way"):
        state.result()


def test_a_scheduler_that_is_not_there_fails_the_run_and_is_named(
    prefect_api: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import dask
    import distributed  # its settings must be there before one of them is changed

    assert distributed
    monkeypatch.setenv("EDGEWRIGHT_SHARED", str(tmp_path))
    monkeypatch.setenv(VARIABLE, "dask://127.0.0.1:9")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(EdgewrightError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 .*`dask scheduler`"),
    ):
        double_twice(3)


@task
def fail(_: int) -> int:
    raise StageError("it does not work")


@task
def note(place: Path) -> int:
    place.write_text("begun")
    return 1


@task
def process() -> int:
    return os.getpid()


@flow(task_runner=TASK_RUNNER)
def do_many_things(folder: Path) -> dict[str, Any]:
    failed = submit(fail, 1)
    blocked, waited = submit(double, failed), submit(note, folder / "note", after=[failed])
    blocked.wait()
    return {
        "chain": submit(double, submit(double, 3)).result(),
        "failed": failed.result(raise_on_failure=False),
        "blocked": blocked.state.name,
        "waited": waited.result(),
        "elsewhere": submit(process).result(),
        "here": call(process),
    }


def test_on_processes_of_this_machine(prefect_api: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, "dask-local:2")
    done = do_many_things(tmp_path)
    assert done["chain"] == 12
    assert isinstance(done["failed"], StageError) and str(done["failed"]) == "it does not work"
    assert done["blocked"] == "NotReady", "what was to follow from it does not run"
    assert done["waited"] == 1, "what only waited for its end does"
    assert done["here"] == os.getpid() != done["elsewhere"]


@flow(task_runner=TASK_RUNNER)
def wait_for_nobody(worker: int) -> Any:
    future = submit(double, 3)
    assert future.result() == 6
    os.kill(worker, signal.SIGKILL)
    return submit(double, 4).result()


@pytest.mark.slow
def test_a_cluster_that_lost_all_workers_is_told_and_not_waited_for_for_ever(
    prefect_api: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from flows import dask_runner

    monkeypatch.setattr(dask_runner, "_NO_WORKERS_S", 1.0)
    monkeypatch.setattr(dask_runner, "_LOOK_S", 0.5)
    monkeypatch.setenv("EDGEWRIGHT_SHARED", str(tmp_path / "team"))
    with dask_cluster(tmp_path / "cluster", {}, [], workers=1) as cluster:
        monkeypatch.setenv(VARIABLE, cluster.address)
        told = rf"the Dask scheduler at {cluster.address} has had no worker for 1 s\. Start one .*build again"
        with pytest.raises(EdgewrightError, match=told):
            wait_for_nobody(cluster.workers[0].process.pid)


def make_certificate(folder: Path) -> Path:
    """A certificate that is its own authority, and its key, in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "team")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    signed = builder.add_extension(x509.BasicConstraints(True, None), critical=True).sign(key, hashes.SHA256())
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "certificate.pem"
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + secret)
    return path


@pytest.mark.slow
def test_an_encrypted_cluster_is_named_by_tls(
    prefect_api: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import dask
    import distributed

    assert distributed
    certificate = make_certificate(tmp_path)
    trust: dict[str, Any] = {
        f"distributed.comm.tls.{name}": str(certificate) for name in ("ca-file", "client.cert", "client.key")
    }
    trust["distributed.comm.require-encryption"] = True
    monkeypatch.setenv("EDGEWRIGHT_SHARED", str(tmp_path / "team"))
    # What a person sets as DASK_DISTRIBUTED__COMM__TLS__CA_FILE and so on.
    with dask.config.set(trust), dask_cluster(tmp_path / "cluster", {}, [], 1, certificate=certificate) as cluster:
        assert cluster.address.startswith("tls://")
        monkeypatch.setenv(VARIABLE, cluster.address)
        assert double_twice(3) == 12
