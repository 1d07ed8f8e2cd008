"""What the read side gives to pages, against the ledger's rows counted by hand."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from hydra_pipelines import api
from hydra_pipelines.api.trail import sentence
from hydra_pipelines.desk import Desk
from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.dashboard import stores

START = datetime(2019, 1, 2, 15, tzinfo=UTC)


@pytest.fixture(scope="module")
def fills() -> list[dict]:
    rng = random.Random(3)
    return [
        stores.fill(
            i,
            symbol=rng.choice("ABC"),
            side=rng.choice(("BUY", "SELL")),
            session=date(2019, 1, 2 + i % 5),
            executed_at=START + timedelta(days=i % 5, seconds=i),
            strategies=rng.choice(("S1", "S1,S2", None)),
            price=Decimal(rng.randint(1, 200)),
            quantity=rng.randint(1, 9),
            predicted_slippage_bps=rng.choice((None, 3.0, 5.0)),
            shortfall_bps=rng.choice((None, 1.0, -2.0)),
        )
        for i in range(137)
    ]


@pytest.fixture(scope="module")
def desk(fills: list[dict], tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = stores.desk_of(stores.empty(tmp_path_factory.mktemp("reads") / "desk"))
    with desk.ledger.transaction() as tx:
        tx.insert("executed_trades", fills)
    desk.ledger.publish()
    return desk


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (api.FillFilter(), lambda f: True),
        (api.FillFilter(symbol="A"), lambda f: f["symbol"] == "A"),
        (api.FillFilter(side="SELL"), lambda f: f["side"] == "SELL"),
        (api.FillFilter(session=date(2019, 1, 4)), lambda f: f["session"] == date(2019, 1, 4)),
        (api.FillFilter(strategy="S2"), lambda f: "S2" in (f["strategies"] or "")),
        (
            api.FillFilter(symbol="B", first=date(2019, 1, 3), last=date(2019, 1, 5)),
            lambda f: f["symbol"] == "B" and 3 <= f["session"].day <= 5,
        ),
        (api.FillFilter(symbol="none of these"), lambda f: False),
    ],
)
def test_pages_hold_every_fill_that_fits_once(desk: Desk, fills, wanted, fits) -> None:
    expected = sorted(
        (f for f in fills if fits(f)), key=lambda f: (f["executed_at"], f["exec_key"]), reverse=True
    )
    first = api.fill_page(desk, wanted, 1, 10)
    assert first["total"] == len(expected) and first["journalled"] == len(fills)
    seen = [
        row["exec_key"]
        for page in range(1, first["pages"] + 1)
        for row in api.fill_page(desk, wanted, page, 10)["rows"]
    ]
    assert seen == [f["exec_key"] for f in expected]
    # Beyond the last page is the last page.
    assert api.fill_page(desk, wanted, 999, 10)["page"] == first["pages"]


def test_bias_is_weighted_by_value(desk: Desk, fills: list[dict]) -> None:
    known = [f for f in fills if None not in (f["predicted_slippage_bps"], f["shortfall_bps"])]
    for row in api.slippage_bias(desk):
        mine = [f for f in known if f["session"] == row["session"]]
        weights = [float(f["price"]) * f["quantity"] for f in mine]
        actual = sum(f["shortfall_bps"] * w for f, w in zip(mine, weights, strict=True))
        predicted = sum(f["predicted_slippage_bps"] * w for f, w in zip(mine, weights, strict=True))
        assert row["fills"] == len(mine)
        assert row["bias"] == pytest.approx((actual - predicted) / sum(weights))
    assert len(api.slippage_points(desk, 1000)) == len(known)
    assert len(api.slippage_points(desk, 7)) == 7


def test_money_is_what_the_performance_says(traded_desk: TradedDesk) -> None:
    desk = stores.desk_of(traded_desk.left)
    money, told = api.money(desk), api.profits(desk)
    assert money["total_profit"] == told["total"]["total"]
    assert money["equity"] == told["state"]["equity"]
    days = api.fill_days(desk)
    assert sum(row["profit"] for row in days) == money["total_profit"]
    assert sum(row["fills"] for row in days) == len(traded_desk.trades)


def test_what_a_run_cost_is_what_its_fills_cost(traded_desk: TradedDesk) -> None:
    desk = stores.desk_of(traded_desk.left)
    with desk.ledger.snapshot() as rows:
        (run,) = {r["run_id"] for r in rows.query("SELECT run_id FROM order_intents")}
    (cost,) = api.run_costs(desk, [run, "another"]).values()
    assert cost["fills"] == len(traded_desk.trades)
    paid = sum(Decimal(t["commission"]) for t in traded_desk.trades)
    assert cost["commissions"] == paid
    slippage = sum(
        t["shortfall_bps"] / 1e4 * float(t["arrival_price"]) * t["quantity"]
        for t in traded_desk.trades
    )
    assert float(cost["slippage"]) == pytest.approx(slippage)


def test_an_order_is_told_whole(traded_desk: TradedDesk) -> None:
    desk = stores.desk_of(traded_desk.left)
    fill = traded_desk.trades[0]
    order = api.order(desk, fill["order_ref"])
    assert order["state"]["state"] == "filled"
    assert sum(f["quantity"] for f in order["fills"]) == order["intent"]["quantity"]
    assert order["plan_row"]["symbol"] == fill["symbol"] and order["risk"][0]["approved"]
    assert api.order(desk, "nothing") is None


def test_the_trail_is_filtered_and_told_in_words(traded_desk: TradedDesk) -> None:
    desk = stores.desk_of(traded_desk.left)
    events = api.audit_events(desk, limit=10_000)
    assert [e["seq"] for e in events] == sorted((e["seq"] for e in events), reverse=True)
    counts = Counter(e["event"] for e in events)
    for name, count in counts.items():
        found = api.audit_events(desk, api.AuditFilter(event=name), limit=10_000)
        assert len(found) == count and all(e["text"] for e in found)
    symbol = traded_desk.trades[0]["symbol"]
    by_text = api.audit_events(desk, api.AuditFilter(text=symbol.lower()), limit=10_000)
    assert by_text and all(symbol in str(e["details"]) for e in by_text)
    before = events[3]["seq"]
    rest = api.audit_events(desk, api.AuditFilter(before=before), limit=2)
    assert [e["seq"] for e in rest] == [e["seq"] for e in events[4:6]]
    recent = api.recent_activity(desk)
    fills = next(e for e in recent if e["event"] == "fill_recorded")
    assert fills["count"] == len(traded_desk.trades)
    assert sentence("something_new", {"why": "x"}, "S") == "S: something new: x"


def test_numbers_that_were_left_out_of_the_trail_hide_no_event(
    traded_desk: TradedDesk, tmp_path: Path
) -> None:
    """A transaction that is rolled back uses up numbers of the sequence."""
    desk = stores.desk_of(stores.copy_of(traded_desk.left, tmp_path / "desk"))
    before = [e["seq"] for e in api.audit_events(desk, limit=10_000)]
    with desk.ledger.transaction() as tx:
        tx.execute("UPDATE audit_events SET seq = seq + 1000 WHERE seq > ?", [before[3]])
    desk.ledger.publish()
    expected = [seq + 1000 for seq in before[:3]] + before[3:]
    assert [e["seq"] for e in api.audit_events(desk, limit=5)] == expected[:5]
    rest = api.audit_events(desk, api.AuditFilter(before=expected[1]), limit=4)
    assert [e["seq"] for e in rest] == expected[2:6]


def test_entries_of_the_control_store_are_there_before_they_are_carried_over(
    traded_desk: TradedDesk, tmp_path: Path
) -> None:
    desk = stores.desk_of(stores.copy_of(traded_desk.left, tmp_path / "desk"))
    before = len(api.carried_journal(desk))
    desk.control.set_agent_paused(True, "why not", "user:a@b")
    fresh = api.carried_journal(desk)
    assert len(fresh) == before + 1
    assert fresh[0]["actor"] == "user:a@b" and "why not" in fresh[0]["text"]


@pytest.mark.parametrize("opens", [True, False])
def test_signals_without_costs_are_held_from_the_open_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opens: bool
) -> None:
    """Two strategies of half the capital each, worked out by hand."""
    import numpy as np

    from hydra_pipelines.market.bars import BarPanel

    desk = stores.desk_of(stores.empty(tmp_path / "desk"))
    first, second = (s.id for s in desk.settings.strategies[:2])
    decided = date(2019, 1, 3)
    with desk.ledger.transaction() as tx:
        tx.insert(
            "signals",
            [
                {"session": decided, "strategy_id": strategy, "symbol": symbol, "signal": 1,
                 "prediction": 0.1, "recorded_at": START}
                for strategy, symbol in ((first, "A"), (first, "B"), (second, "A"))
            ],
        )  # fmt: skip
    desk.ledger.publish()
    days = [date(2019, 1, d) for d in (2, 3, 4, 7)]
    close = np.array([[50.0, 10.0], [100.0, 10.0], [121.0, 10.0], [121.0, 20.0]])
    fields = {"close": close, "adj_close": close}
    if opens:
        fields["open"] = np.array([[50.0, 10.0], [60.0, 10.0], [110.0, 10.0], [121.0, 10.0]])
    panel = BarPanel(np.array(days, "datetime64[D]"), ("A", "B"), fields)
    monkeypatch.setattr("hydra_pipelines.market.lake.Lake.view", lambda self: None)
    monkeypatch.setattr("hydra_pipelines.market.ingest.bar_panel", lambda view, first: panel)
    curve = api.signal_curve(desk)
    # A has 3/4 of the capital, B 1/4; the jump of A in the night before the open is nobody's.
    gained = 1 + 0.75 * (121 / (110 if opens else 100) - 1)
    assert [row["session"] for row in curve] == days[2:]
    assert curve[0]["growth"] == pytest.approx(gained)
    assert curve[1]["growth"] == pytest.approx(gained * 1.25)


def test_stores_say_what_they_are(traded_desk: TradedDesk, tmp_path: Path) -> None:
    rows = {r["name"]: r for r in api.stores(stores.desk_of(traded_desk.left))}
    assert {r["state"] for r in rows.values()} == {"present"}
    assert rows["snapshot"]["version"] == rows["snapshot"]["known"]
    assert {r["state"] for r in api.stores(stores.desk_of(tmp_path / "none"))} == {"missing"}
    aged = stores.aged(stores.copy_of(traded_desk.left, tmp_path / "desk"))
    rows = {r["name"]: r for r in api.stores(stores.desk_of(aged))}
    assert rows["snapshot"]["state"] == "old"
