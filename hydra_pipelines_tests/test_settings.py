"""Settings: which source wins, what is refused and how it is said, and what they feed."""

from __future__ import annotations

import dataclasses
import math
from datetime import time
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hydra_pipelines import settings as module
from hydra_pipelines.decision.signals import SignalRule
from hydra_pipelines.decision.targets import PlanLimits
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.orders.terms import WorkSettings
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.execution.slippage import SlippageModel
from hydra_pipelines.models.families import BUILDERS
from hydra_pipelines.models.strategies import STATUSES, StrategySpec
from hydra_pipelines.settings import (
    Settings,
    SettingsError,
    StrategySettings,
    load_settings,
    place_of,
)
from hydra_pipelines.settings.families import FAMILIES

STRATEGY: dict[str, Any] = {
    "id": "HYP-2026-001",
    "title": "Momentum",
    "family": "momentum",
    "features": ["momentum_12_1_z"],
    "status": "deployed",
}


class Place:
    """A folder with a hydra.yaml and a .env, and an environment."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch):
        self.root = root
        self._monkeypatch = monkeypatch

    def yaml(self, text: str) -> None:
        (self.root / "hydra.yaml").write_text(text)

    def dotenv(self, text: str) -> None:
        (self.root / ".env").write_text(text)

    def environment(self, **names: str) -> None:
        for name, value in names.items():
            self._monkeypatch.setenv(name, value)

    def load(self, **overrides: Any) -> Settings:
        return load_settings(self.root, **overrides)

    def refusal(self, **overrides: Any) -> str:
        with pytest.raises(SettingsError) as caught:
            self.load(**overrides)
        return str(caught.value)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    root = tmp_path / "my desk"
    root.mkdir()
    return Place(root, monkeypatch)


# sources


def test_without_any_source_the_defaults_hold(place: Place) -> None:
    settings = place.load()
    assert settings == Settings(root=place.root)
    assert (settings.mode, settings.broker.venue, settings.strategies) == ("paper", "embedded", ())


def test_the_first_source_that_has_a_value_wins(place: Place) -> None:
    """Each source in turn is taken away; what is left shows the next."""
    place.yaml("broker: {port: 1, client_id: 1, host: yaml, account: DUYAML}\nmode: dry_run\n")
    place.dotenv(
        "HYDRA_BROKER__PORT=2\nHYDRA_BROKER__CLIENT_ID=2\nHYDRA_BROKER__HOST=dotenv\n"
        "IBKR_CLIENT_ID=3\n"
    )
    place.environment(IBKR_PORT="4", IBKR_ACCOUNT="", HYDRA_BROKER__PORT="5", UNRELATED="x")
    broker = place.load().broker
    assert (broker.port, broker.client_id, broker.host) == (5, 3, "dotenv")
    assert broker.account == "DUYAML", "an empty IBKR_ name says nothing"
    assert broker.connect_timeout_s == 4
    assert place.load(broker={"port": 6}).broker.port == 6
    place._monkeypatch.delenv("HYDRA_BROKER__PORT")
    assert place.load().broker.port == 4
    place._monkeypatch.delenv("IBKR_PORT")
    assert place.load().broker.port == 2
    (place.root / ".env").unlink()
    broker = place.load().broker
    assert (broker.port, broker.client_id, broker.host) == (1, 1, "yaml")


def test_the_environment_names_nested_settings_in_either_case(place: Place) -> None:
    place.environment(HYDRA_RISK__DAILY_LOSS="0.01", hydra_mode="dry_run")
    place.environment(HYDRA_RISK__RESTRICTED='["AAPL"]', HYDRA_MARKET__OPTIONS__LAST_SESSION="x")
    settings = place.load()
    assert settings.risk.daily_loss == 0.01 and settings.risk.drawdown == 0.10
    assert settings.risk.restricted == ("AAPL",)
    assert settings.mode == "dry_run"
    assert {k.lower(): v for k, v in settings.market.options.items()} == {"last_session": "x"}


def test_other_programs_names_pass(place: Place) -> None:
    place.dotenv("MODE=live\nDATA_DIR=/x\nTWS_USERID=me\nHYDRA_FULL_ERROR=1\nSECRET='a b # c'\n")
    place.environment(MODE="live", HYDRA_FULL_ERROR="1")
    assert place.load() == Settings(root=place.root)


@pytest.mark.parametrize(("said", "mode"), [("true", "paper"), ("", "paper"), ("No", "live")])
def test_ibkr_paper_trading_picks_the_mode(place: Place, said: str, mode: str) -> None:
    place.dotenv(f"IBKR_PAPER_TRADING={said}\n")
    assert place.load().mode == mode


def test_ibkr_paper_trading_must_be_understood_and_agree(place: Place) -> None:
    place.environment(IBKR_PAPER_TRADING="perhaps")
    assert "IBKR_PAPER_TRADING is 'perhaps'" in place.refusal()
    place.environment(IBKR_PAPER_TRADING="true")
    assert place.load(mode="dry_run").mode == "dry_run"
    place.yaml("mode: live")
    assert "mode is live but IBKR_PAPER_TRADING is true" in place.refusal()


def test_settings_made_directly_look_nowhere_else(place: Place) -> None:
    place.environment(HYDRA_MODE="dry_run", HYDRA_NONSENSE="1")
    assert Settings().mode == "paper"


# paths


def test_relative_paths_start_at_the_root(place: Place) -> None:
    settings = place.load()
    assert settings.data_path == place.root / "data"
    assert settings.mlruns_path == place.root / "mlruns"
    assert settings.registry_uri == f"sqlite:///{place.root}/mlruns/mlflow.db"
    elsewhere = place.load(data_dir="../other")
    assert elsewhere.data_path == place.root.parent / "other"
    assert elsewhere.mlruns_path == elsewhere.data_path / "mlruns", "two desks never meet"
    assert place.load(data_dir="data/../data").mlruns_path == settings.mlruns_path
    assert place.load(mlflow_uri="http://127.0.0.1:5000").registry_uri == "http://127.0.0.1:5000"


def test_a_tilde_is_the_home(place: Place, tmp_path: Path) -> None:
    place.environment(HOME=str(tmp_path), HYDRA_DATA_DIR="~/desk")
    assert place.load().data_path == tmp_path / "desk"


def test_all_stores_of_a_desk_lie_under_its_data_folder(place: Place, tmp_path: Path) -> None:
    settings = place.load(data_dir=tmp_path / "x")
    paths = [value for name in dir(Settings) if name.endswith(("_path", "_home"))
             if isinstance(value := getattr(settings, name), Path)]  # fmt: skip
    assert len(paths) >= 8
    assert all(path.is_relative_to(tmp_path / "x") for path in paths)


def test_hydra_root_says_where_hydra_yaml_is(place: Place) -> None:
    place.yaml("mode: dry_run")
    place.environment(HYDRA_ROOT=str(place.root))
    assert load_settings().mode == "dry_run" and load_settings().root == place.root
    place.environment(HYDRA_ROOT=str(place.root / "nowhere"))
    with pytest.raises(SettingsError, match=r"no folder .*nowhere: set HYDRA_ROOT"):
        load_settings()


def test_the_checkouts_own_settings_are_sound() -> None:
    settings = load_settings()
    assert [s.id for s in settings.deployed] == ["HYP-2026-001", "HYP-2026-002"]
    assert settings.root == module.PROJECT_ROOT


# refusals


@pytest.mark.parametrize(
    ("yaml", "named"),
    [
        ("mode: life", ["mode (hydra.yaml, line 1)", "'dry_run', 'paper' or 'live'", "'life'"]),
        ("broker: {prot: 1}", ["broker.prot (hydra.yaml, line 1): there is no such setting"]),
        ("brokers: {}", ["brokers (hydra.yaml, line 1): there is no such setting"]),
        ("broker: {port: 0}", ["broker.port", "greater than or equal to 1", "0"]),
        ("broker: {port: 70000}", ["broker.port", "65535"]),
        ("broker: {client_id: 0}", ["broker.client_id"]),
        ("broker: none", ["broker (hydra.yaml, line 1)", "'none'"]),
        ("embedded: {first_session: soon}", ["embedded.first_session", "'soon'"]),
        ("embedded: {account: U123}", ["embedded.account", "'U123'"]),
        ("embedded: {cash: -1}", ["embedded.cash"]),
        ("embedded: {cash: .nan}", ["embedded.cash"]),
        ("risk: {daily_loss: 2}", ["risk.daily_loss", "less than or equal to 1"]),
        ("risk: {daily_loss: .nan}", ["risk.daily_loss"]),
        ("risk: {gross_cap: .inf}", ["risk.gross_cap"]),
        ("risk: {max_positions: 2.5}", ["risk.max_positions", "2.5"]),
        ("risk: {restricted: AAPL}", ["risk.restricted", "'AAPL'"]),
        ("risk: {daily_loss: 2, drawdown: x}", ["risk.daily_loss", "risk.drawdown"]),
        ("plan: {max_position_weight: -0.1}", ["plan.max_position_weight"]),
        ("plan: {buy_funding: credit}", ["plan.buy_funding", "'credit'"]),
        ("execution: {start: noon}", ["execution.start", "'noon'"]),
        ("execution: {collar: 0.2}", ["execution.collar"]),
        ("slippage: {y: 0}", ["slippage.y"]),
        ("ledger: {lock_timeout_s: 0}", ["ledger.lock_timeout_s"]),
        ("market: {options: 3}", ["market.options"]),
        ("strategies: {}", ["strategies (hydra.yaml, line 1)"]),
        ("strategies: [{id: X}]", ["strategies.0.id", "strategies.0.title", "Field required"]),
        ("- a", ["hydra.yaml holds no settings by name, but a list"]),
        ("mode: [", ["hydra.yaml can't be read", "line 1"]),
        ("risk: {drawdown: 1}\nrisk: {}", ["hydra.yaml, line 2: risk is given twice"]),
        ("risk: {drawdown: 0.1, drawdown: 0.9}", ["line 1: drawdown is given twice"]),
    ],
)
def test_a_bad_value_is_named_with_its_place(place: Place, yaml: str, named: list[str]) -> None:
    place.yaml(yaml)
    message = place.refusal()
    assert str(place.root) in message
    for text in named:
        assert text in message


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("HYDRA_BROKER__PORT", "abc", "broker.port (in the environment)"),
        ("IBKR_PORT", "abc", "broker.port (in the IBKR_ names)"),
        ("HYDRA_MODE", "LIVE", "mode (in the environment)"),
        ("HYDRA_BROKER__PROT", "1", "broker.prot (in the environment): there is no such setting"),
        ("HYDRA_MODEL", "live", "HYDRA_MODEL in the environment is not a setting; did you mean"),
        ("HYDRA_RISK_DAILY_LOSS", "1", "did you mean HYDRA_RISK__DAILY_LOSS?"),
        ("HYDRA_STRATEGIES", "none", 'field "strategies"'),
    ],
)
def test_a_bad_name_or_value_of_the_environment_is_named(
    place: Place, name: str, value: str, named: str
) -> None:
    place.yaml("broker: {port: 1}")
    place.environment(**{name: value})
    assert named in place.refusal()


def test_a_bad_line_of_dotenv_is_named(place: Place) -> None:
    place.dotenv("HYDRA_EXECUTION__WORK_MINUTES=long")
    assert "execution.work_minutes (in .env)" in place.refusal()
    place.dotenv("HYDRA_DATADIR=/x")
    assert "HYDRA_DATADIR in .env is not a setting; did you mean HYDRA_DATA_DIR?" in place.refusal()


def test_the_evenings_orders_come_after_the_plan(place: Place) -> None:
    place.yaml("execution: {send: evening, evening: '18:30'}")
    assert "execution.evening" in (said := place.refusal())
    assert "18:30 is not after schedule.order_plan, 18:30" in said
    place.yaml("execution: {send: evening}")
    assert place.load().execution.evening_tick == time(18, 35)
    assert Settings(root=place.root).execution.evening_tick is None


def test_a_file_that_is_no_text_is_named(place: Place) -> None:
    (place.root / "hydra.yaml").write_bytes(b"\xff\xfe")
    assert "hydra.yaml can't be read" in place.refusal()


def test_an_empty_file_says_nothing(place: Place) -> None:
    place.yaml("# nothing yet\n")
    assert place.load() == Settings(root=place.root)


def test_settings_do_not_change_once_loaded(place: Place) -> None:
    settings = place.load()
    for section, name in ((settings, "mode"), (settings.risk, "daily_loss")):
        with pytest.raises(ValidationError):
            setattr(section, name, getattr(section, name))


# strategies


def strategy(**change: Any) -> dict[str, Any]:
    return {**STRATEGY, **change}


def test_an_id_may_be_used_once(place: Place) -> None:
    message = place.refusal(strategies=[strategy(), strategy(status="retired")])
    assert "strategies.1.id (in the call): HYP-2026-001 is used more than once" in message


@given(weights=st.lists(st.floats(0.01, 1), min_size=1, max_size=6), data=st.data())
def test_deployed_capital_is_at_most_all_of_it(weights: list[float], data: st.DataObject) -> None:
    statuses = data.draw(st.lists(st.sampled_from(STATUSES), min_size=6, max_size=6))
    strategies = [
        strategy(id=f"HYP-2026-{i:03d}", capital_weight=weight, status=status)
        for i, (weight, status) in enumerate(zip(weights, statuses, strict=False))
    ]
    deployed = sum(s["capital_weight"] for s in strategies if s["status"] == "deployed")
    if deployed <= 1:
        assert len(Settings(strategies=strategies).strategies) == len(weights)
    elif deployed > 1 + 1e-6:
        with pytest.raises(ValidationError, match="capital_weight of the deployed ones adds up to"):
            Settings(strategies=strategies)


def test_ten_tenths_are_one() -> None:
    many = [strategy(id=f"HYP-2026-{i:03d}", capital_weight=0.1) for i in range(10)]
    assert len(Settings(strategies=many).deployed) == 10


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": "hyp-2026-001"}, "strategies.0.id"),
        ({"title": ""}, "strategies.0.title"),
        ({"family": "oracle"}, "strategies.0.family"),
        ({"features": []}, "strategies.0.features"),
        ({"label_horizon": 0}, "strategies.0.label_horizon"),
        ({"capital_weight": 0}, "strategies.0.capital_weight"),
        ({"parameters": {"alpha": 1}}, "strategies.0.parameters.alpha"),
        ({"parameters": {"ic": "big"}}, "strategies.0.parameters.ic"),
        ({"parameters": {"ic": math.nan}}, "strategies.0.parameters.ic"),
        ({"parameters": {"ic": 2}}, "strategies.0.parameters.ic"),
        ({"universe": []}, "strategies.0.universe"),
        ({"universe": "AAPL"}, "strategies.0.universe"),
        ({"universe": ["AAPL", ""]}, "strategies.0.universe.1"),
        ({"signal": {"method": "vote"}}, "strategies.0.signal.method"),
        ({"signal": {"threshold": -1}}, "strategies.0.signal.threshold"),
        ({"signal": {"top": 3}}, "strategies.0.signal.top"),
    ],
)
def test_a_bad_part_of_a_strategy_is_named(
    place: Place, change: dict[str, Any], named: str
) -> None:
    assert f"{named} (in the call)" in place.refusal(strategies=[strategy(**change)])


STRATEGIES = """
# two strategies

