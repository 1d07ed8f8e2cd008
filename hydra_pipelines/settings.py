"""Every setting of the desk, typed and documented, and nothing else.

Sources, the first that has a value wins: the environment (`HYDRA_...`, nested with two
underscores, and the usual `IBKR_...` names), `.env`, `hydra.yaml`, the defaults below.
Relative paths are relative to the folder that holds `hydra.yaml`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

PROJECT_ROOT = Path(__file__).resolve().parent.parent

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Usd = Annotated[Decimal, Field(gt=0)]

PAPER_PORTS = (4002, 7497, 4004)
LIVE_PORTS = (4001, 7496, 4003)


class SettingsError(ValueError):
    """A setting is missing, unknown or out of range; the message names it and its source."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MarketSettings(_Section):
    """Where daily bars come from."""

    source: str = "sample"
    """Name of a source: `sample` (20 US large caps, embedded)."""
    options: dict[str, Any] = {}
    """Options of the source, by its own names."""
    calendar: str = "XNYS"
    """Exchange calendar, by its `exchange_calendars` name."""


class EmbeddedVenueSettings(_Section):
    """The stand-in gateway that the desk trades against by default."""

    first_session: date = date(2019, 1, 2)
    """First signal session of a new desk; the history before it is for training."""
    account: Annotated[str, Field(pattern=r"^DU\w+$")] = "DU0000001"
    cash: Usd = Decimal("1000000.00")
    """Opening cash in USD."""
    seed: int = 7
    """Seed of the price paths and of the fill model."""
    idle_timeout_s: Positive = 600
    """The gateway process ends after so long without a client or a clock call."""


class BrokerSettings(_Section):
    """The TWS socket: the embedded stand-in, or an IB Gateway / TWS."""

    venue: Literal["embedded", "ibkr"] = "embedded"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 4002
    """4002 Gateway paper, 7497 TWS paper, 4004 paper in a container. Unused when embedded."""
    client_id: Annotated[int, Field(ge=1)] = 17
    """Fixed and never 0: client 0 adopts orders that people place by hand."""
    account: str = ""
    """Account to trade; may stay empty when the gateway reports exactly one."""
    connect_timeout_s: Positive = 4
    connect_attempts: Annotated[int, Field(ge=1)] = 3
    request_timeout_s: Positive = 10


class SignalSettings(_Section):
    """How predictions become long, flat or short."""

    method: Literal["rank", "threshold", "zscore"] = "rank"
    top_fraction: Fraction = 0.10
    bottom_fraction: Fraction = 0.0
    threshold: float = 0.0
    zscore: Positive = 1.0
    allow_short: bool = False


class StrategySettings(_Section):
    """One hypothesis: what it looks at, how it is trained, how it is traded."""

    id: Annotated[str, Field(pattern=r"^[A-Z]+-\d{4}-\d{3}$")]
    title: Annotated[str, Field(min_length=1)]
    family: Literal["ridge", "momentum"]
    features: Annotated[tuple[str, ...], Field(min_length=1)]
    label_horizon: Annotated[int, Field(ge=1, le=63)] = 5
    """Sessions over which the predicted return is earned."""
    parameters: dict[str, Any] = {}
    signal: SignalSettings = SignalSettings()
    capital_weight: Annotated[float, Field(gt=0, le=1)] = 1.0
    status: Literal["research", "deployed", "retired"] = "research"


class PlanSettings(_Section):
    """Limits of the target portfolio and of the order plan."""

    max_positions: Annotated[int, Field(ge=1)] = 20
    max_position_weight: Fraction = 0.10
    position_headroom: Fraction = 0.05
    """Targets stop short of the position limit by this share of it, to leave room for drift."""
    gross_cap: Positive = 1.0
    net_cap: Positive = 1.0
    min_order_usd: Positive = 100
    turnover_band: Fraction = 0.005
    """Differences below this share of equity are not traded."""
    cash_buffer: Fraction = 0.0025
    max_adv_share: Fraction = 0.01
    lot: Annotated[int, Field(ge=1)] = 1
    buy_funding: Literal["sells_first", "confirmed_cash"] = "sells_first"


class SlippageSettings(_Section):
    """The square-root law that predicts the cost of an order."""

    half_spread_bps: Positive = 2.0
    y: Positive = 0.7
    """Coefficient of the impact, without a unit."""
    assumed_adv_usd: Positive = 500_000_000
    """Average daily dollar volume where the data has no volume."""
    assumed_sigma_daily: Positive = 0.02
    """Daily volatility where the history is too short to measure it."""


class RiskSettings(_Section):
    """Pre-trade limits and circuit breakers of the risk gate."""

    max_order_notional: Usd = Decimal("250000")
    max_position_weight: Fraction = 0.10
    max_positions: Annotated[int, Field(ge=1)] = 20
    gross_cap: Positive = 1.0
    net_cap: Positive = 1.0
    cash_buffer: Fraction = 0.0025
    max_adv_share: Fraction = 0.01
    collar_last_close: Fraction = 0.10
    """How far a limit price may be from the last close."""
    collar_quote: Fraction = 0.01
    """How far a limit price may go beyond the quote, on the costly side."""
    max_orders_per_minute: Annotated[int, Field(ge=1)] = 120
    max_quote_age_s: Positive = 60
    allow_short: bool = False
    restricted: tuple[str, ...] = ()
    daily_loss: Fraction = 0.02
    drawdown: Fraction = 0.10
    single_trade_loss: Fraction = 0.01
    rejects_in_a_row: Annotated[int, Field(ge=1)] = 5
    max_data_age_sessions: Annotated[int, Field(ge=0)] = 3


