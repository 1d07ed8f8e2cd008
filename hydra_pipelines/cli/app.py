"""The application: its commands by what they are for, each with an example, and the exit codes.

0 ok, 1 failure, 2 usage, 3 unhealthy or refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from hydra_pipelines.cli import (
    agent,
    audit,
    backup,
    broker,
    cycle,
    data,
    docs,
    doctor,
    drift,
    drill,
    fills,
    gateway,
    halt,
    models,
    orders,
    paper,
    paper_gate,
    paper_trade,
    positions,
    read,
    replay,
    risk,
    serve,
    up,
    worker,
)
from hydra_pipelines.cli.output import speaking_as

Command = tuple[str, Callable[..., Any], str]
"""Name, function, and what a person may type behind the name."""

DAILY: tuple[Command, ...] = (
    ("cycle", cycle.cycle, "--dry-run"),
    ("train", models.train, ""),
    ("predict", models.predict, "--session 2019-01-02"),
    ("plan", models.plan, ""),
    ("execute", orders.execute, "--dry-run"),
    ("sync-positions", positions.sync_positions, ""),
    ("replay", replay.replay, "--sessions 20"),
)
LOOK: tuple[Command, ...] = (
    ("status", read.status, "--json"),
    ("positions", read.positions, ""),
    ("orders", orders.orders, "--state unknown"),
    ("trades", read.trades, "--symbol AAPL --limit 50"),
    ("fill-report", fills.fill_report, "--since 2019-01-02 --reconcile"),
    ("pnl", positions.pnl, "--by symbol"),
    ("audit", audit.audit, "--event plan_made --since 2019-01-02"),
)
MODELS: tuple[Command, ...] = (
    ("models", models.models, ""),
    ("promote", models.promote, "HYP-2026-001 --to 2"),
    ("rollback", models.rollback, "--model HYP-2026-001"),
    ("diagnose", drift.diagnose, "--report"),
    ("calibrate-slippage", fills.calibrate_slippage, "--dry-run"),
)
AGENT: tuple[Command, ...] = (
    ("run", agent.resume, ""),
    ("pause", agent.pause, '--why "earnings week"'),
    ("journal", agent.journal, "--limit 5"),
)
SAFETY: tuple[Command, ...] = (
    ("halt", halt.halt, '--why "prices look wrong"'),
    ("resume-trading", halt.resume_trading, '--why "prices are right again"'),
    ("risk", risk.risk, ""),
    ("reset-breaker", risk.reset_breaker, 'daily_loss --why "one bad print"'),
    ("resolve", orders.resolve, "20190102.DU0000001.AAPL.BUY.0.1"),
    ("paper-gate", paper_gate.paper_gate, ""),
    ("drill", drill.drill, "breaker"),
    ("backup", backup.backup, ""),
    ("restore", backup.restore, "hydra-backup.tar.gz"),
)
SET_UP: tuple[Command, ...] = (
    ("up", up.up, ""),
    ("serve", serve.serve, "--read-only"),
    ("gateway", gateway.gateway, "--port 4002"),
    ("doctor", doctor.doctor, ""),
    ("check-broker", broker.check_broker, "--test-order"),
    ("alert-test", risk.alert_test, ""),
    ("docs", docs.docs, "cli"),
    ("worker", worker.worker, "--queue desk"),
    ("instance", worker.instance, ""),
)
PANELS = {
    "The day": DAILY,
    "Look": LOOK,
    "Models": MODELS,
    "Agent": AGENT,
    "Safety": SAFETY,
    "Set-up": SET_UP,
}
GROUPS: tuple[tuple[str, typer.Typer, str, str], ...] = (
    ("data", data.app, "Look", "hydra data status"),
    ("features", data.features_app, "Look", "hydra features show --symbol AAPL"),
    ("agent", agent.app, "Agent", "hydra agent status"),
    ("paper-trade", paper_trade.app, "Set-up", "hydra paper-trade start --port 4002"),
    ("paper", paper.app, "Set-up", "hydra paper reset"),
)
"""Name, commands, panel, example."""

app = typer.Typer(
    name="hydra",
    help="A daily machine-learning equity desk: one cycle a session, on paper by default.",
    epilog="Exit codes: 0 ok, 1 failure, 2 usage, 3 unhealthy or refused. "
    "More: hydra COMMAND --help, hydra docs",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for panel, commands in PANELS.items():
    for name, function, example in commands:
        app.command(
            name, rich_help_panel=panel, epilog=f"Example: hydra {name} {example}".rstrip()
        )(speaking_as(name, function))
for name, group, panel, example in GROUPS:
    for command in group.registered_commands:
        if command.callback is not None:
            command.callback = speaking_as(f"{name} {command.name}", command.callback)
    app.add_typer(group, name=name, rich_help_panel=panel, epilog=f"Example: {example}")
