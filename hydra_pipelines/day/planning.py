"""The order plan of a session: targets against the broker's account. Needs the venue."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from hydra_pipelines.day.asking import known
from hydra_pipelines.day.books import open_books
from hydra_pipelines.day.session import SessionRefused, is_frozen
from hydra_pipelines.day.settings_trail import note_settings
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.broker.messages import Account, Position
from hydra_pipelines.ledger import audit, decisions
from hydra_pipelines.ledger.audit import AuditEvent

if TYPE_CHECKING:
    import numpy as np

    from hydra_pipelines.decision.plan import OrderPlan
    from hydra_pipelines.decision.plan_inputs import PlanInputs
    from hydra_pipelines.execution.orders.review import MarketFacts
    from hydra_pipelines.execution.orders.routing import RoutingRule

VOLATILITY_SESSIONS = 63
ADV_SESSIONS = 21


class NothingDeployed(SessionRefused):
    """No strategy trades, and none was retired."""


@dataclass(frozen=True)
class PlanResult:
    """header, rows and notes as stored. violations: rules broken; then nothing was stored."""

    header: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[Mapping[str, Any], ...]
    violations: tuple[str, ...]
    kept: bool
    """True where the plan was executed already, so that it stays as it was."""


def make_order_plan(desk: Desk, session: date, run_id: str, *, dry_run: bool = False) -> PlanResult:
    """The orders for the session after `session`, from its signals and the broker's account."""
    from hydra_pipelines.decision.plan import make_plan
    from hydra_pipelines.decision.plan_check import plan_violations

    if is_frozen(desk, session):
        with desk.ledger.transaction() as tx:
            stored = decisions.plan(tx, session) or {}
        rows, notes = tuple(stored.pop("rows")), tuple(stored.pop("notes"))
        return PlanResult(stored, rows, notes, (), kept=True)
    with desk.broker() as broker:
        account = known(broker.account(), "account")
        positions = known(broker.positions(), "positions")
        open_orders = known(broker.open_orders(), "open orders")
    working: dict[str, int] = {}
    for order in open_orders:
        left = order.quantity - (order.filled or 0)
        working[order.symbol] = working.get(order.symbol, 0) + (
            left if order.side == "BUY" else -left
        )
    with desk.ledger.session():
        inputs = _plan_inputs(desk, session, account, positions, working)
        plan = make_plan(inputs, desk.plan_limits, desk.slippage)
        violations = tuple(plan_violations(plan, inputs, desk.plan_limits))
        header, rows, notes = _plan_records(
            plan, inputs, desk.work.rule, desk.sends_nothing(dry_run)
        )
        if not violations:
            with desk.ledger.transaction() as tx:
                open_books(desk, tx, account, session)
                decisions.save_plan(tx, header, rows, notes)
                note_settings(desk, tx, run_id)
                audit.log(
                    tx,
                    AuditEvent.PLAN_MADE,
                    {"session": session, "plan_id": plan.plan_id, "orders": len(rows)},
                    run_id=run_id,
                )
            # From here on other processes, and a run after a crash, see what may be traded.
            desk.ledger.publish()
    return PlanResult(header, rows, notes, violations, kept=False)


def market_facts(desk: Desk, session: date) -> dict[str, MarketFacts]:
    """Last close, average daily volume and volatility of every symbol with a price then."""
    from hydra_pipelines.execution.orders.review import MarketFacts

    close, sigma, adv, symbols = _history(desk, session)
    return {
        symbol: MarketFacts(
            Decimal(repr(float(close[i]))),
            None if adv[i] != adv[i] else float(adv[i]),
            None if sigma[i] != sigma[i] else float(sigma[i]),
        )
        for i, symbol in enumerate(symbols)
        if close[i] == close[i]
    }