strategies:
  - id: HYP-2026-001
    title: Ridge
    family: ridge
    features:
      - return_1d
      - return_5d
    parameters:
      alpha: 10
    signal: {method: rank,
             top_fraction: 0.2}
    capital_weight: 0.5
    status: deployed
  - {id: HYP-2026-002, title: Rule, family: momentum,
     features: [momentum_12_1_z], capital_weight: 0.5,
     status: deployed}
"""


@pytest.mark.parametrize(
    ("said", "instead", "where"),
    [
        ("alpha: 10", "alpha: -1", "strategies.0.parameters.alpha (hydra.yaml, line 12): Input"),
        ("alpha: 10", "lambda: 1", "strategies.0.parameters.lambda (hydra.yaml, line 12): ridge"),
        ("alpha: 10", "max_iter: 1", "ridge takes window_sessions, half_life_sessions, alpha"),
        ("family: ridge", "family: oak", "strategies.0.family (hydra.yaml, line 7)"),
        ("top_fraction: 0.2", "top_fraction: 2", "signal.top_fraction (hydra.yaml, line 14)"),
        ("    title: Ridge\n", "", "strategies.0.title (hydra.yaml, line 5): Field required"),
        ("family: momentum,", "family: m,", "strategies.1.family (hydra.yaml, line 17)"),
        ("status: deployed}", "status: on}", "strategies.1.status (hydra.yaml, line 19)"),
        ("HYP-2026-002", "HYP-2026-001", "strategies.1.id (hydra.yaml, line 17): HYP-2026-001 is"),
        ("weight: 0.5,", "weight: 0.6,", "strategies (hydra.yaml, line 4): capital_weight of"),
    ],
)
def test_what_is_wrong_with_a_strategy_is_said_with_its_line(
    place: Place, said: str, instead: str, where: str
) -> None:
    assert said in STRATEGIES
    place.yaml(STRATEGIES.replace(said, instead))
    assert where in place.refusal()


@pytest.mark.parametrize(
    ("said", "instead", "named"),
    [
        ("- return_5d", "- magic", r"features has 'magic'.* \(hydra.yaml, line 10\)"),
        ("- return_5d", "- return_1d", r"features has 'return_1d' twice \(hydra.yaml, line 10\)"),
        ("method: rank,", "method: all,", r"signal.method is 'all'.* \(hydra.yaml, line 13\)"),
        ("[momentum_12_1_z]", "[rsi_14, macd]", r"features has 2 names.* \(hydra.yaml, line 18\)"),
        ("title: Ridge", "title: ' '", r"title is empty \(hydra.yaml, line 6\)"),
    ],
)
def test_what_only_the_models_know_is_said_with_its_line(
    place: Place, said: str, instead: str, named: str
) -> None:
    assert said in STRATEGIES
    place.yaml(STRATEGIES.replace(said, instead))
    desk = Desk(place.load())
    with pytest.raises(SettingsError, match=f"strategy HYP-2026-00[12]: {named}"):
        _ = desk.strategies


def test_a_strategy_that_is_not_deployed_can_not_stop_those_that_are(place: Place) -> None:
    place.yaml(STRATEGIES.replace("[momentum_12_1_z]", "[magic]").replace("status: deployed}", "}"))
    desk = Desk(place.load())
    assert [spec.id for spec in desk.strategies] == ["HYP-2026-001"]
    with pytest.raises(SettingsError, match=r"'magic'.*\(hydra.yaml, line 18\)"):
        _ = desk.candidates


def test_the_place_of_a_value_is_that_of_the_source_that_won(place: Place) -> None:
    place.yaml(STRATEGIES)
    assert place_of(place.root, ("strategies", 0, "features", 1)) == "hydra.yaml, line 10"
    assert place_of(place.root, ("strategies", 0, "universe")) == "hydra.yaml, line 5"
    assert place_of(place.root, ("risk", "drawdown")) == ""
    place.environment(HYDRA_STRATEGIES='[{"id": "HYP-2026-009"}]')
    assert place_of(place.root, ("strategies", 0, "id")) == "in the environment"


def test_a_universe_is_a_list_of_symbols_or_all(place: Place) -> None:
    for said, universe in (("all", ()), ("[KO, AAPL]", ("KO", "AAPL"))):
        place.yaml(STRATEGIES.replace("family: ridge", f"family: ridge\n    universe: {said}"))
        settings = place.load()
        assert settings.strategies[0].universe == universe
        assert Desk(settings).strategies[0].universe == universe
        assert Settings(strategies=[s.model_dump() for s in settings.strategies]).strategies[
            0
        ].universe == universe  # fmt: skip
    place.yaml(STRATEGIES.replace("family: ridge", "family: ridge\n    universe: KO"))
    assert "universe (hydra.yaml, line 8): write a list of symbols, or all" in place.refusal()


def test_families_and_statuses_are_those_of_the_models() -> None:
    fields = StrategySettings.model_fields
    assert set(get_args(fields["family"].annotation)) == set(FAMILIES) == set(BUILDERS)
    assert set(get_args(fields["status"].annotation)) == set(STATUSES)


# what the sections feed


def test_default_sections_are_the_defaults_of_what_they_feed() -> None:
    """A desk without a hydra.yaml is the desk that the rooms' own tests describe."""
    desk = Desk(Settings())
    deliberate = {"max_order_notional": Decimal(250_000)}  # the plan keeps to the gate's limit
    assert desk.plan_limits == dataclasses.replace(PlanLimits(), **deliberate)
    assert dataclasses.replace(desk.risk_limits, restricted=()) == RiskLimits()
    assert desk.slippage == SlippageModel()
    assert SignalRule(**StrategySettings(**STRATEGY).signal.model_dump()) == SignalRule()
    assert desk.work.grace_s == WorkSettings.grace_s


