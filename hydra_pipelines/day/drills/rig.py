"""A desk of its own for a drill: the same settings, a folder and a venue that are gone afterwards.

The desk that the drill is for is read and not touched; what it keeps is one event of its audit
trail. Orders of a drill go to an embedded venue of the drill's own, whatever the desk trades at,
and nobody is told by mail.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from hydra_pipelines.day.asking import known
from hydra_pipelines.day.books import PositionsResult, open_books, sync_positions
from hydra_pipelines.day.drills.report import DrillRefused
from hydra_pipelines.day.planning import market_facts
from hydra_pipelines.day.research import ingest_bars
from hydra_pipelines.day.trading import execute_plan
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.orders.outcome import ExecutionReport
from hydra_pipelines.ledger import decisions
from hydra_pipelines.ledger.store import exclusive
from hydra_pipelines.settings import AlertSettings, Settings

FOLDER = "drills"
"""Under the desk's data folder; empty but while a drill is held."""
OVER_THE_NETWORK = ("ibkr", "yfinance")
"""Sources that a venue on this machine can't take its prices from."""
RUN_ID = "drill"
LOCK_S = 5.0
SESSIONS_BEFORE, SESSIONS_TRADED = 64, 4
"""Sessions that a trading drill needs: for volatility, and to trade in."""


def settings_of_a_drill(settings: Settings, folder: Path) -> Settings:
    """The desk's own settings, on paper at an embedded venue in a folder. Pure."""
    market = settings.market
    if market.source in OVER_THE_NETWORK:
        market = market.model_copy(update={"source": "sample", "options": {}})
    return settings.model_copy(
        update={
            "mode": "paper",
            "data_dir": folder,
            "mlflow_uri": "",
            "market": market,
            "broker": settings.broker.model_copy(update={"venue": "embedded"}),
            "alerts": AlertSettings(),
        }
    )


@contextmanager
def scratch_desk(desk: Desk, *, of_the_desk: Sequence[str] = ()) -> Iterator[Desk]:
    """A desk in a folder that is removed with its venue; one at a time for each desk.

    of_the_desk: names in the data folder that are copied to it first. Raises LedgerBusy where
    another drill is held.
    """
    home = desk.settings.data_path / FOLDER
    home.mkdir(parents=True, exist_ok=True)
    with exclusive(home / "drill.lock", LOCK_S, "a drill"):
        for left in home.iterdir():
            if left.is_dir():
                _clear(left)
        folder = Path(tempfile.mkdtemp(prefix="drill-", dir=home))
        scratch = Desk(settings_of_a_drill(desk.settings, folder))
        try:
            for name in ("cache", *of_the_desk):
                _copy(desk.settings.data_path / name, folder / name)
            yield scratch
        finally:
            scratch.close()
            _clear(folder)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.exists():
        shutil.copy2(source, target)


def _clear(folder: Path) -> None:
    """End the venue that lives in a drill's folder, and remove it."""
    from hydra_pipelines.paper_gateway.control import GatewayControl
    from hydra_pipelines.paper_gateway.launch import find_running
    from hydra_pipelines.sessions import ClockError

    running = find_running(folder / "paper")
    if running is not None:
        with suppress(ClockError):
            GatewayControl(running).shutdown()
        # It writes to its folder to the last.
        until = time.monotonic() + 5
        while find_running(folder / "paper") and time.monotonic() < until:
            time.sleep(0.02)
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Lot:
    """A row of a drill's plan: shares to buy (above 0) or to sell, and what is held before."""

    symbol: str
    shares: int
    held: int = 0


