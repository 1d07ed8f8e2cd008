"""A kept connection: used again where that is safe, opened anew where it isn't."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import pytest

from hydra_pipelines.control import Control, ControlError
from hydra_pipelines.kept import KeptConnection


class Opened:
    """A file with one number in it, and how often it was opened."""

    def __init__(self, path: Path):
        self.path, self.times = path, 0
        _write(path, 1)
        self.kept = KeptConnection(path, self._open)

    def _open(self) -> sqlite3.Connection:
        self.times += 1
        return sqlite3.connect(self.path, isolation_level=None)

    def number(self) -> int:
        with self.kept.use() as connection:
            return int(connection.execute("SELECT n FROM t").fetchone()[0])


def _write(path: Path, number: int) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE IF NOT EXISTS t (n)")
        connection.execute("DELETE FROM t")
        connection.execute("INSERT INTO t VALUES (?)", (number,))
    connection.close()


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    return Opened(tmp_path / "t.sqlite")


def test_it_is_opened_once(opened: Opened) -> None:
    assert [opened.number() for _ in range(5)] == [1] * 5
    assert opened.times == 1


def test_a_file_in_its_place_is_opened_anew(opened: Opened) -> None:
    opened.number()
    new = opened.path.with_name("new")
    _write(new, 2)
    os.replace(new, opened.path)
    assert opened.number() == 2 and opened.times == 2


def test_after_an_error_it_is_opened_anew(opened: Opened) -> None:
    with pytest.raises(sqlite3.OperationalError), opened.kept.use() as connection:
        connection.execute("SELECT * FROM nowhere")
    assert opened.number() == 1 and opened.times == 2


def test_another_thread_and_a_second_use_get_their_own(opened: Opened) -> None:
    opened.number()
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(opened.number()))
    thread.start()
    thread.join()
    with opened.kept.use() as one, opened.kept.use() as other:
        assert one is not other
    assert found == [1] and opened.times > 2


def test_a_control_store_kept_open_sees_what_others_do(tmp_path: Path) -> None:
    path = tmp_path / "control.sqlite"
    control = Control(path)
    with control.kept_open():
        assert not control.kill_switch
        Control(path).halt("elsewhere", "user:test")
        assert control.kill_switch
        path.write_bytes(b"damaged" * 4096)
        # SQLite may mend it from its log; what it must not do is forget the halt.
        try:
            on = control.kill_switch
        except ControlError:
            on = True
        assert on
    path.write_bytes(b"damaged" * 4096)
    with pytest.raises(ControlError):
        _ = control.kill_switch