CHANGED: dict[str, dict[str, Any]] = {
    "plan": {
        "max_positions": 7,
        "max_position_weight": 0.2,
        "position_headroom": 0.06,
        "gross_cap": 1.5,
        "net_cap": 1.25,
        "min_order_usd": Decimal("250.50"),
        "turnover_band": 0.01,
        "cash_buffer": 0.02,
        "max_adv_share": 0.03,
        "lot": 10,
        "buy_funding": "confirmed_cash",
    },
    "risk": {
        "max_order_notional": Decimal("99999.99"),
        "max_position_weight": 0.3,
        "max_positions": 9,
        "gross_cap": 1.1,
        "net_cap": 1.2,
        "cash_buffer": 0.04,
        "max_adv_share": 0.05,
        "collar_last_close": 0.06,
        "collar_quote": 0.07,
        "max_orders_per_minute": 8,
        "max_quote_age_s": 9.0,
        "allow_short": True,
        "restricted": ("AAPL",),
        "daily_loss": 0.11,
        "drawdown": 0.12,
        "single_trade_loss": 0.13,
        "rejects_in_a_row": 14,
        "max_data_age_sessions": 15,
        "auto_reset": ("drawdown", "trade_loss"),
        "reset_margin": 0.5,
    },
    "slippage": {
        "half_spread_bps": 1.0,
        "y": 0.5,
        "assumed_adv_usd": 1e6,
        "assumed_sigma_daily": 0.03,
    },
    "execution": {
        "start": "10:15",
        "send": "evening",
        "evening": "19:15",
        "work_minutes": 45,
        "routing": "market",
        "collar": 0.004,
        "rest_at": "near_touch",
        "patience_s": 30.0,
        "steps": 2,
        "step_s": 15.0,
        "max_slippage_bps": 40.0,
        "twap_adv_fraction": 0.02,
        "twap_minutes": 30.0,
        "twap_slices": 6,
        "max_participation": 0.05,
        "thin": ("AAPL",),
    },
}
BESIDE: dict[str, dict[str, Any]] = {
    "plan": {"risk": {"max_position_weight": 0.2, "gross_cap": 1.5, "net_cap": 1.25}},
    "risk": {"plan": {"max_positions": 9, "cash_buffer": 0.04}},
}
"""What a section's values above need of the others: plans keep within the gate's limits."""
FED = {
    "plan": lambda desk: desk.plan_limits,
    "risk": lambda desk: desk.risk_limits,
    "slippage": lambda desk: desk.slippage,
    "execution": lambda desk: desk.work,
}
NOT_SET_HERE = {
    "plan": {
        "max_order_notional",
        "allow_short",
        "price_collar",
        "commission_per_share",
        "commission_minimum",
        "commission_max_fraction",
    },
    "risk": {"commission_per_share", "commission_minimum", "commission_max_fraction"},
    "slippage": {"beyond_spread_bps", "by_algo"},
    "execution": {"grace_s"},
}
FOR_OTHERS = {"slippage": {"window_sessions"}}
"""Settings of a section that feed something else: how far back fills are compared."""


