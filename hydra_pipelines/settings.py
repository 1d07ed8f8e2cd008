"""Every setting of the desk, typed and documented, and nothing else.

Sources, the first that has a value wins: the environment (`HYDRA_...`, nested with two
underscores), the usual `IBKR_...` names there or in `.env`, `.env`, `hydra.yaml`, the defaults
below. Relative paths are relative to the folder that holds `hydra.yaml`.
"""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as UnreadableValue

PROJECT_ROOT = Path(__file__).resolve().parent.parent
PREFIX = "HYDRA_"

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Exposure = Annotated[float, Field(gt=0, le=10)]
"""A multiple of equity."""
Usd = Annotated[Decimal, Field(gt=0)]
DailyWindow = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")]


class SettingsError(ValueError):
    """A setting is missing, unknown or out of range; the message names it and its source."""


class _Section(BaseModel):
    # An infinite limit would be none, and comparisons with NaN are never true.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class AcceptedMove(_Section):
    """A move beyond 40 % without a corporate action that a person has found to be real."""

    symbol: Annotated[str, Field(min_length=1)]
    session: date
    reason: Annotated[str, Field(min_length=1)]


class MarketSettings(_Section):
    """Where daily bars come from."""

    source: str = "sample"
    """`sample` (20 US large caps, embedded), `files` (CSV or Parquet), `ibkr` or `yfinance`."""
    options: dict[str, Any] = {}
    """Options of the source, by its own names."""
    calendar: str = "XNYS"
    """Exchange calendar, by its `exchange_calendars` name."""
    accepted_moves: tuple[AcceptedMove, ...] = ()
    """Moves that would otherwise stop their session as unadjusted splits."""


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
    zone: str = "America/New_York"
    """Time zone of the gateway's log-in: times that it writes without a zone are meant in it."""
    restart_windows: tuple[DailyWindow, ...] = ("23:40-00:15", "00:15-01:45")
    """New York time of every day in which IB restarts and nothing is submitted. Not embedded."""
    friday_window: DailyWindow = "23:00-03:00"
    """The same for the night from Friday to Saturday."""


class SignalSettings(_Section):
    """How predictions become long, flat or short."""

    method: Literal["rank", "threshold", "zscore"] = "rank"
    top_fraction: Fraction = 0.10
    bottom_fraction: Fraction = 0.0
    threshold: Annotated[float, Field(ge=0)] = 0.0
    zscore: Positive = 1.0
    allow_short: bool = False


class StrategySettings(_Section):
    """One hypothesis: what it looks at, how it is trained, how it is traded."""

    id: Annotated[str, Field(pattern=r"^[A-Z]{2,8}-[0-9]{4}-[0-9]{3}$")]
    title: Annotated[str, Field(min_length=1)]
    family: Literal["ridge", "momentum"]
    features: Annotated[tuple[str, ...], Field(min_length=1)]
    label_horizon: Annotated[int, Field(ge=1, le=63)] = 5
    """Sessions over which the predicted return is earned."""
    parameters: dict[str, float] = {}
    signal: SignalSettings = SignalSettings()
    capital_weight: Annotated[float, Field(gt=0, le=1)] = 1.0
    status: Literal["research", "deployed", "retired"] = "research"


class PlanSettings(_Section):
    """Limits of the target portfolio and of the order plan."""

    max_positions: Annotated[int, Field(ge=1)] = 20
    max_position_weight: Fraction = 0.10
    position_headroom: Fraction = 0.05
    """Targets stop short of the position limit by this share of it, to leave room for drift."""
    gross_cap: Exposure = 1.0
    net_cap: Exposure = 1.0
    min_order_usd: Usd = Decimal(100)
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
    gross_cap: Exposure = 1.0
    net_cap: Exposure = 1.0
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


class Settings(BaseSettings):
    """All settings of one desk. Made by `load_settings`, immutable afterwards."""

    # Made directly it takes what it is given, and looks nowhere else.
    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, **_: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
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
    def deployed(self) -> tuple[StrategySettings, ...]:
        return tuple(s for s in self.strategies if s.status == "deployed")


