"""No way past the gate to a socket: random trading against a venue that checks, and tricks.

The venue is the test's own: it reads orders off the wire, keeps its own books in exact fractions,
and judges each order by the limits as they are written down, whatever the gate thought of it.
"""

from __future__ import annotations

import ast
import copy
import multiprocessing
import pickle
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hydra_pipelines
from hydra_pipelines.execution.broker.gateway import BrokerGateway
from hydra_pipelines.execution.broker.messages import ContractInfo
from hydra_pipelines.execution.risk.checks import DenialReason
from hydra_pipelines.execution.risk.gate import Approval, ApprovalError, RiskGate
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.execution.risk.state import (
    BreakerKind,
    OrderRequest,
    Quote,
    RiskState,
    WorkingOrder,
)
from hydra_pipelines_tests.execution.broker.scripted import (
    ACCOUNT,
    PLACE,
    Server,
    gateway,
    status,
)
from hydra_pipelines_tests.execution.broker.scripted import order as simple_order

SYMBOLS = ("ALFA", "BETA", "GAMA", "DELT")
CONTRACTS = {
    symbol: ContractInfo(symbol, 100 + i, "SMART", "NASDAQ", "USD", Decimal("0.01"))
    for i, symbol in enumerate(SYMBOLS)
}


@dataclass
class Live:
    """An order that works at the venue."""

    ref: str
    symbol: str
    side: str
    left: int
    limit: Fraction
    total: int = 0


