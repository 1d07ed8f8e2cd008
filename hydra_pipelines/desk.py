"""The desk put together: which parts the settings ask for, each made once, when it is first used.

Faces and the day's steps get their parts from here. No step of the day, no rule and no arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING

from hydra_pipelines.components import Components
from hydra_pipelines.control import Control
from hydra_pipelines.ledger.store import Ledger, Rows, exclusive
from hydra_pipelines.sessions import Calendar, Clock, NotASession
from hydra_pipelines.settings import Settings, SettingsError, load_settings, place_of

if TYPE_CHECKING:
    from hydra_pipelines.alerts import Alerts
    from hydra_pipelines.decision.targets import PlanLimits
    from hydra_pipelines.execution.broker.gateway import BrokerGateway
    from hydra_pipelines.execution.broker.gateway import Endpoint as BrokerEndpoint
    from hydra_pipelines.execution.broker.guard import Clearance, PaperGateVerdict
    from hydra_pipelines.execution.orders.terms import WorkSettings
    from hydra_pipelines.execution.risk.limits import RiskLimits
    from hydra_pipelines.execution.slippage import SlippageModel
    from hydra_pipelines.market.bars import BarSource
    from hydra_pipelines.market.lake import Lake
    from hydra_pipelines.models.gate import GateLimits
    from hydra_pipelines.models.registry import Registry
    from hydra_pipelines.models.strategies import StrategySpec
    from hydra_pipelines.monitoring.paper_facts import Venue
    from hydra_pipelines.monitoring.paper_gate import PaperGate
    from hydra_pipelines.paper_gateway.process import Endpoint as VenueEndpoint


BROKER_LOCK = "broker.lock"
"""In the data folder; held by the process that has the desk's connection."""


class WallClock:
    """The real time. Nothing here waits for hours: a window that is not open yet is refused."""

    moves_by_waiting = False

    def now(self) -> datetime:
        return datetime.now(UTC)

    def wait_until(self, instant: datetime) -> None:
        import time

        time.sleep(max(0.0, (instant - self.now()).total_seconds()))


