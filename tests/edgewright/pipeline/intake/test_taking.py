"""What becomes of delivered files: taken in, known already, set aside, or left for the next time."""

from __future__ import annotations

import os
import stat
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.errors import DataError
from edgewright.pipeline.intake import incoming, taking
from edgewright.pipeline.intake.collection import collected_artifacts
from edgewright.pipeline.intake.report import TakenFile

Rows = Any


class TestTakenIn:
    def test_new_samples_join_the_collection_and_the_file_goes(self, workshop: Any, more_rows: Rows) -> None:
        workshop.deliver("monday.npz", **more_rows(50, 2))
        report = workshop.take_in()
        assert report.taken == (TakenFile("monday.npz", 50, 0, 0),)
        assert (report.rejected, report.known, report.left) == ((), (), ())
        assert report.said == "parts: 50 new samples taken in."
        assert workshop.lying() == []
        (batch,) = workshop.collection().pending
        assert (batch.taken, batch.delivered, batch.status) == (50, 50, "pending")
        assert sum(batch.per_class.values()) == 50 and set(batch.per_class) == {"high", "low"}
        assert [source.name for source in batch.sources] == ["monday.npz"]

    def test_an_empty_folder_is_made_and_nothing_is_said_of_it(self, workshop: Any) -> None:
        workshop.incoming.rmdir()
        report = workshop.take_in()
        assert report.said == f"parts: nothing lies in {workshop.incoming}."
        assert workshop.incoming.is_dir()

    def test_without_a_folder_in_the_recipe_it_is_in_the_workspace(self, workshop: Any) -> None:
        workshop.make(workshop.recipe.data.model_dump(), incoming=None)
        workshop.take_in()
        assert (workshop.workspace.home / "incoming" / "parts").is_dir()

    def test_classes_may_be_positions(self, workshop: Any, more_rows: Rows) -> None:
        arrays = more_rows(20, 3)
        workshop.deliver("a.npz", x=arrays["x"], y=(arrays["y"] == "low").astype(np.int16))
        assert workshop.take_in().new_samples == 20
        assert workshop.collection().pending[0].per_class["low"] == int((arrays["y"] == "low").sum())

    def test_what_is_still_written_stays(self, workshop: Any, more_rows: Rows) -> None:
        for name in ("a.npz.part", "b.TMP", ".c.npz"):
            workshop.deliver(name, **more_rows(5, 4))
        assert workshop.take_in().taken == ()
        assert workshop.lying() == [".c.npz", "a.npz.part", "b.TMP"]

    def test_a_batch_remembers_the_share_that_was_in_force(self, workshop: Any, more_rows: Rows) -> None:
        workshop.of_rows(test_share=0.3)
        workshop.deliver("a.npz", **more_rows(5, 4))
        workshop.take_in()
        workshop.of_rows(test_share=0.1)
        assert [batch.test_share for batch in workshop.collection().pending] == [0.3]

    def test_progress_is_heard_of(self, workshop: Any, more_rows: Rows) -> None:
        workshop.deliver("a.npz", **more_rows(5, 4))
        heard: list[Any] = []
        taking.take_in(workshop.workspace, workshop.recipe, heard.append)
        assert [(each.done, each.total, each.note) for each in heard] == [(0, 1, "a.npz"), (1, 1, "done")]


