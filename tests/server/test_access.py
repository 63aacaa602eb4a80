"""Who may ask, and what becomes of nonsense."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_gpu_remote.server import schema
from jupyter_gpu_remote.server.routes import ROUTES

from .served import ROOT, Answer, Client, Server

ALL = [(method, path.format(name="no-machine", id="no-job")) for path in ROUTES for method in ROUTES[path]]
BODIES = [(m, p) for m, p in ALL if m in ("POST", "PUT")]
NONSENSE = [
    b"{",
    b"[]",
    b"null",
    b"7",
    b'"text"',
    b"\xff\xfe",
    b"[" * 60_000,
    b'{"gpu": NaN}',
    b'{"max_price": 1e999}',
    b'{"minutes": -1}',
    b'{"minutes": "ten"}',
    b'{"gpu": "no such gpu"}',
    b'{"cloud": "no-such-cloud"}',
    b'{"mount": "no bucket"}',
    b'{"mount": ["s3://bucket"]}',
    b'{"mount": "file:///a\\u0000:/b"}',
    b'{"unknown": 1}',
    b'{"notebook": "a\\u0000b", "machine": "x"}',
    b'{"notebook": "\\ud800", "machine": "\\ud800"}',
    b'{"notebook": "../../../etc/passwd", "machine": ""}',
    b'{"notebook": "", "machine": "x"}',
    b'{"cpus": 1.5}',
    b'{"cpus": ' + b"9" * 5000 + b"}",
]


def refused(answer: Answer, *statuses: int) -> Any:
    assert answer.status in statuses or (not statuses and 400 <= answer.status < 500), answer
    return answer.conforms("Problem")


@pytest.mark.parametrize("token", [None, "wrong"])
@pytest.mark.parametrize(("method", "path"), ALL)
def test_nobody_is_answered_without_the_token(
    server: Server, method: str, path: str, token: str | None
) -> None:
    body = b"{}" if method in ("POST", "PUT") else None
    refused(server.client(token).fetch(method, f"gpu-remote/api/{path}", body), 403)


@pytest.fixture(scope="module")
def browser(server: Server) -> Client:
    """Somebody who logged in with a browser."""
    one = server.client(None)
    assert one.fetch("GET", "api/status?token=a-token").status == 200
    assert any(cookie.name.startswith("username") for cookie in one.cookies)
    return one


@pytest.mark.parametrize(("method", "path"), [(m, p) for m, p in ALL if m != "GET"])
def test_a_page_of_another_site_changes_nothing(browser: Client, method: str, path: str) -> None:
    body = b"{}" if method in ("POST", "PUT") else None
    problem = refused(browser.fetch(method, f"gpu-remote/api/{path}", body), 403)
    assert "_xsrf" in problem["message"]


def test_a_browser_that_shows_its_xsrf_token_is_answered(browser: Client) -> None:
    browser.fetch("GET", "tree")
    token = next(c.value for c in browser.cookies if c.name == "_xsrf")
    answer = browser.fetch("DELETE", "gpu-remote/api/jobs/none", **{"X-XSRFToken": token or ""})
    refused(answer, 404)


def test_reading_and_writing_are_different_rights(own_server: Server) -> None:
    (own_server.folder / "plugin" / "readonly.py").write_text(
        "from jupyter_server.auth import Authorizer\n"
        "class ReadOnly(Authorizer):\n"
        "    def is_authorized(self, handler, user, action, resource):\n"
        "        return resource != 'gpu_remote' or action == 'read'\n"
    )
    own_server.options = ("--ServerApp.authorizer_class=readonly.ReadOnly",)
    client = own_server.start().client()
    for _ in range(2):  # in either order
        client.get("MachineList", "machines")
        refused(client.ask("POST", "launches", {"cloud": "local"}), 403)
        refused(client.ask("DELETE", "machines/x"), 403)
        refused(client.ask("PUT", "binding", {"notebook": "a", "machine": "b"}), 403)
        refused(client.ask("GET", "buckets", url="file:///"), 403)
        refused(client.ask("GET", "buckets/file", url="file:///etc/passwd"), 403)


def test_what_a_url_says_to_jupyter_server_is_not_for_us(server: Server) -> None:
    asked = "gpu-remote/api/machines?token=a-token&no_track_activity=1&1795420144772"
    assert server.client(None).fetch("GET", asked).status == 200


def test_every_path_and_method_that_is_not_there_is_refused(client: Client) -> None:
    refused(client.ask("GET", "nothing"), 404)
    refused(client.ask("POST", "nothing/at/all", {}), 404)
    refused(client.ask("GET", ""), 404)
    refused(client.ask("PUT", "machines", {}), 405)
    refused(client.ask("GET", "launches"), 405)
    assert client.fetch("PATCH", "gpu-remote/api/machines", b"{}").status == 405


@pytest.mark.parametrize(("method", "path"), [(m, p) for m, p in ALL if "no-" in p])
def test_an_unknown_machine_or_job_is_not_found(client: Client, method: str, path: str) -> None:
    bodies = {"extend": {"minutes": 5}, "mounts": {"mount": "file:///data:~/data"}}
    body = bodies.get(path.rpartition("/")[2]) if method == "POST" else None
    query = {"path": "~/data"} if method == "DELETE" and path.endswith("mounts") else {}
    assert "no-" in refused(client.ask(method, path, body, **query), 404)["message"]


@pytest.mark.parametrize(("method", "path"), [(m, p) for m, p in ALL if m != "GET"])
def test_a_body_that_is_too_large_is_refused(client: Client, method: str, path: str) -> None:
    body = json.dumps({"notebook": "x" * 70_000}).encode()
    refused(client.fetch(method, f"gpu-remote/api/{path}", body), 413)


@pytest.mark.parametrize(("method", "path"), BODIES)
@pytest.mark.parametrize("body", NONSENSE)
def test_nonsense_is_refused_with_a_reason(client: Client, method: str, path: str, body: bytes) -> None:
    problem = refused(client.fetch(method, f"gpu-remote/api/{path}", body))
    assert problem["message"] and len(problem["message"]) < 5000


@pytest.mark.parametrize(
    "asked",
    [
        "offers?gpu=nonsense",
        "offers?cloud=nonsense",
        "offers?cpus=many",
        "offers?cpus=-1",
        "offers?max_price=NaN",
        "offers?spot=perhaps",
        "offers?unknown=1",
        "offers?gpu=%ff",
        "spend?by=colour",
        "spend?since=-1",
        "runs?limit=0",
        "runs?limit=many",
        "runs/1/output?since=-1",
        "runs/1/output?until=1",
        "buckets",
        "buckets?url=",
        "buckets?url=nonsense",
        "buckets?url=http://elsewhere/a",
        "buckets?url=file:///a/../etc",
        "buckets?url=s3://UPPER/",
        "buckets/file?url=file://",
        "buckets/file?url=file:///etc",
        "clouds?fresh=perhaps",
        "activity?since=-1",
        "activity?limit=0",
        "activity?since=99999999999999999999",
        "machines?ended_after=yesterday",
        "binding",
        "binding?notebook=",
        "binding?notebook=%00",
    ],
)
def test_a_question_that_makes_no_sense_is_refused(client: Client, asked: str) -> None:
    refused(client.fetch("GET", f"gpu-remote/api/{asked}"), 400)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_is_never_a_fault_of_ours(server: Server, data: st.DataObject) -> None:
    method, path = data.draw(st.sampled_from([(m, p) for m, p in ALL if p != "launches"]))
    names = sorted({name for d in schema.schema()["$defs"] for name in schema.fields(d)})
    values = st.dictionaries(st.sampled_from(names), json_values, max_size=4)
    body = None if method in ("GET", "DELETE") else data.draw(values)
    query = data.draw(st.dictionaries(st.sampled_from(names), st.text(max_size=12), max_size=2))
    plain = {name: value.encode("utf-8", "replace") for name, value in query.items()}
    answer = server.client().ask(method, path, body, **plain)
    assert answer.status < 500, answer
    if answer.status >= 400:
        answer.conforms("Problem")


def test_the_papers_list_every_route() -> None:
    told = re.findall(r"\| `([A-Z]+) ([\w/]+)", (ROOT / "docs" / "server-api.md").read_text())
    there = {(m, re.sub(r"{(\w+)}", lambda found: found[1].upper(), p)) for p in ROUTES for m in ROUTES[p]}
    assert set(told) == there


def test_every_definition_that_a_route_names_is_there() -> None:
    named = {n for methods in ROUTES.values() for r in methods.values() for n in (r.takes, r.answers) if n}
    assert named <= schema.schema()["$defs"].keys()
