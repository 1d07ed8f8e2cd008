"""`hydra gateway`: the stand-in IB Gateway, standing, for any client that speaks the TWS API."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from hydra_pipelines.cli.output import readable_errors, say


def gateway(
    port: Annotated[int, typer.Option(help="Port for TWS clients; 0 takes a free one.")] = 4002,
    account: Annotated[str | None, typer.Option(help="Account id; default: the settings'.")] = None,
    session: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="A new account starts at its close; default: the settings'."
        ),
    ] = None,
    cash: Annotated[
        str | None, typer.Option(help="Opening balance in USD; default: the settings'.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of prices, depth and noise; default: the settings'.")
    ] = None,
    script: Annotated[
        Path | None, typer.Option(help="Faults to commit, YAML or JSON; see docs/reliability.md.")
    ] = None,
    home: Annotated[
        Path | None, typer.Option(help="Folder of its account; default: gateway/ beside the data.")
    ] = None,
) -> None:
    """Run the stand-in IB Gateway until Ctrl-C, with an account of its own."""
    from hydra_pipelines.paper_gateway.__main__ import main
    from hydra_pipelines.settings import load_settings

    with readable_errors():
        settings = load_settings()
    embedded, market = settings.embedded, settings.market
    home = home or settings.data_path / "gateway"
    say(f"Stand-in gateway in {home}; Ctrl-C ends it.")
    options = {
        "--home": home,
        "--port": port,
        "--account": account or embedded.account,
        "--first-session": session.date() if session else embedded.first_session,
        "--cash": cash or Decimal(embedded.cash),
        "--seed": embedded.seed if seed is None else seed,
        "--prices": market.source,
        "--prices-options": json.dumps(market.options, default=str),
        "--calendar": market.calendar,
        "--calendar-cache": settings.cache_path,
        "--idle-timeout": "inf",
        **({"--script": script} if script else {}),
    }
    raise typer.Exit(main([str(part) for option in options.items() for part in option]))
