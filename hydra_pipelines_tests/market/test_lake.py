from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from hydra_pipelines.market.lake import Lake, LakeError, LakeMissing

FIELDS, SYMBOLS = ("close", "volume"), ("AAA", "BBB", "CCC")


def block(first: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sessions, values and snapshot ids that can be told apart by their number."""
    numbers = np.arange(first, first + count)
    values = numbers[:, None, None] + np.arange(6).reshape(2, 3) / 10
    return numbers.astype("datetime64[D]"), values, np.tile(numbers[:, None] % 251, 32).astype("u1")


def filled(folder: Path, count: int = 5) -> Lake:
    lake = Lake(folder)
    with lake.writing() as writer:
        writer.replace(FIELDS, SYMBOLS, *block(0, count), about={"made": "for a test"})
    return lake


def holds(lake: Lake, count: int, first: int = 0) -> bool:
    view, (sessions, values, ids) = lake.view(), block(first, count)
    return (
        np.array_equal(view.sessions, sessions)
        and np.array_equal(view.values, values)
        and np.array_equal(view.snapshots, ids)
    )


def test_what_was_written_is_read(tmp_path):
    lake = filled(tmp_path)
    with lake.writing() as writer:
        writer.append(*block(5, 1))
        writer.append(*block(6, 2))
    view = Lake(tmp_path).view()
    assert holds(lake, 8)
    assert (view.fields, view.symbols, view.about) == (FIELDS, SYMBOLS, {"made": "for a test"})
    assert view.index(np.datetime64(6, "D").item()) == 6
    assert view.snapshot(np.datetime64(6, "D").item()) == "06" * 32
    assert view.count_through(np.datetime64(6, "D").item()) == 7
    with pytest.raises(LakeError, match="1970-01-20"):
        view.index(np.datetime64(19, "D").item())


def test_a_view_never_changes(tmp_path):
    lake = filled(tmp_path)
    view = lake.view()
    before = view.values.copy()
    with lake.writing() as writer:
        writer.append(*block(5, 3))
        writer.replace(FIELDS, SYMBOLS, *block(100, 5))
        writer.append(*block(105, 1))
    assert np.array_equal(view.values, before) and len(view.sessions) == 5
    assert not view.values.flags.writeable
    assert holds(lake, 6, first=100)


def test_an_empty_panel_keeps_its_layout(tmp_path):
    lake = filled(tmp_path, count=0)
    assert lake.view().values.shape == (0, 2, 3)
    with lake.writing() as writer:
        writer.append(*block(0, 2))
    assert holds(lake, 2)


class Killed(BaseException):
    """Stands for the process ending at a system call."""


def die_at(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """End the process at the call-th step that reaches the disk, that step left undone."""
    steps = iter(range(call + 1))

    def dying(real):
        def step(*arguments, **options):
            if next(steps, None) == call:
                raise Killed
            return real(*arguments, **options)

        return step

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))


@pytest.mark.parametrize("change", ["append", "replace"])
@pytest.mark.parametrize("call", range(6))
def test_killed_at_any_step_the_lake_is_whole(tmp_path, monkeypatch, change, call):
    def write(lake: Lake) -> None:
        with lake.writing() as writer:
            if change == "append":
                writer.append(*block(5, 2))
            else:
                writer.replace(FIELDS, SYMBOLS, *block(0, 7), log=[{"note": "changed"}])

    lake = filled(tmp_path)
    with monkeypatch.context() as patch:
        die_at(patch, call)
        with suppress(Killed):
            write(lake)
    committed = holds(lake, 7)
    assert committed or holds(lake, 5)
    assert lake.log() == ([{"note": "changed"}] if committed and change == "replace" else [])
    if not committed:
        write(lake)
    assert holds(lake, 7)
    assert len(lake.log()) == (change == "replace")
    with lake.writing() as writer:
        writer.replace(FIELDS, SYMBOLS, *block(0, 7))
    assert len(list(tmp_path.glob("values-*"))) == 1


def test_bytes_beyond_the_manifest_do_not_exist(tmp_path):
    lake = filled(tmp_path)
    for path in (*tmp_path.glob("values-*"), *tmp_path.glob("sessions-*")):
        with open(path, "ab") as file:
            file.write(b"\xff" * 1000)
    assert holds(lake, 5)
    with lake.writing() as writer:
        writer.append(*block(5, 1))
    assert holds(lake, 6)


def test_damage_is_an_error_that_says_what_to_do(tmp_path):
    lake = filled(tmp_path)
    values = next(tmp_path.glob("values-*"))
    whole = values.read_bytes()
    values.write_bytes(whole[:-1])
    with pytest.raises(LakeError, match="end before session 5"):
        lake.view()
    values.unlink()
    with pytest.raises(LakeError, match="remove the folder"):
        lake.view()
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 99}))
    with pytest.raises(LakeError, match="format 99"):
        lake.view()
    manifest.write_text("{")
    with pytest.raises(LakeError, match=r"manifest\.json"):
        lake.view()


def test_nothing_written_is_not_an_empty_lake(tmp_path):
    with pytest.raises(LakeMissing):
        Lake(tmp_path / "new").view()
    assert Lake(tmp_path / "new").log() == []


def test_what_does_not_fit_is_refused(tmp_path):
    lake = filled(tmp_path)
    sessions, values, ids = block(5, 2)
    with lake.writing() as writer:
        with pytest.raises(LakeError, match="behind"):
            writer.append(*block(4, 1))
        with pytest.raises(LakeError, match="ascend"):
            writer.append(sessions[::-1], values, ids)
        with pytest.raises(LakeError, match="shape"):
            writer.append(sessions, values[:, :, :2], ids)
    assert holds(lake, 5)
    with Lake(tmp_path / "new").writing() as writer, pytest.raises(LakeMissing):
        writer.append(sessions, values, ids)


def test_one_writer_at_a_time(tmp_path):
    lake = filled(tmp_path)
    with (
        lake.writing(),
        pytest.raises(LakeError, match="another process"),
        Lake(tmp_path).writing(patience=0.0),
    ):
        pass
    with lake.writing(patience=0.0) as writer:
        writer.append(*block(5, 1))


def test_a_reader_overtaken_by_a_writer_looks_again(tmp_path, monkeypatch):
    lake = filled(tmp_path)
    opened = Lake._open

    def overtaken(reader, manifest):
        monkeypatch.setattr(Lake, "_open", opened)
        with lake.writing() as writer:
            writer.replace(FIELDS, SYMBOLS, *block(0, 9))
        return opened(reader, manifest)

    monkeypatch.setattr(Lake, "_open", overtaken)
    assert holds(lake, 9)


def test_readers_beside_a_writer_see_whole_panels(tmp_path):
    lake = filled(tmp_path)
    done = threading.Event()
    seen: list[object] = []

    def read() -> None:
        while not done.is_set():
            try:
                view = lake.view()
                ok = np.array_equal(view.values, block(0, len(view.sessions))[1])
                seen.append(ok or "torn")
            except LakeError as error:
                seen.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    for count in range(6, 60):
        with lake.writing() as writer:
            writer.replace(FIELDS, SYMBOLS, *block(0, count))
    done.set()
    thread.join()
    assert seen and all(outcome is True for outcome in seen)