class TestKnownSamples:
    def test_the_same_sample_under_the_same_label_counts_once(self, workshop: Any, more_rows: Rows) -> None:
        first, second = more_rows(30, 5), more_rows(30, 6)
        base = np.load(workshop.folder / "own.npz")
        workshop.deliver("a.npz", **first)
        mixed = {key: np.concatenate([first[key][:10], second[key], second[key][:5], base[key][:7]]) for key in first}
        workshop.deliver("b.npz", **mixed)
        report = workshop.take_in()
        assert report.taken == (TakenFile("a.npz", 30, 0, 0), TakenFile("b.npz", 30, 22, 0))

    @pytest.mark.parametrize("known_from", ["the base", "an earlier batch", "the same file"])
    def test_another_label_for_the_same_sample_is_refused_with_both(
        self, workshop: Any, more_rows: Rows, known_from: str
    ) -> None:
        arrays = more_rows(20, 5)
        if known_from == "the base":
            base = np.load(workshop.folder / "own.npz")
            arrays = {key: np.concatenate([base[key][:1], arrays[key]]) for key in arrays}
        elif known_from == "an earlier batch":
            workshop.deliver("a.npz", **arrays)
            workshop.take_in()
        else:
            arrays = {key: np.concatenate([arrays[key], arrays[key][:1]]) for key in arrays}
        arrays["y"][0] = "high" if arrays["y"][0] == "low" else "low"
        before = workshop.collection().pending
        workshop.deliver("b.npz", **arrays)
        (rejected,) = workshop.take_in().rejected
        assert '"high"' in rejected.reason and '"low"' in rejected.reason and "sha256" in rejected.reason
        assert workshop.collection().pending == before, "nothing of the file is taken"
        assert list(workshop.set_aside()) == ["b.npz"]

    def test_a_file_whose_content_was_taken_before_is_removed(self, workshop: Any, more_rows: Rows) -> None:
        workshop.deliver("a.npz", **more_rows(5, 7))
        workshop.take_in()
        workshop.deliver("a-again.npz", **more_rows(5, 7))
        before = workshop.ledger()
        report = workshop.take_in()
        assert (report.known, report.taken) == (("a-again.npz",), ())
        assert workshop.lying() == [] and workshop.ledger() == before

    def test_a_file_with_nothing_new_is_counted_and_goes(self, workshop: Any, more_rows: Rows) -> None:
        base = np.load(workshop.folder / "own.npz")
        workshop.deliver("a.npz", x=base["x"][:9], y=base["y"][:9])
        assert workshop.take_in().taken == (TakenFile("a.npz", 0, 9, 0),)
        (batch,) = workshop.collection().pending
        assert (batch.duplicates, batch.content) == (9, None)
        assert workshop.collection().with_pending().samples is None

    def test_what_was_refused_is_not_taken_again(self, workshop: Any, more_rows: Rows) -> None:
        from edgewright.pipeline.intake import refuse

        workshop.deliver("a.npz", **more_rows(5, 7))
        workshop.take_in()
        batches = [batch.sha256 for batch in workshop.collection().pending]
        refuse(workshop.workspace, workshop.recipe, batches, "the wrong line", "anna")
        workshop.deliver("b.npz", **more_rows(5, 7))
        (rejected,) = workshop.take_in().rejected
        assert "anna refused" in rejected.reason and "the wrong line" in rejected.reason and "reopen" in rejected.reason
        assert [batch.status for batch in workshop.collection().batches] == ["refused"]

    def test_a_refused_sample_may_come_again_under_the_right_label(self, workshop: Any, more_rows: Rows) -> None:
        from edgewright.pipeline.intake import refuse

        arrays = more_rows(5, 7)
        wrong = {**arrays, "y": np.where(arrays["y"] == "low", "high", "low")}
        workshop.deliver("a.npz", **wrong)
        workshop.take_in()
        refuse(workshop.workspace, workshop.recipe, [workshop.collection().pending[0].sha256], "mislabelled", "anna")
        workshop.deliver("b.npz", **arrays)
        assert workshop.take_in().new_samples == 5


