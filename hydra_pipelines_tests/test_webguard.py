"""The web guard by itself: which requests reach the application, and what answers carry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from hydra_pipelines.webguard import HEADERS, Guard, Refusal, hosts_of

OWN = "http://127.0.0.1:3000"
TOKEN = "a-token-that-is-long-enough"
LINK = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
FRAME = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
IMAGE = {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}


class App:
    """Counts what reaches it."""

    def __init__(self, headers: tuple[tuple[bytes, bytes], ...] = ()):
        self.reached = 0
        self.headers = headers

    async def __call__(self, scope, receive, send) -> None:
        self.reached += 1
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": self.headers})
            await send({"type": "http.response.body", "body": b"ok"})
        elif scope["type"] == "websocket":
            await send({"type": "websocket.accept"})


def ask(
    guard: Guard,
    headers: Mapping[str, str] = {},
    *,
    method: str = "GET",
    path: str = "/",
    query: str = "",
    kind: str = "http",
    host: str | None = "127.0.0.1:3000",
    twice: tuple[str, str] | None = None,
) -> list[dict[str, Any]]:
    """What the guard sends for a request."""
    pairs = [*({"host": host} if host is not None else {}).items(), *headers.items()]
    pairs += [twice] if twice else []
    scope = {
        "type": kind,
        "scheme": "ws" if kind == "websocket" else "http",
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in pairs],
        **({"method": method} if kind == "http" else {}),
    }
    sent: list[dict[str, Any]] = []

    async def send(message) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    asyncio.run(guard(scope, receive, send))
    return sent


def status(sent: list[dict[str, Any]]) -> int:
    return sent[0]["status"]


def answered(sent: list[dict[str, Any]]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def guard(app: App) -> Guard:
    return Guard(app, hosts_of("127.0.0.1", 3000))


READ = [
    ({}, 200),
    ({"sec-fetch-site": "none"}, 200),
    ({"sec-fetch-site": "same-origin"}, 200),
    ({"sec-fetch-site": "cross-site", **LINK}, 200),
    ({"sec-fetch-site": "same-site", **LINK}, 200),
    ({"sec-fetch-site": "cross-site", **FRAME}, 403),
    ({"sec-fetch-site": "cross-site", **IMAGE}, 403),
    ({"sec-fetch-site": "same-site", **IMAGE}, 403),
    ({"sec-fetch-site": "cross-site"}, 403),
]


@pytest.mark.parametrize(("headers", "expected"), READ)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_another_site_may_link_here_and_no_more(guard, app, method, headers, expected) -> None:
    assert status(ask(guard, headers, method=method)) == expected
    assert app.reached == (expected == 200)


CHANGE = [
    ({"origin": OWN}, 200),
    ({"origin": OWN, "sec-fetch-site": "same-origin"}, 200),
    ({"sec-fetch-site": "same-origin"}, 200),
    ({"origin": "HTTP://127.0.0.1:3000"}, 200),
    ({}, 403),
    ({"origin": "null"}, 403),
    ({"origin": ""}, 403),
    ({"origin": "http://evil.example"}, 403),
    ({"origin": "http://127.0.0.1:3001"}, 403),
    ({"origin": "http://127.0.0.1"}, 403),
    ({"origin": "http://localhost:3000"}, 403),
    ({"origin": "https://127.0.0.1:3000"}, 403),
    ({"origin": OWN + ".evil.example"}, 403),
    ({"origin": OWN, "sec-fetch-site": "same-site"}, 403),
    ({"origin": "http://evil.example", "sec-fetch-site": "same-origin"}, 403),
    ({"sec-fetch-site": "same-site"}, 403),
    ({"sec-fetch-site": "cross-site", **LINK}, 403),
    ({"sec-fetch-site": "none"}, 403),
    ({"referer": OWN + "/"}, 403),
]


@pytest.mark.parametrize(("headers", "expected"), CHANGE)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_only_its_own_pages_change_anything(guard, app, method, headers, expected) -> None:
    assert status(ask(guard, headers, method=method)) == expected
    assert app.reached == (expected == 200)


@pytest.mark.parametrize(("headers", "expected"), CHANGE)
def test_a_websocket_is_opened_by_its_own_pages_alone(guard, app, headers, expected) -> None:
    (first, *_) = ask(guard, headers, kind="websocket")
    accepted = expected == 200
    assert first["type"] == ("websocket.accept" if accepted else "websocket.close")
    assert app.reached == accepted


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:3000", "localhost:3000", "LOCALHOST:3000", "[::1]:3000"],
)  # fmt: skip
def test_it_is_known_by_every_name_of_loopback(guard, host) -> None:
    assert status(ask(guard, host=host)) == 200
    assert status(ask(guard, {"origin": f"http://{host.lower()}"}, method="POST", host=host)) == 200


@pytest.mark.parametrize(
    "host",
    [
        None, "", "evil.example", "evil.example:3000", "127.0.0.1", "127.0.0.1:3001",
        "localhost.:3000", "127.0.0.1:3000.evil.example", "127.0.0.2:3000", "0.0.0.0:3000",
        "127.0.0.1:3000, evil.example",
    ],
)  # fmt: skip
def test_any_other_host_is_refused_whatever_else_it_says(guard, app, host) -> None:
    assert status(ask(guard, {"origin": f"http://{host}"}, host=host)) == 403
    assert status(ask(guard, {"sec-fetch-site": "same-origin"}, method="POST", host=host)) == 403
    (closed,) = ask(guard, {"origin": f"http://{host}"}, kind="websocket", host=host)
    assert closed["type"] == "websocket.close"
    assert app.reached == 0


@pytest.mark.parametrize("name", ["host", "origin", "sec-fetch-site"])
def test_what_decides_may_not_be_said_twice(guard, app, name) -> None:
    good = {"origin": OWN, "sec-fetch-site": "same-origin"}
    twice = (name, "127.0.0.1:3000" if name == "host" else good[name])
    assert status(ask(guard, good, method="POST", twice=twice)) == 400
    assert app.reached == 0


def test_names_of_an_address() -> None:
    assert hosts_of("127.0.0.1", 80) >= {"localhost", "localhost:80", "[::1]", "127.0.0.1:80"}
    assert hosts_of("0.0.0.0", 99, ("desk.example",)) == {
        "127.0.0.1:99", "localhost:99", "[::1]:99", "desk.example:99",
    }  # fmt: skip
    assert "10.0.0.5:99" in hosts_of("10.0.0.5", 99)


def test_answers_keep_other_sites_from_framing_and_embedding() -> None:
    own = ((b"Referrer-Policy", b"no-referrer"), (b"x-mine", b"1"))
    guard = Guard(App(own), hosts_of("::1", 3000), headers={"x-frame-options": "DENY"})
    carried = answered(ask(guard))
    assert carried["Referrer-Policy"] == "no-referrer" and "referrer-policy" not in carried
    assert carried["x-frame-options"] == "DENY" and carried["x-mine"] == "1"
    assert carried.keys() >= HEADERS.keys() - {"referrer-policy"}
    refused = answered(ask(guard, host="evil.example"))
    assert refused["x-content-type-options"] == "nosniff"


def test_an_application_may_refuse_more(app) -> None:
    def refuse(scope, headers) -> None:
        if scope["path"] == "/secret":
            raise Refusal(405, "not by this way")

    guard = Guard(app, hosts_of("127.0.0.1", 3000), refuse=refuse)
    start, body = ask(guard, path="/secret")
    assert (start["status"], body["body"]) == (405, b"Refused: not by this way\n")
    assert status(ask(guard)) == 200


def test_what_is_no_request_goes_through(guard, app) -> None:
    ask(guard, kind="lifespan")
    assert app.reached == 1


class TestToken:
    @pytest.fixture
    def guard(self, app: App) -> Guard:
        return Guard(app, hosts_of("0.0.0.0", 3000, ("desk.example",)), token=TOKEN)

    def test_it_can_not_be_guessed(self, app: App) -> None:
        with pytest.raises(ValueError, match="20 are needed"):
            Guard(app, (), token="short")

    def test_it_is_shown_in_a_header(self, guard: Guard, app: App) -> None:
        assert status(ask(guard)) == 401
        assert status(ask(guard, {"authorization": "Bearer wrong"})) == 401
        assert status(ask(guard, {"authorization": TOKEN})) == 401
        assert app.reached == 0
        assert status(ask(guard, {"authorization": f"Bearer {TOKEN}"})) == 200
        (refused,) = ask(guard, {"origin": OWN}, kind="websocket")
        assert refused["type"] == "websocket.close"

    def test_it_does_not_stand_for_the_origin(self, guard: Guard, app: App) -> None:
        shown = {"authorization": f"Bearer {TOKEN}"}
        assert status(ask(guard, {**shown, "origin": "http://evil.example"}, method="POST")) == 403
        assert status(ask(guard, {**shown, "origin": OWN}, method="POST")) == 200

    def test_a_cookie_stands_for_it(self, guard: Guard, app: App) -> None:
        sent = ask(guard, path="//evil.example/runs", query=f"a=1&token={TOKEN}&b=%26")
        entry = answered(sent)
        assert (status(sent), entry["location"]) == (303, "/evil.example/runs?a=1&b=%26")
        cookie, *attributes = entry["set-cookie"].split("; ")
        assert attributes == ["Path=/", "HttpOnly", "SameSite=Lax"] and TOKEN not in cookie
        assert cookie.startswith("hydra_3000=")
        assert status(ask(guard, {"cookie": f"other=1; {cookie}"})) == 200
        assert status(ask(guard, {"cookie": cookie[:-1]})) == 401
        assert status(ask(guard, {"cookie": f"hydra_3000={TOKEN}"})) == 401
        assert status(ask(guard, query="token=wrong")) == 401
        assert status(ask(guard, query=f"token={TOKEN}", method="HEAD")) == 401
        assert app.reached == 1


def test_a_refusal_is_logged_on_one_line(guard, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        ask(guard, {"origin": "http://evil\n2026 all is well"}, method="POST", path="/a\nb")
    (line,) = caplog.messages
    assert "\n" not in line and "evil" in line
