"""Keeping a desk running: where `hydra up` serves, and how long what piles up is kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hydra_pipelines.settings.families import Section

Days = Annotated[int, Field(ge=1)]


class UpSettings(Section):
    """`hydra up`: the Dagster UI with all that works behind it. The dashboard has its own."""

    host: str = "127.0.0.1"
    """Address of the Dagster UI. Any but a loopback address needs a token (`--token-file`)."""
    port: Annotated[int, Field(ge=0, le=65535)] = 3000
    """0 takes a free one."""
    allowed_hosts: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Names by which browsers may ask for it beside localhost and the address it listens on."""


class RetentionSettings(Section):
    """What is removed when it is old. Ledger, registry and run history are never cut."""

    log_mb: Annotated[int, Field(ge=1)] = 10
    """Size at which a part's log file is put aside."""
    log_files: Annotated[int, Field(ge=1)] = 5
    """Log files of one part that are kept."""
    backups: Annotated[int, Field(ge=1)] = 14
    """The latest so many of those in `data/backups/`."""
    report_days: Days = 365
    """Reports in `data/reports/`."""
    run_output_days: Days = 90
    """What steps of runs printed. Their events stay."""
