"""Who may speak to a web page of the desk: an ASGI guard around any application, for every server.

What listens on 127.0.0.1 can be reached by every page that the browser has open, and by every name
that somebody lets point there. So the guard asks of each request

- that its Host is one that this server is known by, which ends DNS rebinding;
- of one that can change something, and of a WebSocket, that it comes from this very origin. Scheme,
  host and port have to be the same: to a browser another port of localhost is the same *site*, so
  cookies don't tell them apart. A client that isn't a browser sends the header `Origin` itself;
- of one that reads, that it isn't another site's script, image or frame. A link may lead here;
- where a token is set, that it is shown: `Authorization: Bearer …`, or once as `?token=…`, which a
  cookie then stands for.

It adds headers that keep other sites from framing or embedding what is served. Nothing here knows
what is served: rules of one application are given as `refuse`.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MIN_TOKEN = 20
"""Characters that a token has at least."""
READING = frozenset({"GET", "HEAD"})
HEADERS: Mapping[str, str] = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
"""Put on every answer that doesn't say otherwise itself."""

_WEB_PORTS = {"http": 80, "https": 443}
_log = logging.getLogger(__name__)


class Refusal(Exception):
    """Why a request is not let through. status: of HTTP."""

    def __init__(self, status: int, why: str):
        super().__init__(why)
        self.status = status
        self.why = why


Refuse = Callable[[Scope, Mapping[str, str]], None]
"""(scope, headers): raises Refusal for what an application doesn't take."""


class Guard:
    """The guard of one server, itself an ASGI application.

    hosts: values of the header Host that it is known by, as `hosts_of` makes them. token: what a
    client has to show; None on loopback only. headers: on every answer, over `HEADERS`.
    Raises ValueError for a token that could be guessed.
    """

    def __init__(
        self,
        app: App,
        hosts: Collection[str],
        *,
        token: str | None = None,
        refuse: Refuse = lambda scope, headers: None,
        headers: Mapping[str, str] = {},
    ):
        if token is not None and len(token) < MIN_TOKEN:
            raise ValueError(f"the token has {len(token)} characters, {MIN_TOKEN} are needed")
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._token = token
        self._refuse = refuse
        self._headers = [(k.encode(), v.encode()) for k, v in {**HEADERS, **headers}.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            headers = _headers(scope)
            self._check_host(headers)
            self._check_origin(scope, headers)
            if self._shows_token_in_url(scope):
                await self._answer(send, 303, "", self._entry(scope, headers))
                return
            self._check_token(scope, headers)
            self._refuse(scope, headers)
        except Refusal as refusal:
            _log.warning(
                "refused %s %s: %s",
                scope.get("method", "WebSocket"),
                quote(str(scope.get("path", ""))),
                ascii(refusal.why),
            )
            if scope["type"] == "websocket":
                # Before it is accepted, closing is an answer of 403.
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._answer(send, refusal.status, f"Refused: {refusal.why}\n", [])
            return
        await self._app(scope, receive, self._with_headers(send))

    def _check_host(self, headers: Mapping[str, str]) -> None:
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            raise Refusal(403, f"this server is not known as {host[:100] or 'a host without name'}")

    def _check_origin(self, scope: Scope, headers: Mapping[str, str]) -> None:
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
        own = f"{scheme}://{headers['host'].lower()}"
        if scope["type"] == "http" and scope["method"] in READING:
            follows_a_link = (
                headers.get("sec-fetch-mode") == "navigate"
                and headers.get("sec-fetch-dest") == "document"
            )
            if site not in (None, "none", "same-origin") and not follows_a_link:
                raise Refusal(403, "another site may link to this page, not embed or read it")
            return
        if origin is not None and origin.lower() != own:
            raise Refusal(403, f"it comes from {origin[:100]}, not from this page ({own})")
        if site is not None and site != "same-origin":
            raise Refusal(403, f"it comes from another page ({site[:20]})")
        if origin is None and site is None:
            raise Refusal(
                403, f"it doesn't say where it comes from: send the header `Origin: {own}`"
            )

    def _check_token(self, scope: Scope, headers: Mapping[str, str]) -> None:
        if self._token is None:
            return
        kind, _, shown = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _same(shown.strip(), self._token):
            return
        name = self._cookie_name(headers)
        for cookie in headers.get("cookie", "").split(";"):
            key, _, value = cookie.strip().partition("=")
            if key == name and _same(value, self._cookie_value(headers)):
                return
        raise Refusal(401, "open this page once with ?token=… and the token of this server")

    def _shows_token_in_url(self, scope: Scope) -> bool:
        if self._token is None or scope["type"] != "http" or scope["method"] != "GET":
            return False
        shown = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"))).get("token")
        return shown is not None and _same(shown, self._token)

    def _entry(self, scope: Scope, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        """The cookie, and the way on to the same page without the token in its address."""
        pairs = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        rest = urlencode([(key, value) for key, value in pairs if key != "token"])
        # Not `//host/…`, which would lead elsewhere.
        path = "/" + quote(str(scope["path"])).lstrip("/")
        cookie = (
            f"{self._cookie_name(headers)}={self._cookie_value(headers)}; "
            "Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if scope["scheme"] == "https" else "")
        )
        return [
            (b"location", (path + (f"?{rest}" if rest else "")).encode()),
            (b"set-cookie", cookie.encode()),
        ]

    def _cookie_name(self, headers: Mapping[str, str]) -> str:
        # Cookies don't know ports: servers of one host would overwrite each other's.
        port = headers["host"].rpartition(":")[2] if ":" in headers["host"] else ""
        return f"hydra_{port}" if port.isdigit() else "hydra"

    def _cookie_value(self, headers: Mapping[str, str]) -> str:
        """Stands for the token, from which the token can't be had."""
        assert self._token is not None
        key = self._token.encode()
        return hmac.new(key, self._cookie_name(headers).encode(), hashlib.sha256).hexdigest()

    def _with_headers(self, send: Send) -> Send:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message.get("headers", ())}
                added = [(name, value) for name, value in self._headers if name not in there]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        return with_headers

    async def _answer(
        self, send: Send, status: int, text: str, headers: list[tuple[bytes, bytes]]
    ) -> None:
        body = text.encode()
        start = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            *headers,
            *self._headers,
        ]
        await send({"type": "http.response.start", "status": status, "headers": start})
        await send({"type": "http.response.body", "body": body})


def is_loopback(host: str) -> bool:
    return host in LOOPBACK


def hosts_of(host: str, port: int, names: Collection[str] = ()) -> frozenset[str]:
    """Values of the header Host for a server that listens at an address.

    names: under which it is known besides, without port. A server on loopback is known by all names
    of that, one on any other address by loopback, its address and these names.
    """
    known = {*LOOPBACK, *names}
    if host not in ("", "0.0.0.0", "::"):
        known.add(host)
    out = set()
    for name in known:
        shown = f"[{name}]" if ":" in name else name
        out.add(f"{shown}:{port}".lower())
        if port in _WEB_PORTS.values():
            out.add(shown.lower())
    return frozenset(out)


def _headers(scope: Scope) -> dict[str, str]:
    """By lower-case name. Raises Refusal where one that decides is there more than once."""
    out: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name in out:
            if name in ("host", "origin", "authorization") or name.startswith("sec-fetch-"):
                raise Refusal(400, f"the header {name} is there twice")
            # Cookies may come in several headers (HTTP/2).
            value = f"{out[name]}; {value}" if name == "cookie" else value
        out[name] = value
    return out


def _same(shown: str, secret: str) -> bool:
    return hmac.compare_digest(shown.encode(), secret.encode())
