"""Who may do what: the guard in front of everything, and what an action needs beyond it.

The guard (`webguard`) looks at Host, origin and token. Here are the rules of this application: a
content policy without exceptions for its own pages, the read-only mode, the rate of posts, and
the token that ties a post to a page which this server showed to this browser.
"""

from __future__ import annotations

import getpass
import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from urllib.parse import parse_qs

from fastapi import Request, Response

from hydra_pipelines.webguard import READING, Refusal, Scope, is_loopback

CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "frame-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'self'",
    )
)
"""Of the dashboard's own pages: nothing inline, nothing evaluated, nothing from elsewhere."""
HEADERS = {
    "content-security-policy": CSP,
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
MAX_BODY = 16_384
"""Bytes of a form."""
EMBEDDED = "/mlflow/"
_CLIENTS = 4096


class Rules:
    """The rules of one server, as the guard asks for them.

    read_only: nothing that changes something is let through. posts_per_minute: of one client, and
    ten times that for the embedded MLflow UI, which reads with POST too.
    """

    def __init__(self, *, read_only: bool, posts_per_minute: int):
        self.read_only = read_only
        self._own = _Rate(posts_per_minute)
        self._embedded = _Rate(posts_per_minute * 10)
        self._secret = secrets.token_bytes(32)

    def refuse(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Raises Refusal for what this application does not take."""
        if scope["type"] != "http":
            raise Refusal(403, "there are no WebSockets here")
        if scope["method"] in READING:
            return
        embedded = str(scope["path"]).startswith(EMBEDDED)
        rate = self._embedded if embedded else self._own
        client = (scope.get("client") or ("unknown",))[0]
        if not rate.allows(client):
            raise Refusal(429, "too many posts from this address; try again in a minute")
        if self.read_only and not (embedded and reads_with_post(str(scope["path"]))):
            raise Refusal(403, "this dashboard was started with --read-only")
        if not embedded:
            try:
                length = int(headers.get("content-length", "0"))
            except ValueError:
                raise Refusal(400, "the length of the body is no number") from None
            if length > MAX_BODY or "transfer-encoding" in headers:
                raise Refusal(413, f"a form has at most {MAX_BODY} bytes, and says how many")

    def csrf_of(self, request: Request, response: Response, purpose: str) -> str:
        """A token for a form of this page; the browser gets the cookie that it belongs to."""
        cookie = request.cookies.get(_cookie(request), "")
        if len(cookie) < 32:
            cookie = secrets.token_urlsafe(32)
            response.set_cookie(
                _cookie(request),
                cookie,
                httponly=True,
                samesite="strict",
                secure=request.url.scheme == "https",
            )
        return self._sign(cookie, purpose)

    def check_csrf(self, request: Request, shown: str, purpose: str) -> bool:
        cookie = request.cookies.get(_cookie(request), "")
        return bool(cookie) and hmac.compare_digest(
            shown.encode(), self._sign(cookie, purpose).encode()
        )

    def _sign(self, cookie: str, purpose: str) -> str:
        return hmac.new(self._secret, f"{purpose}\0{cookie}".encode(), hashlib.sha256).hexdigest()


def reads_with_post(path: str) -> bool:
    """Whether a POST to the MLflow UI's API only reads."""
    return path.endswith(
        ("/search", "/get-history-bulk", "/batchGet", "/batchGetInfos", "/graphql")
    )


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a posted form, the first value of each."""
    body = await request.body()
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=50)
    return {name: values[0] for name, values in fields.items()}


def actor_of(request: Request) -> str:
    """Who acts, as the audit trail names people: `user:NAME@ADDRESS`.

    On loopback it is whoever runs the dashboard, as far as can be told; from elsewhere it is
    somebody who has the token.
    """
    address = request.client.host if request.client else "unknown"
    name = "token"
    if is_loopback(address):
        try:
            name = getpass.getuser()
        except (KeyError, OSError, ImportError):
            name = "unknown"
    return f"user:{name}@{address}"


def _cookie(request: Request) -> str:
    # Cookies don't know ports: servers of one host would overwrite each other's.
    return f"hydra_form_{request.url.port or 80}"


class _Rate:
    """At most so many a minute of each client, in bursts up to that."""

    def __init__(self, per_minute: int):
        self._per_minute = per_minute
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._guard = threading.Lock()

    def allows(self, client: str) -> bool:
        now = time.monotonic()
        with self._guard:
            left, at = self._left.pop(client, (float(self._per_minute), now))
            left = min(self._per_minute, left + (now - at) * self._per_minute / 60)
            allowed = left >= 1
            self._left[client] = (left - 1 if allowed else left, now)
            if len(self._left) > _CLIENTS:
                self._left.popitem(last=False)
            return allowed
