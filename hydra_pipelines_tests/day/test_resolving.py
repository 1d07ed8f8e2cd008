"""`hydra resolve`: what a person may say of an order that nobody knows, and what comes of it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from hydra_pipelines import api
from hydra_pipelines.cli.app import app
from hydra_pipelines.day.resolving import (
    Evidence,
    Fate,
    NotResolvable,
    Outcome,
    check,
    look,
    manual_execution,
    resolve,
)
from hydra_pipelines.day.trading import reconcile_orders
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.broker.messages import BrokerError, WorkingOrder
from hydra_pipelines.execution.broker.order_state import Kind, OrderEvent, State, fold
from hydra_pipelines.ledger import accounts, orders
from hydra_pipelines_tests.day.shop_desk import ShopDesk, resting_orders
from hydra_pipelines_tests.desks import HYDRA, OK, REFUSED, USAGE, CommandLine
from hydra_pipelines_tests.execution.orders.workshop import ACCOUNT, AFTER, SESSION
from hydra_pipelines_tests.ledger import builders

REF = f"20190102.{ACCOUNT}.ALFA.BUY.0.1"
SENT = datetime(2019, 1, 3, 14, 35, tzinfo=UTC)
NOON = datetime(2019, 1, 3, 17, 0, tzinfo=UTC)
NEXT_DAY = datetime(2019, 1, 4, 15, 0, tzinfo=UTC)
ME = "user:ann"


def in_doubt(desk: ShopDesk, *, shares: int = 0, ref: str = REF, heard: bool = False) -> None:
    """An order over 100 ALFA whose run died while it was sent, looked at a day later.

    shares: what was bought at the venue, under `ref` (empty: by hand); the desk heard nothing.
    """
    shop = desk.shop
    shop.plan(("ALFA", "BUY", 100, 100))
    intent = builders.intent(
        REF, plan_id=f"plan-{SESSION}", symbol="ALFA", limit_price=Decimal("51.0000"),
        arrival_price=Decimal("50.000000"), arrival_at=SENT,
    )  # fmt: skip
    kinds = ["pending", "sending", *(["submitted"] if heard else [])]
    with shop.ledger.transaction() as tx:
        orders.insert_intents(tx, [intent])
        orders.append_events(tx, [(REF, kind, {}, SENT) for kind in kinds])
        tx.execute("UPDATE plans SET status = 'executing'")
    if shares:
        buy(desk, shares, ref)
    shop.clock.wait_until(NOON)


def buy(desk: ShopDesk, shares: int, ref: str = "") -> None:
    """Shares bought past the desk's books, at the venue's next minute of trading."""
    shop = desk.shop
    with resting_orders(shop, client_id=21) as client:
        (contract,) = client.contract("ALFA")
        client.place_limit(
            client.next_valid_id, contract, side="BUY", quantity=shares,
            limit_price=Decimal("53.00"), tif="DAY", account=ACCOUNT, order_ref=ref,
        )  # fmt: skip
        client.current_time()
        shop.clock.wait_until(max(SENT, shop.clock.now()).replace(second=0) + MINUTES)


MINUTES = datetime(2019, 1, 1, 0, 30) - datetime(2019, 1, 1)


def cash(desk: ShopDesk) -> tuple[Decimal, Decimal]:
    """By the journal and by the venue."""
    with desk.ledger.transaction() as tx:
        ours = accounts.cash(tx, ACCOUNT)
    assert ours is not None
    return ours, Decimal(desk.shop.truth()["cash"])


def manual_actions(desk: ShopDesk) -> list[dict[str, Any]]:
    with desk.ledger.transaction() as tx:
        rows = tx.query("SELECT actor, details FROM audit_events WHERE event = 'manual_action'")
    return [{"actor": r["actor"], **json.loads(r["details"])} for r in rows]


# over the socket


def test_a_fill_that_the_broker_tells_no_more_is_taken_on_a_persons_word(desk: ShopDesk) -> None:
    in_doubt(desk, shares=100)
    desk.clock.wait_until(NEXT_DAY)
    (done,) = desk.shop.truth()["executions"]
    price, commission = Decimal(done["price"]), Decimal(done["commission"])

    seen = look(desk, REF, "r1")
    assert (seen.view.state, seen.position_broker, seen.position_journal) == ("unknown", 100, 0)
    assert seen.executions == () and not seen.same_day and seen.open_order is None
    assert [row["order_ref"] for row in api.orders(desk, state="unknown")] == [REF]

    outcome = Outcome(Fate.FILLED, "the statement has it", 100, price, commission)
    result = resolve(desk, seen, outcome, ME, "r2")
    assert (result.after.state, result.after.filled, result.unexplained) == ("filled", 100, 0)

    (fill,) = desk.shop.fills()
    assert fill["exec_id"].startswith("manual.") and (fill["quantity"], fill["price"]) == (
        100,
        price,
    )
    ours, venues = cash(desk)
    assert ours == venues, "the books agree to the cent"
    (action,) = manual_actions(desk)
    assert action["actor"] == ME and action["why"] == "the statement has it"
    assert (action["order_ref"], action["outcome"]) == (REF, "filled")
    (order,) = desk.shop.orders()
    assert {"manual": True, "by": ME}.items() <= order["events"][-2]["details"].items()
    assert api.orders(desk, state="unknown") == []

    # It stays so: the next look changes nothing, and there is nothing left to resolve.
    again = reconcile_orders(desk, SESSION, "r3")
    assert [o.state for o in again.orders] == ["filled"] and len(desk.shop.fills()) == 1
    with pytest.raises(NotResolvable, match="is filled: there is nothing to resolve"):
        resolve(desk, look(desk, REF, "r4"), outcome, ME, "r5")


def test_what_the_broker_can_still_tell_it_is_asked_for(desk: ShopDesk) -> None:
    """On the order's day its executions are taken over; nobody's word is needed, or taken."""
    in_doubt(desk, shares=100)
    seen = look(desk, REF, "r1")
    assert seen.settled and seen.view.state is State.FILLED
    desk.shop.assert_books_agree()
    with pytest.raises(NotResolvable, match="nothing to resolve"):
        resolve(desk, seen, Outcome(Fate.ENDED, "I think so"), ME, "r2")
    assert manual_actions(desk) == []


def test_an_order_that_never_arrived_says_so_beside_a_trade_by_hand(desk: ShopDesk) -> None:
    """The position differs by what somebody bought in TWS, so the desk can't tell by itself."""
    in_doubt(desk, shares=40, ref="")
    desk.clock.wait_until(NEXT_DAY)
    seen = look(desk, REF, "r1")
    assert seen.view.state is State.UNKNOWN and seen.unexplained == 40
    result = resolve(desk, seen, Outcome(Fate.NEVER_ARRIVED, "not in TWS's log"), ME, "r2")
    assert result.after.state is State.NEVER_ARRIVED and result.unexplained == 40
    assert desk.shop.fills() == []
    (order,) = desk.shop.orders()
    assert [e["event"] for e in order["events"]][-2:] == ["never_arrived", "finished"]


