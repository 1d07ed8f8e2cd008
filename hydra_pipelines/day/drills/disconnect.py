"""The drill `disconnect`: the broker's connection breaks while orders are on their way.

Twice: the socket drops right after an order was read, and IB's servers go away with orders at work
(1100) and come back (1102) with what happened meanwhile never told.
"""

from __future__ import annotations

from collections import Counter

from hydra_pipelines.day.drills.report import Log, Phase
from hydra_pipelines.day.drills.rig import Lot, TradingRig
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.broker.messages import BrokerError
from hydra_pipelines.execution.orders.outcome import ExecutionReport
from hydra_pipelines.ledger import trades
from hydra_pipelines.monitoring.connections import LOST, RESTORED


def hold(desk: Desk, log: Log) -> None:
    """Trade two sessions through both faults and hold the books against the venue's after each.

    desk: a scratch desk on which nothing was run yet.
    """
    from hydra_pipelines.paper_gateway.control import GatewayControl

    rig = TradingRig(desk)
    venue, control = GatewayControl(desk.venue), desk.control
    names = rig.some_symbols(3)
    lots = [Lot(name, rig.shares(name)) for name in names]
    rig.plan(lots)
    log.note(Phase.PREPARED, f"a plan of session {rig.session}: {_words(lots)}")

    venue.set_faults([{"fault": "drop_after_place", "symbol": names[1]}])
    log.note(Phase.INJECTED, f"the socket drops right after the order in {names[1]} was read")
    try:
        rig.execute()
        log.expect(Phase.DETECTED, False, "the run went on as if nothing had happened")
    except BrokerError as error:
        log.note(Phase.DETECTED, f"the run stopped: {error}")
    noted = control.last(LOST)
    log.expect(Phase.DETECTED, noted is not None, "the lost connection is in the journal",
               "the lost connection was not noted")  # fmt: skip
    told = [alert.title for alert in desk.alerts.recent() if alert.kind == "broker_down"]
    log.expect(Phase.DETECTED, bool(told), f"an alert was raised: {''.join(told[:1])}",
               "no alert was raised")  # fmt: skip
    _struck(log, venue.faults(), "drop_after_place")

    again = rig.execute()
    log.note(Phase.REACTED, "the next run connected anew and asked for orders and executions first")
    _settled(rig, log, again, lots)
    back = control.last(LOST, RESTORED)
    log.expect(Phase.RECOVERED, back is not None and back.event == RESTORED,
               "the journal says that the connection is back",
               "the journal does not say that the connection is back")  # fmt: skip
    rig.close_the_session()

    sales = [Lot(name, -rig.shares(name) // 2, held=_held(rig)[name]) for name in names]
    rig.plan(sales)
    log.note(Phase.PREPARED, f"a plan of session {rig.session}: {_words(sales)}")
    # After the last order was written, so that all of them work while IB is away.
    outage = {"fault": "outage", "symbol": names[-1], "minutes": 5, "code": 1102, "told": "never"}
    venue.set_faults([outage])
    log.note(Phase.INJECTED, "IB's servers go away for five minutes with orders at work, and what "
             "happens meanwhile is never told")  # fmt: skip
    report = rig.execute()
    _struck(log, venue.faults(), "outage")
    log.note(Phase.REACTED, "nothing was sent until they were back, then all was asked for again")
    _settled(rig, log, report, sales)
    entries = [e.event for e in control.journal() if e.event in (LOST, RESTORED)]
    log.expect(Phase.RECOVERED, entries == [LOST, RESTORED, RESTORED],
               "the journal has the reconnect within the run too",
               f"the journal has {', '.join(entries)}")  # fmt: skip
    venue.set_faults([])
    books = rig.close_the_session()
    log.expect(Phase.CHECKED, not books.breaks, "books and broker agree, to the share and the cent",
               "; ".join(map(str, books.breaks)))  # fmt: skip


def _settled(rig: TradingRig, log: Log, report: ExecutionReport, lots: list[Lot]) -> None:
    """What has to be so after each session, whatever was lost in it."""
    truth = rig.truth()
    log.expect(Phase.CHECKED, not report.unknown, "no order is in doubt",
               f"in doubt: {', '.join(order.order_ref for order in report.unknown)}")  # fmt: skip
    placed = Counter(order["order_ref"] for order in truth["orders"])
    twice = [ref for ref, count in placed.items() if count > 1]
    log.expect(Phase.CHECKED, not twice, f"the venue has {len(placed)} orders, none of them twice",
               f"sent twice: {', '.join(twice)}")  # fmt: skip
    filled = {order.symbol: 0 for order in report.orders}
    for order in report.orders:
        filled[order.symbol] += order.filled
    wrong = [lot for lot in lots if filled.get(lot.symbol) != abs(lot.shares)]
    log.expect(Phase.RECOVERED, not wrong, f"every row was filled: {_words(lots)}",
               f"not as planned: {_words(wrong)}; filled {filled}")  # fmt: skip
    held = {p["symbol"]: p["quantity"] for p in truth["positions"] if p["quantity"]}
    log.expect(Phase.CHECKED, _held(rig) == held, "the journal's positions are the venue's",
               f"the journal has {_held(rig)}, the venue {held}")  # fmt: skip


def _held(rig: TradingRig) -> dict[str, int]:
    with rig.desk.ledger.transaction() as tx:
        return trades.held(tx, rig.desk.settings.embedded.account)


def _struck(log: Log, faults: dict[str, dict[str, int]], name: str) -> None:
    count = faults["struck"].get(name, 0)
    log.expect(Phase.INJECTED, count == 1, "the fault struck", f"the fault struck {count} times")


def _words(lots: list[Lot]) -> str:
    return ", ".join(
        f"{'BUY' if lot.shares > 0 else 'SELL'} {abs(lot.shares)} {lot.symbol}" for lot in lots
    )
