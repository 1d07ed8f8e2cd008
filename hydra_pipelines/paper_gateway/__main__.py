"""The gateway as a process: reads its command line, its prices and its calendar, and serves.

    python -m hydra_pipelines.paper_gateway --home DIR [--port 4002] [--account DU0000001] ...

Everything comes by the command line; no settings are read, so that it starts at once.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import logging
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_pipelines.paper_gateway import faults
from hydra_pipelines.paper_gateway.account import Terms
from hydra_pipelines.paper_gateway.money import to_units
from hydra_pipelines.paper_gateway.prices import VenuePrices
from hydra_pipelines.paper_gateway.process import ALREADY_RUNNING, LOCK_FILE, STORE_FILE, run
from hydra_pipelines.paper_gateway.store import AccountStore
from hydra_pipelines.paper_gateway.venue import Venue
from hydra_pipelines.sessions import Calendar

if TYPE_CHECKING:
    from hydra_pipelines.market.bars import BarPanel


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    options.home.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with (options.home / LOCK_FILE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"a paper gateway is at work in {options.home} already", file=sys.stderr)
            return ALREADY_RUNNING
        try:
            venue = _venue(options)
            if options.script:
                venue.faults = faults.read(options.script)
        except (ValueError, OSError, RuntimeError) as error:
            print(f"the paper gateway can't start: {error}", file=sys.stderr)
            return 1
        at = (options.host, options.port)
        try:
            asyncio.run(run(venue, options.home, *at, options.idle_timeout))
        except OSError as error:
            print(f"the paper gateway can't listen at {at[0]}:{at[1]}: {error}", file=sys.stderr)
            return 1
    return 0


def _venue(options: argparse.Namespace) -> Venue:
    calendar = Calendar.load(options.calendar, options.calendar_cache or options.home)
    terms = Terms(
        account=options.account,
        cash=options.cash,
        seed=options.seed,
        first_session=options.first_session,
        allow_short=options.allow_short,
    )
    return Venue(
        prices=VenuePrices(_panel(options), calendar, options.seed),
        calendar=calendar,
        store=AccountStore(options.home / STORE_FILE),
        terms=terms,
    )


def _panel(options: argparse.Namespace) -> BarPanel:
    if options.prices_npz:
        return read_npz(options.prices_npz)
    from hydra_pipelines.market.sources import open_source

    return open_source(options.prices, options.prices_options).read()


def read_npz(path: Path) -> BarPanel:
    """A panel from a numpy archive: `sessions` (dates), `symbols`, and an array per bar field."""
    import numpy as np

    from hydra_pipelines.market.bars import BarPanel

    with np.load(path, allow_pickle=False) as archive:
        missing = {"sessions", "symbols", "close"} - set(archive.files)
        if missing:
            raise ValueError(f"{path} has no array {', '.join(sorted(missing))}")
        names = set(archive.files) - {"sessions", "symbols"}
        fields = {name: archive[name].astype(float) for name in sorted(names)}
        sessions = archive["sessions"].astype("datetime64[D]")
        return BarPanel(sessions, tuple(str(s) for s in archive["symbols"]), fields)


def _cash(text: str) -> int:
    units = to_units(text)
    if units is None or units <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of dollars such as 1000000.00")
    return units


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hydra_pipelines.paper_gateway",
        description="A stand-in for IB Gateway: one paper account, in a time of its own.",
    )
    add = parser.add_argument
    add("--home", type=Path, required=True, help="folder of the account, the port file, the log")
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="port for TWS clients; 0 takes a free one")
    add("--account", default="DU0000001")
    add("--cash", type=_cash, default="1000000.00", help="opening balance in USD")
    add("--seed", type=int, default=7, help="of price paths, spreads, depth and noise")
    add("--first-session", type=date.fromisoformat, default="2019-01-02",
        help="the clock of a new account starts at its close")  # fmt: skip
    add("--prices", default="sample", help="name of a market data source")
    add("--prices-options", type=_object, default={}, help="its options, a JSON object")
    add("--prices-npz", type=Path, help="prices from a numpy archive instead of a source")
    add("--calendar", default="XNYS")
    add("--calendar-cache", type=Path, help="folder of calendar files; default: the home")
    add("--allow-short", action="store_true", help="let sell orders open short positions")
    add("--script", type=Path, help="faults to commit, see the module `faults`")
    add("--idle-timeout", type=float, default=600.0,
        help="seconds without client or control call before it ends; inf: never")  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