@pytest.mark.parametrize("section", sorted(FED))
def test_every_setting_of_a_section_reaches_what_it_feeds(section: str) -> None:
    changed = CHANGED[section]
    before, after = (
        FED[section](Desk(Settings())),
        FED[section](Desk(Settings(**{section: changed}, **BESIDE.get(section, {})))),
    )
    fields = {field.name for field in dataclasses.fields(after)}
    there = set(getattr(Settings(), section).__class__.model_fields)
    assert set(changed) == there - FOR_OTHERS.get(section, set())
    assert fields == set(changed) | NOT_SET_HERE[section]
    given = getattr(Settings(**{section: changed}, **BESIDE.get(section, {})), section)
    for name in changed:
        value = getattr(after, name)
        assert value != getattr(before, name), f"{name} is not passed on"
        assert value == (
            frozenset(given.restricted) if name == "restricted" else getattr(given, name)
        )


def test_the_plan_keeps_to_the_gates_limits_and_the_managers_collar() -> None:
    settings = {name: CHANGED[name] for name in ("risk", "execution")}
    limits = Desk(Settings(**settings, **BESIDE["risk"])).plan_limits
    assert limits.max_order_notional == Decimal("99999.99")
    assert limits.allow_short is True
    assert limits.price_collar == 0.004


