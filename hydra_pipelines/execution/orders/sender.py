"""Getting orders and new prices to the broker: judged, written down, and only then sent.

What is to be sent is `work`'s decision; waiting and cancelling are the manager's and the
follower's.
"""

from __future__ import annotations

import time as wall
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hydra_pipelines.execution.broker.gateway import BrokerGateway
from hydra_pipelines.execution.broker.messages import (
    BrokerError,
    ContractInfo,
    Known,
    NotSubmitted,
    Quote,
    Unknown,
)
from hydra_pipelines.execution.broker.order_state import Kind, OrderEvent
from hydra_pipelines.execution.orders.book import BookedOrder, OrderBook
from hydra_pipelines.execution.orders.intents import (
    NoPrice,
    arrival_price,
    marketable_limit,
    order_ref,
    resting_limit,
)
from hydra_pipelines.execution.orders.patience import Patience, patient_limit, worst_price
from hydra_pipelines.execution.orders.refusals import Refusal, plan_row, refused
from hydra_pipelines.execution.orders.resting import RESTS
from hydra_pipelines.execution.orders.review import MarketFacts, Reviewer
from hydra_pipelines.execution.orders.routing import Algo, Route
from hydra_pipelines.execution.orders.work import Send
from hydra_pipelines.execution.risk.gate import Approval
from hydra_pipelines.execution.risk.state import OrderRequest
from hydra_pipelines.execution.slippage import SlippageModel, predicted_cost
from hydra_pipelines.ledger import orders
from hydra_pipelines.ledger.store import Ledger
from hydra_pipelines.sessions import Calendar, Clock

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Wish:
    """An order that a row of the plan asks for. arrival: the row's, None before its first order.
    rests: it is sent while the market is closed, to meet the opening."""

    row: Row
    send: Send
    route: Route
    attempt: int
    arrival: Decimal | None
    rests: bool = False


@dataclass(frozen=True)
class Change:
    """A working order that is to stand at the price of a step of its patience."""

    row: Row
    order: BookedOrder
    step: int


