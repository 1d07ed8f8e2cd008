"""The sections of the settings: every value typed, with its default and what it means.

Where values come from is `load`'s business, what they add up to `model`'s.
"""

from __future__ import annotations

from datetime import date, time
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_serializer, field_validator

from hydra_pipelines.settings.families import FAMILIES, Positive, Section

Fraction = Annotated[float, Field(ge=0, le=1)]
Exposure = Annotated[float, Field(gt=0, le=10)]
"""A multiple of equity."""
Symbol = Annotated[str, Field(min_length=1)]
Usd = Annotated[Decimal, Field(gt=0)]
LatchedBreaker = Literal["daily_loss", "drawdown", "trade_loss", "order_rejects"]
DailyWindow = Annotated[
    str,
    Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$", examples=["23:40-00:15"]),
]


class AcceptedMove(Section):
    """A move beyond 40 % without a corporate action that a person has found to be real."""

    symbol: Symbol
    """The symbol that moved."""
    session: date
    """The session in which it moved."""
    reason: Annotated[str, Field(min_length=1)]
    """Why the move is real."""


class MarketSettings(Section):
    """Where daily bars come from."""

    source: str = "sample"
    """`sample` (20 US large caps, embedded), `files` (CSV or Parquet), `ibkr` or `yfinance`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the source, by its own names."""
    calendar: str = "XNYS"
    """Exchange calendar, by its `exchange_calendars` name."""
    accepted_moves: tuple[AcceptedMove, ...] = ()
    """Moves that would otherwise stop their session as unadjusted splits."""


class EmbeddedVenueSettings(Section):
    """The stand-in gateway that the desk trades against by default."""

    first_session: date = date(2019, 1, 2)
    """First signal session of a new desk; the history before it is for training."""
    account: Annotated[str, Field(pattern=r"^DU\w+$", examples=["DU0000001"])] = "DU0000001"
    """Its account; paper accounts begin with DU."""
    cash: Usd = Decimal("1000000.00")
    """Opening cash in USD."""
    seed: int = 7
    """Seed of the price paths and of the fill model."""
    idle_timeout_s: Positive = 600
    """The gateway process ends after so long without a client or a clock call."""


class BrokerSettings(Section):
    """The TWS socket: the embedded stand-in, or an IB Gateway / TWS."""

    venue: Literal["embedded", "ibkr"] = "embedded"
    """`embedded`: the stand-in gateway of this project; `ibkr`: an IB Gateway or TWS."""
    host: str = "127.0.0.1"
    """Where the gateway listens. Unused when embedded."""
    port: Annotated[int, Field(ge=1, le=65535)] = 4002
    """4002 Gateway, 7497 TWS, 4004 in a container; live: 4001, 7496, 4003. Unused when embedded."""
    client_id: Annotated[int, Field(ge=1)] = 17
    """Fixed and never 0: client 0 adopts orders that people place by hand."""
    account: str = ""
    """Account to trade; may stay empty when the gateway reports exactly one."""
    connect_timeout_s: Positive = 4
    """How long one attempt to connect may take."""
    connect_attempts: Annotated[int, Field(ge=1)] = 3
    """Attempts before the broker is said to be down."""
    request_timeout_s: Positive = 10
    """How long a complete reply is waited for; without one nothing is concluded."""
    zone: str = "America/New_York"
    """Time zone of the gateway's log-in: times that it writes without a zone are meant in it."""
    restart_windows: tuple[DailyWindow, ...] = ("23:40-00:15", "00:15-01:45")
    """New York time of every day in which IB restarts and nothing is submitted. Not embedded."""
    friday_window: DailyWindow = "23:00-03:00"
    """The same for the night from Friday to Saturday."""


