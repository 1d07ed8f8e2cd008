"""The exchange and the broker's books as one state machine: a clock, orders, fills, an account.

Every operation is one transaction of the store and returns the reports it causes, in order; the
caller may tell them once it has them. No sockets, no message formats. Time moves only by
`advance`, and fills use the quotes of the minute in which they happen.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from hydra_pipelines.paper_gateway import book, misfills, rules, truth
from hydra_pipelines.paper_gateway.account import (
    Account,
    Terms,
    VenueError,
    open_account,
    reserved,
)
from hydra_pipelines.paper_gateway.book import Execution, Order, Position, Report
from hydra_pipelines.paper_gateway.clock import ExchangeClock
from hydra_pipelines.paper_gateway.contracts import Contract, Listing
from hydra_pipelines.paper_gateway.faults import Faults
from hydra_pipelines.paper_gateway.matching import FillModel, fill_price, reaches, visible
from hydra_pipelines.paper_gateway.prices import VenuePrices, generator
from hydra_pipelines.paper_gateway.profit import Profit, profits
from hydra_pipelines.paper_gateway.requests import PlaceOrder
from hydra_pipelines.paper_gateway.statement import Holding, account_values
from hydra_pipelines.paper_gateway.store import AccountStore
from hydra_pipelines.paper_gateway.view import MarketView
from hydra_pipelines.sessions import Calendar

NO_CONTRACT = "No security definition has been found for the request."

_FIRST_PERM_ID = 1_100_000_001


class Venue:
    """One account at one exchange."""

    def __init__(
        self,
        *,
        prices: VenuePrices,
        calendar: Calendar,
        store: AccountStore,
        terms: Terms,
        model: FillModel | None = None,
    ) -> None:
        """Opens the account in `store`, or makes it at the close of the first session.

        Raises VenueError where the file holds an account on other terms, NoPricesError where the
        prices do not cover what it needs.
        """
        self.prices = prices
        self.store = store
        self.terms = terms
        self.listing = Listing(prices.symbols)
        self._model = model or FillModel()
        prices.require(terms.first_session)
        open_account(store, terms, calendar.close(terms.first_session))
        self.clock = ExchangeClock(calendar, datetime.fromisoformat(store.meta()["now"]))
        self.view = MarketView(prices, self.clock)
        self.faults = Faults()
        self.account = Account(store, terms)
        self._active = {order.perm_id: order for order in store.active_orders()}
        self._next_perm_id = (store.last_perm_id() or _FIRST_PERM_ID - 1) + 1
        self._serial = store.last_serial()
        self._forgotten = 0
        symbols = self.account.symbols() | {order.symbol for order in self._active.values()}
        prices.require(self.clock.latest_complete, symbols)
        self._day = self.clock.date
        self.account.start_day(book.effective(self.executions()))
        self._taken: dict[tuple[str, str], int] = {}
        self._taken_at = self.clock.moment
        this_minute = store.executions(*(self.clock.this_minute or (self.now, self.now)))
        for execution in book.effective(this_minute):
            self._take(execution.symbol, execution.action, execution.shares)

    @property
    def now(self) -> datetime:
        return self.clock.now

    @property
    def session(self) -> date:
        """The session that is open, else the latest complete one."""
        moment = self.clock.moment
        return moment[0] if moment else self.clock.latest_complete

    def milestones(self, to: datetime) -> list[datetime]:
        """The instants to advance through on the way to `to`: every close before it, and itself.

        Raises VenueError for an instant in the past, NoPricesError for one beyond the prices.
        """
        if to < self.now:
            raise VenueError(
                f"the venue's clock is at {self.now.isoformat()} and moves forward only; "
                f"{to.isoformat()} is past"
            )
        sessions = self.clock.sessions_until(to)
        for session in sessions:
            self.prices.require(session)
        closes = (self.clock.calendar.close(session) for session in sessions)
        return [*(close for close in closes if close < to), to]

    def advance(self, to: datetime) -> list[Report]:
        """Moves the clock, trading working orders minute by minute; DAY orders end at closes."""
        self.milestones(to)
        reports: list[Report] = []
        with self.store.transaction():
            for instant, minute in self.clock.instants(to):
                if minute == 0 and self.prices.has_actions:
                    self._set_now(instant)
                    reports += self._act()
                if not self._active:
                    continue
                self._set_now(instant)
                if minute is None:
                    reports += self._expire()
                    continue
                for order in list(self._active.values()):
                    reports += self._try(order, at_open=minute == 0)
            self._set_now(to)
            self.store.set_meta(now=to.isoformat())
        return reports

    def place(self, client_id: int, request: PlaceOrder) -> list[Report]:
        """A new order, or a change of a working one at the same address."""
        with self.store.transaction():
            working = self._working(client_id, request.order_id)
            if working:
                return self._modify(working, request)
            return self._place(client_id, request)

    def cancel(self, client_id: int, order_id: int) -> list[Report]:
        with self.store.transaction():
            order = self._working(client_id, order_id)
            if order:
                return self._end(order, "canceled by its client") + self._fill_late(order)
            done = self.store.order_of(client_id, order_id)
        if done:
            text = f"OrderId {order_id} that needs to be cancelled can not be cancelled, "
            return [book.Problem(client_id, order_id, 10148, f"{text}state: {done.status}.")]
        text = f"OrderId {order_id} that needs to be cancelled is not found."
        return [book.Problem(client_id, order_id, 10147, text)]

    def cancel_all(self) -> list[Report]:
        """Every working order of every client."""
        with self.store.transaction():
            working = list(self._active.values())
            return [r for order in working for r in self._end(order, "global cancel")]

    def log_request(self, client_id: int, kind: str, order_id: int | None) -> None:
        """Remembers that an order request arrived, whatever becomes of it."""
        self.store.log_request(self.now, client_id, kind, order_id)

    def roll_back_ids(self) -> None:
        """Order ids start at 1 again, for all clients."""
        self.store.forget_order_ids()

    def forget_executions(self) -> None:
        """Executions up to now are not told again, as after a midnight."""
        self._forgotten = self._serial

    def next_order_id(self, client_id: int) -> int:
        return self.store.highest_order_id(client_id) + 1

    def open_orders(self, client_id: int | None = None) -> list[Order]:
        """Working orders of one client, or of all."""
        return [
            order.snapshot()
            for order in self._active.values()
            if client_id is None or order.client_id == client_id
        ]

    def completed_orders(self) -> list[Order]:
        """Orders that ended on the venue's date."""
        return self.store.orders_done(*self.clock.today)

    def executions(self) -> list[Execution]:
        """Executions of the venue's date, as a gateway keeps them: since midnight."""
        return [e for e in self.store.executions(*self.clock.today) if e.serial > self._forgotten]

    def holdings(self) -> list[Holding]:
        """Open positions, marked at the last price, or at the close when the market is closed."""
        return self.account.holdings(self.view.mark)

    def closed_holding(self, contract: Contract) -> Holding:
        """The row of a position that is gone: no shares, and what it realised today."""
        realized = self.account.realized.get(contract.symbol, 0)
        nothing = Position(contract.con_id)
        return Holding(contract.symbol, nothing, self.view.mark(contract.symbol), realized)

    def profits(self) -> dict[str, Profit]:
        """By symbol, of what is held or was traded on the venue's date."""
        executions = book.effective(self.store.executions(*self.clock.today))
        held = {holding.symbol: holding for holding in self.holdings()}
        closed = {e.symbol for e in executions} - held.keys()
        held |= {symbol: self.closed_holding(self.listing.named(symbol)) for symbol in closed}
        return profits(held, executions, self.prices, self.clock.date, self.session)

    def account_values(self) -> list[tuple[str, str, str]]:
        """(tag, value, currency), see `statement`."""
        return account_values(
            self.account.cash,
            reserved(self._active.values()),
            sum(self.account.realized.values()),
            self.holdings(),
        )

    def truth(self) -> dict[str, Any]:
        """The books whole."""
        whole = truth.books(self.store, self.account.cash, self.holdings())
        return {"now": self.now.isoformat(), "account": self.terms.account, **whole}

    def balance(self) -> dict[str, Any]:
        """What is in the account now."""
        return truth.balance(self.account.cash, self.holdings())

    def fill_at_limit(self, order: Order) -> list[Report]:
        """Books an order that is filled whole the moment it exists; it gets its perm id here."""
        order.perm_id, self._next_perm_id = self._next_perm_id, self._next_perm_id + 1
        with self.store.transaction():
            return self._execute(order, order.quantity, order.limit)

    def _set_now(self, now: datetime) -> None:
        self.clock.now = now
        if self.clock.date != self._day:
            self._day = self.clock.date
            self.account.start_day(())

    def _working(self, client_id: int, order_id: int) -> Order | None:
        for order in self._active.values():
            if (order.client_id, order.order_id) == (client_id, order_id):
                return order
        return None

    def _others(self, order: Order) -> list[Order]:
        return [other for other in self._active.values() if other.perm_id != order.perm_id]

    def _place(self, client_id: int, request: PlaceOrder) -> list[Report]:
        order_id = request.order_id
        if order_id <= self.store.highest_order_id(client_id):
            done = self.store.order_of(client_id, order_id)
            if done and done.status == book.FILLED:
                return [book.Problem(client_id, order_id, 104, "Cannot modify a filled order.")]
            return [book.Problem(client_id, order_id, 103, "Duplicate order id.")]
        self.store.use_order_id(client_id, order_id)
        contract = self.listing.find(request.contract)
        if contract is None:
            return [book.Problem(client_id, order_id, 200, NO_CONTRACT)]
        terms = rules.terms_of(request, self.terms.account)
        if isinstance(terms, rules.Refusal):
            return [book.Problem(client_id, order_id, terms.code, terms.text)]
        order = Order(
            perm_id=self._next_perm_id,
            client_id=client_id,
            order_id=order_id,
            con_id=contract.con_id,
            symbol=contract.symbol,
            action=terms.action,
            quantity=terms.quantity,
            limit=terms.limit,
            tif=terms.tif,
            order_ref=terms.order_ref,
            placed_at=self.now,
            expires=self._expiry(terms.tif),
            fields=terms.fields,
            exchange=terms.exchange,
        )
        self._next_perm_id += 1
        refusal = self.account.refusal(order, order.quantity, order.limit, self._others(order))
        if refusal:
            order.status, order.done_at, order.reason = book.INACTIVE, self.now, refusal.text
            self.store.save_order(order)
            return [book.Problem(client_id, order_id, refusal.code, refusal.text)]
        self._active[order.perm_id] = order
        self.store.save_order(order)
        reports = _stands(order)
        return reports + self._try(order) if self.clock.moment else reports

    def _modify(self, order: Order, request: PlaceOrder) -> list[Report]:
        address = (order.client_id, order.order_id)
        contract = self.listing.find(request.contract)
        terms = rules.terms_of(request, self.terms.account)
        if isinstance(terms, rules.Refusal):
            return [book.Problem(*address, terms.code, terms.text)]
        if contract is None or (contract.symbol, terms.action) != (order.symbol, order.action):
            text = "Order being modified does not match original order."
            return [book.Problem(*address, 105, text)]
        if terms.quantity <= order.filled:
            text = f"Order rejected - reason:{order.filled} shares are filled already."
            return [book.Problem(*address, rules.REJECTED, text)]
        refusal = self.account.refusal(order, terms.quantity, terms.limit, self._others(order))
        if refusal:
            return [book.Problem(*address, refusal.code, refusal.text)]
        order.quantity, order.limit = terms.quantity, terms.limit
        order.order_ref, order.fields = terms.order_ref, terms.fields
        if order.tif != terms.tif:
            order.tif, order.expires = terms.tif, self._expiry(terms.tif)
        order.resting = False
        self.store.save_order(order)
        reports = _stands(order)
        return reports + self._try(order) if self.clock.moment else reports

    def _expiry(self, tif: str) -> datetime | None:
        return self.clock.next_close if tif == "DAY" else None

    def _try(self, order: Order, *, at_open: bool = False) -> list[Report]:
        """One working order against the market of this minute.

        At an open nothing rests: what arrived before meets the opening quotes.
        """
        before = (order.status, order.resting)
        opening = order.status == book.PRE_SUBMITTED
        order.status = book.SUBMITTED
        order.resting = order.resting and not at_open
        reports = self._match(order)
        if order.active and (order.status, order.resting) != before:
            self.store.save_order(order)
        return reports or (_stands(order) if opening else [])

    def _match(self, order: Order) -> list[Report]:
        quote = self.view.quote(order.symbol)
        if quote is None:
            return []
        if not reaches(order.action, order.limit, quote):
            order.resting = True
            return []
        shown = visible(order.action, quote) - self._taken_so_far(order.symbol, order.action)
        shares = min(order.remaining, shown)
        if shares <= 0:
            return []
        broken_off = False
        if self.faults:
            shares, broken_off = misfills.size(self.faults, order, shares)
        price = fill_price(
            self._model,
            action=order.action,
            limit=order.limit,
            resting=order.resting,
            shares_so_far=order.filled + shares,
            quote=quote,
            draw=self._noise(order),
        )
        reports = self._execute(order, shares, price)
        if self.faults and (correction := self.faults.strike("correction", order.symbol)):
            wrong = next(one.execution for one in reports if isinstance(one, book.Executed))
            reports += self._correct(order, wrong, correction["ticks"])
        if broken_off:
            reports += self._end(order, misfills.BROKEN_OFF, rejected=True)
        return reports

    def _noise(self, order: Order) -> float:
        moment = "|".join(str(part) for part in self.clock.moment or ())
        parts = (order.symbol, moment, order.action, str(order.filled))
        return float(generator(self.terms.seed, "fill", *parts).normal())

    def _execute(self, order: Order, shares: int, price: int) -> list[Report]:
        """Books a fill; the first report is its execution."""
        order.filled += shares
        order.notional += shares * price
        order.last_price = price
        commission, realized = self.account.trade(order, shares, price)
        order.commission += commission
        if order.remaining <= 0:
            order.status, order.done_at = book.FILLED, self.now
            self._active.pop(order.perm_id, None)
        self._serial += 1
        exec_id = f"{self.terms.seed & 0xFFFFFFFF:08x}.{self._serial:08x}.01.01"
        execution = order.execution(
            self._serial, exec_id, self.now, shares, price, commission, realized
        )
        self._take(order.symbol, order.action, shares)
        return self._booked(order, execution)

    def _booked(self, order: Order, execution: Execution) -> list[Report]:
        self.store.save_order(order)
        self.store.save_execution(execution)
        return [
            book.Executed(execution),
            *_stands(order),
            book.OpenOrder(order.snapshot(), commission=order.commission),
            book.CommissionCharged(execution),
        ]

    def _correct(self, order: Order, wrong: Execution, ticks: int) -> list[Report]:
        """Corrects the latest execution of an order to a price some ticks better for it."""
        self._serial += 1
        right = misfills.corrected(wrong, self._serial, ticks)
        self.account.correct(wrong, right)
        order.notional, order.last_price = right.cum_notional, right.price
        return self._booked(order, right)

    def _end(self, order: Order, reason: str, *, rejected: bool = False) -> list[Report]:
        """Cancels or rejects a working order; one that is over already stays as it is."""
        if self._active.pop(order.perm_id, None) is None:
            return []
        order.status = book.INACTIVE if rejected else book.CANCELLED
        order.done_at, order.reason = self.now, reason
        self.store.save_order(order)
        code, text = (rules.REJECTED, "rejected") if rejected else (202, "Canceled")
        problem = book.Problem(
            order.client_id, order.order_id, code, f"Order {text} - reason:{reason}"
        )
        return [*_stands(order), problem]

    def _fill_late(self, order: Order) -> list[Report]:
        """The fault of shares that fill although the cancellation was confirmed."""
        late = self.faults.strike("fill_after_cancel", order.symbol) if self.faults else None
        if late is None or self.clock.moment is None:
            return []
        return self._execute(order, min(late["shares"], order.remaining), order.limit)

    def _act(self) -> list[Report]:
        """Splits and dividends of the session that opens; a split ends the orders in its symbol."""
        reports: list[Report] = []
        affected = self.account.symbols() | {order.symbol for order in self._active.values()}
        for symbol in sorted(affected):
            action = self.prices.action(symbol, self.session)
            if not action:
                continue
            close = self.prices.close(symbol, self.clock.latest_complete) or 0
            self.account.act(symbol, action, close, self.session)
            if action.ratio != 1:
                ended = [order for order in self._active.values() if order.symbol == symbol]
                reports += [r for order in ended for r in self._end(order, "split")]
        return reports

    def _expire(self) -> list[Report]:
        due = [o for o in self._active.values() if o.expires and o.expires <= self.now]
        return [r for order in due for r in self._end(order, "DAY order expired at the close")]

    def _taken_so_far(self, symbol: str, action: str) -> int:
        """Shares taken from what is visible in this minute."""
        if self._taken_at != self.clock.moment:
            self._taken_at, self._taken = self.clock.moment, {}
        return self._taken.get((symbol, action), 0)

    def _take(self, symbol: str, action: str, shares: int) -> None:
        self._taken[symbol, action] = self._taken_so_far(symbol, action) + shares


def _stands(order: Order) -> list[Report]:
    state = order.snapshot()
    return [book.OpenOrder(state), book.StatusChange(state)]