class TradingRig:
    """Trades plans made by hand through the order manager, the gate and a venue, as a day does."""

    def __init__(self, desk: Desk):
        """desk: a scratch desk on which nothing was run yet."""
        self.desk = desk
        self.session = first_session(desk, before=SESSIONS_BEFORE, after=SESSIONS_TRADED)
        ingest_bars(desk, self.session)
        self.facts = market_facts(desk, self.session)

    def some_symbols(self, count: int) -> list[str]:
        """The most liquid names that may be traded. Raises DrillRefused where there are fewer."""
        allowed = [
            symbol for symbol in self.facts if symbol not in self.desk.settings.risk.restricted
        ]
        by_value = sorted(
            allowed,
            key=lambda symbol: (
                -(self.facts[symbol].adv or 0) * float(self.facts[symbol].last_close), symbol
            ),
        )  # fmt: skip
        if len(by_value) < count:
            raise DrillRefused(
                f"the drill needs prices of {count} symbols that may be traded, and there are "
                f"{len(by_value)} on {self.session}"
            )
        return by_value[:count]

    def shares(self, symbol: str) -> int:
        """A small order: 2 % of the opening cash, within every limit of the settings."""
        settings, price = self.desk.settings, self.facts[symbol].last_close
        fraction = min(0.02, settings.risk.max_position_weight / 2)
        money = settings.embedded.cash * Decimal(str(fraction))
        money = min(money, settings.risk.max_order_notional / 2)
        adv = self.facts[symbol].adv
        most = int(money / price)
        if adv is not None:
            most = min(most, int(adv * settings.risk.max_adv_share / 2))
        return max(1, most)

    def plan(self, lots: Sequence[Lot]) -> None:
        """Store a plan of the rig's session."""
        with self.desk.broker() as broker:
            account = known(broker.account(), "account")
        header = {
            "plan_id": f"drill-{self.session}",
            "session": self.session,
            "execution_session": self.desk.calendar.next(self.session),
            "account": account.account,
            "equity": account.equity,
            "cash": account.cash,
            "dry_run": False,
        }
        rows = [self._row(i, lot) for i, lot in enumerate(lots)]
        with self.desk.ledger.transaction() as tx:
            open_books(self.desk, tx, account, self.session)
            decisions.save_plan(tx, header, rows, [])

    def execute(self) -> ExecutionReport:
        """Work the plan of the rig's session. Raises as `execute_plan` does."""
        report = execute_plan(self.desk, self.session, RUN_ID)
        assert report is not None, "a scratch desk is no dry run"
        return report

    def close_the_session(self) -> PositionsResult:
        """Go on to the close of the execution session, compare the books, take the next session."""
        result = sync_positions(self.desk, self.session, RUN_ID)
        self.session = self.desk.calendar.next(self.session)
        ingest_bars(self.desk, self.session)
        self.facts = market_facts(self.desk, self.session)
        return result

    def truth(self) -> dict[str, Any]:
        """The venue's own books."""
        from hydra_pipelines.paper_gateway.control import GatewayControl

        return GatewayControl(self.desk.venue).truth()

    def _row(self, sequence: int, lot: Lot) -> dict[str, Any]:
        price = self.facts[lot.symbol].last_close
        return {
            "sequence": sequence,
            "symbol": lot.symbol,
            "side": "BUY" if lot.shares > 0 else "SELL",
            "quantity": abs(lot.shares),
            "reason": "enter" if lot.shares > 0 else "reduce",
            "current_quantity": lot.held,
            "target_quantity": lot.held + lot.shares,
            "current_weight": 0.0,
            "target_weight": None,
            "reference_price": price,
            "notional": price * abs(lot.shares),
            "predicted_slippage_bps": 0.0,
            "routing": "drill",
            "strategies": "",
        }


def first_session(desk: Desk, *, before: int, after: int) -> date:
    """The first session of the embedded venue, or where the source ends before, an earlier one.

    before, after: sessions that the drill needs on either side. A scratch desk's venue begins
    there. Raises DrillRefused where the source has too few.
    """
    panel = desk.source.read()
    days = [day for day in panel.sessions.astype(object) if desk.calendar.is_session(day)]
    if len(days) < before + 1 + after:
        raise DrillRefused(
            f"market.source {desk.settings.market.source} has {len(days)} sessions, and this drill "
            f"needs {before + 1 + after}"
        )
    wanted = desk.settings.embedded.first_session
    possible = days[before : len(days) - after]
    if wanted not in possible:
        wanted = possible[-1]
        embedded = desk.settings.embedded.model_copy(update={"first_session": wanted})
        desk.settings = desk.settings.model_copy(update={"embedded": embedded})
    return wanted
