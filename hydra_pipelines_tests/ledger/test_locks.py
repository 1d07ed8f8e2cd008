"""Who holds a lock learns that somebody waits for it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from hydra_pipelines.ledger.locks import LedgerBusy, exclusive, waited_for
from hydra_pipelines.ledger.store import Ledger


def test_a_holder_sees_who_waits_only_while_somebody_does(tmp_path: Path) -> None:
    lock, got = tmp_path / "x.lock", threading.Event()

    def wait() -> None:
        with exclusive(lock, 20, "the test's lock"):
            got.set()

    with exclusive(lock, 1, "the test's lock"):
        assert not waited_for(lock)
        thread = threading.Thread(target=wait)
        thread.start()
        deadline = time.monotonic() + 10
        while not waited_for(lock) and time.monotonic() < deadline:
            time.sleep(0.005)
        assert waited_for(lock) and not got.is_set()
    thread.join(20)
    assert got.is_set() and not waited_for(lock)


def test_one_who_gave_up_waits_no_more(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    with exclusive(lock, 1, "one"):
        with pytest.raises(LedgerBusy), exclusive(lock, 0.05, "another"):
            pass
        assert not waited_for(lock)


def test_a_ledger_in_hand_says_so(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "hydra.duckdb")
    assert ledger.held is None
    with ledger.session():
        held = ledger.held
        with ledger.transaction():
            assert ledger.held is held is not None
        assert not ledger.waited_for
    with ledger.session():
        assert ledger.held is not held
    assert ledger.held is None
