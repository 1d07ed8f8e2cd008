"""The day, step by step, as the assets, a replay and the tests all run it.

Each step reads what the steps before it stored, stores its own result and may be run again: the
same inputs give the same rows, and what was executed is never made anew. No face is known here.
"""

from hydra_pipelines.day.asking import BrokerStateUnknown
from hydra_pipelines.day.books import sync_account, sync_positions
from hydra_pipelines.day.champions import ModelState, StrategyModel, look_at_registry, model_states
from hydra_pipelines.day.drift import DriftError, DriftRun, check_drift
from hydra_pipelines.day.drift_report import make_drift_report
from hydra_pipelines.day.healing import Healed, begin_cycle, end_cycle, heal, run_experiments
from hydra_pipelines.day.model_watch import watch_models
from hydra_pipelines.day.models import ensure_champions, strategies_named, train_strategies
from hydra_pipelines.day.paper_gating import NothingToSign, paper_gate, sign_off
from hydra_pipelines.day.planning import make_order_plan
from hydra_pipelines.day.profits import tell_profits
from hydra_pipelines.day.promotion import (
    PromotionError,
    promote,
    renew_predictions,
    rollback,
    watch_champions,
)
from hydra_pipelines.day.research import (
    ingest_bars,
    make_features,
    make_predictions,
    make_session_signals,
    session_members,
)
from hydra_pipelines.day.session import SessionRefused, check_session, is_frozen
from hydra_pipelines.day.slippage import (
    calibrate_slippage,
    reconcile_slippage,
    revert_calibration,
    slippage_report,
)
from hydra_pipelines.day.spreading import make_feature_shard
from hydra_pipelines.day.trading import (
    NoPlan,
    execute_plan,
    may_have_sent,
    reconcile_orders,
    require_plan,
)

__all__ = [
    "BrokerStateUnknown",
    "DriftError",
    "DriftRun",
    "Healed",
    "ModelState",
    "NoPlan",
    "NothingToSign",
    "PromotionError",
    "SessionRefused",
    "StrategyModel",
    "begin_cycle",
    "calibrate_slippage",
    "check_drift",
    "check_session",
    "end_cycle",
    "ensure_champions",
    "execute_plan",
    "heal",
    "ingest_bars",
    "is_frozen",
    "look_at_registry",
    "make_drift_report",
    "make_feature_shard",
    "make_features",
    "make_order_plan",
    "make_predictions",
    "make_session_signals",
    "may_have_sent",
    "model_states",
    "paper_gate",
    "promote",
    "reconcile_orders",
    "reconcile_slippage",
    "renew_predictions",
    "require_plan",
    "revert_calibration",
    "rollback",
    "run_experiments",
    "session_members",
    "sign_off",
    "slippage_report",
    "strategies_named",
    "sync_account",
    "sync_positions",
    "tell_profits",
    "train_strategies",
    "watch_champions",
    "watch_models",
]
