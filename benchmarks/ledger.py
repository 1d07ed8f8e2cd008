"""P5: what the ledger takes for a cycle of 40 orders that fill, and for 100,000 fills at once.

Run from the repository: python -m benchmarks.ledger

The cycle writes what a real one does from the plan on, in the same transactions and through the
same book: the plan, two waves of 20 orders (pending, committed; sending, committed; written to the
socket; acknowledged and filled), then positions and the row of the curve. Its ledger has a history
and its file is opened and closed for it. What stands there afterwards is checked before a time
counts. The bulk import goes into an empty journal; the same fills again must change nothing.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.results import Result, Wrong, run_alone, spread
from hydra_pipelines.execution.broker.messages import Execution
from hydra_pipelines.execution.broker.order_state import Kind, OrderEvent, State
from hydra_pipelines.execution.fills import journal_row
from hydra_pipelines.execution.orders.book import OrderBook
from hydra_pipelines.ledger import accounts, decisions, orders, trades
from hydra_pipelines.ledger.store import Ledger

ACCOUNT = "DU1"
ORDERS, WAVES = 40, 2
FIRST = date(2019, 1, 2)
AT = datetime(2019, 1, 3, 15, tzinfo=UTC)
PRICE, COMMISSION = Decimal("10.01"), Decimal("1.00")
SHARES = 100


class Cycle:
    """One signal session and what is written of it; `number` counts sessions from `FIRST`."""

    def __init__(self, ledger: Ledger, number: int) -> None:
        self.ledger = ledger
        self.session = FIRST + timedelta(days=number)
        self.next = self.session + timedelta(days=1)
        self.at = AT + timedelta(days=number)
        self.side = "BUY" if number % 2 == 0 else "SELL"
        self.plan_id = f"{self.session:%Y%m%d}-{ACCOUNT}"
        self.intents = [self._intent(number, i) for i in range(ORDERS)]
        self.fills = {intent["order_ref"]: self._fill(intent) for intent in self.intents}

    def write(self) -> None:
        with self.ledger.session():
            with self.ledger.transaction() as tx:
                decisions.save_plan(tx, self._header(), self._rows(), [])
            with self.ledger.transaction() as tx:
                decisions.set_plan_status(tx, self.plan_id, "executing")
            book = OrderBook(self.ledger, "bench")
            for wave in range(WAVES):
                self._wave(book, self.intents[wave::WAVES])
            with self.ledger.transaction() as tx:
                decisions.set_plan_status(tx, self.plan_id, "done")
            with self.ledger.transaction() as tx:
                accounts.replace_positions(tx, ACCOUNT, self.next, self._positions())
            with self.ledger.transaction() as tx:
                accounts.record_snapshot(
                    tx, ACCOUNT, self.next, equity=Decimal(1_000_000), cash=Decimal(500_000),
                    gross=Decimal(500_000), net=Decimal(500_000), positions=ORDERS,
                )  # fmt: skip

    def check(self) -> None:
        with self.ledger.transaction() as tx:
            written = orders.orders(tx, session=self.session)
            journal = trades.fills(tx, ACCOUNT)
            held = trades.held(tx, ACCOUNT)
        kinds = [Kind.PENDING, Kind.SENDING, Kind.SUBMITTED, Kind.FILL, Kind.FINISHED]
        if len(written) != ORDERS or any(
            [event["event"] for event in order["events"]] != kinds for order in written
        ):
            raise Wrong(f"{self.session}: orders or their events are not what was noted")
        mine = [row for row in journal if row["session"] == self.next]
        if len(mine) != ORDERS or {row["commission"] for row in mine} != {COMMISSION}:
            raise Wrong(f"{self.session}: the journal has not each fill with its commission once")
        if held != {row["symbol"]: SHARES for row in mine if self.side == "BUY"}:
            raise Wrong(f"{self.session}: the journal adds up to {held}")

    def _wave(self, book: OrderBook, intents: Sequence[Mapping[str, Any]]) -> None:
        verdicts = [self._verdict(intent) for intent in intents]
        book.open(intents, verdicts, self.at)
        refs = [intent["order_ref"] for intent in intents]
        book.note(OrderEvent(ref, Kind.SENDING, self.at) for ref in refs)
        book.commit(self.next)
        # Here the orders are written to the socket.
        book.note_sent([{"order_ref": i["order_ref"], "order_id": i["order_id"]} for i in intents])
        book.commit(self.next)
        fills = [self.fills[ref] for ref in refs]
        book.note(OrderEvent(f.order_ref, Kind.SUBMITTED, self.at) for f in fills)
        book.note(_event(fill) for fill in fills)
        book.note_executions(fills, {fill.exec_id: 12.0 for fill in fills})
        book.note_commissions({fill.exec_id: COMMISSION for fill in fills})
        book.commit(self.next)
        if any(book.orders[ref].view.state is not State.FILLED for ref in refs):
            raise Wrong("an order that was filled is not")

    def _intent(self, number: int, i: int) -> dict[str, Any]:
        symbol = f"S{i:02d}"
        return {
            "order_ref": f"{self.session:%Y%m%d}.{ACCOUNT}.{symbol}.{self.side}.0.1",
            "plan_id": self.plan_id, "session": self.session, "execution_session": self.next,
            "account": ACCOUNT, "symbol": symbol, "side": self.side, "quantity": SHARES,
            "limit_price": Decimal("10.05"), "tif": "DAY", "arrival_price": Decimal("10.00"),
            "arrival_at": self.at, "predicted_slippage_bps": 3.0, "routing": "marketable",
            "routing_reason": "below 1 % of average volume", "strategies": "H", "slice": 0,
            "attempt": 1, "order_id": number * ORDERS + i + 1, "run_id": "bench",
            "recorded_at": self.at,
        }  # fmt: skip

    def _fill(self, intent: Mapping[str, Any]) -> Execution:
        number = intent["order_id"]
        return Execution(
            f"0000a1.{number:08d}.01.01", intent["order_ref"], number, number, ACCOUNT,
            intent["symbol"], intent["side"], SHARES, PRICE, self.at, 17,
        )  # fmt: skip

    def _verdict(self, intent: Mapping[str, Any]) -> dict[str, Any]:
        order = {**intent, "plan_row": f"{self.plan_id}-0001"}
        state = {"positions": {i["symbol"]: SHARES for i in self.intents}}
        return {
            "order_ref": intent["order_ref"], "approved": True, "reasons": "",
            "inputs": {"order": order, "state": state}, "occurred_at": self.at,
        }  # fmt: skip

    def _header(self) -> dict[str, Any]:
        return {
            "plan_id": self.plan_id, "session": self.session, "execution_session": self.next,
            "account": ACCOUNT, "equity": Decimal(1_000_000), "cash": Decimal(500_000),
            "dry_run": False,
        }  # fmt: skip

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "sequence": i, "symbol": intent["symbol"], "side": self.side, "quantity": SHARES,
                "reason": "entry" if self.side == "BUY" else "exit", "current_quantity": 0,
                "target_quantity": SHARES, "current_weight": 0.0, "target_weight": 0.001,
                "reference_price": PRICE, "notional": PRICE * SHARES,
                "predicted_slippage_bps": 3.0, "routing": "marketable", "strategies": "H",
            }
            for i, intent in enumerate(self.intents)
        ]  # fmt: skip

    def _positions(self) -> list[dict[str, Any]]:
        return [
            {
                "symbol": intent["symbol"], "quantity": SHARES, "entry_price": PRICE,
                "current_price": PRICE, "market_value": PRICE * SHARES,
                "cost_basis": PRICE * SHARES, "unrealized_pnl": Decimal(0),
                "unrealized_pnl_share": 0.0, "strategies": "H",
            }
            for intent in self.intents
        ]  # fmt: skip


def measure(quick: bool) -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="hydra-bench-") as folder:
        return [
            _cycles(Ledger(Path(folder) / "cycles.duckdb"), 3 if quick else 21),
            _bulk(Path(folder), 5_000 if quick else 100_000, 1 if quick else 5),
        ]


def _cycles(ledger: Ledger, cycles: int) -> Result:
    """The first cycle makes the file and isn't counted."""
    seconds, processor = [], []
    before = 0
    for number in range(cycles + 1):
        cycle = Cycle(ledger, number)
        before = ledger.transactions
        wall, cpu = time.perf_counter(), time.process_time()
        cycle.write()
        seconds.append(time.perf_counter() - wall)
        processor.append(time.process_time() - cpu)
        commits = ledger.transactions - before
        cycle.check()
    return Result(
        "P5", f"ledger writes of a cycle, {ORDERS} orders and fills",
        statistics.median(seconds[1:]) * 1000, "ms", 150,
        floor=f"{commits} commits of {_commit_alone(ledger):.2g} ms for one row",
        notes=f"{spread(seconds[1:], 1000, 'ms')}; processor {spread(processor[1:], 1000, 'ms')}",
    )  # fmt: skip


