"""Who may not do what: hosts, origins, tokens, forms, rates; and what every answer says."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from hydra_pipelines.control import Control
from hydra_pipelines.dashboard.actions import ACTIONS
from hydra_pipelines.dashboard.security import actor_of
from hydra_pipelines_tests.dashboard import stores
from hydra_pipelines_tests.dashboard.served import PAGES, Client, dashboard
from hydra_pipelines_tests.desks import HYDRA, REFUSED


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A dashboard on empty stores, whose posts nobody else counts."""
    with dashboard(stores.empty(tmp_path_factory.mktemp("fresh") / "desk")) as made:
        yield made


def untouched(client: Client) -> bool:
    assert client.dash is not None
    control = Control(client.dash.settings.control_path)
    return not control.kill_switch and not control.agent_paused


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1:1", "", "localhost"]
)
def test_a_foreign_host_is_refused(fresh: Client, host: str) -> None:
    for path in ("/", "/api/v1/status", "/static/hydra.css", "/mlflow/", "/api/sse/cycle-status"):
        assert fresh.get(path, host=host).status == 403, path


def test_localhost_is_the_same_machine(fresh: Client) -> None:
    assert fresh.get("/", host=f"localhost:{fresh.port}").status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:3000"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        # Another port of localhost: for cookies the same site, and not this page.
        ({"sec_fetch_site": "same-site", "origin": None}, 403),
        ({"sec_fetch_site": "none", "origin": None}, 403),
        ({"sec_fetch_site": None, "origin": None}, 403),
        ({"sec_fetch_site": None}, 303),
        ({"origin": None}, 303),
    ],
)
def test_a_post_has_to_come_from_this_page(
    fresh: Client, headers: dict[str, str | None], status: int
) -> None:
    answer = fresh.post("/actions/resume-agent", fresh.form_of("resume-agent"), **headers)
    assert answer.status == status, answer.text
    assert untouched(fresh)


def test_another_site_may_link_here_and_not_embed(fresh: Client) -> None:
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert fresh.get("/", **link, sec_fetch_dest="document").status == 200
    assert fresh.get("/", **link, sec_fetch_dest="iframe").status == 403
    assert fresh.get("/api/v1/status", sec_fetch_site="cross-site").status == 403


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_an_action_is_a_post_with_a_form_of_this_server(fresh: Client, name: str) -> None:
    path = f"/actions/{name}"
    assert fresh.get(path).status == 405
    assert fresh.post(path).status == 403
    form = fresh.form_of(name, "something") if ACTIONS[name].launches is False else None
    if form is None:
        return
    for harm, status in (
        ({"token": ""}, 403),
        ({"token": "0" * 64}, 403),
        (
            {
                "token": fresh.form_of("deregister" if name != "deregister" else "halt", "x")[
                    "token"
                ]
            },
            403,
        ),
        ({"confirmed": ""}, 400),
        ({"key": "short"}, 400),
    ):
        assert fresh.post(path, {**form, **harm}).status == status, harm
    # The token belongs to the cookie of the browser that was shown the page.
    assert Client(fresh.port).post(path, form).status == 403
    assert untouched(fresh)


def test_a_form_is_not_large(fresh: Client) -> None:
    form = {**fresh.form_of("halt"), "why": "x" * 20_000}
    assert fresh.post("/actions/halt", form).status == 413
    assert fresh.ask("POST", "/actions/halt", transfer_encoding="chunked").status in (400, 413)
    assert untouched(fresh)


def test_two_hundred_posts_a_minute_are_too_many(tmp_path: Path) -> None:
    with dashboard(stores.empty(tmp_path / "desk")) as client:
        form = client.form_of("resume-agent")
        seen = Counter(client.post("/actions/resume-agent", form).status for _ in range(200))
        assert set(seen) == {303, 429} and seen[303] <= 62
        # Reading goes on.
        assert client.get("/").status == 200


def test_read_only_is_the_servers_word(traded: Path, tmp_path: Path) -> None:
    folder = stores.copy_of(traded, tmp_path / "desk")
    with dashboard(folder, read_only=True) as client:
        for name in ACTIONS:
            page = client.get(f"/confirm/{name}?subject=x")
            assert page.status == 200 and "<form" not in page.text
            assert client.post(f"/actions/{name}", {"confirmed": "yes"}).status == 403
        alias = "/mlflow/ajax-api/2.0/mlflow/registered-models/alias"
        body = b'{"name": "HYP-2026-001", "alias": "champion", "version": "1"}'
        for method in ("POST", "DELETE", "PATCH", "PUT"):
            assert client.ask(method, alias, body).status == 403
        assert "confirm/" not in client.get("/").text + client.get("/components").text
        assert untouched(client)


def test_every_answer_has_the_policy_and_pages_are_not_kept(fresh: Client) -> None:
    for path in (*PAGES, "/nothing", "/fills?page=x", "/api/v1/status", "/static/hydra.js"):
        answer = fresh.get(path)
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy and "default-src 'none'" in policy, path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"
        if path in PAGES:
            assert answer.headers["cache-control"] == "no-store"
    refused = fresh.get("/", host="evil.example")
    assert "default-src 'none'" in refused.headers["content-security-policy"]


def test_the_forms_cookie_is_for_this_server_alone(fresh: Client) -> None:
    answer = Client(fresh.port).get("/confirm/halt")
    cookie = answer.headers["set-cookie"]
    assert f"hydra_form_{fresh.port}=" in cookie
    assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower()


def test_with_a_token_nothing_is_shown_without_it(traded: Path) -> None:
    token = "a-token-of-more-than-twenty-characters"
    with dashboard(traded, token=token) as client:
        for path in (*PAGES, "/api/v1/status", "/api/sse/cycle-status", "/mlflow/", "/docs"):
            assert client.get(path).status == 401, path
            assert client.get(path, authorization="Bearer wrong").status == 401
        assert client.get("/positions", authorization=f"Bearer {token}").status == 200
        entered = client.get(f"/positions?token={token}&months=2")
        assert entered.status == 303 and entered.headers["location"] == "/positions?months=2"
        assert client.get("/positions").status == 200
        assert token not in str(client.cookies)


def test_who_acts_is_named_with_the_address(fresh: Client) -> None:
    class Asked:
        class client:  # noqa: N801
            host = "10.0.0.7"

    assert actor_of(Asked()) == "user:token@10.0.0.7"  # type: ignore[arg-type]
    Asked.client.host = "127.0.0.1"
    assert actor_of(Asked()).endswith("@127.0.0.1")  # type: ignore[arg-type]


def serve(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [*HYDRA, "serve", *options],
        env={**os.environ, "HYDRA_DATA_DIR": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_any_other_address_needs_a_token_of_its_owner(tmp_path: Path) -> None:
    done = serve(tmp_path, "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == REFUSED and "--token-file" in done.stderr
    token = tmp_path / "token"
    token.write_text("short")
    token.chmod(0o600)
    for mode, said in ((0o644, "chmod 600"), (0o600, "20 are needed")):
        token.chmod(mode)
        done = serve(tmp_path, "--host", "0.0.0.0", "--port", "0", "--token-file", str(token))
        assert done.returncode == REFUSED and said in done.stderr
        assert "Traceback" not in done.stderr
