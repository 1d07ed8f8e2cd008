"""The day, step by step, as the assets, a replay and the tests all run it.

Each step reads what the steps before it stored, stores its own result and may be run again: the
same inputs give the same rows, and what was executed is never made anew. No face is known here.
"""

from hydra_pipelines.day.asking import BrokerStateUnknown
from hydra_pipelines.day.books import sync_account, sync_positions
from hydra_pipelines.day.models import ensure_champions, train_strategies
from hydra_pipelines.day.planning import make_order_plan
from hydra_pipelines.day.research import (
    ingest_bars,
    make_features,
    make_predictions,
    make_session_signals,
    session_members,
)
from hydra_pipelines.day.session import SessionRefused, check_session, is_frozen
from hydra_pipelines.day.trading import execute_plan

__all__ = [
    "BrokerStateUnknown",
    "SessionRefused",
    "check_session",
    "ensure_champions",
    "execute_plan",
    "ingest_bars",
    "is_frozen",
    "make_features",
    "make_order_plan",
    "make_predictions",
    "make_session_signals",
    "session_members",
    "sync_account",
    "sync_positions",
    "train_strategies",
]
