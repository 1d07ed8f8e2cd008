"""All settings of one desk as one object, what follows from them, and whether they fit together."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from hydra_pipelines.settings.agent import AgentSettings
from hydra_pipelines.settings.dashboard import DashboardSettings
from hydra_pipelines.settings.families import refusal
from hydra_pipelines.settings.monitoring import MonitoringSettings
from hydra_pipelines.settings.operations import RetentionSettings, UpSettings
from hydra_pipelines.settings.paper_gate import PaperGateSettings
from hydra_pipelines.settings.scale import DagsterSettings
from hydra_pipelines.settings.schedule import ScheduleSettings
from hydra_pipelines.settings.sections import (
    AlertSettings,
    BrokerSettings,
    EmbeddedVenueSettings,
    ExecutionSettings,
    LedgerSettings,
    LiveSettings,
    MarketSettings,
    PlanSettings,
    PromotionSettings,
    RiskSettings,
    SlippageSettings,
    StrategySettings,
)

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent
PREFIX = "HYDRA_"


class Settings(BaseSettings):
    """All settings of one desk. Made by `load_settings`, immutable afterwards."""

    # Made directly it takes what it is given, and looks nowhere else.
    @classmethod
    def settings_customise_sources(  # type: ignore[override]
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, **_: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    root: Path = PROJECT_ROOT
    """Folder that relative paths start from: where `hydra.yaml` is."""
    mode: Literal["dry_run", "paper", "live"] = "paper"
    """`dry_run`: nothing is sent; `paper`; `live`: IBKR live, behind the live guard."""
    live_confirmed: bool = False
    """One of the confirmations that mode live needs; only HYDRA_LIVE_CONFIRMED sets it."""
    data_dir: Path = Path("data")
    """Folder of everything that the desk writes."""
    mlflow_uri: str = ""
    """Tracking server or store; empty means SQLite under `mlruns/` beside the data folder."""
    market: MarketSettings = MarketSettings()
    embedded: EmbeddedVenueSettings = EmbeddedVenueSettings()
    broker: BrokerSettings = BrokerSettings()
    live: LiveSettings = LiveSettings()
    strategies: tuple[StrategySettings, ...] = ()
    """What is traded, and what is only tried: `strategies`, further down."""
    promotion: PromotionSettings = PromotionSettings()
    agent: AgentSettings = AgentSettings()
    plan: PlanSettings = PlanSettings()
    slippage: SlippageSettings = SlippageSettings()
    risk: RiskSettings = RiskSettings()
    execution: ExecutionSettings = ExecutionSettings()
    ledger: LedgerSettings = LedgerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    alerts: AlertSettings = AlertSettings()
    up: UpSettings = UpSettings()
    retention: RetentionSettings = RetentionSettings()
    paper_gate: PaperGateSettings = PaperGateSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    dashboard: DashboardSettings = DashboardSettings()
    dagster: DagsterSettings = DagsterSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        ids = [s.id for s in self.strategies]
        wrong: dict[tuple[str | int, ...], str] = {
            ("strategies", i, "id"): f"{one} is used more than once"
            for i, one in enumerate(ids)
            if one in ids[:i]
        }
        deployed = sum(s.capital_weight for s in self.strategies if s.status == "deployed")
        if deployed > 1 + 1e-9:
            wrong["strategies",] = (
                f"capital_weight of the deployed ones adds up to {deployed:g}; "
                "at most 1 can be given away"
            )
        evening, made = self.execution.evening_tick, self.schedule.order_plan
        if evening is not None and evening <= made:
            wrong["execution", "evening"] = (
                f"{evening:%H:%M} is not after schedule.order_plan, {made:%H:%M}: with "
                "execution.send: evening there would be no plan to send"
            )
        wrong |= self._limits_beyond_the_gates()
        if wrong:
            raise refusal("Settings", wrong)
        return self

    def _limits_beyond_the_gates(self) -> dict[tuple[str | int, ...], str]:
        """What the desk may plan or send, and its risk gate would deny."""
        plan, risk, collar = self.plan, self.risk, self.execution.collar
        wrong: dict[tuple[str | int, ...], str] = {}
        for name in ("max_positions", "max_position_weight", "gross_cap", "net_cap"):
            planned, allowed = getattr(plan, name), getattr(risk, name)
            if planned > allowed:
                wrong["plan", name] = f"{planned} is above risk.{name}, {allowed}"
        if plan.cash_buffer < risk.cash_buffer:
            wrong["plan", "cash_buffer"] = (
                f"{plan.cash_buffer} is below risk.cash_buffer, {risk.cash_buffer}"
            )
        if collar > risk.collar_quote:
            wrong["execution", "collar"] = (
                f"{collar} is above risk.collar_quote, {risk.collar_quote}"
            )
        return {
            path: f"{text}: the risk gate would deny what this allows; change one of them"
            for path, text in wrong.items()
        }

    @property
    def data_path(self) -> Path:
        return (self.root / self.data_dir.expanduser()).resolve()

    @property
    def lake_path(self) -> Path:
        return self.data_path / "lake"

    @property
    def market_options(self) -> dict[str, Any]:
        """Options of the source, its path made absolute."""
        options = dict(self.market.options)
        if "path" in options:
            options["path"] = str(self.root / Path(options["path"]).expanduser())
        return options

    @property
    def ledger_path(self) -> Path:
        return self.data_path / "hydra.duckdb"

    @property
    def control_path(self) -> Path:
        return self.data_path / "control.sqlite"

    @property
    def cache_path(self) -> Path:
        return self.data_path / "cache"

    @property
    def dagster_home(self) -> Path:
        return self.data_path / "dagster"

    @property
    def venue_path(self) -> Path:
        return self.data_path / "paper"

    @property
    def mlruns_path(self) -> Path:
        """`mlruns/` of the checkout, or beside the stores of a desk that lives elsewhere."""
        if self.data_path == (self.root / "data").resolve():
            return self.root / "mlruns"
        return self.data_path / "mlruns"

    @property
    def registry_uri(self) -> str:
        return self.mlflow_uri or f"sqlite:///{self.mlruns_path / 'mlflow.db'}"

    @property
    def what_is_traded(self) -> str:
        """A hash of the settings that decide what is traded, how much of it, and how."""
        decisive = {
            "risk": self.risk.model_dump(mode="json"),
            "plan": self.plan.model_dump(mode="json"),
            "execution": self.execution.model_dump(mode="json"),
            "slippage": self.slippage.model_dump(mode="json"),
            "strategies": [strategy.model_dump(mode="json") for strategy in self.deployed],
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def deployed(self) -> tuple[StrategySettings, ...]:
        return tuple(s for s in self.strategies if s.status == "deployed")