class TestSetAside:
    def test_the_file_lies_beside_its_reason_under_the_time(self, workshop: Any) -> None:
        (workshop.incoming / "junk.npz").write_bytes(b"junk")
        (rejected,) = workshop.take_in().rejected
        assert rejected.place.startswith("rejected/2") and rejected.place.endswith("Z-junk.npz")
        assert (workshop.incoming / rejected.place).read_bytes() == b"junk"
        text = (workshop.incoming / f"{rejected.place}.reason.txt").read_text()
        assert text.startswith("junk.npz was set aside on 2") and rejected.reason in text

    def test_the_ledger_counts_it_until_something_is_decided(self, workshop: Any, more_rows: Rows) -> None:
        from edgewright.pipeline.intake import mark_in_use

        (workshop.incoming / "junk.npz").write_bytes(b"junk")
        workshop.deliver("a.npz", **more_rows(5, 7))
        workshop.take_in()
        assert {batch.status for batch in workshop.collection().open} == {"rejected", "pending"}
        mark_in_use(workshop.workspace, workshop.recipe, workshop.assess().batches, "b1")
        assert workshop.collection().open == ()
        (workshop.incoming / "junk.npz").write_bytes(b"junk")
        workshop.take_in()
        assert [batch.status for batch in workshop.collection().open] == ["rejected"], "the same again counts again"

    def test_two_of_one_name_are_both_kept(self, workshop: Any) -> None:
        for content in (b"one", b"two", b"three"):
            (workshop.incoming / "junk.npz").write_bytes(content)
            workshop.take_in()
        home = workshop.incoming / "rejected"
        kept = [path.read_bytes() for path in home.iterdir() if not path.name.endswith(".reason.txt")]
        assert sorted(kept) == [b"one", b"three", b"two"]

    def test_links_pipes_and_folders_are_moved_and_never_opened(self, workshop: Any, tmp_path: Path) -> None:
        secret = tmp_path / "secret.npz"
        secret.write_bytes(b"secret")
        os.symlink(secret, workshop.incoming / "link.npz")
        os.symlink(tmp_path / "nowhere", workshop.incoming / "dangling.npz")
        os.mkfifo(workshop.incoming / "pipe.npz")
        (workshop.incoming / "folder").mkdir()
        (workshop.incoming / "folder" / "inner.npz").write_bytes(b"inner")
        reasons = {each.name: each.reason for each in workshop.take_in().rejected}
        assert "symbolic link" in reasons["link.npz"] and "symbolic link" in reasons["dangling.npz"]
        assert "no regular file" in reasons["pipe.npz"] and "a folder" in reasons["folder"]
        assert secret.read_bytes() == b"secret"
        home = workshop.incoming / "rejected"
        kinds = {path.name.split("Z-", 1)[1]: path.lstat().st_mode for path in home.iterdir()}
        assert stat.S_ISLNK(kinds["link.npz"]) and stat.S_ISFIFO(kinds["pipe.npz"]) and stat.S_ISDIR(kinds["folder"])
        assert [path.read_bytes() for path in home.glob("*-folder/inner.npz")] == [b"inner"]

    def test_a_file_that_is_too_large_is_not_read(self, workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(incoming, "MOST_FILE_BYTES", 100)
        (workshop.incoming / "big.npz").write_bytes(bytes(101))
        (rejected,) = workshop.take_in().rejected
        assert rejected.reason.startswith("101 bytes, may be 100 at most")

    def test_a_file_that_may_not_be_read_is_named(self, workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        (workshop.incoming / "a.npz").write_bytes(b"secret")
        real = os.open

        def forbidden(path: Any, *arguments: Any, **named: Any) -> int:
            if str(path).endswith("incoming/a.npz"):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *arguments, **named)

        monkeypatch.setattr(os, "open", forbidden)
        (rejected,) = workshop.take_in().rejected
        assert rejected.reason == "cannot be read (Permission denied). Correct its permissions."
        assert list(workshop.set_aside()) == ["a.npz"]

    @pytest.mark.parametrize("name", ["a" * 250 + ".npz", "tab\tline\n.npz", "ünï.npz", os.fsdecode(b"\xff\xfe.npz")])
    def test_any_name_can_be_set_aside(self, workshop: Any, name: str) -> None:
        (workshop.incoming / name).write_bytes(b"junk")
        (rejected,) = workshop.take_in().rejected
        assert rejected.name.isprintable()
        (kept,) = [path for path in (workshop.incoming / "rejected").iterdir() if path.suffix != ".txt"]
        assert kept.read_bytes() == b"junk"
        rejected.reason.encode("utf-8"), workshop.collection()

    def test_any_name_can_be_taken_in(self, workshop: Any, more_rows: Rows) -> None:
        workshop.deliver(os.fsdecode(b"\xff\n.npz"), **more_rows(5, 7))
        assert workshop.take_in().new_samples == 5
        workshop.take_in().to_markdown().encode("utf-8")
        assert workshop.collection().pending[0].sources[0].name.isprintable()


class TestLyingStill:
    """A file is taken when it has not changed for a moment."""

    @pytest.fixture(autouse=True)
    def a_moment(self, at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(incoming, "QUIET_S", 0.3)

    def test_a_fresh_file_is_waited_for(self, workshop: Any, more_rows: Rows) -> None:
        workshop.deliver("a.npz", **more_rows(5, 7))
        assert workshop.take_in().new_samples == 5

    def test_one_that_grows_meanwhile_is_left(
        self, workshop: Any, more_rows: Rows, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = workshop.deliver("a.npz", **more_rows(5, 7))
        workshop.deliver("b.npz", **more_rows(5, 8))

        def grow(seconds: float) -> None:
            with path.open("ab") as file:
                file.write(b"more")

        monkeypatch.setattr(incoming.time, "sleep", grow)
        report = workshop.take_in()
        assert (report.left, report.new_samples) == (("a.npz",), 5)
        assert workshop.lying() == ["a.npz"]

    def test_a_time_stamp_from_the_future_keeps_nobody_waiting(self, workshop: Any, more_rows: Rows) -> None:
        path = workshop.deliver("a.npz", **more_rows(5, 7))
        os.utime(path, (time.time() + 1e6, time.time() + 1e6))
        assert workshop.take_in().new_samples == 5


class TestChangesMeanwhile:
    """Files may be replaced at any moment; what was not read is neither removed nor set aside."""

    def test_a_file_that_changes_while_it_is_read_is_left(
        self, workshop: Any, more_rows: Rows, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = workshop.deliver("a.npz", **more_rows(5, 7))
        real = os.fdopen

        def change_then_open(descriptor: int, *arguments: Any) -> Any:
            path.write_bytes(path.read_bytes() + b"x")
            return real(descriptor, *arguments)

        monkeypatch.setattr(incoming.os, "fdopen", change_then_open)
        report = workshop.take_in()
        assert (report.left, report.taken) == (("a.npz",), ())
        assert workshop.collection().batches == ()

    def test_one_that_takes_its_place_before_it_is_removed_is_taken_the_next_time(
        self, workshop: Any, more_rows: Rows, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = workshop.deliver("a.npz", **more_rows(5, 7))
        real = taking.Ledger.record

        def replace_then_record(ledger: Any, batch: Any) -> Any:
            path.unlink()
            workshop.deliver("a.npz", **more_rows(6, 8))
            return real(ledger, batch)

        with monkeypatch.context() as patch:
            patch.setattr(taking.Ledger, "record", replace_then_record)
            assert workshop.take_in().new_samples == 5
        assert workshop.lying() == ["a.npz"]
        assert workshop.take_in().new_samples == 6

    def test_one_that_takes_its_place_before_it_is_set_aside_is_looked_at_the_next_time(
        self, workshop: Any, more_rows: Rows, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (workshop.incoming / "a.npz").write_bytes(b"junk")
        real = taking.Ledger.record

        def replace_then_record(ledger: Any, batch: Any) -> Any:
            workshop.deliver("a.npz", **more_rows(6, 8))
            return real(ledger, batch)

        with monkeypatch.context() as patch:
            patch.setattr(taking.Ledger, "record", replace_then_record)
            report = workshop.take_in()
        assert (report.left, report.rejected) == (("a.npz",), ())
        assert workshop.set_aside() == {}
        assert workshop.take_in().new_samples == 6

    def test_a_file_that_goes_away_is_nobodys_loss(
        self, workshop: Any, more_rows: Rows, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = workshop.deliver("a.npz", **more_rows(5, 7))
        real = incoming.Incoming.read

        def vanish(self: Any, entry: Any) -> bytes:
            path.unlink()
            return real(self, entry)

        monkeypatch.setattr(incoming.Incoming, "read", vanish)
        assert workshop.take_in().left == ("a.npz",)


class TestTwoAtOnce:
    def test_one_waits_for_the_other_and_every_sample_counts_once(self, workshop: Any, more_rows: Rows) -> None:
        for index in range(12):
            workshop.deliver(f"{index:02}.npz", **more_rows(5, 50 + index))
        reports: list[Any] = []
        threads = [threading.Thread(target=lambda: reports.append(workshop.take_in())) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(report.new_samples for report in reports) == [0, 0, 60]
        assert (len(workshop.ledger()), workshop.lying()) == (12, [])


class TestWhatIsInTheWay:
    @pytest.mark.parametrize("name", ["rejected", ".taken"])
    def test_a_link_in_the_place_of_an_own_folder_is_an_error(self, workshop: Any, tmp_path: Path, name: str) -> None:
        os.symlink(tmp_path, workshop.incoming / name)
        with pytest.raises(DataError, match=f"{name}: is no folder"):
            workshop.take_in()

    def test_a_file_in_the_place_of_the_folder_is_an_error(self, workshop: Any) -> None:
        workshop.incoming.rmdir()
        workshop.incoming.write_text("")
        with pytest.raises(DataError, match="the folder of new samples cannot be used"):
            workshop.take_in()

    def test_a_damaged_ledger_is_named(self, workshop: Any, more_rows: Rows) -> None:
        workshop.deliver("a.npz", **more_rows(5, 7))
        workshop.take_in()
        (key,) = workshop.workspace.shared.keys("collections/parts/")
        workshop.workspace.shared.write(key, b"{}")
        with pytest.raises(DataError, match=r"collections/parts/.*json is no record of delivered samples"):
            workshop.take_in() if workshop.deliver("b.npz", **more_rows(5, 8)) else None

    def test_a_batch_that_is_missing_from_the_store_is_named(self, workshop: Any, more_rows: Rows) -> None:
        workshop.deliver("a.npz", **more_rows(5, 7))
        workshop.take_in()
        (artifact,) = collected_artifacts(workshop.workspace)
        workshop.workspace.store.path(artifact).unlink()
        workshop.deliver("b.npz", **more_rows(5, 8))
        with pytest.raises(DataError, match=rf"batch {artifact.sha256[:12]} of the collection.*backup"):
            workshop.take_in()
        assert workshop.lying() == ["b.npz"]
