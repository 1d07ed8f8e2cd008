"""The next step of a row, played against a market at random: what is sent adds up, always."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hydra_pipelines.execution.broker.order_state import State
from hydra_pipelines.execution.orders.patience import Patience
from hydra_pipelines.execution.orders.routing import Algo, RoutingRule, choose_route
from hydra_pipelines.execution.orders.twap import Twap
from hydra_pipelines.execution.orders.work import (
    Cancel,
    Child,
    Finished,
    Send,
    Stay,
    Terms,
    Wait,
    next_step,
    to_rest,
)

START = datetime(2019, 1, 3, 15, 0, tzinfo=UTC)
CLOSE = START + timedelta(hours=5)
ALGOS = st.sampled_from(list(Algo))


def terms(algo: Algo, wanted: int, **changes: object) -> Terms:
    values = {
        "algo": algo,
        "wanted": wanted,
        "adv": 1e6,
        "start": START,
        "deadline": CLOSE,
        "work": timedelta(minutes=30),
        "patience": Patience(),
        "twap": Twap(),
        "opens": START,
    }
    return Terms(**{**values, **changes})


@dataclass
class Market:
    """Takes what is sent and fills parts of it by chance. `restarts`: nothing is remembered."""

    terms: Terms
    chance: random.Random
    children: list[Child] = field(default_factory=list)
    now: datetime = START

    def play(self) -> None:
        for _ in range(5000):
            step = next_step(self.terms, self.children, self.now)
            match step:
                case Finished():
                    return
                case Send(quantity, slice_):
                    assert quantity > 0
                    assert all(c.state in (State.FILLED, State.CANCELLED) for c in self.children)
                    self.children.append(
                        Child(f"{slice_}", slice_, quantity, 0, State.SUBMITTED, self.now)
                    )
                case Cancel():
                    self._change(state=State.CANCELLED)
                case Stay(until=until) | Wait(until):
                    assert until > self.now, "time goes on"
                    self.now += min(
                        until - self.now, timedelta(seconds=self.chance.choice([20, 300]))
                    )
                    self._trade()
        raise AssertionError("it never comes to an end")

    def _trade(self) -> None:
        if not self.children or self.children[-1].state is not State.SUBMITTED:
            return
        child = self.children[-1]
        filled = min(child.quantity, child.filled + self.chance.choice([0, 0, 0, 1, 5, 100]))
        done = filled == child.quantity
        self._change(filled=filled, state=State.FILLED if done else State.SUBMITTED)

    def _change(self, **changes: object) -> None:
        self.children[-1] = replace(self.children[-1], **changes)


@given(algo=ALGOS, wanted=st.integers(1, 5000), seed=st.integers(0, 10**6))
def test_filled_and_cancelled_make_what_was_intended(algo: Algo, wanted: int, seed: int) -> None:
    market = Market(terms(algo, wanted), random.Random(seed))
    market.play()
    filled = sum(c.filled for c in market.children)
    assert filled <= wanted
    assert all(c.state in (State.FILLED, State.CANCELLED) for c in market.children)
    if algo is not Algo.TWAP:
        (only,) = market.children
        assert only.quantity == wanted
        cancelled = only.quantity - only.filled
    else:
        cancelled = wanted - filled
        assert [c.slice for c in market.children] == sorted({c.slice for c in market.children})
    assert filled + cancelled == wanted


@given(
    wanted=st.integers(1, 100_000),
    adv=st.floats(100, 1e7),
    participation=st.floats(0.01, 1),
    slices=st.integers(1, 30),
    minutes=st.floats(1, 300),
    seed=st.integers(0, 10**6),
)
def test_no_slice_takes_more_than_its_share(
    wanted: int, adv: float, participation: float, slices: int, minutes: float, seed: int
) -> None:
    twap = Twap(minutes, slices, participation)
    market = Market(terms(Algo.TWAP, wanted, adv=adv, twap=twap), random.Random(seed))
    market.play()
    per_slice = min(timedelta(minutes=minutes), CLOSE - START) / slices
    most = adv * participation * per_slice.total_seconds() / (390 * 60)
    assert all(child.quantity <= most for child in market.children)
    assert market.now <= CLOSE


@given(algo=ALGOS, wanted=st.integers(1, 500), left=st.integers(0, 600), seed=st.integers(0, 999))
def test_nothing_works_beyond_the_deadline(algo: Algo, wanted: int, left: int, seed: int) -> None:
    deadline = START + timedelta(seconds=left)
    market = Market(terms(algo, wanted, deadline=deadline), random.Random(seed))
    market.play()
    assert market.now <= deadline or not market.children


LIVE = (State.PENDING, State.SENDING, State.SUBMITTED, State.UNKNOWN)
EVENTS = st.lists(
    st.sampled_from(["evening", "morning", "fill", "cancel", "reject", "lost", "found", "gone"]),
    max_size=40,
)


@given(algo=ALGOS, wanted=st.integers(1, 500), events=EVENTS)
@example(Algo.LIMIT_PATIENCE, 10, ["evening", "evening"])
@example(Algo.LIMIT_PATIENCE, 10, ["evening", "fill", "cancel", "evening", "morning"])
def test_a_row_that_rests_never_has_more_alive_than_it_wants(
    algo: Algo, wanted: int, events: list[str]
) -> None:
    """Whatever happens in whatever order, and however often the evening and the morning are run."""
    row, now = terms(algo, wanted, opens=START), START - timedelta(hours=15)
    children: list[Child] = []
    for event in events:
        send: Send | None = None
        alive = [i for i, c in enumerate(children) if c.state in LIVE]
        if event == "evening" and now < START:
            send = to_rest(row, children)
        elif event == "morning":
            now = max(now + timedelta(minutes=3), START)
            step = next_step(row, children, now)
            send = step if isinstance(step, Send) else None
            if isinstance(step, Cancel):
                event = "cancel"
        if send:
            children.append(Child("", send.slice, send.quantity, 0, State.SUBMITTED, now))
        elif alive:
            last = children[alive[-1]]
            filled = min(last.quantity, last.filled + 7) if event == "fill" else last.filled
            state = {
                "fill": State.FILLED if filled == last.quantity else last.state,
                "cancel": State.CANCELLED,
                "reject": State.REJECTED,
                "lost": State.UNKNOWN,
                "found": State.SUBMITTED,
                # Only what never filled can prove never to have been there.
                "gone": last.state if last.filled else State.NEVER_ARRIVED,
            }.get(event, last.state)
            children[alive[-1]] = replace(last, filled=filled, state=state)
        possible = sum(c.quantity if c.state in LIVE else c.filled for c in children)
        assert possible <= wanted
        if algo is not Algo.TWAP:
            assert sum(c.state not in (State.NEVER_SENT, State.NEVER_ARRIVED)
                       for c in children) <= 1  # fmt: skip


def test_what_rested_has_its_time_from_the_open_on() -> None:
    night = START - timedelta(hours=15)
    rested = Child("r", 0, 100, 0, State.SUBMITTED, night)
    patient = next_step(terms(Algo.LIMIT_PATIENCE, 100), [rested], START)
    assert patient == Stay("r", 0, START + timedelta(minutes=5))
    at_once = next_step(terms(Algo.MARKETABLE_LIMIT, 100), [rested], START)
    assert at_once == Stay("r", Patience().steps, START + timedelta(minutes=30))
    over = next_step(terms(Algo.MARKETABLE_LIMIT, 100), [rested], START + timedelta(minutes=30))
    assert over == Cancel("r")


@pytest.mark.parametrize("algo", list(Algo))
def test_doubt_ends_the_row(algo: Algo) -> None:
    doubtful = Child("1", 1, 10, 0, State.UNKNOWN, START)
    assert next_step(terms(algo, 100), [doubtful], START) == Finished(frozen=True)


@pytest.mark.parametrize("state", [State.NEVER_SENT, State.NEVER_ARRIVED])
@pytest.mark.parametrize("algo", list(Algo))
def test_only_what_was_never_there_is_tried_again(algo: Algo, state: State) -> None:
    slice_ = 1 if algo is Algo.TWAP else 0
    gone = Child("1", slice_, 100, 0, state, START)
    assert isinstance(next_step(terms(algo, 100), [gone], START), Send)
    for ended in (State.CANCELLED, State.REJECTED, State.FILLED):
        there = replace(gone, state=ended, filled=100 if ended is State.FILLED else 0)
        assert not isinstance(next_step(terms(algo, 100), [there], START), Send), ended


def test_a_rejected_slice_is_not_sent_again_and_the_next_one_is_sent_in_its_time() -> None:
    row = terms(Algo.TWAP, 1200)
    rejected = Child("1", 1, 100, 0, State.REJECTED, START)
    waiting = next_step(row, [rejected], START + timedelta(seconds=1))
    assert waiting == Wait(START + timedelta(minutes=5))
    then = next_step(row, [rejected], START + timedelta(minutes=5))
    assert isinstance(then, Send) and then.slice == 2 and then.quantity == 110


@pytest.mark.parametrize(
    ("quantity", "adv", "rule", "algo", "reason"),
    [
        (100, 1e6, RoutingRule("market"), Algo.MARKETABLE_LIMIT, "is market"),
        (100, 1e6, RoutingRule(), Algo.LIMIT_PATIENCE, "0.01% of the average daily volume"),
        (10_001, 1e6, RoutingRule(), Algo.TWAP, "above 1.00%"),
        (10_000, 1e6, RoutingRule(), Algo.LIMIT_PATIENCE, "1.00% of"),
        (10_001, None, RoutingRule(), Algo.LIMIT_PATIENCE, "not known"),
        (10_001, float("nan"), RoutingRule(), Algo.LIMIT_PATIENCE, "not known"),
        (1, 1e6, RoutingRule(thin=frozenset({"ALFA"})), Algo.TWAP, "execution.thin"),
    ],
)
def test_the_route_and_its_reason(
    quantity: int, adv: float | None, rule: RoutingRule, algo: Algo, reason: str
) -> None:
    route = choose_route("ALFA", quantity, adv, rule)
    assert route.algo is algo and reason in route.reason