class Desk:
    """One desk: its settings, stores, clock and venue."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self._gateway: BrokerGateway | None = None
        self._connection = ExitStack()
        """Holds the lock on the connection for as long as there is one."""
        self.moving_models = False
        """Whether this desk holds the lock on promotions, see `day.champions.moving`."""

    @classmethod
    def open(cls) -> Desk:
        """The desk of this environment, its folders made where they are missing."""
        desk = cls(load_settings())
        desk.settings.data_path.mkdir(parents=True, exist_ok=True)
        return desk

    @cached_property
    def calendar(self) -> Calendar:
        return Calendar.load(self.settings.market.calendar, self.settings.cache_path)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.settings.ledger_path, self.settings.ledger.lock_timeout_s)

    @cached_property
    def control(self) -> Control:
        return Control(self.settings.control_path)

    @cached_property
    def components(self) -> Components:
        """The long-running parts of the desk, by their heartbeats."""
        return Components(self.settings.control_path)

    @cached_property
    def alerts(self) -> Alerts:
        from hydra_pipelines.alerts import Alerts

        return Alerts(self.settings.alerts, self.settings.control_path)

    @cached_property
    def source(self) -> BarSource:
        from hydra_pipelines.market.sources import open_source

        options = self.settings.market_options
        if self.settings.market.source == "ibkr":
            if self.embedded:
                raise SettingsError(
                    "market.source is ibkr and broker.venue is embedded: that venue takes its "
                    "prices from the source; set broker.venue: ibkr, or another source"
                )
            options |= {"connect": self.broker, "folder": self.settings.lake_path / "ibkr"}
        return open_source(self.settings.market.source, options)

    @cached_property
    def bars(self) -> Lake:
        from hydra_pipelines.market.lake import Lake

        return Lake(self.settings.lake_path / "bars")

    @cached_property
    def features(self) -> Lake:
        from hydra_pipelines.market.lake import Lake

        return Lake(self.settings.lake_path / "features")

    @cached_property
    def registry(self) -> Registry:
        from hydra_pipelines.models.registry import Registry

        s = self.settings
        ui = f"http://{s.dashboard.host}:{s.dashboard.port}/mlflow/"
        return Registry(s.registry_uri, s.mlruns_path / "artifacts", ui)

    @cached_property
    def strategies(self) -> tuple[StrategySpec, ...]:
        """The deployed strategies."""
        return self._declared(("deployed",))

    @cached_property
    def candidates(self) -> tuple[StrategySpec, ...]:
        """The strategies that may be trained: all that are not retired."""
        return self._declared(("deployed", "research"))

    def _declared(self, statuses: tuple[str, ...]) -> tuple[StrategySpec, ...]:
        from hydra_pipelines.decision.signals import SignalRule
        from hydra_pipelines.models.strategies import StrategyError, StrategySpec

        out = []
        for i, s in enumerate(self.settings.strategies):
            if s.status not in statuses:
                continue
            try:
                signal = SignalRule(**s.signal.model_dump())
                out.append(StrategySpec(**{**s.model_dump(), "signal": signal}))
            except StrategyError as error:
                place = place_of(self.settings.root, ("strategies", i, *error.path))
                raise SettingsError(f"{error} ({place})" if place else str(error)) from error
        return tuple(out)

    @cached_property
    def plan_limits(self) -> PlanLimits:
        from hydra_pipelines.decision.targets import PlanLimits

        plan = self.settings.plan.model_dump()
        plan["min_order_usd"] = Decimal(str(plan["min_order_usd"]))
        return PlanLimits(
            **plan,
            max_order_notional=self.settings.risk.max_order_notional,
            allow_short=self.settings.risk.allow_short,
            price_collar=self.settings.execution.collar,
        )

    @cached_property
    def risk_limits(self) -> RiskLimits:
        from hydra_pipelines.execution.risk.limits import RiskLimits

        risk = self.settings.risk.model_dump()
        return RiskLimits(**{**risk, "restricted": frozenset(risk["restricted"])})

    @cached_property
    def gate_limits(self) -> GateLimits:
        """What the promotion gate asks of a candidate."""
        from hydra_pipelines.models.gate import GateLimits

        return GateLimits(**self.settings.promotion.model_dump())

    @property
    def slippage(self) -> SlippageModel:
        """The predictor in force: the settings', as the ledger's latest calibration corrects it."""
        if not self.ledger.path.exists():
            return self.slippage_by(None)
        with self.ledger.transaction() as tx:
            return self.slippage_by(tx)

    def slippage_by(self, rows: Rows | None) -> SlippageModel:
        """The same by an open transaction or snapshot; None for the settings alone."""
        from hydra_pipelines.execution.slippage import SlippageModel
        from hydra_pipelines.ledger import calibrations

        base = SlippageModel(**self.settings.slippage.model_dump(exclude={"window_sessions"}))
        latest = calibrations.in_force(rows, base.parameters()) if rows else None
        return SlippageModel.of(latest["after"]) if latest else base

    @cached_property
    def work(self) -> WorkSettings:
        from hydra_pipelines.execution.orders.terms import WorkSettings

        return WorkSettings(**self.settings.execution.model_dump())

    def sends_nothing(self, dry_run: bool) -> bool:
        """Whether a run with this flag is a dry run; in mode `dry_run` every run is."""
        return dry_run or self.settings.mode == "dry_run"

    @property
    def embedded(self) -> bool:
        return self.settings.broker.venue == "embedded"

    @cached_property
    def venue(self) -> VenueEndpoint:
        """The embedded gateway, started where it does not run. SettingsError in mode live."""
        from hydra_pipelines.paper_gateway.launch import GatewayOptions, ensure_running

        if self.settings.mode == "live":
            raise SettingsError(
                "mode is live and broker.venue is embedded, which is paper: set broker.venue: ibkr "
                "with all that live trading needs (docs/ibkr-setup.md), or mode: paper"
            )
        embedded, market = self.settings.embedded, self.settings.market
        options = GatewayOptions(
            account=embedded.account,
            cash=embedded.cash,
            seed=embedded.seed,
            first_session=embedded.first_session,
            idle_timeout=embedded.idle_timeout_s,
            prices=market.source,
            prices_options=self.settings.market_options,
            calendar=market.calendar,
            calendar_cache=self.settings.cache_path,
        )
        return ensure_running(self.settings.venue_path, options)

    @cached_property
    def clock(self) -> Clock:
        """Desk time: the venue's when embedded, the wall's otherwise."""
        if not self.embedded:
            return WallClock()
        from hydra_pipelines.paper_gateway.control import VenueClock

        return VenueClock(self.venue)

    @contextmanager
    def broker(self) -> Iterator[BrokerGateway]:
        """A connection to the venue, kept for the next step of the run. Raises BrokerError.

        One process of a desk has it at a time, since they share a client id: others wait, and
        raise LedgerBusy where that takes too long.
        """
        if self._gateway is None or not self._gateway.connected:
            self.close()
            lock = self.settings.data_path / BROKER_LOCK
            timeout_s = self.settings.ledger.lock_timeout_s
            self._connection.enter_context(
                exclusive(lock, timeout_s, "the connection to the broker")
            )
            try:
                self._gateway = self._connect()
            except BaseException as error:
                self._lose(error)
                raise
        try:
            yield self._gateway
        except BaseException as error:
            # Whatever went wrong, the next step starts from a connection without a past.
            self._lose(error)
            raise

    def _lose(self, error: BaseException) -> None:
        from hydra_pipelines.monitoring.connections import note_loss

        note_loss(self.control, self.settings.broker.venue, error, self._gateway)
        self.close()

    def ledger_for_step(self) -> AbstractContextManager[None]:
        """Keeps the ledger open over a step that talks to the venue.

        With the embedded venue no step waits for real, and opening the ledger anew for each of its
        transactions would be what takes longest. With IBKR orders work for minutes: there it is
        open for a transaction at a time, and others get their turn.
        """
        return self.ledger.session() if self.embedded else nullcontext()

    def close(self) -> None:
        """Drop the connection to the venue; the next use makes a new one."""
        gateway, self._gateway = self._gateway, None
        try:
            if gateway is not None:
                gateway.close()
        finally:
            self._connection.close()

    @property
    def broker_endpoint(self) -> BrokerEndpoint:
        """Where the TWS socket is; starts the embedded venue. Raises GuardRefused for a wrong
        combination of mode, port and account, as far as it can be known without a connection."""
        from hydra_pipelines.execution.broker.gateway import Endpoint
        from hydra_pipelines.execution.broker.windows import QuietHours, Window

        s, clearance = self.settings.broker, self.clearance
        host, port, account, quiet = s.host, s.port, s.account, None
        if clearance.mode == "live":
            clearance.check(host, port, account)
        if self.embedded:
            host, port, account = self.venue.host, self.venue.port, self.settings.embedded.account
        else:
            daily = tuple(Window.parse(text) for text in s.restart_windows)
            quiet = QuietHours(daily, Window.parse(s.friday_window))
        return Endpoint(
            host=host,
            port=port,
            client_id=s.client_id,
            account=account,
            connect_timeout_s=s.connect_timeout_s,
            connect_attempts=s.connect_attempts,
            request_timeout_s=s.request_timeout_s,
            zone=s.zone,
            paced=not self.embedded,
            quiet=quiet,
            clearance=clearance,
        )

    @property
    def clearance(self) -> Clearance:
        """What the guard judges connections by; a dry run reads what paper trading may."""
        from hydra_pipelines.execution.broker.guard import NOT_ASKED, Clearance

        s = self.settings
        return Clearance(
            mode="live" if s.mode == "live" else "paper",
            embedded=self.embedded,
            live_confirmed=s.live_confirmed,
            live_accounts=frozenset(s.live.accounts),
            paper_gate=self.paper_gate() if s.mode == "live" else NOT_ASKED,
            override_reason=s.live.override_reason,
        )

    def paper_gate(self) -> PaperGateVerdict:
        """Whether the weeks at IBKR paper are passed that live needs; false where unknown."""
        from hydra_pipelines.execution.broker.guard import PaperGateVerdict

        try:
            gate = self.evaluate_paper_gate("ibkr")
        except Exception as error:
            return PaperGateVerdict(False, f"it can't be evaluated: {error}")
        return PaperGateVerdict(gate.opens_live, gate.why)

    def evaluate_paper_gate(self, venue: Venue) -> PaperGate:
        """The gate on a venue's evidence, as published. Raises LedgerError and ControlError."""
        from hydra_pipelines.monitoring.paper_evidence import gate_of

        parts = self.settings, self.ledger, self.control, self.calendar, self.slippage_by
        return gate_of(venue, *parts)

    def _connect(self) -> BrokerGateway:
        from hydra_pipelines.execution.broker.gateway import BrokerGateway
        from hydra_pipelines.execution.risk.gate import RiskGate

        endpoint = self.broker_endpoint
        if endpoint.clearance.overridden:
            self._note_override(endpoint)
        gate = RiskGate(self.risk_limits, halted=lambda: self.control.kill_switch)
        gateway = BrokerGateway(endpoint, gate)
        gateway.connect()
        return gateway

    def _note_override(self, endpoint: BrokerEndpoint) -> None:
        """That live trading stands on a reason and not on a passed paper gate, at every connect."""
        self.control.note(
            "paper_gate_overridden",
            "system",
            {
                "why": endpoint.clearance.override_reason,
                "paper_gate": endpoint.clearance.paper_gate.why,
                "account": endpoint.account,
                "port": endpoint.port,
            },
        )

    def next_session_due(self) -> date:
        """The session that a cycle without an explicit one takes.

        Embedded: the one after the last that was worked to its end, in the venue's time. IBKR: the
        latest complete one.
        """
        if not self.embedded:
            return self.calendar.latest_complete(datetime.now(UTC))
        from hydra_pipelines.ledger import decisions
        from hydra_pipelines.ledger.store import LedgerMissing

        first = self.settings.embedded.first_session
        try:
            self.calendar.index(first)
        except NotASession as error:
            raise SettingsError(f"embedded.first_session: {error}") from error
        try:
            with self.ledger.snapshot() as rows:
                last = decisions.last_finished_session(rows)
        except LedgerMissing:
            return first
        return first if last is None else self.calendar.next(last)

    def last_session_worked(self) -> date | None:
        """The latest session of whose plan orders may have been sent; None before the first."""
        from hydra_pipelines.ledger import decisions
        from hydra_pipelines.ledger.store import LedgerMissing

        try:
            with self.ledger.snapshot() as rows:
                return decisions.latest_worked_session(rows)
        except LedgerMissing:
            return None

    @cached_property
    def code_version(self) -> str:
        """What is written beside models: the package's version and, in a checkout, its commit."""
        return version("hydra-pipelines") + _commit(self.settings)

    def describe(self) -> dict[str, str]:
        """Where everything is, for `hydra doctor` and `hydra status`."""
        s = self.settings
        return {
            "mode": s.mode,
            "venue": s.broker.venue,
            "data": str(s.data_path),
            "ledger": str(s.ledger_path),
            "registry": s.registry_uri,
            "dagster_home": str(s.dagster_home),
        }


def _commit(settings: Settings) -> str:
    head = settings.root / ".git" / "HEAD"
    try:
        ref = head.read_text().strip()
        if ref.startswith("ref: "):
            ref = (settings.root / ".git" / ref[5:]).read_text().strip()
    except OSError:
        return ""
    return f"+{ref[:12]}"