def _history(
    desk: Desk, session: date
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Raw close, daily volatility and average daily volume (shares) per symbol, NaN if unknown."""
    import numpy as np

    from hydra_pipelines.market.ingest import bar_panel

    start = desk.calendar.next(session, -VOLATILITY_SESSIONS)
    panel = bar_panel(desk.bars.view(), first=start, last=session)
    adjusted = panel.fields["adj_close"]
    returns = adjusted[1:] / adjusted[:-1] - 1
    sigma = returns.std(axis=0) if len(returns) >= 2 else np.full(len(panel.symbols), np.nan)
    volume = panel.field("volume")
    adv = (
        volume[-ADV_SESSIONS:].mean(axis=0)
        if volume is not None
        else np.full(len(panel.symbols), np.nan)
    )
    return panel.fields["close"][-1], sigma, adv, panel.symbols


def _plan_inputs(
    desk: Desk,
    session: date,
    account: Account,
    positions: tuple[Position, ...],
    working: Mapping[str, int],
) -> PlanInputs:
    import numpy as np

    from hydra_pipelines.decision.plan_inputs import PlanInputs
    from hydra_pipelines.decision.targets import make_targets

    close, sigma, adv, known = _history(desk, session)
    held = {p.symbol: p.quantity for p in positions}
    symbols = tuple(sorted({*known, *held, *working}))
    column = {symbol: i for i, symbol in enumerate(known)}
    at = np.array([column.get(symbol, -1) for symbol in symbols])

    def spread(values: np.ndarray) -> np.ndarray:
        return np.where(at >= 0, values[at], np.nan)

    prices = spread(close)
    unpriced = {symbol for symbol, price in zip(symbols, prices, strict=True) if not price > 0}
    marks = {h.symbol: abs(h.market_value) for h in account.holdings}
    unmarked = [symbol for symbol in held if symbol in unpriced and symbol not in marks]
    return PlanInputs(
        signal_session=session,
        execution_session=desk.calendar.next(session),
        account_id=account.account,
        equity=account.equity,
        cash=account.cash,
        symbols=symbols,
        prices=prices,
        positions=np.array([held.get(s, 0) for s in symbols], dtype=np.int64),
        working=np.array([working.get(s, 0) for s in symbols], dtype=np.int64),
        targets=make_targets(_strategy_views(desk, session, symbols, prices), desk.plan_limits),
        adv=spread(adv),
        sigma_daily=spread(sigma),
        restricted=frozenset(desk.settings.risk.restricted),
        unpriced_exposure=None
        if unmarked
        else sum((value for s, value in marks.items() if s in unpriced), Decimal(0)),
    )


def _strategy_views(
    desk: Desk, session: date, symbols: tuple[str, ...], prices: np.ndarray
) -> list[Any]:
    import numpy as np

    from hydra_pipelines.decision.signals import Signals
    from hydra_pipelines.decision.targets import StrategyView

    with desk.ledger.transaction() as tx:
        stored = decisions.signals(tx, session)
    if not desk.strategies:
        return _retired_views(desk, prices)
    column = {symbol: i for i, symbol in enumerate(symbols)}
    views = []
    for strategy in desk.strategies:
        mine = [row for row in stored if row["strategy_id"] == strategy.id]
        values = np.zeros(len(symbols), dtype=np.int8)
        known = np.zeros(len(symbols), dtype=bool)
        for row in mine:
            values[column[row["symbol"]]] = row["signal"]
            known[column[row["symbol"]]] = True
        views.append(
            StrategyView(
                strategy_id=strategy.id,
                capital_weight=strategy.capital_weight,
                universe=np.isfinite(prices) & np.array([strategy.trades(s) for s in symbols]),
                signals=Signals(values, known) if mine else None,
            )
        )
    return views


def _retired_views(desk: Desk, prices: np.ndarray) -> list[Any]:
    """Where none is deployed: the retired strategies, each of which wants nothing any more.

    Raises NothingDeployed where none is retired either: nobody said that what is held should go.
    """
    import numpy as np

    from hydra_pipelines.decision.signals import Signals
    from hydra_pipelines.decision.targets import StrategyView

    flat = Signals(np.zeros(len(prices), dtype=np.int8), np.ones(len(prices), dtype=bool))
    views = [
        StrategyView(
            strategy_id=strategy.id,
            capital_weight=strategy.capital_weight,
            universe=np.isfinite(prices),
            signals=flat,
        )
        for strategy in desk.settings.strategies
        if strategy.status == "retired"
    ]
    if not views:
        raise NothingDeployed(
            "no strategy in hydra.yaml has status: deployed, so there is no plan, and what is held "
            "stays; set status: deployed on one that is to trade, or status: retired to sell what "
            "is held"
        )
    return views


def _plan_records(
    plan: OrderPlan, inputs: PlanInputs, rule: RoutingRule, dry_run: bool
) -> tuple[dict[str, Any], tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]:
    from hydra_pipelines.execution.orders.routing import choose_route

    adv = dict(zip(inputs.symbols, inputs.adv.tolist(), strict=True))
    held = dict(zip(inputs.symbols, inputs.positions.tolist(), strict=True))
    header = {
        "plan_id": plan.plan_id,
        "session": plan.signal_session,
        "execution_session": plan.execution_session,
        "account": plan.account_id,
        "equity": plan.equity,
        "cash": plan.cash,
        "dry_run": dry_run,
    }
    rows = tuple(
        {
            "sequence": row.sequence,
            "symbol": row.symbol,
            "side": row.side,
            "quantity": row.quantity,
            "reason": row.reason.value,
            "current_quantity": held[row.symbol],
            "target_quantity": row.target_quantity,
            "current_weight": row.current_weight,
            "target_weight": row.target_weight,
            "reference_price": row.reference_price,
            "notional": row.notional,
            "predicted_slippage_bps": row.predicted_slippage_bps,
            "routing": choose_route(row.symbol, row.quantity, adv[row.symbol], rule).algo.value,
            "strategies": ",".join(_strategies_behind(row.strategies)),
            "strategy_shares": json.dumps(dict(row.strategies)),
        }
        for row in plan.rows
    )
    notes = tuple(
        {
            "symbol": note.symbol,
            "reason": note.reason.value,
            "why": note.reason.explanation,
            "wanted": note.wanted,
            "ordered": note.ordered,
        }
        for note in plan.notes
    )
    return header, rows, notes


def _strategies_behind(shares: tuple[tuple[str, float], ...]) -> list[str]:
    """The strategies that want the position; for an exit, all that agreed on not wanting it."""
    return [name for name, share in shares if share] or [name for name, _ in shares]