def _commit_alone(ledger: Ledger) -> float:
    """Milliseconds for one row and its commit, the file being open."""
    seconds = []
    with ledger.session():
        for _ in range(20):
            began = time.perf_counter()
            with ledger.transaction() as tx:
                orders.append_events(tx, [("none", Kind.NOTICE.value, {}, AT)])
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1000


def _bulk(folder: Path, fills: int, runs: int) -> Result:
    rows = _history(fills)
    seconds, processor = [], []
    for run in range(runs):
        ledger = Ledger(folder / f"bulk{run}.duckdb")
        with ledger.session():
            with ledger.transaction():
                pass
            wall, cpu = time.perf_counter(), time.process_time()
            with ledger.transaction() as tx:
                new = trades.record(tx, rows)
            seconds.append(time.perf_counter() - wall)
            processor.append(time.process_time() - cpu)
            if len(new) != fills:
                raise Wrong(f"{len(new)} of {fills} fills are new in an empty journal")
            with ledger.transaction() as tx:
                if trades.record(tx, rows[-1_000:]):
                    raise Wrong("fills that are known were journalled again")
                journal, held = trades.fills(tx, ACCOUNT), trades.held(tx, ACCOUNT)
        same = all(
            journal[i][name] == rows[i][name]
            for i in range(fills)
            for name in ("exec_id", "symbol", "side", "quantity", "price", "commission")
        )
        if len(journal) != fills or not same or sum(held.values()) != fills * SHARES:
            raise Wrong("the journal is not what was imported")
    return Result(
        "P5", f"bulk import of {fills:,} fills into the journal",
        statistics.median(seconds), "s", 1 if fills == 100_000 else None,
        notes=f"{spread(seconds)}; processor {spread(processor)}",
    )  # fmt: skip


def _history(fills: int) -> list[dict[str, Any]]:
    """Rows as `journal_row` makes them, one a second."""
    intent = Cycle(Ledger(Path("unused")), 0).intents[0]
    out = []
    for i in range(fills):
        symbol = f"N{i % 500:03d}"
        at = AT + timedelta(seconds=i)
        fill = Execution(
            f"0000b1.{i:08d}.01.01", f"r{i // 2}", i, i, ACCOUNT, symbol, "BUY", SHARES, PRICE, at,
            17, COMMISSION,
        )  # fmt: skip
        out.append(journal_row(fill, {**intent, "order_ref": fill.order_ref}, FIRST, 12.0))
    return out


def _event(fill: Execution) -> OrderEvent:
    details = {
        "exec_key": fill.key, "correction": fill.correction, "quantity": fill.quantity,
        "price": str(fill.price), "perm_id": fill.perm_id,
    }  # fmt: skip
    return OrderEvent(fill.order_ref, Kind.FILL, fill.executed_at, details)


if __name__ == "__main__":
    run_alone(__doc__, measure)
