"""What the routes share: the dashboard behind a request, and filters from an address."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import HTTPException, Query, Request
from pydantic import BeforeValidator, Field

from hydra_pipelines.dashboard.reading import Reading

if TYPE_CHECKING:
    from hydra_pipelines.dashboard.app import Dash


def dash_of(request: Request) -> Dash:
    found: Dash = request.app.state.dash
    return found


def _nothing(given: Any) -> Any:
    """An empty field of a form asks for nothing."""
    if isinstance(given, str):
        given = given.strip()
    return None if given == "" else given


_Short = Annotated[str, Field(max_length=200)]
_Positive = Annotated[int, Field(ge=1)]
Text = Annotated[_Short | None, BeforeValidator(_nothing), Query()]
Day = Annotated[date | None, BeforeValidator(_nothing), Query()]
Number = Annotated[_Positive | None, BeforeValidator(_nothing), Query()]


def reading_or_404(reading: Reading[Any], what: str) -> Any:
    """The value; 404 where it does not exist, which is not the same as that it can't be read."""
    if reading.value is None and reading.why == f"there is no {what}":
        raise HTTPException(404, f"There is no {what}")
    return reading.value
