"""The application: its commands and the exit codes they share.

0 ok, 1 failure, 2 usage, 3 unhealthy or refused.
"""

from __future__ import annotations

import typer

from hydra_pipelines.cli import (
    agent,
    audit,
    backup,
    broker,
    cycle,
    data,
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

app = typer.Typer(
    name="hydra",
    help="A daily machine-learning equity desk: one cycle a session, on paper by default.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("cycle")(cycle.cycle)
app.command("replay")(replay.replay)
app.command("train")(models.train)
app.command("predict")(models.predict)
app.command("plan")(models.plan)
app.command("models")(models.models)
app.command("promote")(models.promote)
app.command("rollback")(models.rollback)
app.command("diagnose")(drift.diagnose)
app.command("status")(read.status)
app.command("positions")(read.positions)
app.command("trades")(read.trades)
app.command("fill-report")(fills.fill_report)
app.command("calibrate-slippage")(fills.calibrate_slippage)
app.command("sync-positions")(positions.sync_positions)
app.command("pnl")(positions.pnl)
app.command("doctor")(doctor.doctor)
app.command("execute")(orders.execute)
app.command("orders")(orders.orders)
app.command("resolve")(orders.resolve)
app.command("run")(agent.resume)
app.command("pause")(agent.pause)
app.command("journal")(agent.journal)
app.command("audit")(audit.audit)
app.command("halt")(halt.halt)
app.command("resume-trading")(halt.resume_trading)
app.command("risk")(risk.risk)
app.command("reset-breaker")(risk.reset_breaker)
app.command("alert-test")(risk.alert_test)
app.command("paper-gate")(paper_gate.paper_gate)
app.command("drill")(drill.drill)
app.command("up")(up.up)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("gateway")(gateway.gateway)
app.command("serve")(serve.serve)
app.command("check-broker")(broker.check_broker)
app.command("worker")(worker.worker)
app.command("instance")(worker.instance)
app.add_typer(agent.app, name="agent")
app.add_typer(paper_trade.app, name="paper-trade")
app.add_typer(data.app, name="data")
app.add_typer(paper.app, name="paper")
app.add_typer(data.features_app, name="features")