class Sender:
    """Sends for one run; `sent` counts the orders that it wrote to the socket."""

    def __init__(
        self,
        broker: BrokerGateway,
        ledger: Ledger,
        clock: Clock,
        calendar: Calendar,
        book: OrderBook,
        reviewer: Reviewer,
        slippage: SlippageModel,
        collar: float,
        patience: Patience,
        run_id: str,
        note: Callable[[str], None],
        halted: Callable[[], bool],
    ):
        """halted: whether the kill switch is on; then what is not sent is no failure."""
        self.sent = 0
        self._halted = halted
        self._broker = broker
        self._ledger = ledger
        self._clock = clock
        self._calendar = calendar
        self._book = book
        self._reviewer = reviewer
        self._slippage = slippage
        self._collar = collar
        self._patience = patience
        self._run_id = run_id
        self._note = note
        self._contract_of: dict[str, ContractInfo] = {}

    # new orders

    def send(self, plan: Row, wishes: Sequence[Wish], market: Mapping[str, MarketFacts]) -> None:
        """Have the orders judged, commit their intents, commit that they are sent, write them.

        What is not sent is said, with its named reason, and stored. Raises BrokerError where the
        connection is no good; an order that may have left is then unknown.
        """
        self._require_broker(plan, wishes)
        approved = self._prepare(plan, wishes, market)
        now = self._clock.now()
        self._book.note(OrderEvent(r.order_ref, Kind.SENDING, now) for r, _, _, _ in approved)
        self._book.commit(plan["execution_session"])
        failure: BrokerError | None = None
        written = []
        for request, approval, contract, intent in approved:
            if failure is not None:
                self._happened(request, Kind.NEVER_SENT, f"not sent after a failure: {failure}")
                continue
            order = self._book.orders[request.order_ref]
            order.sent_at, order.sent_monotonic = self._clock.now(), wall.perf_counter()
            try:
                self._broker.submit(request, approval, intent["order_id"], contract)
                order.standing = request.limit_price
                written.append({"order_ref": request.order_ref, "order_id": intent["order_id"]})
            except NotSubmitted as error:
                failure = error
                self._happened(request, Kind.NEVER_SENT, str(error))
            except BrokerError as error:
                # The bytes may have left: only reconciliation can tell.
                failure = error
                self._happened(request, Kind.UNKNOWN, str(error))
        self.sent += len(written)
        self._book.note_sent(written)
        self._book.commit(plan["execution_session"])
        if failure is not None and not self._halted():
            raise failure

    def _prepare(
        self, plan: Row, wishes: Sequence[Wish], market: Mapping[str, MarketFacts]
    ) -> list[tuple[OrderRequest, Approval, ContractInfo, Mapping[str, Any]]]:
        contracts = self._contracts(plan, wishes)
        quotes = self._quotes(wishes, contracts, market)
        with self._ledger.transaction() as tx:
            highest_id = orders.highest_order_id(tx)
        self.look(plan)
        approved: list[tuple[OrderRequest, Approval, ContractInfo, Row]] = []
        intents, verdicts = [], []
        for wish in wishes:
            row, symbol = wish.row, wish.row["symbol"]
            contract, quote = contracts.get(symbol), quotes.get(symbol)
            if contract is None:
                continue
            if not isinstance(quote, Known):
                why = quote.reason if isinstance(quote, Unknown) else "no answer"
                text = f"{symbol}: no order, the broker has no quote ({why})"
                self.refuse(plan, [row], Refusal.NO_QUOTE, text)
                continue
            try:
                request = self._request(plan, wish, quote.value, contract)
            except NoPrice as error:
                self.refuse(plan, [row], Refusal.NO_QUOTE, f"{error}; no order")
                continue
            if request.side == "BUY" or not reduces(row):
                dearest = replace(request, limit_price=self._dearest(wish, request, contract))
                room = self._reviewer.room(dearest)
                if room < request.quantity:
                    text = (
                        f"{symbol}: {room} of {request.quantity} shares, what cash and the "
                        "position limit leave room for now"
                    )
                    if wish.rests:
                        # Sales of the plan may make room at the open: the row is sent whole then.
                        self._note(f"{text}: left for the open market")
                        continue
                    if room == 0:
                        self.refuse(plan, [row], Refusal.NO_ROOM, text)
                        continue
                    self._note(text)
                request = replace(request, quantity=room)
            verdict = self._reviewer.review(
                request, quote.value, contract, market[symbol], row["target_quantity"]
            )
            verdicts.append(verdict.record)
            if verdict.approval is None:
                self._note(
                    f"{symbol}: denied, {verdict.record['reasons']} ({quote.value.kind} quote)"
                )
                continue
            highest_id = self._broker.next_order_id(highest_id)
            intent = self._intent(plan, wish, request, quote.value, market[symbol], highest_id)
            intents.append(intent)
            approved.append((request, verdict.approval, contract, intent))
        self._book.open(intents, verdicts, self._clock.now())
        return approved

    def _quotes(
        self,
        wishes: Sequence[Wish],
        contracts: Mapping[str, ContractInfo],
        market: Mapping[str, MarketFacts],
    ) -> dict[str, Known[Quote] | Unknown]:
        """The broker's quotes; for what is to rest, the last close alone: there is no market."""
        closed = {wish.row["symbol"] for wish in wishes if wish.rests}
        asked = [contract for symbol, contract in contracts.items() if symbol not in closed]
        out: dict[str, Known[Quote] | Unknown] = dict(self._broker.quotes(asked)) if asked else {}
        for symbol in closed:
            if (facts := market.get(symbol)) is None:
                out[symbol] = Unknown("the last close is not known")
                continue
            close = facts.last_close
            out[symbol] = Known(Quote(symbol, None, None, close, close, "close", None))
        return out

    def _request(self, plan: Row, wish: Wish, quote: Quote, contract: ContractInfo) -> OrderRequest:
        row, side = wish.row, wish.row["side"]
        arrival = wish.arrival or arrival_price(quote)
        if wish.rests:
            limit = resting_limit(side, arrival, self._collar, contract.min_tick)
        elif wish.send.patient:
            limit = patient_limit(side, quote, arrival, 0, contract.min_tick, self._patience)
        else:
            limit = marketable_limit(side, quote, self._collar, contract.min_tick)
        return OrderRequest(
            order_ref=order_ref(
                plan["session"], plan["account"], row["symbol"], side, wish.send.slice, wish.attempt
            ),
            account=plan["account"],
            symbol=row["symbol"],
            side=side,
            quantity=wish.send.quantity,
            limit_price=limit,
            arrival_price=arrival,
            plan_row=plan_row(plan, row),
            strategies=tuple(filter(None, row["strategies"].split(","))),
            at_open=wish.rests,
        )

    def _dearest(self, wish: Wish, request: OrderRequest, contract: ContractInfo) -> Decimal:
        """The highest price that the order may come to stand at."""
        if not wish.send.patient and not wish.rests:
            return request.limit_price
        worst = worst_price(
            request.side,
            request.arrival_price,
            self._patience.max_slippage_bps,
            contract.min_tick,
        )
        return max(worst, request.limit_price)

    def _intent(
        self,
        plan: Row,
        wish: Wish,
        request: OrderRequest,
        quote: Quote,
        facts: MarketFacts,
        order_id: int,
    ) -> dict[str, Any]:
        # The impact of slices adds up: each is predicted to cost what the whole order would.
        whole = wish.row["quantity"] if wish.route.algo is Algo.TWAP else request.quantity
        return {
            "order_ref": request.order_ref,
            "plan_id": plan["plan_id"],
            "session": plan["session"],
            "execution_session": plan["execution_session"],
            "account": request.account,
            "symbol": request.symbol,
            "side": request.side,
            "quantity": request.quantity,
            "limit_price": request.limit_price,
            "tif": request.tif,
            "arrival_price": request.arrival_price,
            "arrival_at": self._clock.now(),
            **predicted_cost(
                self._slippage,
                whole,
                request.arrival_price,
                quote.bid,
                quote.ask,
                facts.sigma_daily,
                facts.adv,
                wish.route.algo.value,
            ),
            "routing": wish.route.algo.value,
            "routing_reason": wish.route.reason + (f"; {RESTS}" if wish.rests else ""),
            "strategies": wish.row["strategies"],
            "slice": wish.send.slice,
            "attempt": wish.attempt,
            "order_id": order_id,
            "run_id": self._run_id,
            "recorded_at": datetime.now(UTC),
        }

    # new prices

    def reprice(
        self, plan: Row, changes: Sequence[Change], market: Mapping[str, MarketFacts]
    ) -> None:
        """Let working orders stand at the price of their step, where that is another one.

        The price is committed before it is written. One that is denied, or that the broker
        refuses, leaves the order where it is. Raises BrokerError where the connection is no good.
        """
        contracts = self._contracts(plan, changes)
        quotes = self._broker.quotes(list(contracts.values()))
        moving = []
        for change in changes:
            order, symbol = change.order, change.order.intent["symbol"]
            order.step = change.step
            quote = quotes.get(symbol)
            if not isinstance(quote, Known):
                continue
            try:
                price = patient_limit(
                    order.intent["side"],
                    quote.value,
                    order.intent["arrival_price"],
                    change.step,
                    contracts[symbol].min_tick,
                    self._patience,
                )
            except NoPrice:
                continue
            left = order.intent["quantity"] - order.view.filled
            if price != order.standing and left > 0:
                moving.append((change, contracts[symbol], quote.value, price, left))
        if not moving:
            return
        self.look(plan)
        verdicts, approved = [], []
        for change, contract, seen, price, left in moving:
            intent = change.order.intent
            request = OrderRequest(
                order_ref=intent["order_ref"],
                account=intent["account"],
                symbol=intent["symbol"],
                side=intent["side"],
                quantity=left,
                limit_price=price,
                arrival_price=intent["arrival_price"],
                plan_row=plan_row(plan, change.row),
                strategies=tuple(filter(None, intent["strategies"].split(","))),
            )
            verdict = self._reviewer.review_change(
                request, seen, contract, market[intent["symbol"]], change.row["target_quantity"]
            )
            verdicts.append(verdict.record)
            if verdict.approval is None:
                self._note(
                    f"{intent['symbol']}: stays at {change.order.limit_price}, "
                    f"{price} was denied, {verdict.record['reasons']}"
                )
                continue
            approved.append((change.order, request, verdict.approval, contract))
        now = self._clock.now()
        self._book.note(
            OrderEvent(o.ref, Kind.REPRICING, now, {"limit_price": str(r.limit_price)})
            for o, r, _, _ in approved
        )
        self._book.commit(plan["execution_session"], verdicts)
        failure: BrokerError | None = None
        for order, request, approval, contract in approved:
            try:
                if failure is not None:
                    raise NotSubmitted(f"after a failure: {failure}")
                self._broker.modify(
                    request, approval, order.intent["order_id"], contract, order.intent["quantity"]
                )
                order.standing = request.limit_price
            except NotSubmitted as error:
                self._note(f"{request.symbol}: price not changed: {error}")
                self._book.note([order.back_to_the_price_before(now, str(error))])
            except BrokerError as error:
                # It may have been written; the next run looks where the order stands.
                failure = error
        if failure is not None:
            self._book.commit(plan["execution_session"])
            raise failure

    # inside

    def refuse(self, plan: Row, rows: Sequence[Row], refusal: Refusal, text: str) -> None:
        """Say and store that rows of the plan are not worked, and why."""
        self._note(text)
        now = self._clock.now()
        with self._ledger.transaction() as tx:
            orders.insert_risk_decisions(
                tx, [refused(plan, row, refusal, text, now) for row in rows]
            )

    def _require_broker(self, plan: Row, wishes: Sequence[Wish]) -> None:
        doubt = self._broker.doubt
        if doubt:
            lost = self._broker.outage is not None
            refusal = Refusal.SERVERS_LOST if lost else Refusal.QUIET_HOURS
            self.refuse(plan, [w.row for w in wishes], refusal, f"nothing is submitted: {doubt}")
            raise NotSubmitted(f"nothing is submitted: {doubt}")

    def look(self, plan: Row) -> Sequence[str]:
        """`Reviewer.look`, at what is noted up to now."""
        data_age = self._calendar.index(plan["execution_session"]) - 1
        data_age -= self._calendar.index(plan["session"])
        # The gate is shown the ledger's state: what changes it has to be there.
        if self._book.unsettled:
            self._book.commit(plan["execution_session"])
        return self._reviewer.look(
            plan["execution_session"], data_age, self._book, {r["symbol"] for r in plan["rows"]}
        )

    def _contracts(
        self, plan: Row, wanted: Sequence[Wish] | Sequence[Change]
    ) -> dict[str, ContractInfo]:
        rows = {one.row["symbol"]: one.row for one in wanted}
        out = self._contract_of
        if missing := [symbol for symbol in rows if symbol not in out]:
            with self._ledger.transaction() as tx:
                known = orders.contracts(tx, missing)
            out |= {
                symbol: ContractInfo(**{k: row[k] for k in ContractInfo.__dataclass_fields__})
                for symbol, row in known.items()
            }
        found = {}
        for symbol in [symbol for symbol in rows if symbol not in out]:
            reply = self._broker.contract(symbol)
            if isinstance(reply, Known):
                found[symbol] = reply.value
            else:
                self.refuse(plan, [rows[symbol]], Refusal.NO_CONTRACT, reply.reason)
        if found:
            with self._ledger.transaction() as tx:
                orders.insert_contracts(
                    tx, [{**vars(c), "recorded_at": datetime.now(UTC)} for c in found.values()]
                )
            out |= found
        return {symbol: out[symbol] for symbol in rows if symbol in out}

    def _happened(self, request: OrderRequest, kind: Kind, text: str) -> None:
        self._book.note([OrderEvent(request.order_ref, kind, self._clock.now(), {"text": text})])


def reduces(row: Row) -> bool:
    """Whether a row of the plan brings a position closer to zero."""
    return row["reason"] in ("exit", "trim over limit", "reduce")
