"""The drill `breaker`: the account loses more than the daily limit in the middle of a session.

The loss is money that leaves the venue's account without a word; to the desk it is a loss like any
other, since its equity is what the broker says. Purchases have to be denied and nothing of them
sent, sales have to pass, and trading has to go on once the breaker is reset.
"""

from __future__ import annotations

from decimal import Decimal

from hydra_pipelines.day.drills.report import DrillRefused, Log, Phase
from hydra_pipelines.day.drills.rig import Lot, TradingRig
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.risk.latch import release
from hydra_pipelines.execution.risk.state import BreakerKind
from hydra_pipelines.ledger import paper

DAILY_LOSS = BreakerKind.DAILY_LOSS.value
MARGIN = Decimal("1.25")
"""The loss, as a multiple of the limit."""
MOST = Decimal("0.5")
"""Of the equity; a limit that needs more is none that a drill can show."""


def hold(desk: Desk, log: Log) -> None:
    """Buy, lose, try to buy more and to sell, reset, buy again.

    desk: a scratch desk on which nothing was run yet.
    """
    from hydra_pipelines.paper_gateway.control import GatewayControl

    limit = Decimal(str(desk.settings.risk.daily_loss))
    if not 0 < limit * MARGIN <= MOST:
        raise DrillRefused(
            f"risk.daily_loss is {limit:%}: the drill loses a quarter more than that, at most "
            f"{MOST:.0%} of the equity"
        )
    rig = TradingRig(desk)
    venue, control = GatewayControl(desk.venue), desk.control
    held, wanted = rig.some_symbols(2)
    rig.plan([Lot(held, rig.shares(held))])
    rig.execute()
    bought = rig.shares(held)
    equity = Decimal(rig.close_the_session().account["equity"])
    log.note(Phase.PREPARED, f"{bought} {held} were bought; equity {equity:,.2f} USD")

    loss = (equity * limit * MARGIN).quantize(Decimal("0.01"))
    venue.pay(str(-loss))
    log.note(Phase.INJECTED, f"{loss:,.2f} USD of the account are gone, {loss / equity:.2%} of it; "
             f"risk.daily_loss is {limit:.2%}")  # fmt: skip
    sale, buy = Lot(held, -(bought // 2), held=bought), Lot(wanted, rig.shares(wanted))
    rig.plan([sale, buy])
    session = desk.calendar.next(rig.session)
    report = rig.execute()
    tripped = {b.name: b.reason for b in control.tripped()}
    log.expect(Phase.DETECTED, DAILY_LOSS in tripped,
               f"breaker {DAILY_LOSS} tripped: {tripped.get(DAILY_LOSS)}",
               f"breaker {DAILY_LOSS} did not trip")  # fmt: skip
    told = [alert.title for alert in desk.alerts.recent() if alert.kind == "breaker"]
    log.expect(Phase.DETECTED, bool(told), f"an alert was raised: {''.join(told[:1])}",
               "no alert was raised")  # fmt: skip
    with desk.ledger.transaction() as tx:
        denied = paper.denied_by(tx, f"breaker_{DAILY_LOSS}", session)
    log.expect(Phase.REACTED, denied > 0, f"the purchase of {wanted} was denied, and why is stored",
               f"no denial of {wanted} is stored")  # fmt: skip
    sent = [order for order in rig.truth()["orders"] if order["symbol"] == wanted]
    log.expect(Phase.REACTED, not sent, f"the venue was sent no order in {wanted}",
               f"the venue has {len(sent)} orders in {wanted}")  # fmt: skip
    sold = sum(order.filled for order in report.orders if order.symbol == held)
    log.expect(Phase.REACTED, sold == -sale.shares, f"{sold} {held} were sold: what reduces passes",
               f"{sold} of {-sale.shares} {held} were sold")  # fmt: skip

    venue.pay(str(loss))
    log.note(Phase.RECOVERED, "the money is back")
    books = rig.close_the_session()
    log.expect(Phase.CHECKED, not books.breaks, "books and broker agree, to the share and the cent",
               "; ".join(map(str, books.breaks)))  # fmt: skip
    log.expect(Phase.CHECKED, DAILY_LOSS in {b.name for b in control.tripped()},
               "the breaker stays tripped though the loss is gone",
               "the breaker was let go in the session of the loss")  # fmt: skip
    by_itself = DAILY_LOSS in desk.settings.risk.auto_reset
    if not by_itself:
        release(control, DAILY_LOSS, "the drill is over", "system")
        log.note(Phase.RECOVERED, "risk.auto_reset does not name it: it was reset by hand")
    rig.plan([Lot(wanted, rig.shares(wanted))])
    again = rig.execute()
    if by_itself:
        log.expect(Phase.RECOVERED, not control.tripped(), "the next session reset it by itself",
                   "the next session did not reset it")  # fmt: skip
    filled = sum(order.filled for order in again.orders)
    log.expect(Phase.RECOVERED, filled == rig.shares(wanted), f"{filled} {wanted} were bought",
               f"{filled} of {rig.shares(wanted)} {wanted} were bought")  # fmt: skip