def test_an_order_that_ended_keeps_the_fills_it_has(desk: ShopDesk) -> None:
    in_doubt(desk, shares=30, heard=True)
    assert look(desk, REF, "r0").view.filled == 30, "told on its day, and then it was forgotten"
    with desk.ledger.transaction() as tx:
        orders.append_events(tx, [(REF, "unknown", {"text": "the run lost it"}, NOON)])
        orders.append_events(tx, [(REF, "reopened", {}, NOON)])
    buy(desk, 5)
    desk.clock.wait_until(NEXT_DAY)
    seen = look(desk, REF, "r1")
    assert (seen.view.state, seen.view.filled, seen.unexplained) == ("unknown", 30, 5)
    result = resolve(desk, seen, Outcome(Fate.ENDED, "cancelled by the exchange"), ME, "r2")
    assert (result.after.state, result.after.filled) == (State.CANCELLED, 30)
    assert result.unexplained == 5
    assert sum(fill["quantity"] for fill in desk.shop.fills()) == 30


def test_what_changed_since_it_was_looked_at_is_looked_at_again(desk: ShopDesk) -> None:
    in_doubt(desk, shares=100)
    desk.clock.wait_until(NEXT_DAY)
    seen = look(desk, REF, "r1")
    buy(desk, 7)
    with pytest.raises(NotResolvable, match="tells something else"):
        resolve(desk, seen, Outcome(Fate.ENDED, "surely"), ME, "r2")
    assert [f["quantity"] for f in desk.shop.fills()] == [7], "somebody's own, and no more"
    assert manual_actions(desk) == []