def test_a_strategy_reaches_the_models_whole() -> None:
    given = strategy(
        parameters={"ic": 0.04},
        label_horizon=21,
        capital_weight=0.25,
        signal={"method": "zscore", "zscore": 1.5, "allow_short": True},
        universe=["KO", "AAPL"],
    )
    (spec,) = Desk(Settings(strategies=[given])).strategies
    assert {field.name for field in dataclasses.fields(StrategySpec)} == set(
        StrategySettings.model_fields
    )
    for name in set(given) - {"features", "signal", "universe"}:
        assert getattr(spec, name) == given[name]
    assert (spec.features, spec.universe) == (("momentum_12_1_z",), ("KO", "AAPL"))
    assert spec.signal == SignalRule(method="zscore", zscore=1.5, allow_short=True)


def test_values_at_their_bounds_are_no_surprise_later() -> None:
    """What the settings let through, the limits take."""
    for value in (0.0, 1.0):
        desk = Desk(
            Settings(
                plan={"max_position_weight": value, "turnover_band": value, "gross_cap": 10},
                risk={
                    "daily_loss": value,
                    "collar_quote": max(value, 0.05),
                    "net_cap": 10,
                    "gross_cap": 10,
                    "max_position_weight": value,
                },
                execution={"collar": 0.05},
            )
        )
        assert desk.plan_limits.max_position_weight == desk.risk_limits.daily_loss == value


