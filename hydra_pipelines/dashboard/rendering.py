"""Pages from templates: everything is escaped, and a refresh gets the part that changes only."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from hydra_pipelines.dashboard import cells

HERE = Path(__file__).parent
VENDOR = HERE / "static" / "vendor"

PAGES = (
    (
        "Desk",
        (
            ("/", "Overview"),
            ("/positions", "Positions"),
            ("/fills", "Fills"),
            ("/orders", "Orders"),
        ),
    ),
    (
        "Research",
        (
            ("/models", "Models"),
            ("/agent", "Agent"),
            ("/drift", "Drift"),
            ("/mlflow", "MLflow"),
        ),
    ),
    (
        "Operations",
        (
            ("/workflows", "Workflows"),
            ("/components", "Components"),
            ("/system", "System"),
            ("/audit", "Audit"),
        ),
    ),
)
"""The navigation: groups of (path, name)."""


class Renderer:
    """Renders the templates of one dashboard. shared: what every page knows besides its own."""

    def __init__(self, **shared: Any):
        self._environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=cells.shown,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "figure": cells.figure,
            "duration": cells.duration,
            "words": cells.words,
            "stamp": cells.stamp,
            "utc": cells.utc,
            "size": cells.size,
            "prose": _prose,
            "shown": cells.shown,
            # Whole, where `shown` would cut: an address, and a value that comes back.
            "link": lambda value: escape(str(value)),
            "raw_attribute": lambda value: escape(str(value)),
        }
        self._environment.globals |= {"where": cells.where, "pages": PAGES, **shared}
        self._environment.globals["m"] = self._environment.get_template("parts/macros.html").module

    def page(
        self, request: Request, template: str, http_status: int = 200, **values: Any
    ) -> Response:
        """A whole page, or for htmx its live part alone."""
        found = self._environment.get_template(template)
        query = f"?{request.url.query}" if request.url.query else ""
        context = {
            "path": request.url.path,
            "here": request.url.path + query,
            "now": datetime.now(UTC),
            **values,
        }
        body = found.render(context, refresh_only=is_refresh(request))
        return HTMLResponse(
            body, http_status, headers={"cache-control": "no-store", "vary": "hx-request"}
        )

    def part(self, template: str, **values: Any) -> Response:
        """A fragment."""
        body = self._environment.get_template(template).render(values)
        return HTMLResponse(body, headers={"cache-control": "no-store"})


def _prose(text: str) -> Markup:
    """A sentence with its `commands` set as code."""
    pieces = [escape(cells.shown(piece)) for piece in str(text).split("`")]
    if len(pieces) % 2 == 0:
        return Markup("`").join(pieces)
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if i % 2 else piece
        for i, piece in enumerate(pieces)
    )


def is_refresh(request: Request) -> bool:
    """Whether htmx asks, for the live part alone."""
    return request.headers.get("hx-request") == "true"


class PlainResponse(Response):
    """JSON with money as text, dates and instants in ISO 8601."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(finite(content), default=_plain, allow_nan=False).encode()


def _plain(value: Any) -> Any:
    from datetime import date
    from decimal import Decimal

    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    return str(value)


def finite(value: Any) -> Any:
    """The same without NaN and infinities, which JSON does not have."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return value
