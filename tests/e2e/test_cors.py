# SPDX-License-Identifier: Apache-2.0
"""Pages of allowed origins may ask each route of the API, whatever the answer is, and others none."""

import http.client
import os
import pathlib
import re

import pytest

from hadal_process import PATIENCE, HadalProcess, filled
from http_client import ASK, post

ROOT = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
ORIGIN, FOREIGN = "https://app.example.com", "https://evil.example.com"
ROUTES = sorted({(path.replace("{id}", "some-id"), method) for method, paths in
                 re.findall(r"// (GET|POST|DELETE) (/\S.*)", (ROOT / "server/http/codec/route.h").read_text(encoding="utf-8"))
                 for path in re.findall(r"/(?:v1|api)/[\w/{}]+", paths)})


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cors")
    (folder / "keys").write_text("sk-cors acme\n")
    with HadalProcess(f"--cors-origin={ORIGIN}", f"--api-key-file={folder / 'keys'}", f"--batch-store={folder}") as process:
        yield process


def request(server, method, path, **headers):
    """(status, headers) of a request without a body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers


def test_the_routes_are_those_of_the_api():
    assert len(ROUTES) > 25 and {("/v1/chat/completions", "POST"), ("/v1/files/some-id", "DELETE"), ("/api/tags", "GET")} <= set(ROUTES)


@pytest.mark.parametrize("path, method", ROUTES)
def test_a_page_may_ask_every_route(server, path, method):
    ask = {"Access_Control_Request_Method": method, "Access_Control_Request_Headers": "authorization,content-type"}
    status, headers = request(server, "OPTIONS", path, Origin=ORIGIN, **ask)
    assert status == 204 and headers["access-control-allow-origin"] == ORIGIN
    assert method in headers["access-control-allow-methods"].split(", ")
    assert headers["access-control-allow-headers"] == "authorization,content-type"
    status, headers = request(server, "OPTIONS", path, Origin=FOREIGN, **ask)
    assert status == 403 and "access-control-allow-origin" not in headers
    # The page can read why it is refused, too: here for want of a key, or with one for what is missing.
    for key in ({}, {"Authorization": "Bearer sk-cors"}):
        _, headers = request(server, method, path, Origin=ORIGIN, **key)
        assert headers["access-control-allow-origin"] == ORIGIN and "x-hadal-reason" in headers["access-control-expose-headers"]


def test_a_page_may_read_refusals_and_what_other_servers_answer(start_server):
    far = start_server("--load-format=null")
    near = start_server("--load-format=null:50ms", "--max-batch-size=1", "--max-queue-requests=1", f"--cors-origin={ORIGIN}",
                        f"--fallback-upstream={far.url},name=far", "--fallback-opt-in", "--fallback-connect-timeout=20s")
    with filled(near):
        for stream in (False, True):
            body = {"messages": ASK, "max_tokens": 5, "stream": stream}
            status, headers, _ = post(near, "/v1/chat/completions", body, {"Origin": ORIGIN})
            assert status == 503 and headers["access-control-allow-origin"] == ORIGIN
            assert "Retry-After" in headers["access-control-expose-headers"]
            status, headers, _ = post(near, "/v1/chat/completions", body, {"Origin": ORIGIN, "x-hadal-allow-fallback": "1"})
            assert status == 200 and headers["x-hadal-served-by"] == "far" and headers["access-control-allow-origin"] == ORIGIN