# limits that have to fit together


@pytest.mark.parametrize(
    ("name", "planned", "allowed", "said"),
    [
        ("max_positions", 21, 20, "21 is above risk.max_positions, 20"),
        ("max_position_weight", 0.11, 0.1, "0.11 is above risk.max_position_weight, 0.1"),
        ("gross_cap", 1.2, 1.1, "1.2 is above risk.gross_cap, 1.1"),
        ("net_cap", 0.6, 0.5, "0.6 is above risk.net_cap, 0.5"),
        ("cash_buffer", 0.01, 0.02, "0.01 is below risk.cash_buffer, 0.02"),
    ],
)
def test_a_plan_that_the_gate_would_deny_is_refused(
    place: Place, name: str, planned: float, allowed: float, said: str
) -> None:
    place.yaml(f"risk: {{{name}: {allowed}}}\nplan:\n  {name}: {planned}\n")
    assert f"plan.{name} (hydra.yaml, line 3): {said}" in place.refusal()
    place.yaml(f"risk: {{{name}: {allowed}}}\nplan:\n  {name}: {allowed}\n")
    assert getattr(place.load().plan, name) == allowed


def test_a_collar_beyond_the_gates_is_refused(place: Place) -> None:
    place.environment(HYDRA_EXECUTION__COLLAR="0.011")
    message = place.refusal()
    assert (
        "execution.collar (in the environment): 0.011 is above risk.collar_quote, 0.01" in message
    )
    place.environment(HYDRA_RISK__COLLAR_QUOTE="0.011")
    assert place.load().execution.collar == 0.011