class ExecutionSettings(_Section):
    """When and how the plan is worked."""

    start: time = time(9, 35)
    """New York time of the execution session from which orders are sent."""
    work_minutes: Annotated[int, Field(ge=1, le=390)] = 30
    """An order is worked for so long; what is left is cancelled and said."""
    collar: Annotated[float, Field(gt=0, le=0.05)] = 0.005
    """A marketable limit reaches this share of the price beyond the far touch."""


class LedgerSettings(_Section):
    lock_timeout_s: Positive = 30
    """How long a writer waits for another before it gives up with an error."""


class _IbkrEnvironment(EnvSettingsSource):
    """Maps the names that IBKR tools commonly use onto `broker.*`."""

    NAMES: ClassVar[dict[str, str]] = {
        "IBKR_HOST": "host",
        "IBKR_PORT": "port",
        "IBKR_CLIENT_ID": "client_id",
        "IBKR_ACCOUNT": "account",
    }

    def __init__(self, settings_cls: type[BaseSettings], values: Mapping[str, str | None]):
        self._values = values
        super().__init__(settings_cls)

    def __call__(self) -> dict[str, Any]:
        broker = {
            field: self._values[name]
            for name, field in self.NAMES.items()
            if self._values.get(name)
        }
        out: dict[str, Any] = {"broker": broker} if broker else {}
        paper = (self._values.get("IBKR_PAPER_TRADING") or "").strip().lower()
        if paper in ("false", "0", "no"):
            out["mode"] = "live"
        elif paper not in ("", "true", "1", "yes"):
            raise SettingsError(
                f"IBKR_PAPER_TRADING is {paper!r}; it takes true or false (unset means true)"
            )
        return out


class Settings(BaseSettings):
    """All settings of one desk. Made by `load_settings`, immutable afterwards."""

    model_config = SettingsConfigDict(
        env_prefix="HYDRA_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    root: Path = PROJECT_ROOT
    """Folder that relative paths start from: where `hydra.yaml` is."""
    mode: Literal["dry_run", "paper", "live"] = "paper"
    data_dir: Path = Path("data")
    mlflow_uri: str = ""
    """Tracking server or store; empty means SQLite under `mlruns/` beside the data folder."""
    market: MarketSettings = MarketSettings()
    embedded: EmbeddedVenueSettings = EmbeddedVenueSettings()
    broker: BrokerSettings = BrokerSettings()
    strategies: tuple[StrategySettings, ...] = ()
    plan: PlanSettings = PlanSettings()
    slippage: SlippageSettings = SlippageSettings()
    risk: RiskSettings = RiskSettings()
    execution: ExecutionSettings = ExecutionSettings()
    ledger: LedgerSettings = LedgerSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        ids = [s.id for s in self.strategies]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"strategies: id {', '.join(twice)} is used more than once")
        deployed = sum(s.capital_weight for s in self.strategies if s.status == "deployed")
        if deployed > 1 + 1e-9:
            raise ValueError(
                f"strategies: capital_weight of the deployed ones adds up to {deployed:g}; "
                "at most 1 can be given away"
            )
        return self

    @property
    def data_path(self) -> Path:
        return (self.root / self.data_dir).resolve()

    @property
    def lake_path(self) -> Path:
        return self.data_path / "lake"

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
    def deployed(self) -> tuple[StrategySettings, ...]:
        return tuple(s for s in self.strategies if s.status == "deployed")


def load_settings(root: Path | None = None, **overrides: Any) -> Settings:
    """The settings of the desk at `root` (default: `HYDRA_ROOT`, else this checkout).

    overrides: values that win over every other source, by field name.
    Raises SettingsError that names each bad value and where it is.
    """
    root = Path(root or os.environ.get("HYDRA_ROOT") or PROJECT_ROOT).resolve()
    yaml_file, env_file = root / "hydra.yaml", root / ".env"

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            dotenv = _DotEnv(settings_cls, env_file=env_file)
            return (
                init_settings,
                env_settings,
                _IbkrEnvironment(settings_cls, {**dotenv.upper(), **os.environ}),
                dotenv,
                YamlConfigSettingsSource(settings_cls, yaml_file=yaml_file),
            )

    try:
        loaded = Loaded(root=root, **overrides)
    except ValidationError as error:
        where = f"{yaml_file.name}, {env_file.name} or the environment"
        lines = [
            f"  {'.'.join(str(part) for part in e['loc']) or 'settings'}: "
            f"{e['msg'].removeprefix('Value error, ')}"
            + (f" (got {e['input']!r})" if e["type"] != "value_error" else "")
            for e in error.errors()
        ]
        raise SettingsError(f"settings of {root} ({where}):\n" + "\n".join(lines)) from error
    except SettingsError:
        raise
    except Exception as error:
        raise SettingsError(f"{yaml_file} can't be read: {error}") from error
    return Settings.model_construct(**{k: getattr(loaded, k) for k in Settings.model_fields})


class _DotEnv(DotEnvSettingsSource):
    """`.env` holds other tools' names too: only `HYDRA_...` of it are settings of ours."""

    def __call__(self) -> dict[str, Any]:
        known = {name.lower() for name in self.settings_cls.model_fields}
        return {k: v for k, v in super().__call__().items() if k.lower() in known}

    def upper(self) -> dict[str, str | None]:
        return {k.upper(): v for k, v in self.env_vars.items()}
