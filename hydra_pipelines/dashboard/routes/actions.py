"""Actions: a page that says what will happen and asks, the post that does it, and what came of it.

All of it works without a script: a link, a form, a redirect.
"""

from __future__ import annotations

import secrets

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from hydra_pipelines.dashboard import actions
from hydra_pipelines.dashboard.cells import where
from hydra_pipelines.dashboard.routes.common import Text, dash_of
from hydra_pipelines.dashboard.security import actor_of, form_of

router = APIRouter(include_in_schema=False)
_WHY = 300
"""Characters of a reason."""


@router.get("/confirm/{name}")
def confirm(request: Request, name: str, subject: Text = None, back: Text = None) -> Response:
    dash = dash_of(request)
    action = actions.ACTIONS.get(name)
    if action is None or (action.subject and not subject):
        raise HTTPException(404, "There is no such action")
    why_not = ""
    if dash.rules.read_only:
        why_not = "this dashboard was started with --read-only"
    elif action.launches:
        why_not = dash.workflows.why_not_launch()
    cookies = Response()
    token = dash.rules.csrf_of(request, cookies, name)
    page = dash.page(
        request,
        "confirm.html",
        title=action.title,
        still=True,
        action=action,
        subject=subject or "",
        why_not=why_not,
        token=token,
        key=secrets.token_urlsafe(16),
        back=back if back and back.startswith("/") and not back.startswith("//") else "/",
        actor=actor_of(request),
    )
    for header, value in cookies.raw_headers:
        if header == b"set-cookie":
            page.raw_headers.append((header, value))
    return page


@router.post("/actions/{name}")
async def act(request: Request, name: str) -> Response:
    dash = dash_of(request)
    action = actions.ACTIONS.get(name)
    if action is None:
        raise HTTPException(404, "There is no such action")
    form = await form_of(request)
    if not dash.rules.check_csrf(request, form.get("token", ""), name):
        raise HTTPException(
            403, "This form is not from a page of this server, or too old: open it again"
        )
    if form.get("confirmed") != "yes":
        raise HTTPException(400, "The action was not confirmed: nothing was done")
    key, subject = form.get("key", ""), form.get("subject", "")[:200]
    if not 16 <= len(key) <= 64 or (action.subject and not subject):
        raise HTTPException(400, "The form is not complete: nothing was done")
    asked = actions.Request(
        subject=subject,
        why=form.get("why", "").strip()[:_WHY] or "from the dashboard",
        actor=actor_of(request),
    )
    await run_in_threadpool(dash.actions.perform, name, asked, key)
    return RedirectResponse(where("/done", key), 303)


@router.get("/done/{key}")
def done(request: Request, key: str) -> Response:
    dash = dash_of(request)
    outcome = dash.actions.outcome(key)
    if outcome is None:
        raise HTTPException(404, "What came of this is not remembered: the audit trail has it")
    return dash.page(
        request,
        "done.html",
        title="Done" if outcome.ok else "Not done",
        still=True,
        outcome=outcome,
    )