@dataclass
class Market:
    """The venue: its books, and what is true of the desk. It notes every order that may not be."""

    limits: RiskLimits
    cash: Fraction
    held: dict[str, int]
    prices: dict[str, Fraction]
    closes: dict[str, Fraction]
    start: Fraction
    peak: Fraction
    targets: dict[str, int]
    volumes: dict[str, int]
    kill: bool = False
    paused: bool = False
    tripped: frozenset[BreakerKind] = frozenset()
    rejects: int = 0
    unknown: int = 0
    age: int = 1
    worst: Fraction = Fraction(0)
    working: list[Live] = field(default_factory=list)
    arrived: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    added: int = 0

    @property
    def equity(self) -> Fraction:
        return self.cash + sum(n * self.prices[s] for s, n in self.held.items())

    def reach(self, symbol: str) -> tuple[int, int]:
        """Lowest and highest position, whatever fills."""
        low = high = self.held.get(symbol, 0)
        for live in self.working:
            if live.symbol == symbol:
                high += live.left if live.side == "BUY" else 0
                low -= live.left if live.side == "SELL" else 0
        return low, high

    def place(self, fields: list[str]) -> list[Any]:
        """A placeOrder message off the wire: a new order, or a new price for one that works."""
        at = fields.index("LMT")
        symbol, side, limit = fields[3], fields[at - 2], Fraction(fields[at + 1])
        ref = next(text for text in fields if text.startswith("r-"))
        new = Live(ref, symbol, side, int(fields[at - 1]), limit, int(fields[at - 1]))
        for old in [live for live in self.working if live.ref == ref]:
            self.rule(
                (old.symbol, old.side, old.total) == (symbol, side, new.total), "another order"
            )
            self.working.remove(old)
            new.left = old.left
        self.judge(new)
        return [status(int(fields[1]), "Submitted")]

    def judge(self, new: Live) -> None:
        before = {symbol: self.reach(symbol) for symbol in SYMBOLS}
        self.working.append(new)
        self.arrived.append(new.ref)
        low, high = self.reach(new.symbol)
        was_low, was_high = before[new.symbol]
        self.rule(not self.kill, "the kill switch is on")
        self.rule(new.limit * 100 == int(new.limit * 100), "off the grid")
        self.rule(not (was_high > 0 > low or was_low < 0 < high), "crosses zero")
        target = self.targets[new.symbol]
        self.rule(high <= target if new.side == "BUY" else low >= target, "beyond the target")
        price = self.prices[new.symbol]
        costly = new.limit - price if new.side == "BUY" else price - new.limit
        self.rule(costly <= price * part(self.limits.collar_quote), "beyond the quote")
        if max(-low, high) > max(-was_low, was_high):
            self.added += 1
            self.judge_risk(new, before)

    def judge_risk(self, new: Live, before: dict[str, tuple[int, int]]) -> None:
        limits, equity, price = self.limits, self.equity, self.prices[new.symbol]
        low, high = self.reach(new.symbol)
        self.rule(not self.tripped and not self.paused, "a breaker is tripped")
        self.rule(self.rejects < limits.rejects_in_a_row, "too many rejects")
        self.rule(self.unknown == 0, "there are unknown orders")
        self.rule(self.age <= limits.max_data_age_sessions, "the data are too old")
        for lost, base, most in (
            (self.start - equity, self.start, limits.daily_loss),
            (self.peak - equity, self.peak, limits.drawdown),
            (self.worst, self.start, limits.single_trade_loss),
        ):
            self.rule(lost <= 0 or lost < base * part(most), "a loss has reached its limit")
        self.rule(new.symbol not in limits.restricted, "restricted")
        self.rule(limits.allow_short or low >= 0, "short")
        self.rule(new.left * new.limit <= limits.max_order_notional, "the order is too large")
        most = equity * part(limits.max_position_weight)
        self.rule(max(-low, high) * min(new.limit, price) <= most, "the position is too large")
        same = sum(x.left for x in self.working if (x.symbol, x.side) == (new.symbol, new.side))
        self.rule(same <= self.volumes[new.symbol] * part(limits.max_adv_share), "volume")
        close = self.closes[new.symbol]
        far = abs(new.limit - close)
        self.rule(far <= close * part(limits.collar_last_close), "far from the last close")
        names = sum(any(self.reach(symbol)) for symbol in SYMBOLS)
        self.rule(any(before[new.symbol]) or names <= limits.max_positions, "too many positions")
        reaches = {s: self.reach(s) for s in SYMBOLS}
        gross = sum(max(-a, b) * self.prices[s] for s, (a, b) in reaches.items())
        self.rule(gross <= equity * part(limits.gross_cap), "gross exposure")
        if new.side == "BUY":
            net = sum(b * self.prices[s] for s, (_, b) in reaches.items())
            spent = sum(x.left * x.limit for x in self.working if x.side == "BUY")
            left = self.cash - spent
            self.rule(left >= equity * part(limits.cash_buffer), "cash")
        else:
            net = -sum(a * self.prices[s] for s, (a, _) in reaches.items())
        self.rule(net <= equity * part(limits.net_cap), "net exposure")

    def rule(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(f"{self.arrived[-1]}: {what}")

    def fill(self, rng: random.Random) -> None:
        """Parts of what works, at its limit: the worst price there is."""
        for live in list(self.working):
            shares = rng.choice([0, live.left, live.left, rng.randint(0, live.left)])
            signed = shares if live.side == "BUY" else -shares
            self.held[live.symbol] = self.held.get(live.symbol, 0) + signed
            self.cash -= signed * live.limit
            live.left -= shares
            if rng.random() < 0.5 or not live.left:
                self.working.remove(live)


def part(fraction: float) -> Fraction:
    return Fraction(str(fraction))


def money(amount: Fraction) -> Decimal:
    return Decimal(amount.numerator) / Decimal(amount.denominator)


def make_market(rng: random.Random) -> Market:
    prices = {s: Fraction(rng.randint(2_000, 20_000), 100) for s in SYMBOLS}
    limits = RiskLimits(
        max_order_notional=rng.choice([Decimal(3_000), Decimal(250_000), Decimal(250_000)]),
        max_position_weight=rng.choice([0.05, 0.1, 0.3]),
        max_positions=rng.choice([2, 3, 4, 4]),
        gross_cap=rng.choice([0.3, 1.0, 1.0]),
        net_cap=rng.choice([0.2, 1.0, 1.0]),
        cash_buffer=rng.choice([0.0025, 0.0025, 0.7]),
        allow_short=rng.random() < 0.4,
        restricted=rng.choice([(), (), ("ALFA", "BETA")]),
    )
    calm = rng.random() < 0.6
    if calm:
        limits = replace(limits, max_position_weight=0.3, max_positions=4)
    held = {s: rng.choice([0, 0, 30, 60, 200, -40]) for s in SYMBOLS}
    made = Market(
        limits, Fraction(100_000 if calm else rng.choice([100_000, 6_000])), held, prices,
        {s: price * rng.choice([1, 1, 1, 1, 1, Fraction(8, 10)]) for s, price in prices.items()},
        Fraction(0), Fraction(0), {},
        {s: rng.choice([2_000, 10**6, 10**6]) for s in SYMBOLS},
    )  # fmt: skip
    made.start = made.equity * rng.choice([1, 1, 1, Fraction(101, 100), Fraction(106, 100)])
    made.peak = made.start * rng.choice([1, 1, 1, Fraction(115, 100)])
    if calm:
        made.start = made.peak = made.equity
    made.targets = {s: rng.choice([-500, 0, 50, 500]) for s in SYMBOLS}
    return made


def happen(market: Market, rng: random.Random) -> None:
    """The market moves, orders fill, and the desk's own state changes."""
    if rng.random() < 0.6:
        market.fill(rng)
    if rng.random() < 0.2:
        for symbol in SYMBOLS:
            moved = market.prices[symbol] * Fraction(rng.randint(980, 1030), 1000)
            market.prices[symbol] = max(Fraction(round(moved * 100), 100), Fraction(1))
    if rng.random() < 0.15:
        market.kill = rng.random() < 0.2
        market.paused = rng.random() < 0.2
        market.tripped = frozenset(rng.sample(list(BreakerKind)[:4], rng.choice([0, 0, 0, 1])))
        market.rejects = rng.choice([0, 0, 0, 4, 5])
        market.unknown = rng.choice([0, 0, 0, 0, 1])
        market.age = rng.choice([0, 1, 1, 3, 4])
        market.worst = market.start * rng.choice([0, 0, 0, Fraction(9, 1000), Fraction(2, 100)])
        market.targets = {s: rng.choice([-500, 0, 50, 500]) for s in SYMBOLS}


def state_of(market: Market, symbol: str, refs: set[str], rng: random.Random) -> RiskState:
    """What the desk knows: all of it, or without something it could not find out."""
    price = money(market.prices[symbol])
    facts = {
        "account": ACCOUNT,
        "equity": money(market.equity),
        "equity_at_start": money(market.start),
        "peak_equity": money(market.peak),
        "cash": money(market.cash),
        "positions": {s: n for s, n in market.held.items() if n},
        "working": tuple(
            WorkingOrder(x.ref, x.symbol, x.side, x.left, money(x.limit)) for x in market.working
        ),
        "marks": {s: money(p) for s, p in market.prices.items()},
        "quote": Quote(price, price, price, 0.5),
        "last_close": money(market.closes[symbol]),
        "tick_size": Decimal("0.01"),
        "adv": float(market.volumes[symbol]),
        "plan_target": market.targets[symbol],
        "tripped": market.tripped,
        "worst_trade_loss": money(market.worst),
        "rejects_in_a_row": market.rejects,
        "unknown_orders": market.unknown,
        "data_age_sessions": market.age,
        "orders_last_minute": 0,
        "agent_paused": market.paused,
        "kill_switch": market.kill,
        "known_refs": frozenset(refs),
        "shortable": True,
    }
    if rng.random() < 0.1:
        # Of what only counts against new risk; without it a reduction passes all the same.
        facts[rng.choice([
            "equity", "equity_at_start", "peak_equity", "cash", "last_close", "tripped",
            "worst_trade_loss", "rejects_in_a_row", "unknown_orders", "data_age_sessions",
            "orders_last_minute", "agent_paused",
        ])] = None  # fmt: skip
    return RiskState(**facts)


def wanted_order(market: Market, number: int, rng: random.Random) -> OrderRequest:
    symbol = rng.choice(SYMBOLS)
    held = market.held.get(symbol, 0)
    price = money(market.prices[symbol])
    quantity = rng.choice([1, 10, 40, 150, max(1, abs(held)), max(1, abs(held) // 2)])
    if rng.random() < 0.5 and held:
        side = "SELL" if held > 0 else "BUY"
    else:
        side = rng.choice(["BUY", "SELL"])
    if rng.random() < 0.8:
        low = -500 if market.limits.allow_short else 0
        market.targets[symbol] = 500 if side == "BUY" else low
    factors = ("0.995", "1.005", "1", "1", "1.02", "0.8")
    limit = price * Decimal(rng.choice(factors))
    grid = Decimal("0.01") if rng.random() < 0.9 else Decimal("0.003")
    limit = max((limit / grid).to_integral_value() * grid, grid)
    return OrderRequest(f"r-{number}", ACCOUNT, symbol, side, quantity, limit, price)


def plainly_reduces(market: Market, asked: OrderRequest) -> bool:
    """Whether it brings a position closer to zero in every case and is in order otherwise."""
    low, high = market.reach(asked.symbol)
    price, limit = market.prices[asked.symbol], Fraction(str(asked.limit_price))
    target = market.targets[asked.symbol]
    if asked.side == "SELL":
        closer, costly, within = (
            low >= asked.quantity,
            price - limit,
            low - asked.quantity >= target,
        )
    else:
        closer, costly = high <= -asked.quantity, limit - price
        within = high + asked.quantity <= target
    in_order = (limit * 100).denominator == 1 and costly <= price * part(market.limits.collar_quote)
    return closer and within and in_order


@pytest.fixture(scope="module")
def line() -> Iterator[tuple[Server, BrokerGateway]]:
    """A connection for all examples; each has its own gate and its own venue behind it."""
    with Server() as server, gateway(server, paced=False) as broker:
        yield server, broker


def play(line: tuple[Server, BrokerGateway], seed: int, tally: Counter[str]) -> Market:
    """Some orders one after the other through gate, gateway and socket."""
    server, broker = line
    rng = random.Random(seed)
    market = make_market(rng)
    server.answers[PLACE] = market.place
    broker.gate = RiskGate(market.limits)
    broker.state()
    refs: set[str] = set()
    for number in range(8):
        happen(market, rng)
        if market.working and rng.random() < 0.4:
            reprice(broker, market, refs, rng, tally)
        asked = wanted_order(market, number, rng)
        decision = broker.gate.review(asked, state_of(market, asked.symbol, refs, rng))
        if plainly_reduces(market, asked):
            tally["reductions"] += 1
            tally["stopped by the kill switch"] += market.kill
            assert decision.approved == (not market.kill), (seed, number, decision.message)
        before = list(market.arrived)
        if decision.approval is None:
            tally["denied"] += 1
            assert decision.reasons
            with pytest.raises(ApprovalError):
                broker.submit(asked, decision.approval, 1000 + number, CONTRACTS[asked.symbol])
        elif rng.random() < 0.1:
            tally["altered"] += 1
            larger = replace(asked, quantity=asked.quantity * 10)
            with pytest.raises(ApprovalError):
                broker.submit(larger, decision.approval, 1000 + number, CONTRACTS[asked.symbol])
            decision = replace(decision, approval=None)
        else:
            tally["sent"] += 1
            refs.add(asked.order_ref)
            broker.submit(asked, decision.approval, 1000 + number, CONTRACTS[asked.symbol])
        broker.broker_time()
        sent = [asked.order_ref] if decision.approval is not None else []
        assert market.arrived == before + sent
    assert market.wrong == [], (seed, market.wrong)
    tally["added risk"] += market.added
    return market


def reprice(
    broker: BrokerGateway, market: Market, refs: set[str], rng: random.Random, tally: Counter[str]
) -> None:
    """Ask for a new price of an order that works; sometimes for more of it than was approved."""
    live = rng.choice(market.working)
    price = money(market.prices[live.symbol]) * Decimal(rng.choice(("1", "1.004", "0.996", "1.02")))
    asked = OrderRequest(
        live.ref, ACCOUNT, live.symbol, live.side, live.left,
        price.quantize(Decimal("0.01")), money(market.prices[live.symbol]),
    )  # fmt: skip
    number, contract = 1000 + int(live.ref.removeprefix("r-")), CONTRACTS[live.symbol]
    decision = broker.gate.review_change(asked, state_of(market, live.symbol, refs, rng))
    before = list(market.arrived)
    if decision.approval is None or rng.random() < 0.1:
        with pytest.raises(ApprovalError):
            dearer = replace(asked, limit_price=asked.limit_price + 5)
            broker.modify(dearer, decision.approval, number, contract, live.total)
        sent = []
    else:
        with pytest.raises(ApprovalError):
            # Consent to a change is none to a second order.
            broker.submit(asked, decision.approval, 5000, contract)
        tally["repriced"] += 1
        broker.modify(asked, decision.approval, number, contract, live.total)
        sent = [live.ref]
    broker.broker_time()
    assert market.arrived == before + sent


@settings(max_examples=4 * settings.default.max_examples)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_sequence_gets_an_order_to_the_venue_that_breaks_a_limit(line, seed: int):
    play(line, seed, Counter())


def test_the_random_trading_is_a_fair_mix(line):
    tally: Counter[str] = Counter()
    for seed in range(100):
        play(line, seed, tally)
    assert tally["added risk"] > 30 and tally["denied"] > 250, tally
    assert tally["reductions"] > 50 and tally["stopped by the kill switch"] > 3, tally
    assert tally["altered"] > 5 and tally["repriced"] > 10, tally


# the venue's own judgement, so that its silence means something


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kill": True}, "the kill switch is on"),
        ({"paused": True}, "a breaker is tripped"),
        ({"tripped": frozenset({BreakerKind.DRAWDOWN})}, "a breaker is tripped"),
        ({"rejects": 5}, "too many rejects"),
        ({"unknown": 1}, "there are unknown orders"),
        ({"age": 4}, "the data are too old"),
        ({"start": Fraction(102_050)}, "a loss has reached its limit"),
        ({"peak": Fraction(111_200)}, "a loss has reached its limit"),
        ({"worst": Fraction(1_000)}, "a loss has reached its limit"),
        ({"limits": RiskLimits(restricted=("ALFA",))}, "restricted"),
        ({"limits": RiskLimits(max_order_notional=Decimal(4_999))}, "the order is too large"),
        ({"limits": RiskLimits(max_position_weight=0.04)}, "the position is too large"),
        ({"limits": RiskLimits(gross_cap=0.04)}, "gross exposure"),
        ({"limits": RiskLimits(net_cap=0.04)}, "net exposure"),
        ({"limits": RiskLimits(cash_buffer=0.96)}, "cash"),
        ({"limits": RiskLimits(max_positions=0)}, "too many positions"),
        ({"volumes": {"ALFA": 4_900}}, "volume"),
        ({"closes": {"ALFA": Fraction(80)}}, "far from the last close"),
        ({"targets": {"ALFA": 49}}, "beyond the target"),
        ({"prices": {s: Fraction(98) for s in SYMBOLS}}, "beyond the quote"),
        ({}, None),
    ],
)
def test_the_venue_notices_each_broken_limit(changes: dict[str, Any], said: str | None):
    prices = {symbol: Fraction(100) for symbol in SYMBOLS}
    market = Market(
        RiskLimits(), Fraction(100_000), {}, prices, dict(prices), Fraction(100_000),
        Fraction(100_000), {"ALFA": 50}, {"ALFA": 10**6},
    )  # fmt: skip
    for name, value in changes.items():
        setattr(market, name, value)
    market.judge(Live("r-1", "ALFA", "BUY", 50, Fraction(100)))
    assert (said is None) == (market.wrong == [])
    assert said is None or f"r-1: {said}" in market.wrong


# round the gate


def approved(broker: BrokerGateway) -> tuple[OrderRequest, Approval, RiskState]:
    asked = simple_order("ours")
    state = _roomy(asked)
    decision = broker.gate.review(asked, state)
    assert decision.approval is not None, decision.message
    return asked, decision.approval, state


def _roomy(asked: OrderRequest) -> RiskState:
    market = make_market(random.Random(1))
    market.held, market.cash, market.limits = {}, Fraction(10**6), RiskLimits()
    market.start = market.peak = Fraction(10**6)
    market.prices["ALFA"] = market.closes["ALFA"] = Fraction("10.02")
    market.targets["ALFA"], market.volumes["ALFA"] = 100, 10**6
    return state_of(market, "ALFA", set(), random.Random(0))


def forged(gate: RiskGate) -> Approval:
    made = object.__new__(Approval)
    object.__setattr__(made, "_gate", gate)
    return made


TRICKS = {
    "no approval": lambda broker, approval: None,
    "the decision itself": lambda broker, approval: broker.gate.review(
        simple_order("more"), _roomy(simple_order())
    ),
    "a word": lambda broker, approval: "approved",
    "forged": lambda broker, approval: forged(broker.gate),
    "of a gate without limits": lambda broker, approval: approved(
        BrokerGateway(broker.endpoint, RiskGate(RiskLimits(max_order_notional=Decimal(10**12))))
    )[1],
    "copied": lambda broker, approval: copy.copy(approval),
    "copied deep": lambda broker, approval: copy.deepcopy(approval),
    "pickled": lambda broker, approval: pickle.loads(pickle.dumps(approval)),
    "in a decision that is pickled": lambda broker, approval: pickle.loads(
        pickle.dumps(broker.gate.review(simple_order("more"), _roomy(simple_order())))
    ),
}


@pytest.fixture
def desk() -> Iterator[tuple[Server, BrokerGateway]]:
    with Server() as server, gateway(server) as broker:
        broker.state()
        yield server, broker


def placed(desk: tuple[Server, BrokerGateway]) -> int:
    server, broker = desk
    broker.broker_time()
    return len(server.of(PLACE))


@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_gets_nothing_to_the_venue(desk, trick: str):
    _, broker = desk
    asked, approval, _ = approved(broker)
    with pytest.raises(ApprovalError):
        broker.submit(asked, TRICKS[trick](broker, approval), 5, CONTRACTS["ALFA"])
    assert placed(desk) == 0


def test_an_approval_sends_once_and_for_its_order_only(desk):
    _, broker = desk
    asked, approval, _ = approved(broker)
    contract = ContractInfo("AAPL", 265598, "SMART", "NASDAQ", "USD", Decimal("0.01"))
    broker.submit(asked, approval, 5, contract)
    for again in (asked, replace(asked, order_ref="again"), replace(asked, quantity=99)):
        with pytest.raises(ApprovalError):
            broker.submit(again, approval, 6, contract)
    assert placed(desk) == 1


def test_an_order_altered_after_the_review_is_not_sent(desk):
    _, broker = desk
    asked, approval, _ = approved(broker)
    object.__setattr__(asked, "quantity", 10_000)
    with pytest.raises(ApprovalError):
        broker.submit(asked, approval, 5, CONTRACTS["ALFA"])
    assert placed(desk) == 0


def test_a_forked_process_sends_nothing(desk):
    _, broker = desk
    asked, approval, _ = approved(broker)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child() -> None:
        try:
            broker.submit(asked, approval, 5, CONTRACTS["ALFA"])
            answers.put("sent")
        except ApprovalError:
            answers.put("refused")

    process = context.Process(target=child)
    process.start()
    assert answers.get() == "refused"
    process.join()
    assert placed(desk) == 0


def test_a_denied_order_stays_denied(desk):
    _, broker = desk
    asked = simple_order("ours")
    state = replace(_roomy(asked), tripped=frozenset({BreakerKind.DAILY_LOSS}))
    decision = broker.gate.review(asked, state)
    assert decision.reasons == (DenialReason.BREAKER_DAILY_LOSS,)
    with pytest.raises(ApprovalError):
        broker.submit(asked, decision.approval, 5, CONTRACTS["ALFA"])
    assert placed(desk) == 0


def test_what_writes_orders_is_called_from_the_gateway_only_and_after_the_gate():
    """The client's own way to place an order, and who holds a client."""
    package = Path(hydra_pipelines.__file__).parent
    callers, holders = set(), set()
    for file in package.rglob("*.py"):
        path = file.relative_to(package).as_posix()
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "place_limit":
                callers.add(path)
            if isinstance(node, ast.Attribute) and node.attr == "placeOrder":
                holders.add(path)
    assert callers == {"execution/broker/gateway.py"}
    assert holders == {"execution/broker/client.py"}
    tree = ast.parse((package / "execution/broker/gateway.py").read_text())
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            names = [n.attr for n in ast.walk(function) if isinstance(n, ast.Attribute)]
            if "place_limit" in names:
                assert any(name.startswith("redeem") for name in names), function.name