class LiveSettings(Section):
    """What mode live needs beside HYDRA_LIVE_CONFIRMED, a live port and a passed paper gate."""

    accounts: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Accounts that may be traded live, by their whole id; none of them begins with D."""
    override_reason: str = ""
    """Why to trade live though the paper gate is not passed; noted at every connect."""

    @field_validator("accounts")
    @classmethod
    def _no_paper_account(cls, accounts: tuple[str, ...]) -> tuple[str, ...]:
        for account in accounts:
            if account.upper().startswith("D"):
                raise ValueError(f"{account} is a paper account (these begin with D)")
        return accounts


class AlertSettings(Section):
    """Where a person is told of what can't wait."""

    urls: tuple[SecretStr, ...] = ()
    """Channels as URLs of `apprise`; they hold secrets, so only HYDRA_ALERTS__URLS sets them."""
    rate_per_hour: Annotated[int, Field(ge=1)] = 20
    """More than so many alerts within an hour are kept and not sent."""
    repeat_after_s: Annotated[float, Field(ge=0)] = 6 * 3600
    """The same alert is sent again after so long at the earliest."""


class SignalSettings(Section):
    """How predictions become long, flat or short."""

    method: Literal["rank", "threshold", "zscore", "all"] = "rank"
    """By rank among the session's names, by the prediction itself, or by its z-score among them.
    `all` is for the family `equal_weight`: long in every member, whatever the prediction."""
    top_fraction: Fraction = 0.10
    """Method `rank`: the best this share of the names is long, one at least; 0 takes none."""
    bottom_fraction: Fraction = 0.0
    """Method `rank`: the worst this share is short, where shorts are allowed."""
    threshold: Annotated[float, Field(ge=0)] = 0.0
    """Method `threshold`: long above it, short below its negative, in the prediction's unit."""
    zscore: Positive = 1.0
    """Method `zscore`: long where the prediction is so many deviations above the mean."""
    allow_short: bool = False
    """Without it every short signal is flat."""