def load_settings(root: Path | None = None, **overrides: Any) -> Settings:
    """The settings of the desk at `root` (default: `HYDRA_ROOT`, else this checkout).

    overrides: values that win over every other source, by field name.
    Raises SettingsError that names each bad value and where it is.
    """
    root = Path(root or os.environ.get("HYDRA_ROOT") or PROJECT_ROOT).expanduser().resolve()
    if not root.is_dir():
        raise SettingsError(f"there is no folder {root}: set HYDRA_ROOT to where hydra.yaml is")
    dotenv = _DotEnv(Settings, env_file=root / ".env")
    names = {**dotenv.upper(), **os.environ}
    _reject_strange_names(dotenv.upper(), ".env")
    _reject_strange_names(os.environ, "the environment")
    try:
        sources = {
            "the call": {"root": root, **overrides},
            "the environment": EnvSettingsSource(Settings)(),
            "the IBKR_ names": _from_ibkr_names(names),
            ".env": dotenv(),
            "hydra.yaml": _read_yaml(root / "hydra.yaml"),
        }
        settings = Settings(**functools.reduce(_over, sources.values()))
    except UnreadableValue as error:
        raise SettingsError(
            f"{error}: there, lists and whole sections are written in JSON, and a single value of "
            f"a section as {PREFIX}SECTION__NAME"
        ) from error
    except ValidationError as error:
        lines = [_explained(found, sources) for found in error.errors()]
        raise SettingsError(f"settings of {root}:\n" + "\n".join(lines)) from error
    if settings.mode == "live" and _is_paper(names):
        raise SettingsError("mode is live but IBKR_PAPER_TRADING is true: change one of them")
    return settings


class _DotEnv(DotEnvSettingsSource):
    """`.env` holds other tools' names too: only `HYDRA_...` of it are settings of ours."""

    def __call__(self) -> dict[str, Any]:
        return {k: v for k, v in super().__call__().items() if k in self.settings_cls.model_fields}

    def upper(self) -> dict[str, str]:
        return {name.upper(): value or "" for name, value in self.env_vars.items()}


def _from_ibkr_names(names: Mapping[str, str]) -> dict[str, Any]:
    """Settings by the names that IBKR tools commonly use."""
    broker = {
        field: names[f"IBKR_{field.upper()}"]
        for field in ("host", "port", "client_id", "account")
        if names.get(f"IBKR_{field.upper()}")
    }
    out: dict[str, Any] = {"broker": broker} if broker else {}
    return {**out, "mode": "live"} if _is_paper(names) is False else out


def _is_paper(names: Mapping[str, str]) -> bool | None:
    """What IBKR_PAPER_TRADING says; None where it says nothing."""
    text = names.get("IBKR_PAPER_TRADING", "").strip().lower()
    if text not in ("", "true", "1", "yes", "false", "0", "no"):
        raise SettingsError(
            f"IBKR_PAPER_TRADING is {text!r}; it takes true or false (unset means true)"
        )
    return text in ("true", "1", "yes") if text else None


def _over(high: dict[str, Any], low: Mapping[str, Any]) -> dict[str, Any]:
    """Two sources as one; where both have a value the first one's is kept."""
    out = {**low, **high}
    for name in high.keys() & low.keys():
        if isinstance(high[name], dict) and isinstance(low[name], dict):
            out[name] = _over(high[name], low[name])
    return out


def _reject_strange_names(names: Iterable[str], place: str) -> None:
    """Refuse what looks like one of our settings and is none; other tools' names pass."""
    fields = [name.upper() for name in Settings.model_fields]
    sections = [
        name.upper()
        for name, field in Settings.model_fields.items()
        if isinstance(field.default, _Section)
    ]
    for name in sorted(names):
        given = name.upper().removeprefix(PREFIX)
        if given == name.upper() or given.partition("__")[0] in fields:
            continue
        section = next((s for s in sections if given.startswith(f"{s}_")), None)
        if section:
            meant = [f"{section}__{given.removeprefix(section).lstrip('_')}"]
        else:
            meant = difflib.get_close_matches(given, fields, n=1, cutoff=0.75)
        if meant:
            raise SettingsError(
                f"{name} in {place} is not a setting; did you mean {PREFIX}{meant[0]}?"
            )


def _read_yaml(path: Path) -> dict[str, Any]:
    """The content of `hydra.yaml`; empty where there is no such file."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a key that is given twice, of which YAML would silently take the last."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise SettingsError(f"{path}, line {line}: {key.value} is given twice")
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} can't be read: {error}") from error
    if content is not None and not isinstance(content, dict):
        raise SettingsError(f"{path} holds no settings by name, but a {type(content).__name__}")
    return content or {}


def _explained(found: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]]) -> str:
    """One line for one error: the setting, the place it comes from, what is wrong, the value."""
    path = tuple(found["loc"])
    place = next((name for name, values in sources.items() if _holds(values, path)), None)
    text = f"  {'.'.join(str(part) for part in path) or 'settings'}"
    text += f" (in {place})" if path and place else ""
    if found["type"] == "extra_forbidden":
        return f"{text}: there is no such setting"
    if found["type"] == "value_error":
        return f"{text}: {found['msg'].removeprefix('Value error, ')}"
    return f"{text}: {found['msg']} (got {found['input']!r})"


def _holds(values: Any, path: Sequence[str | int]) -> bool:
    """Whether nested settings have a value at a path."""
    try:
        for part in path:
            values = values[part]
    except (KeyError, IndexError, TypeError):
        return False
    return True
