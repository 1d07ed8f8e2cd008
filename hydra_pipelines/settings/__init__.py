"""Every setting of the desk, typed and documented, and nothing else.

Relative paths are relative to the folder that holds `hydra.yaml`. How sources are read stands in
`load`, each value with its meaning in `sections`.
"""

from hydra_pipelines.settings.agent import AgentSettings
from hydra_pipelines.settings.dashboard import DashboardSettings
from hydra_pipelines.settings.load import SettingsError, load_settings, place_of
from hydra_pipelines.settings.model import PROJECT_ROOT, Settings
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
    SignalSettings,
    SlippageSettings,
    StrategySettings,
)

__all__ = [
    "PROJECT_ROOT",
    "AgentSettings",
    "AlertSettings",
    "BrokerSettings",
    "DagsterSettings",
    "DashboardSettings",
    "EmbeddedVenueSettings",
    "ExecutionSettings",
    "LedgerSettings",
    "LiveSettings",
    "MarketSettings",
    "MonitoringSettings",
    "PaperGateSettings",
    "PlanSettings",
    "PromotionSettings",
    "RetentionSettings",
    "RiskSettings",
    "ScheduleSettings",
    "Settings",
    "SettingsError",
    "SignalSettings",
    "SlippageSettings",
    "StrategySettings",
    "UpSettings",
    "load_settings",
    "place_of",
]
