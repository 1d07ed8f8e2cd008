"""One client's conversation: its requests answered, its orders reported, its streams kept fresh.

Between the sockets (see `server`) and the venue. Everything a client sends comes in by `receive`
and everything it is told goes out by `send`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hydra_pipelines.paper_gateway import book, history, order_replies, replies, requests
from hydra_pipelines.paper_gateway.book import Report
from hydra_pipelines.paper_gateway.contracts import Contract
from hydra_pipelines.paper_gateway.money import tick_size
from hydra_pipelines.paper_gateway.replies import Message
from hydra_pipelines.paper_gateway.requests import ContractQuery
from hydra_pipelines.paper_gateway.rules import BAD_REQUEST
from hydra_pipelines.paper_gateway.statement import LEDGER_TAGS
from hydra_pipelines.paper_gateway.subscriptions import Subscriptions, ValueStream
from hydra_pipelines.paper_gateway.venue import NO_CONTRACT, Venue
from hydra_pipelines.paper_gateway.wire import (
    LAST_WITHOUT_ZONE,
    Fields,
    ProtocolError,
    parse_integer,
    parse_time,
)

_ORDER_REQUESTS = {3: "placeOrder", 4: "cancelOrder", 58: "reqGlobalCancel"}
_ID_AT = {3: 1, 20: 1, 92: 1, 93: 1, 94: 1, 95: 1}
"""Where the id of a request stands that has no version field before it."""

_IGNORED = {14, 25}
"""Log level, and cancelled historical requests (they end at once)."""

_DELAYED_KINDS = (3, 4)
_BARRED = {
    354: "Requested market data is not subscribed.",
    10089: "Requested market data requires additional subscription for API.",
    10168: "Requested market data is not subscribed. Delayed market data is not enabled.",
    10197: "No market data during competing live session",
    10167: "Requested market data is not subscribed. Displaying delayed market data.",
}

_READING = 320
_SIDES = {"": ("BUY", "SELL"), "BUY": ("BUY",), "BOT": ("BUY",), "SELL": ("SELL",)}
_SIDES |= {"SLD": ("SELL",), "SSHORT": ("SELL",)}


_ACCOUNT_UPDATES = "reqAccountUpdates"
"""The key of the one stream of account values that has no request id."""

Handler = Callable[[Fields], list[Report] | None]


class Conversation:
    """What one connected client asked for, at its server version."""

    def __init__(
        self, venue: Venue, client_id: int, version: int, send: Callable[[Message], None]
    ) -> None:
        self.client_id = client_id
        self._venue = venue
        self._account = venue.terms.account
        self._version = version
        self._send = send
        self._delayed_allowed = False
        self.subscriptions = Subscriptions(venue, send)
        self._handlers: dict[int | None, Handler] = {
            1: self._market_data, 2: self._cancel_market_data, 3: self._place_order,
            4: self._cancel_order, 5: self._open_orders, 6: self._account_updates,
            7: self._executions, 8: self._next_id, 9: self._contract_details,
            15: self._auto_open_orders, 16: self._all_open_orders, 17: self._managed_accounts,
            20: self._historical_data, 49: self._current_time, 58: self._global_cancel,
            59: self._market_data_kind,
            61: self._request_positions, 62: self._account_summary,
            63: self._cancel_values, 64: self._cancel_positions,
            76: self._account_updates_multi, 77: self._cancel_values,
            91: self._market_rule, 92: self._pnl, 93: self._cancel_pnl, 94: self._pnl_single,
            95: self._cancel_pnl, 99: self._completed_orders,
        }  # fmt: skip

    def receive(self, values: list[str]) -> list[Report]:
        """One message: answers it, and returns what it caused, to be told to whom it concerns.

        Nothing a client sends raises: what can't be read or done is answered with an error.
        """
        fields = Fields(values)
        kind = _number(values, 0)
        handler = self._handlers.get(kind)
        if handler and kind is not None:
            fields.integer()
            if kind in _ORDER_REQUESTS:
                return self._order_request(kind, handler, values, fields)
            return self._answer(kind, handler, values, fields)
        if kind in requests.UNSUPPORTED:
            about, at = requests.UNSUPPORTED[kind]
            request_id = _number(values, at) if at else None
            problem = f"Error validating request: {about} not supported by this gateway."
            self._error(-1 if request_id is None else request_id, BAD_REQUEST, problem)
        elif kind not in _IGNORED:
            self._error(-1, BAD_REQUEST, f"Error validating request: unknown request {kind}.")
        return []

    def greet(self) -> None:
        """What a gateway says after startApi."""
        self._send(replies.managed_accounts(self._account))
        self._send(replies.next_valid_id(self._venue.next_order_id(self.client_id)))
        self._error(-1, 2104, "Market data farm connection is OK:usfarm")
        self._error(-1, 2106, "HMDS data farm connection is OK:ushmds")
        self._error(-1, 2158, "Sec-def data farm connection is OK:secdefnj")

    def tell(self, report: Report) -> None:
        """Passes on a report, if it is for this client: its owner's, or any for client 0."""
        match report:
            case book.Problem():
                if report.client_id == self.client_id:
                    self._error(report.order_id, report.code, report.text)
            case book.OpenOrder(order=order):
                if self._hears(order.client_id):
                    message = order_replies.open_order(
                        order, self._account, report.commission, self._version
                    )
                    self._send(message)
            case book.StatusChange(order=order):
                if self._hears(order.client_id):
                    self._send(order_replies.order_status(order))
            case book.Executed(execution=execution):
                if self._hears(execution.client_id):
                    self._send(
                        order_replies.execution_details(execution, self._account, self._version)
                    )
            case book.CommissionCharged(execution=execution):
                if self._hears(execution.client_id):
                    self._send(order_replies.commission_report(execution))

    # orders

    def _order_request(
        self, kind: int, handler: Handler, values: list[str], fields: Fields
    ) -> list[Report]:
        """Logged, readable or not, and acted on, in one transaction."""
        with self._venue.store.transaction():
            address = _number(values, _ID_AT.get(kind, 2))
            self._venue.log_request(self.client_id, _ORDER_REQUESTS[kind], address)
            return self._answer(kind, handler, values, fields)

    def _answer(
        self, kind: int, handler: Handler, values: list[str], fields: Fields
    ) -> list[Report]:
        try:
            return handler(fields) or []
        except ProtocolError as error:
            request_id = _number(values, _ID_AT.get(kind, 2))
            problem = f"Error reading request: {error}"
            self._error(-1 if request_id is None else request_id, _READING, problem)
            return []

    def _place_order(self, fields: Fields) -> list[Report]:
        return self._venue.place(self.client_id, requests.place_order(fields, self._version))

    def _cancel_order(self, fields: Fields) -> list[Report]:
        return self._venue.cancel(self.client_id, requests.cancel_order(fields, self._version))

    def _global_cancel(self, fields: Fields) -> list[Report]:
        return self._venue.cancel_all()

    def _open_orders(self, fields: Fields) -> None:
        self._send_open_orders(None if self.client_id == 0 else self.client_id)

    def _all_open_orders(self, fields: Fields) -> None:
        self._send_open_orders(None)

    def _auto_open_orders(self, fields: Fields) -> None:
        if self.client_id != 0:
            self._error(-1, BAD_REQUEST, "Only client id 0 can bind orders automatically.")

    def _completed_orders(self, fields: Fields) -> None:
        for order in self._venue.completed_orders():
            self._send(order_replies.completed_order(order, self._account, self._version))
        self._send(replies.completed_orders_end())

    def _executions(self, fields: Fields) -> None:
        wanted = requests.executions(fields)
        request_id = wanted.request_id
        since = parse_time(wanted.time) if wanted.time else None
        if wanted.side.upper() not in _SIDES:
            raise ProtocolError(f"side {wanted.side!r} is neither BUY nor SELL")
        version, faults = self._version, self._venue.faults
        if faults and faults.strike("forgotten_executions") is not None:
            self._venue.forget_executions()
        if faults and faults.strike("no_zone") is not None:
            version = min(version, LAST_WITHOUT_ZONE)
        for item in self._venue.executions():
            if (
                wanted.client_id in (0, item.client_id)
                and wanted.account in ("", self._account)
                and wanted.symbol in ("", item.symbol)
                and wanted.sec_type in ("", "STK")
                and wanted.exchange in ("", item.exchange)
                and item.action in _SIDES[wanted.side.upper()]
                and (since is None or item.time >= since)
            ):
                details = order_replies.execution_details(item, self._account, version, request_id)
                self._send(details)
                self._send(order_replies.commission_report(item))
        self._send(replies.executions_end(request_id))

    def _next_id(self, fields: Fields) -> None:
        self._send(replies.next_valid_id(self._venue.next_order_id(self.client_id)))

    # account

    def _managed_accounts(self, fields: Fields) -> None:
        self._send(replies.managed_accounts(self._account))

    def _current_time(self, fields: Fields) -> None:
        self._send(replies.current_time(self._venue.now))

    def _request_positions(self, fields: Fields) -> None:
        self.subscriptions.watch_positions()
        self._send(replies.position_end())

    def _cancel_positions(self, fields: Fields) -> None:
        self.subscriptions.forget_positions()

    def _account_updates(self, fields: Fields) -> None:
        fields.integer()
        if not fields.flag():
            self.subscriptions.forget_portfolio()
            self.subscriptions.forget_values(_ACCOUNT_UPDATES)
        elif self._is_our_account(fields.text(), -1):
            stream = ValueStream(partial(replies.account_value, self._account))
            self.subscriptions.watch_values(_ACCOUNT_UPDATES, stream)
            self.subscriptions.watch_portfolio()
            self._send(replies.account_download_end(self._account))

    def _account_updates_multi(self, fields: Fields) -> None:
        fields.integer()
        request_id = fields.integer()
        account, model = fields.text(), fields.text()
        if self._is_our_account(account, request_id):
            message = partial(replies.account_update_multi, request_id, self._account, model)
            self.subscriptions.watch_values(request_id, ValueStream(message))
            self._send(replies.account_update_multi_end(request_id))

    def _account_summary(self, fields: Fields) -> None:
        fields.integer()
        request_id = fields.integer()
        group, tags = fields.text(), fields.text()
        if group != "All":
            self._error(request_id, BAD_REQUEST, f"group {group!r} is unknown; use 'All'")
            return
        wanted = {tag.strip() for tag in tags.split(",")}
        if any(tag.startswith("$LEDGER") for tag in wanted):
            wanted |= set(LEDGER_TAGS)

        def message(tag: str, value: str, currency: str) -> Message | None:
            if tag not in wanted:
                return None
            return replies.account_summary(request_id, self._account, tag, value, currency)

        self.subscriptions.watch_values(request_id, ValueStream(message))
        self._send(replies.account_summary_end(request_id))

    def _cancel_values(self, fields: Fields) -> None:
        fields.integer()
        self.subscriptions.forget_values(fields.integer())

    def _pnl(self, fields: Fields) -> None:
        request_id, account = fields.integer(), fields.text()
        if self._is_our_account(account, request_id):
            self.subscriptions.watch_profit(request_id, None)

    def _pnl_single(self, fields: Fields) -> None:
        request_id, account, _ = fields.integer(), fields.text(), fields.text()
        contract = self._venue.listing.numbered(fields.integer())
        if contract is None:
            self._error(request_id, 200, NO_CONTRACT)
        elif self._is_our_account(account, request_id):
            self.subscriptions.watch_profit(request_id, contract.symbol)

    def _cancel_pnl(self, fields: Fields) -> None:
        self.subscriptions.forget_profit(fields.integer())

    # contracts and prices

    def _contract_details(self, fields: Fields) -> None:
        request_id, query = requests.contract_details(fields, self._version)
        contract = self._find(query, request_id)
        if contract is None:
            return
        clock = self._venue.clock
        hours = replies.trading_hours(clock.calendar, clock.date)
        details = replies.contract_details(
            request_id, contract, self._min_tick(contract), hours, self._version
        )
        self._send(details)
        self._send(replies.contract_details_end(request_id))

    def _market_rule(self, fields: Fields) -> None:
        rule = fields.integer()
        if rule == replies.MARKET_RULE:
            self._send(replies.market_rule())
        else:
            self._error(-1, BAD_REQUEST, f"market rule {rule} is unknown")

    def _market_data(self, fields: Fields) -> None:
        request = requests.market_data(fields)
        request_id = request.request_id
        contract = self._find(request.contract, request_id)
        if contract is None:
            return
        delayed = False
        faults = self._venue.faults
        if faults and (barred := faults.strike("no_market_data", contract.symbol)):
            delayed = self._delayed_allowed and barred["delayed"]
            self._error(request_id, *_barred(barred["code"], delayed))
            if not delayed:
                return
        self._send(replies.market_data_type(request_id, delayed=delayed))
        self._send(replies.tick_parameters(request_id, self._min_tick(contract)))
        self.subscriptions.watch_ticks(request_id, contract, delayed=delayed)
        if request.snapshot:
            self.subscriptions.forget_ticks(request_id)
            self._send(replies.tick_snapshot_end(request_id))

    def _market_data_kind(self, fields: Fields) -> None:
        """Delayed kinds are a fall-back: who may see live data does."""
        fields.integer()
        self._delayed_allowed = fields.integer() in _DELAYED_KINDS

    def _cancel_market_data(self, fields: Fields) -> None:
        fields.integer()
        request_id = fields.integer()
        if not self.subscriptions.forget_ticks(request_id):
            self._error(request_id, 300, f"Can't find EId with tickerId:{request_id}")

    def _historical_data(self, fields: Fields) -> None:
        request = requests.history(fields)
        contract = self._find(request.contract, request.request_id)
        if contract is None:
            return
        faults = self._venue.faults
        if faults and faults.strike("no_history", contract.symbol) is not None:
            self._error(request.request_id, *history.no_data(contract))
            return
        try:
            found = history.daily_bars(self._venue, contract, request)
        except history.HistoryError as error:
            self._error(request.request_id, error.code, str(error))
            return
        self._send(
            replies.historical_data(
                request.request_id, found.start, found.end, found.bars, self._version
            )
        )

    # inside

    def _hears(self, client_id: int) -> bool:
        return self.client_id in (0, client_id)

    def _error(self, request_id: int, code: int, text: str) -> None:
        self._send(replies.error(request_id, code, text, self._version))

    def _is_our_account(self, account: str, request_id: int) -> bool:
        if account in ("", self._account):
            return True
        self._error(request_id, BAD_REQUEST, f"Invalid account code {account!r}.")
        return False

    def _find(self, query: ContractQuery, request_id: int) -> Contract | None:
        contract = self._venue.listing.find(query)
        if contract is None:
            self._error(request_id, 200, NO_CONTRACT)
        return contract

    def _min_tick(self, contract: Contract) -> int:
        market = self._venue.view.market(contract)
        return tick_size(market.last if market else 0)

    def _send_open_orders(self, client_id: int | None) -> None:
        for order in self._venue.open_orders(client_id):
            self._send(order_replies.open_order(order, self._account, None, self._version))
            self._send(order_replies.order_status(order))
        self._send(replies.open_orders_end())


def _number(values: list[str], at: int) -> int | None:
    return parse_integer(values[at]) if at < len(values) else None


def _barred(code: int, delayed: bool) -> tuple[int, str]:
    """Code and text where live prices are not to be had."""
    code = 10167 if delayed and code != 10089 else code
    return code, _BARRED[code]
