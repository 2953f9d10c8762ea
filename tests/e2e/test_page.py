# SPDX-License-Identifier: Apache-2.0
"""The page at /, as HTTP: its files, their headers, and where there is none."""

import http.client
import re

import pytest

MAX_PAGE_BYTES = 100 * 1000
POLICY = {"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'", "connect-src": "'self'",
          "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'", "require-trusted-types-for": "'script'",
          "trusted-types": "'none'"}
TYPES = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8",
         "svg": "image/svg+xml"}


def ask(server, path, method="GET", host="127.0.0.1", **headers):
    connection = http.client.HTTPConnection(host, server.port, timeout=60)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    result = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
    connection.close()
    return result


def files_of(server):
    """{path: text} of the page and of everything that it names, directly or by an import."""
    found = {}
    open_paths = ["/"]
    while open_paths:
        path = open_paths.pop()
        if path in found:
            continue
        status, _, text = ask(server, path)
        assert status == 200, path
        found[path] = text
        open_paths += ["/" + name for name in re.findall(r'(?:src|href)="(page/[^"]+)"', text)]
        open_paths += ["/page/" + name for name in re.findall(r'from "\./([^"]+)"', text)]
    return found


def test_the_page_is_small_and_whole(server):
    files = files_of(server)
    assert {"/", "/page/page.css", "/page/page.js", "/page/chat.js", "/page/metrics.js", "/page/icon.svg"} <= files.keys()
    assert sum(len(text.encode()) for text in files.values()) < MAX_PAGE_BYTES


def test_every_file_has_its_headers(server):
    for path in files_of(server):
        _, headers, _ = ask(server, path)
        assert headers["content-type"] == TYPES["html" if path == "/" else path.rsplit(".", 1)[1]], path
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy == POLICY
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cache-control"] == "no-cache"
        assert re.fullmatch(r'"[0-9a-f]{32}"', headers["etag"])


def test_nothing_comes_from_elsewhere_and_no_text_becomes_markup(server):
    for path, text in files_of(server).items():
        addresses = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+[^\s\"']*", text)) - {"http://www.w3.org/2000/svg"}
        assert not addresses, path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function| style=| on[a-z]+=", text), path


def test_a_known_file_is_not_sent_again(server):
    _, headers, body = ask(server, "/page/page.css")
    tag = headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        status, again, nothing = ask(server, "/page/page.css", if_none_match=known)
        assert (status, nothing, again["etag"]) == (304, "", tag), known
        assert "content-type" not in again and "content-length" not in again
    assert ask(server, "/page/page.css", if_none_match='"other"')[0::2] == (200, body)


def test_head_and_other_methods(server):
    _, whole, _ = ask(server, "/")
    status, headers, body = ask(server, "/", "HEAD")
    assert (status, body) == (200, "")
    for name in ("content-type", "content-length", "etag", "content-security-policy"):
        assert headers[name] == whole[name]
    status, headers, _ = ask(server, "/", "POST")
    assert status == 405 and headers["allow"] == "GET, HEAD, OPTIONS"
    for path in ("/page/", "/page", "/page/nothing.js", "/page/../page.js", "/page/%2e%2e/main.cc", "/index.html"):
        assert ask(server, path)[0] == 404, path


def test_looking_at_the_page_is_no_request_of_the_api(server):
    before = server.metric("hadal_requests_total")
    ask(server, "/")
    ask(server, "/page/page.js")
    assert server.metric("hadal_requests_total") == before


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "keys"
    path.write_text("sk-page acme\n")
    return str(path)


def test_where_the_page_is_on(start_server, keys):
    for flags, on in ((["--page=off"], False), (["--host=0.0.0.0", "--insecure-public"], False),
                      (["--host=0.0.0.0", "--insecure-public", "--page=on"], True),
                      (["--host=0.0.0.0", f"--api-key-file={keys}"], True),
                      (["--host=0.0.0.0", f"--api-key-file={keys}", "--page=off"], False)):
        server = start_server(*flags, wait_ready=False)
        for path in ("/", "/page/page.js"):
            status, headers, body = ask(server, path)
            assert status == (200 if on else 404), (flags, path)
            if not on:
                assert headers["x-hadal-reason"] == "ROUTE_NOT_FOUND" and "--page=on" in body
        server.stop()
