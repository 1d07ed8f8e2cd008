"""Dagster's processes beside a dashboard that was started alone, where HYDRA_START_RUNNER asks.

The dashboard serves in any case: what goes wrong with them is said, and no reason to end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hydra_pipelines.operations.stack import Address, UpRefused, checked, running
from hydra_pipelines.operations.supervisor import Event, Happening

if TYPE_CHECKING:
    from hydra_pipelines.desk import Desk

VARIABLE = "HYDRA_START_RUNNER"
_YES, _NO = ("true", "1", "yes"), ("", "false", "0", "no")


def is_wanted() -> bool:
    """What the environment says. Raises ValueError where that is neither yes nor no."""
    said = os.environ.get(VARIABLE, "").strip().lower()
    if said not in (*_YES, *_NO):
        raise ValueError(f"{VARIABLE} is {said!r}; it takes true or false (unset means false)")
    return said in _YES


@contextmanager
def beside(desk: Desk, say: Callable[[str], None]) -> Iterator[None]:
    """Code server, webserver, daemon and venue while the block runs, started behind its back."""
    over = threading.Event()

    def tell(event: Event) -> None:
        if event.what is not Happening.TROUBLE:
            say(f"{event.part}: {event.what}{f', {event.text}' if event.text else ''}")

    def run() -> None:
        up = desk.settings.up
        try:
            web = checked(Address(up.host, up.port, up.allowed_hosts), "HYDRA_UP__PORT")
            with running(desk, web, None, tell):
                over.wait()
        except UpRefused as error:
            say(f"Dagster's processes were not started: {error}")
        except Exception as error:
            say(f"Dagster's processes ended: {type(error).__name__}: {error}")

    # A web server hands the signal on when it has shut down; by this the block is left in order.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    runner = threading.Thread(target=run, name="runner")
    runner.start()
    try:
        yield
    finally:
        over.set()
        runner.join()
