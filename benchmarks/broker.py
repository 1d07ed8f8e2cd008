"""Orders through the adapter and a gateway process on this machine: latency, and none lost.

    .venv/bin/python -m benchmarks.broker [--quick]

First one order at a time, far from the market: from the call of `submit` to the acknowledgement
in our hands. Then many that fill, as fast as the library's pace of 45 messages a second lets them
out; each must end filled in our books and at the venue.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path

from benchmarks.results import Result, Wrong, run_alone, spread
from hydra_pipelines.execution.broker.gateway import BrokerGateway, Endpoint
from hydra_pipelines.execution.broker.messages import ContractInfo, Known, Quote
from hydra_pipelines.execution.broker.order_state import Kind, OrderEvent, State, fold
from hydra_pipelines.execution.orders.intents import marketable_limit
from hydra_pipelines.execution.risk.gate import RiskGate
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.execution.risk.state import OrderRequest, RiskState
from hydra_pipelines.execution.risk.state import Quote as RiskQuote
from hydra_pipelines.paper_gateway.control import GatewayControl
from hydra_pipelines.paper_gateway.launch import GatewayOptions, ensure_running
from hydra_pipelines.sessions import Calendar

SYMBOLS = ("AAPL", "AMD", "BAC", "CVX", "GE", "HD", "JNJ", "JPM", "KO", "MSFT")
PACE = 1 / 40


class Desk:
    """A connection, its contracts and quotes, and all that was ever said of each order."""

    def __init__(self, broker: BrokerGateway):
        self.broker = broker
        self.sent: list[str] = []
        self.events: dict[str, list[OrderEvent]] = {}
        self.contracts: dict[str, ContractInfo] = {}
        for symbol in SYMBOLS:
            reply = broker.contract(symbol)
            if isinstance(reply, Known):
                self.contracts[symbol] = reply.value
        replies = broker.quotes(list(self.contracts.values()))
        self.quotes = {s: r.value for s, r in replies.items() if isinstance(r, Known)}

    def submit(self, symbol: str, limit: Decimal) -> tuple[str, int, float]:
        """One share, reviewed and submitted; the ref, the order id, and when submit was called."""
        quote = self.quotes[symbol]
        order = OrderRequest(
            f"bench.{len(self.sent)}", self.broker.account_id, symbol, "BUY", 1, limit,
            quote.mid or limit,
        )  # fmt: skip
        decision = self.broker.gate.review(order, self._state(quote, len(self.sent)))
        if decision.approval is None:
            raise Wrong(f"the gate denied a benchmark order: {decision.message}")
        order_id = self.broker.next_order_id(0)
        self.sent.append(order.order_ref)
        started = time.perf_counter()
        self.broker.submit(order, decision.approval, order_id, self.contracts[symbol])
        return order.order_ref, order_id, started

    def collect(self) -> None:
        for event in self.broker.happenings(datetime.now(UTC)).events:
            self.events.setdefault(event.order_ref, []).append(event)

    def wait(self, refs: Iterable[str], kinds: set[Kind], seconds: float = 10) -> None:
        """Until each order has had one of the events."""
        until = time.perf_counter() + seconds
        missing = set(refs)
        while missing:
            self.collect()
            missing = {
                r for r in missing if not any(e.kind in kinds for e in self.events.get(r, ()))
            }
            # Spinning would keep the interpreter from the thread that reads the socket.
            time.sleep(0.0001)
            if time.perf_counter() > until:
                raise Wrong(f"nothing heard of {len(missing)} orders: {sorted(missing)[:5]}")

    def _state(self, quote: Quote, minute: int) -> RiskState:
        million = Decimal(10_000_000)
        return RiskState(
            account=self.broker.account_id, equity=million, equity_at_start=million,
            peak_equity=million, cash=million, positions={}, working=(),
            marks={quote.symbol: quote.mid or Decimal(1)},
            quote=RiskQuote(quote.bid, quote.ask, quote.last, 0.0), last_close=quote.mid,
            tick_size=self.contracts[quote.symbol].min_tick, adv=1e9, plan_target=1_000_000,
            tripped=frozenset(), worst_trade_loss=Decimal(0), rejects_in_a_row=0,
            unknown_orders=0, data_age_sessions=0, orders_last_minute=0, agent_paused=False,
            kill_switch=False, known_refs=frozenset(self.sent[:minute]),
        )  # fmt: skip


def measure_latency(desk: Desk, pings: int) -> list[float]:
    """Milliseconds from submit to acknowledgement, one order after the other, below the pace."""
    out = []
    quote = desk.quotes["AAPL"]
    far = ((quote.bid or Decimal(0)) * Decimal("0.92")).quantize(Decimal("0.01"), ROUND_FLOOR)
    for _ in range(pings):
        time.sleep(2 * PACE)
        ref, order_id, started = desk.submit("AAPL", far)
        desk.wait([ref], {Kind.SUBMITTED})
        out.append(1000 * (time.perf_counter() - started))
        desk.broker.cancel(order_id)
        desk.wait([ref], {Kind.CANCELLED})
    return out


def send_many(desk: Desk, orders: int, control: GatewayControl) -> tuple[float, int]:
    """Seconds for all orders to end, and how many are not filled in our books or the venue's."""
    started = time.perf_counter()
    refs = []
    symbols = list(desk.quotes)
    for i in range(orders):
        symbol = symbols[i % len(symbols)]
        tick = desk.contracts[symbol].min_tick
        refs.append(
            desk.submit(symbol, marketable_limit("BUY", desk.quotes[symbol], 0.005, tick))[0]
        )
        desk.collect()
    desk.wait(refs, {Kind.FILL})
    seconds = time.perf_counter() - started
    theirs = {o["order_ref"]: o["filled"] for o in control.truth()["orders"]}
    lost = [
        ref for ref in refs
        if fold(1, desk.events[ref]).state is not State.FILLED or theirs.get(ref) != 1
    ]  # fmt: skip
    return seconds, len(lost)


def measure(quick: bool = False) -> list[Result]:
    pings, orders = (10, 20) if quick else (100, 500)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        venue = ensure_running(home / "venue", GatewayOptions(calendar_cache=home, idle_timeout=30))
        control = GatewayControl(venue)
        try:
            calendar = Calendar.load("XNYS", home)
            control.advance(calendar.open(date(2019, 1, 3)) + timedelta(minutes=30))
            limits = RiskLimits(max_orders_per_minute=1_000_000)
            endpoint = Endpoint(venue.host, venue.port, 17, venue.account)
            with BrokerGateway(endpoint, RiskGate(limits)) as broker:
                broker.state()
                desk = Desk(broker)
                latency = measure_latency(desk, pings)
                time.sleep(1)
                seconds, lost = send_many(desk, orders, control)
        finally:
            control.shutdown()
    if lost:
        raise Wrong(f"{lost} of {orders} orders are not filled in our books or the venue's")
    return [
        Result("", "order to acknowledgement, one by one, median", statistics.median(latency),
               "ms", 2, notes=spread(latency, unit="ms")),
        Result("", f"{orders} orders to fills, none lost", orders / seconds, "orders/s",
               floor="the client library's pace: 45 messages/s"),
    ]  # fmt: skip


if __name__ == "__main__":
    run_alone(__doc__, measure)