# what live trading and alerts need


@pytest.mark.parametrize(
    ("yaml", "named"),
    [
        (
            "live_confirmed: true",
            "live_confirmed (hydra.yaml, line 1) is not set there: it is HYDRA_LIVE_CONFIRMED",
        ),
        (
            "\nalerts: {urls: []}",
            "alerts.urls (hydra.yaml, line 2) is not set there: it is HYDRA_ALERTS__URLS",
        ),
        ("live: {accounts: [DU7]}", "DU7 is a paper account"),
        ("live: {accounts: ['']}", "live.accounts.0"),
        ("alerts: {rate_per_hour: 0}", "alerts.rate_per_hour"),
        ("risk: {auto_reset: [kill_switch]}", "risk.auto_reset.0"),
        ("risk: {reset_margin: 2}", "risk.reset_margin"),
    ],
)
def test_what_a_file_may_not_say_of_live_trading_and_alerts(
    place: Place, yaml: str, named: str
) -> None:
    place.yaml(yaml)
    assert named in place.refusal()


def test_confirmation_and_channels_come_from_the_environment_or_dotenv(place: Place) -> None:
    place.yaml("live: {accounts: [U7], override_reason: because}\nalerts: {rate_per_hour: 3}")
    place.dotenv("HYDRA_LIVE_CONFIRMED=true\n")
    place.environment(HYDRA_ALERTS__URLS='["json://ann:sesame@host"]')
    settings = place.load()
    assert settings.live_confirmed and settings.live.accounts == ("U7",)
    assert settings.alerts.urls[0].get_secret_value() == "json://ann:sesame@host"
    assert settings.alerts.rate_per_hour == 3
    assert "sesame" not in f"{settings!r} {settings}"
    place.environment(HYDRA_ALERTS__URLS="json://ann:sesame@host")
    message = place.refusal()
    assert "alerts" in message and "sesame" not in message
