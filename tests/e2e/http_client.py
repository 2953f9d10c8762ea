# SPDX-License-Identifier: Apache-2.0
"""What the tests of the HTTP front send: requests of a few lengths, the openai client, and raw sockets."""

import http.client
import json
import socket

import openai

from hadal_process import PATIENCE

ASK = [{"role": "user", "content": "17 + 25"}]
# The demo model's context is 2048 tokens: long enough to be still running when a test looks.
LONG = {"messages": [{"role": "user", "content": "count"}], "max_tokens": 1500, "temperature": 0, "ignore_eos": True}
SHORTER = {**LONG, "max_tokens": 300}


def client_of(server, **options):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=PATIENCE, **options)


def post(server, path, body, headers=None, timeout=PATIENCE):
    """(status, headers, body) of one POST."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    data = body if isinstance(body, (bytes, str)) else json.dumps(body)
    connection.request("POST", path, data, {"Content-Type": "application/json", **(headers or {})})
    answer = connection.getresponse()
    result = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    connection.close()
    return result


def send_raw(server, path, body, headers=None):
    """A socket on which the request has been sent."""
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
    data = json.dumps(body).encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    sock.sendall(f"POST {path} HTTP/1.1\r\nHost: t\r\n{more}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return sock


def read_until(sock, text):
    data = b""
    while text not in data:
        more = sock.recv(65536)
        assert more, f"the connection ended before {text!r}: {data[-500:]!r}"
        data += more
    return data
