"""A small desk around the order manager: a real gateway process, a real ledger, a plan by hand.

As a program it works the plan of a home in a process of its own, which may be told to die:

    python -m hydra_pipelines_tests.execution.orders.workshop HOME [KILL_POINT]
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from hydra_pipelines.control import Control
from hydra_pipelines.execution.broker.gateway import BrokerGateway, Endpoint
from hydra_pipelines.execution.orders.book import OrderBook
from hydra_pipelines.execution.orders.follow import Follower
from hydra_pipelines.execution.orders.manager import OrderManager
from hydra_pipelines.execution.orders.outcome import ExecutionReport
from hydra_pipelines.execution.orders.review import MarketFacts
from hydra_pipelines.execution.orders.sender import Sender
from hydra_pipelines.execution.orders.terms import WorkSettings
from hydra_pipelines.execution.risk.gate import RiskGate
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.ledger import accounts, decisions
from hydra_pipelines.ledger import orders as order_rows
from hydra_pipelines.ledger import trades as trade_rows
from hydra_pipelines.ledger.store import Ledger, exclusive
from hydra_pipelines.paper_gateway.control import GatewayControl, VenueClock
from hydra_pipelines.paper_gateway.launch import GatewayOptions, ensure_running
from hydra_pipelines.sessions import Calendar

ACCOUNT = "DU0000001"
CASH = Decimal("1000000.00")
SESSION = date(2019, 1, 2)
NEXT = date(2019, 1, 3)
AFTER = date(2019, 1, 4)
SYMBOLS = ("ALFA", "BETA", "DEEP", "THIN")
CLOSES = (50.0, 120.0, 200.0, 30.0)
VOLUMES = (5e6, 5e6, 5e8, 3e4)
"""THIN shows so few shares a minute that a larger order fills in parts, or not to its end."""


def prepare(home: Path, calendar: Calendar) -> None:
    """Prices that stand almost still, so that fills depend on size alone."""
    home.mkdir(parents=True, exist_ok=True)
    start = calendar.index(date(2018, 11, 20))
    sessions = np.array(calendar.sessions[start : start + 40], dtype="datetime64[D]")
    wiggle = np.random.default_rng(5).normal(0, 0.004, (len(sessions), len(SYMBOLS)))
    close = np.round(np.array(CLOSES) * (1 + wiggle), 2)
    np.savez(
        home / "prices.npz",
        sessions=sessions,
        symbols=np.array(SYMBOLS),
        close=close,
        open=close,
        high=np.round(close * 1.004, 2),
        low=np.round(close * 0.996, 2),
        volume=np.tile(VOLUMES, (len(sessions), 1)),
    )


class Shop:
    """Everything that works on one home; another process makes its own over the same home."""

    def __init__(self, home: Path, first_session: date = SESSION):
        self.home = home
        self.calendar = Calendar.load("XNYS", home.parent / "calendar")
        if not (home / "prices.npz").exists():
            prepare(home, self.calendar)
        self.venue = ensure_running(
            home / "venue",
            GatewayOptions(
                account=ACCOUNT,
                cash=CASH,
                first_session=first_session,
                prices_npz=home / "prices.npz",
                calendar_cache=home.parent / "calendar",
                idle_timeout=30,
            ),
        )
        self.ledger = Ledger(home / "desk.duckdb", 10)
        self.control = Control(home / "control.sqlite")
        self.clock = VenueClock(self.venue)
        self.gateway = GatewayControl(self.venue)

    def endpoint(self, **changes: Any) -> Endpoint:
        values: dict[str, Any] = {
            "host": self.venue.host,
            "port": self.venue.port,
            "client_id": 17,
            "account": ACCOUNT,
            "request_timeout_s": 5,
            "connect_attempts": 5,
        }
        return Endpoint(**{**values, **changes})

    @contextmanager
    def broker(self, limits: RiskLimits | None = None, **changes: Any) -> Iterator[BrokerGateway]:
        gate = RiskGate(limits or RiskLimits(), halted=lambda: self.control.kill_switch)
        with BrokerGateway(self.endpoint(**changes), gate) as broker:
            yield broker

    def manager(self, broker: BrokerGateway, run_id: str = "run", **work: Any) -> OrderManager:
        settings: dict[str, Any] = {
            "start": time(9, 35),
            "work_minutes": 30,
            "collar": 0.005,
            "routing": "market",
            "grace_s": 0.05,
        }
        return OrderManager(
            broker=broker,
            ledger=self.ledger,
            control=self.control,
            clock=self.clock,
            calendar=self.calendar,
            work=WorkSettings(**{**settings, **work}),
            run_id=run_id,
        )

    def run(self, session: date = SESSION, run_id: str = "run", **work: Any) -> ExecutionReport:
        with (
            exclusive(self.home / "execution.lock", 10, "execution"),
            self.broker() as broker,
        ):
            return self.manager(broker, run_id, **work).execute(session, self.market())

    def market(self) -> dict[str, MarketFacts]:
        return {
            symbol: MarketFacts(Decimal(str(close)), volume * 100)
            for symbol, close, volume in zip(SYMBOLS, CLOSES, VOLUMES, strict=True)
        }

    def plan(self, *rows: tuple[str, str, int, int], session: date = SESSION) -> None:
        """rows: (symbol, side, quantity, target)."""
        with self.ledger.transaction() as tx:
            if accounts.snapshot_before(tx, ACCOUNT, NEXT) is None:
                opened = min(session, SESSION)
                accounts.record_opening_balance(tx, ACCOUNT, opened, CASH)
                accounts.record_snapshot(
                    tx, ACCOUNT, opened,
                    equity=CASH, cash=CASH, gross=Decimal(0), net=Decimal(0), positions=0,
                )  # fmt: skip
            header = {
                "plan_id": f"plan-{session}",
                "session": session,
                "execution_session": self.calendar.next(session),
                "account": ACCOUNT,
                "equity": CASH,
                "cash": CASH,
                "dry_run": False,
            }
            decisions.save_plan(tx, header, [_plan_row(i, *row) for i, row in enumerate(rows)], [])

    def orders(self) -> list[dict[str, Any]]:
        with self.ledger.transaction() as tx:
            return order_rows.orders(tx, session=SESSION)

    def fills(self) -> list[dict[str, Any]]:
        with self.ledger.transaction() as tx:
            return trade_rows.fills(tx, ACCOUNT)

    def truth(self) -> dict[str, Any]:
        return self.gateway.truth()

    def assert_books_agree(self, *, every_commission: bool = True) -> None:
        """Every execution of the venue is in the journal, with its commission, and no other.

        every_commission: False lets commissions be unknown in the journal, but not wrong.
        """
        theirs = {e["exec_id"]: e for e in self.truth()["executions"]}
        with self.ledger.transaction() as tx:
            ours = {r["exec_id"]: r for r in tx.query("SELECT * FROM executed_trades")}
        assert ours.keys() == theirs.keys()
        for exec_id, row in ours.items():
            their = theirs[exec_id]
            assert (row["symbol"], row["side"], row["quantity"], row["order_ref"]) == (
                their["symbol"], their["action"], their["shares"], their["order_ref"],
            )  # fmt: skip
            assert row["price"] == Decimal(their["price"])
            if row["commission"] is not None or every_commission:
                assert row["commission"] == Decimal(their["commission"])

    def placed(self) -> list[str]:
        """Refs of all placeOrder messages that the venue ever accepted, in their order."""
        return [o["order_ref"] for o in self.truth()["orders"]]

    def close(self) -> None:
        self.gateway.shutdown()


def _plan_row(sequence: int, symbol: str, side: str, quantity: int, target: int) -> dict[str, Any]:
    close = CLOSES[SYMBOLS.index(symbol)]
    return {
        "sequence": sequence,
        "symbol": symbol,
        "side": side,
        "quantity": quantity,
        "reason": "reduce" if side == "SELL" else "enter",
        "current_quantity": target + quantity if side == "SELL" else target - quantity,
        "target_quantity": target,
        "current_weight": 0.0,
        "target_weight": 0.05,
        "reference_price": Decimal(str(close)),
        "notional": Decimal(str(close)) * quantity,
        "predicted_slippage_bps": 3.0,
        "routing": "marketable",
        "strategies": "HYP-2026-001",
    }


# Dying on purpose.


def _die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _before(owner: type, name: str, nth: int = 1) -> None:
    _patch(owner, name, nth, lambda original, *a, **k: _die())


def _after(owner: type, name: str, nth: int = 1) -> None:
    def run(original: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        _die()

    _patch(owner, name, nth, run)


def _patch(owner: type, name: str, nth: int, instead: Callable[..., Any]) -> None:
    original = getattr(owner, name)
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            return instead(original, *args, **kwargs)
        return original(*args, **kwargs)

    setattr(owner, name, wrapped)


KILL_POINTS: Mapping[str, Callable[[], None]] = {
    "before the intents": lambda: _before(OrderBook, "open"),
    "after the intents": lambda: _after(OrderBook, "open"),
    "announced, nothing written": lambda: _before(BrokerGateway, "submit"),
    "one of two written": lambda: _before(BrokerGateway, "submit", nth=2),
    "all written, nothing heard": lambda: _after(Sender, "send"),
    "between partial fills": lambda: _after(Follower, "collect", nth=4),
    "before the plan is done": lambda: _before(OrderManager, "_settle"),
}


def main(arguments: list[str]) -> int:
    shop = Shop(Path(arguments[0]))
    if len(arguments) > 1:
        KILL_POINTS[arguments[1]]()
    report = shop.run(run_id=f"run {datetime.now(UTC):%H%M%S%f}")
    print(report.sent)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