class StrategySettings(Section):
    """One hypothesis: what it looks at, how it is trained, how it is traded."""

    id: Annotated[str, Field(pattern=r"^[A-Z]{2,8}-[0-9]{4}-[0-9]{3}$", examples=["HYP-2026-001"])]
    """Also the name of the registered model."""
    title: Annotated[str, Field(min_length=1)]
    """The hypothesis, in a sentence."""
    universe: tuple[Symbol, ...] = ()
    """Symbols that it learns from and trades; `all`, or nothing: the members of the session."""
    family: Literal["ridge", "hist_gradient_boosting", "momentum", "equal_weight"]
    """The kind of model; its parameters are in the tables below."""
    features: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names from the catalogue (`hydra features show`), with `_rank` or `_z` for those forms."""
    label_horizon: Annotated[int, Field(ge=1, le=63)] = 5
    """Sessions over which the predicted return is earned."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """The family's, see the tables below; what is not given has its default."""
    signal: SignalSettings = SignalSettings()
    """How its predictions become long, flat or short; the next table."""
    capital_weight: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the desk's capital; those of the deployed strategies add up to 1 at most."""
    status: Literal["research", "deployed", "retired"] = "research"
    """Only `deployed` ones are trained by the desk, predict and trade."""

    @field_validator("universe", mode="before")
    @classmethod
    def _symbols(cls, given: Any) -> Any:
        if given == "all":
            return ()
        if isinstance(given, str) or given == []:
            raise ValueError("write a list of symbols, or all")
        return given

    @field_serializer("universe", when_used="json")
    def _written(self, symbols: tuple[str, ...]) -> str | tuple[str, ...]:
        """As it is read: an empty list in a file is a slip, and refused."""
        return symbols or "all"

    @field_validator("parameters")
    @classmethod
    def _of_the_family(cls, given: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        family = info.data.get("family")
        if family is None:
            return given
        # Its errors name the parameter; pydantic puts our own place before.
        made = FAMILIES[family](**given)
        return {name: getattr(made, name) for name in given}


class PromotionSettings(Section):
    """What a candidate has to hold before the gate says that it beats the champion."""

    min_sessions: Annotated[int, Field(ge=2)] = 504
    """Sessions out of sample; fewer are not enough to judge by."""
    margin: Fraction = 0.005
    """The lower bound of the annual net difference to the champion has to be above this."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """One-sided, of that bound."""
    block_sessions: Annotated[int, Field(ge=1)] = 21
    """Length of the bootstrap's blocks; longer than the label's horizon."""
    resamples: Annotated[int, Field(ge=100)] = 2000
    """Bootstrap resamples behind that bound."""
    min_deflated_sharpe: Fraction = 0.95
    """Probability that the Sharpe ratio is not the luck of the best of all trials."""
    max_turnover: Positive = 60
    """One way, a year, as a multiple of equity."""
    max_drawdown: Fraction = 0.60
    """Worst loss from a peak in the simulation."""
    max_adv_share: Fraction = 0.01
    """Largest order of the simulation over the average daily value traded."""
    max_rank_ic: Fraction = 0.1
    """Above it, a leak is more likely than a discovery."""
    max_sharpe: Positive = 2.5
    """The same for the Sharpe ratio."""


class PlanSettings(Section):
    """Limits of the target portfolio and of the order plan."""

    max_positions: Annotated[int, Field(ge=1)] = 20
    """Names held at most."""
    max_position_weight: Fraction = 0.10
    """Largest position, of equity."""
    position_headroom: Fraction = 0.05
    """Targets stop short of the position limit by this share of it, to leave room for drift."""
    gross_cap: Exposure = 1.0
    """Long and short positions together, at most, of equity."""
    net_cap: Exposure = 1.0
    """Long less short positions, at most, of equity."""
    min_order_usd: Usd = Decimal(100)
    """Smaller orders are not planned."""
    turnover_band: Fraction = 0.005
    """Differences below this share of equity are not traded."""
    cash_buffer: Fraction = 0.0025
    """Share of equity that stays in cash."""
    max_adv_share: Fraction = 0.01
    """Largest order, of the average daily volume."""
    lot: Annotated[int, Field(ge=1)] = 1
    """Orders are multiples of so many shares."""
    buy_funding: Literal["sells_first", "confirmed_cash"] = "sells_first"
    """Buys count on the plan's own sells, or on the cash alone that is there already."""


class SlippageSettings(Section):
    """The square-root law that predicts the cost of an order.

    `hydra calibrate-slippage` corrects it from the fills. A calibration holds only as long as the
    predictor's values here stay what they were when it was made: what a person writes wins.
    """

    half_spread_bps: Positive = 2.0
    """Half of the spread where no quote is known: in the plan, before its orders are sent."""
    y: Positive = 0.7
    """Coefficient of the impact, without a unit."""
    assumed_adv_usd: Positive = 500_000_000
    """Average daily dollar volume where the data has no volume."""
    assumed_sigma_daily: Positive = 0.02
    """Daily volatility where the history is too short to measure it."""
    window_sessions: Annotated[int, Field(ge=1)] = 250
    """So many execution sessions back fills are compared with what was predicted of them."""


class RiskSettings(Section):
    """Pre-trade limits and circuit breakers of the risk gate."""

    max_order_notional: Usd = Decimal("250000")
    """Value of one order at its limit price, at most."""
    max_position_weight: Fraction = 0.10
    """Largest position with the order filled, of equity."""
    max_positions: Annotated[int, Field(ge=1)] = 20
    """Names held at most, with the order filled."""
    gross_cap: Exposure = 1.0
    """Long and short positions together, with the order filled, of equity."""
    net_cap: Exposure = 1.0
    """Long less short positions, with the order filled, of equity."""
    cash_buffer: Fraction = 0.0025
    """Share of equity in cash that no buy may touch."""
    max_adv_share: Fraction = 0.01
    """One order and what works on its side, of the average daily volume."""
    collar_last_close: Fraction = 0.10
    """How far a limit price may be from the last close."""
    collar_quote: Fraction = 0.01
    """How far a limit price may go beyond the quote, on the costly side."""
    max_orders_per_minute: Annotated[int, Field(ge=1)] = 120
    """More are denied."""
    max_quote_age_s: Positive = 60
    """An older quote is none, and the order is denied."""
    allow_short: bool = False
    """Whether an order may take a position below zero."""
    restricted: tuple[str, ...] = ()
    """Symbols in which nothing may add risk."""
    daily_loss: Fraction = 0.02
    """Breaker: loss of the session, of its opening equity."""
    drawdown: Fraction = 0.10
    """Breaker: loss from the peak of equity."""
    single_trade_loss: Fraction = 0.01
    """Breaker: realised loss of one trade, of the session's opening equity."""
    rejects_in_a_row: Annotated[int, Field(ge=1)] = 5
    """Breaker: orders that the broker rejected, one after another."""
    max_data_age_sessions: Annotated[int, Field(ge=0)] = 3
    """Breaker: the newest bar is more than so many sessions old."""
    auto_reset: tuple[LatchedBreaker, ...] = ("daily_loss",)
    """Breakers that the next session resets by itself; the others wait for a person."""
    reset_margin: Fraction = 0.25
    """A breaker that a person reset trips again once worse than then by this share of its limit."""


class ExecutionSettings(Section):
    """When and how the plan is worked."""

    start: time = time(9, 35)
    """New York time of the execution session from which orders are sent."""
    send: Literal["open", "evening"] = "open"
    """`open`: orders are sent from `start` on. `evening`: the evening before, as DAY limits within
    `collar` of the last close, to rest for the open; from `start` on what is left is worked. What
    is to be sliced, and buys that need the proceeds of sales, are sent from `start` on anyway."""
    evening: time = time(18, 35)
    """New York time, after `schedule.order_plan`, from which orders are sent in the evening."""
    work_minutes: Annotated[int, Field(ge=1, le=390)] = 30
    """An order (of a TWAP, a slice) is worked for so long; what is left is cancelled and said."""
    routing: Literal["auto", "market"] = "auto"
    """`auto`: limit-patience, or TWAP where an order is large or its contract thin. `market`: what
    a market order would be for, as a marketable limit at once."""
    collar: Annotated[float, Field(gt=0, le=0.05)] = 0.005
    """A marketable limit reaches this share of the price beyond the far touch."""
    rest_at: Literal["mid", "near_touch"] = "mid"
    """Where limit-patience begins."""
    patience_s: Annotated[float, Field(ge=0)] = 300
    """Seconds that it rests there."""
    steps: Annotated[int, Field(ge=1, le=20)] = 4
    """Steps from there to the far touch; the last one goes as far beyond it as `collar` says."""
    step_s: Positive = 60
    """Seconds that each step stands; the last one stands until `work_minutes` are over."""
    max_slippage_bps: Annotated[float, Field(gt=0, le=500)] = 100
    """Basis points of the arrival price that neither limit-patience nor TWAP goes beyond."""
    twap_adv_fraction: Fraction = 0.01
    """Orders above this share of the 21-session average daily volume are sliced. The plan makes
    none above `plan.max_adv_share`, and the gate passes no order (of a TWAP, no slice) above
    `risk.max_adv_share`: raise the first of them to trade more by TWAP."""
    twap_minutes: Annotated[float, Field(gt=0, le=390)] = 60
    """Over which the slices of a TWAP are sent."""
    twap_slices: Annotated[int, Field(ge=1, le=100)] = 12
    """Slices of a TWAP."""
    max_participation: Annotated[float, Field(gt=0, le=1)] = 0.10
    """Largest share of the volume expected while a slice works."""
    thin: tuple[str, ...] = ()
    """Symbols that are always sliced."""

    @property
    def evening_tick(self) -> time | None:
        """When the schedule of the evening's orders ticks; None where there is none."""
        return self.evening if self.send == "evening" else None


class LedgerSettings(Section):
    """The ledger's lock."""

    lock_timeout_s: Positive = 30
    """How long a writer waits for another before it gives up with an error."""
