"""The pages, fragments, streams and actions, a router a topic."""

from fastapi import APIRouter

from hydra_pipelines.dashboard.routes import (
    actions,
    agent,
    audit,
    components,
    data,
    models,
    overview,
    streams,
    system,
    trading,
    workflows,
)

ROUTERS: tuple[APIRouter, ...] = (
    overview.router,
    trading.router,
    models.router,
    agent.router,
    workflows.router,
    components.router,
    system.router,
    audit.router,
    actions.router,
    streams.router,
    data.router,
)
