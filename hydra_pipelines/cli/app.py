"""The application: its commands and the exit codes they share.

0 ok, 1 failure, 2 usage, 3 unhealthy or refused.
"""

from __future__ import annotations

import typer

from hydra_pipelines.cli import broker, cycle, data, doctor, gateway, read

app = typer.Typer(
    name="hydra",
    help="A daily machine-learning equity desk: one cycle a session, on paper by default.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("cycle")(cycle.cycle)
app.command("status")(read.status)
app.command("positions")(read.positions)
app.command("trades")(read.trades)
app.command("doctor")(doctor.doctor)
app.command("gateway")(gateway.gateway)
app.command("check-broker")(broker.check_broker)
app.add_typer(data.app, name="data")
app.add_typer(data.features_app, name="features")