def test_without_the_broker_nothing_is_settled(
    desk: ShopDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_doubt(desk)

    def gone(*_: object) -> None:
        raise BrokerError("nothing listens")

    monkeypatch.setattr("hydra_pipelines.execution.broker.gateway.BrokerGateway.connect", gone)
    with pytest.raises(BrokerError, match="nothing listens"):
        look(desk, REF, "r1")


def test_a_symbol_is_free_again_once_its_order_is_settled(desk: ShopDesk) -> None:
    in_doubt(desk, shares=100)
    desk.clock.wait_until(desk.calendar.close(AFTER))
    desk.shop.plan(("ALFA", "BUY", 10, 110), session=AFTER)
    frozen = desk.shop.run(AFTER)
    assert frozen.sent == 0 and any("frozen" in note for note in frozen.notes)
    seen = look(desk, REF, "r1")
    (done,) = desk.shop.truth()["executions"]
    price = Decimal(done["price"])
    resolve(desk, seen, Outcome(Fate.FILLED, "the statement", 100, price), ME, "r2")
    desk.close()
    following = desk.calendar.next(AFTER)
    desk.shop.plan(("ALFA", "BUY", 10, 110), session=following)
    assert desk.shop.run(following).sent == 1


# refusals, pure


def evidence(**change: Any) -> Evidence:
    intent = builders.intent(REF, symbol="ALFA")
    events = (
        OrderEvent(REF, Kind.PENDING, SENT),
        OrderEvent(REF, Kind.SENDING, SENT),
        OrderEvent(REF, Kind.UNKNOWN, NOON, {"text": "the broker does not show it"}),
    )
    values: dict[str, Any] = {
        "intent": intent,
        "events": events,
        "view": fold(intent["quantity"], events),
        "open_order": None,
        "completed_order": None,
        "executions": (),
        "same_day": False,
        "position_broker": 100,
        "position_journal": 0,
    }
    return Evidence(**{**values, **change})


OPEN = WorkingOrder(REF, 1, 9, ACCOUNT, "ALFA", "BUY", 100, 0, None, "Submitted", 17)
HEARD = (OrderEvent(REF, Kind.SUBMITTED, SENT), OrderEvent(REF, Kind.UNKNOWN, NOON))
FILLED = Outcome(Fate.FILLED, "the statement", 100, Decimal("50.10"))


@pytest.mark.parametrize(
    ("case", "outcome", "message"),
    [
        (evidence(), Outcome(Fate.ENDED, "  "), "a reason is needed"),
        (evidence(open_order=OPEN), Outcome(Fate.ENDED, "x"), "is open at the broker"),
        (evidence(events=HEARD), Outcome(Fate.NEVER_ARRIVED, "x"), "it did arrive"),
        (evidence(), Outcome(Fate.ENDED, "x", filled=3), "belong to the outcome `filled`"),
        (evidence(), Outcome(Fate.NEVER_ARRIVED, "x", price=Decimal(3)), "belong to the outcome"),
        (evidence(), replace(FILLED, price=None), "and the price"),
        (evidence(), replace(FILLED, filled=None), "how many shares"),
        (evidence(), replace(FILLED, price=Decimal(0)), "a price of 0 can't be"),
        (evidence(), replace(FILLED, price=Decimal("NaN")), "a price of NaN can't be"),
        (evidence(), replace(FILLED, commission=Decimal(-1)), "a commission of -1 can't be"),
        (evidence(), replace(FILLED, filled=101), "filled 1 to 100 in all, not 101"),
        (evidence(), replace(FILLED, filled=0), "not 0"),
        (evidence(same_day=True), FILLED, "still tells the executions of 2019-01-03"),
        (evidence(position_broker=0), FILLED, "with this fill they would differ by 100 shares"),
        (evidence(position_broker=30), FILLED, "differ by 70 shares, not by 30"),
    ],
)
def test_what_the_evidence_contradicts_is_refused(
    case: Evidence, outcome: Outcome, message: str
) -> None:
    with pytest.raises(NotResolvable, match=message):
        check(case, outcome)


@pytest.mark.parametrize(
    ("case", "outcome"),
    [
        (evidence(), Outcome(Fate.NEVER_ARRIVED, "x")),
        (evidence(events=HEARD), Outcome(Fate.ENDED, "x")),
        (evidence(), FILLED),
        (evidence(position_broker=60), replace(FILLED, filled=60)),
        (evidence(position_broker=140), FILLED),
        (
            evidence(
                intent=builders.intent(REF, symbol="ALFA", side="SELL"),
                position_broker=0,
                position_journal=100,
            ),
            FILLED,
        ),
    ],
)
def test_what_it_allows_is_not(case: Evidence, outcome: Outcome) -> None:
    check(case, outcome)


def test_the_execution_of_a_person_is_for_the_missing_shares_alone() -> None:
    fill = {
        "exec_key": "e1", "correction": 1, "quantity": 30, "price": "50", "perm_id": 77,
    }  # fmt: skip
    events = (
        OrderEvent(REF, Kind.SUBMITTED, SENT),
        OrderEvent(REF, Kind.FILL, SENT, fill),
        OrderEvent(REF, Kind.UNKNOWN, NOON),
    )
    case = evidence(events=events, view=fold(100, events), position_journal=30)
    made = manual_execution(case, replace(FILLED, filled=90, commission=Decimal("1.05")))
    assert (made.quantity, made.price, made.commission) == (60, Decimal("50.10"), Decimal("1.05"))
    assert (made.order_ref, made.perm_id, made.symbol, made.side) == (REF, 77, "ALFA", "BUY")
    assert made.executed_at == SENT, "the last moment before the doubt"
    assert made.key != "e1" and made.correction == 1


# the command


def test_the_command_shows_the_evidence_and_takes_one_word(
    desk: ShopDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_doubt(desk, shares=40, ref="")
    desk.clock.wait_until(NEXT_DAY)
    monkeypatch.setattr(Desk, "open", lambda: desk)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["resolve", *arguments])

    missing = run("nonsense")
    assert missing.exit_code == REFUSED and "there is no order nonsense" in missing.stderr

    shown = run(REF, "--json")
    assert shown.exit_code == REFUSED, "nothing is resolved"
    assert "say what came of it: --never-arrived, --ended or --filled" in shown.stderr
    assert "40 ALFA at the broker, 0 by the journal" in shown.stderr
    said = json.loads(shown.stdout)
    assert (said["state"], said["resolved"], said["filled"]) == ("unknown", None, 0)
    assert (said["broker"]["position"], said["journal"]["position"]) == (40, 0)
    assert [e["kind"] for e in said["events"]] == ["pending", "sending", "unknown"]

    word = [REF, "--never-arrived", "--reason", "not in TWS's log"]
    unasked = run(*word)
    assert unasked.exit_code == REFUSED and "--yes" in unasked.stderr
    unreasoned = run(REF, "--ended", "--yes")
    assert unreasoned.exit_code == REFUSED and "a reason is needed" in unreasoned.stderr
    no_price = run(REF, "--filled", "3", "--price", "cheap", "--yes")
    assert no_price.exit_code == USAGE and "not an amount in USD" in no_price.stderr
    assert manual_actions(desk) == []

    done = run(*word, "--yes", "--json")
    assert done.exit_code == OK, done.stderr
    assert json.loads(done.stdout)["resolved"] == "never_arrived"
    assert "still differs by 40 shares" in done.stderr
    (action,) = manual_actions(desk)
    assert action["actor"].startswith("user:") and action["why"] == "not in TWS's log"

    settled = run(REF)
    assert settled.exit_code == OK and "is never_arrived: there is nothing" in settled.stderr
    contradicted = run(REF, "--ended", "--reason", "x", "--yes")
    assert contradicted.exit_code == REFUSED


def test_on_a_terminal_it_asks(desk: ShopDesk) -> None:
    in_doubt(desk, shares=40, ref="")
    desk.clock.wait_until(NEXT_DAY)
    hydra = CommandLine(desk.shop.home)
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*HYDRA, "resolve", REF],
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=hydra.environment,
        text=True,
    )
    os.write(leader, b"never_arrived\nnot in the log of TWS\ny\n")
    _, errors = process.communicate(timeout=30)
    os.close(leader)
    os.close(follower)
    assert process.returncode == OK, errors
    assert "What came of it" in errors and "Record that" in errors
    (action,) = manual_actions(desk)
    assert action["why"] == "not in the log of TWS"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ended", "--never-arrived"], "say one outcome"),
        (["--ended", "--filled", "3"], "say one outcome"),
        (["--ended", "--price", "3"], "--price and --commission belong to --filled"),
        (["--filled", "0"], "greater than or equal to 1"),
    ],
)
def test_what_makes_no_sense_is_a_wrong_call(
    tmp_path: Any, arguments: list[str], message: str
) -> None:
    done = CommandLine(tmp_path / "my desk").run("resolve", REF, *arguments, "--reason", "x")
    assert done.returncode == USAGE and message in " ".join(done.stderr.split())
    assert not (tmp_path / "my desk").exists()
