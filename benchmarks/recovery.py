"""P11: from a crash with 500 open intents to a state in which the desk may trade.

    .venv/bin/python -m benchmarks.recovery [--quick]

A process writes intents and sends their orders to a gateway process, and is killed by SIGKILL
before it has noted a word of the answer: of ten orders eight rest at the venue, one was announced
and never written to the socket, one is only an intent. Timed is the whole process that takes over:
its start, the ledger with what the dead one left in its log, the connection, and both looks of the
reconciliation with the grace between them. Its verdict on each order is then compared with what
was done, and with the venue.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import Result, Wrong, run_alone, spread
from hydra_pipelines.execution.broker.gateway import BrokerGateway
from hydra_pipelines.execution.broker.messages import Known
from hydra_pipelines.execution.broker.order_state import Kind, OrderEvent
from hydra_pipelines.execution.orders.book import OrderBook
from hydra_pipelines.execution.orders.terms import WorkSettings
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.execution.risk.state import OrderRequest, Quote, RiskState
from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.execution.orders.workshop import ACCOUNT, CASH, NEXT, SESSION, Shop

ROOT = Path(__file__).resolve().parent.parent
CLOSE = Decimal(50)
LIMITS = RiskLimits(max_orders_per_minute=1_000_000)


def measure(quick: bool = False) -> list[Result]:
    orders, runs = (20, 1) if quick else (500, 3)
    seconds = [recovered(orders) for _ in range(runs)]
    return [
        Result(
            "P11", f"reconciliation after a crash with {orders} open intents",
            sorted(seconds)[runs // 2], "s", None if quick else 3,
            floor=f"the grace between the looks: {WorkSettings.grace_s:g} s",
            notes=f"{spread(seconds)}, start of the process included",
        )
    ]  # fmt: skip


def recovered(orders: int) -> float:
    with tempfile.TemporaryDirectory(prefix="hydra-bench-") as folder:
        home = Path(folder, "desk")
        prices(home, orders)
        shop = Shop(home)
        try:
            shop.gateway.advance(shop.calendar.open(NEXT) + timedelta(minutes=30))
            crashed = itself("crash", home, orders)
            if crashed.returncode != -signal.SIGKILL:
                raise Wrong(f"the process to be killed ended by itself: {crashed.stderr[-2000:]}")
            started = time.perf_counter()
            done = itself("recover", home, orders)
            seconds = time.perf_counter() - started
            if done.returncode:
                raise Wrong(f"the reconciliation failed: {done.stderr[-2000:]}")
            check(shop, json.loads(done.stdout), orders)
        finally:
            shop.close()
    return seconds


def itself(what: str, home: Path, orders: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.recovery", what, home, str(orders)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def check(shop: Shop, states: dict[str, str], orders: int) -> None:
    """Each order is what was made of it, and the venue has those that were sent, once each."""
    expected = {ref(i): ENDS[i % 10] for i in range(orders)}
    if states != expected:
        wrong = [(one, states.get(one), end) for one, end in expected.items()
                 if states.get(one) != end]  # fmt: skip
        raise Wrong(f"{len(wrong)} orders are not what they should be: {wrong[:3]}")
    if sorted(shop.placed()) != sorted(ref(i) for i in range(orders) if i % 10 < 8):
        raise Wrong("the venue has other orders than those that were sent")


ENDS = ("submitted",) * 8 + ("never_arrived", "never_sent")


def prices(home: Path, symbols: int) -> None:
    home.mkdir(parents=True)
    calendar = Calendar.load("XNYS", home.parent / "calendar")
    start = calendar.index(SESSION) - 30
    sessions = np.array(calendar.sessions[start : start + 40], dtype="datetime64[D]")
    close = np.full((len(sessions), symbols), float(CLOSE))
    np.savez(
        home / "prices.npz", sessions=sessions,
        symbols=np.array([f"N{i:03}" for i in range(symbols)]),
        close=close, open=close, high=close * 1.004, low=close * 0.996, volume=close * 1e5,
    )  # fmt: skip


def ref(i: int) -> str:
    return f"{SESSION:%Y%m%d}.{ACCOUNT}.N{i:03}.BUY.0.1"


def crash(shop: Shop, orders: int) -> None:
    """Write the intents, send what is to be sent, and die before anything of it is noted."""
    at = shop.clock.now()
    with shop.broker(LIMITS) as broker:
        broker.state()
        first = broker.next_order_id(0)
        limit = (CLOSE * Decimal("0.95")).quantize(Decimal("0.01"), ROUND_FLOOR)
        intents = [intent(i, first + i, limit, at) for i in range(orders)]
        book = OrderBook(shop.ledger, "the one that dies")
        book.open(intents, [], at)
        book.note(OrderEvent(ref(i), Kind.SENDING, at) for i in range(orders) if i % 10 < 9)
        book.commit(NEXT)
        for i in range(orders):
            if i % 10 < 8:
                submit(broker, i, first + i, limit)
        while len(shop.placed()) < sum(i % 10 < 8 for i in range(orders)):
            time.sleep(0.05)
        signal.raise_signal(signal.SIGKILL)


def submit(broker: BrokerGateway, i: int, order_id: int, limit: Decimal) -> None:
    contract = broker.contract(f"N{i:03}")
    if not isinstance(contract, Known):
        raise Wrong(f"no contract: {contract}")
    order = OrderRequest(ref(i), ACCOUNT, f"N{i:03}", "BUY", 1, limit, CLOSE)
    state = RiskState(
        account=ACCOUNT, equity=CASH, equity_at_start=CASH, peak_equity=CASH, cash=CASH,
        positions={}, working=(), marks={order.symbol: CLOSE},
        quote=Quote(CLOSE, CLOSE, CLOSE, 0.0), last_close=CLOSE,
        tick_size=contract.value.min_tick, adv=1e9, plan_target=1, tripped=frozenset(),
        worst_trade_loss=Decimal(0), rejects_in_a_row=0, unknown_orders=0, data_age_sessions=0,
        orders_last_minute=0, agent_paused=False, kill_switch=False,
        known_refs=frozenset(ref(before) for before in range(i) if before % 10 < 8),
    )  # fmt: skip
    decision = broker.gate.review(order, state)
    if decision.approval is None:
        raise Wrong(f"the gate denied an order: {decision.message}")
    broker.submit(order, decision.approval, order_id, contract.value)


def intent(i: int, order_id: int, limit: Decimal, at: Any) -> dict[str, Any]:
    return {
        "order_ref": ref(i), "plan_id": f"plan-{SESSION}", "session": SESSION,
        "execution_session": NEXT, "account": ACCOUNT, "symbol": f"N{i:03}", "side": "BUY",
        "quantity": 1, "limit_price": limit, "tif": "DAY", "arrival_price": CLOSE,
        "arrival_at": at, "predicted_slippage_bps": 3.0, "routing": "marketable",
        "routing_reason": "small", "strategies": "H", "slice": 0, "attempt": 1,
        "order_id": order_id, "run_id": "the one that dies", "recorded_at": at,
    }  # fmt: skip


def recover(shop: Shop, orders: int) -> None:
    """As a run of the desk begins, and no further; the state of each order is printed."""
    with shop.broker(LIMITS) as broker, shop.ledger.session():
        manager = shop.manager(broker, grace_s=WorkSettings.grace_s)
        manager.book.load(SESSION)
        manager.reconcile(NEXT)
        states = {one.ref: one.view.state.value for one in manager.book.orders.values()}
    if len(states) != orders:
        raise Wrong(f"{len(states)} of {orders} orders are in the book")
    print(json.dumps(states))


def main(arguments: Sequence[str]) -> None:
    part = {"crash": crash, "recover": recover}
    if arguments and arguments[0] in part:
        what, home, orders = arguments
        part[what](Shop(Path(home)), int(orders))
    else:
        run_alone(__doc__, measure)


if __name__ == "__main__":
    main(sys.argv[1:])
