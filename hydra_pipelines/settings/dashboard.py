"""The dashboard's settings: where it listens, whom it answers, how often it looks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hydra_pipelines.settings.families import Section

Seconds = Annotated[float, Field(gt=0, le=3600)]


class DashboardSettings(Section):
    """`hydra serve`: a page for the desk, on this machine unless more is asked for."""

    host: str = "127.0.0.1"
    """Address to listen on. Any but a loopback address needs a token (`--token-file`)."""
    port: Annotated[int, Field(ge=0, le=65535)] = 7861
    """0 takes a free one."""
    allowed_hosts: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Names by which browsers may ask for it beside localhost and the address it listens on."""
    read_only: bool = False
    """Every action is refused, by the server."""
    refresh_s: Seconds = 60
    """Pages look again after so long, and at once when something happened."""
    workflows_refresh_s: Seconds = 5
    """The same for the page Workflows."""
    components_refresh_s: Seconds = 10
    """The same for the page Components."""
    look_s: Annotated[float, Field(ge=0.05, le=10)] = 0.4
    """How often the stores are looked at for the streams, while anybody listens."""
    heartbeat_s: Seconds = 15
    """A stream without news says so often that it is there."""
    posts_per_minute: Annotated[int, Field(ge=1)] = 60
    """Of one client; more are refused. The MLflow UI reads with POST too: ten times that for it."""
    dagster_url: Annotated[
        str,
        Field(
            pattern=r"^http://(127\.0\.0\.1|localhost|\[::1\]):\d+$",
            examples=["http://127.0.0.1:3000"],
        ),
    ] = "http://127.0.0.1:3000"
    """The Dagster webserver, which launches and re-executes runs. Loopback: it has no log-in."""
    mlflow: bool = True
    """Whether the MLflow UI is served under `/mlflow`."""
    drawn_fills: Annotated[int, Field(ge=10, le=5000)] = 1000
    """The latest so many fills are drawn in the scatter plot."""
