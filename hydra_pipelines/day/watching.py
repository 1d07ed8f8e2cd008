"""What the sensors look at between the schedules: read quickly, and changing nothing.

Each look is a function of the stores; whether something is done about it is the sensor's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import drift, orders
from hydra_pipelines.ledger.store import Ledger, LedgerMissing, exclusive

_QUICK_S = 0.5
"""How long a look waits for the ledger: a run at work is in nobody's way."""
SETTLING = timedelta(minutes=5)
"""How often orders that work at the broker are looked at."""
DATA_GRACE = timedelta(hours=3)
"""After the close; by then a source has a session's bars."""


@dataclass(frozen=True)
class DriftFound:
    run_no: int
    session: date
    models: int


def latest_drift(desk: Desk) -> DriftFound | None:
    """The drift that the latest check found; None where it found none. By the snapshot."""
    try:
        with desk.ledger.snapshot() as rows:
            latest = drift.runs(rows, 1)
    except LedgerMissing:
        return None
    if not latest or latest[0]["status"] != "drift_detected":
        return None
    return DriftFound(latest[0]["run_no"], latest[0]["session"], latest[0]["models_drifted"])


@dataclass(frozen=True)
class OrdersLeft:
    """Orders whose book is not closed and which no run works on. key: changes with their state."""

    session: date
    refs: tuple[str, ...]
    key: str


def orders_left(desk: Desk, now: datetime) -> OrdersLeft | None:
    """Orders that somebody should ask the broker about; None where there are none.

    The ledger itself is read: after a crash the snapshot may be older than the orders. Raises
    LedgerBusy where a run is at work.
    """
    if not desk.ledger.path.exists():
        return None
    with exclusive(desk.settings.data_path / "execution.lock", 0, "the execution of orders"):
        pass
    with Ledger(desk.ledger.path, _QUICK_S).transaction() as tx:
        found = orders.orders(tx, unfinished=True)
        # One event after the other: where nothing has happened the number is the same.
        latest = tx.value("SELECT coalesce(max(seq), 0) FROM order_events")
    if not found:
        return None
    key = f"{latest}"
    if not desk.embedded and _in_session(desk, now):
        # At a broker orders go on without us; in the venue's time nothing moves until we do.
        key += f"-{int(now.timestamp() // SETTLING.total_seconds())}"
    return OrdersLeft(
        max(order["session"] for order in found), tuple(o["order_ref"] for o in found), key
    )


@dataclass(frozen=True)
class StaleData:
    """last: the latest session of the lake, None where there is none. due: what should be there."""

    last: date | None
    due: date
    sessions_behind: int | None


def stale_data(desk: Desk, now: datetime) -> StaleData | None:
    """Bars that should be in the lake by now and are not; None where all is well."""
    from hydra_pipelines.market.lake import LakeMissing

    due = desk.calendar.latest_complete(now - DATA_GRACE)
    try:
        last: date = desk.bars.view().sessions[-1].item()
    except (LakeMissing, IndexError):
        return StaleData(None, due, None)
    if last >= due:
        return None
    return StaleData(last, due, len(desk.calendar.between(last, due)) - 1)


def _in_session(desk: Desk, now: datetime) -> bool:
    session = desk.calendar.latest(now.date())
    return desk.calendar.open(session) <= now <= desk.calendar.close(session) + SETTLING
