# SPDX-License-Identifier: Apache-2.0
"""OpenAI-compatible servers as others write them: what their streams, paths and complaints look like."""

import gzip
import http.server
import json
import threading
import time
import urllib.parse


def event(data):
    return f"data: {data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)}\n\n".encode()


def chunk(delta, finish=None):
    return event({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


ROLE, WORD, END = chunk({"role": "assistant", "content": ""}), chunk({"content": " wört"}), chunk({}, "length")
USAGE, DONE = event({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}), event("[DONE]")
ANSWER = [ROLE, *[WORD] * 4, END, USAGE, DONE]

# Whole answers of four tokens, as bytes.
GOOD_STREAMS = {
    "vllm": b"".join(ANSWER),
    "crlf": b"".join(ANSWER).replace(b"\n", b"\r\n"),
    "no space after data": b"".join(ANSWER).replace(b"data: ", b"data:"),
    "keep-alive comments": b": ping\n\n".join(ANSWER),
    "empty deltas": chunk({"content": ""}).join(ANSWER),
    "two tokens a chunk": b"".join([ROLE, WORD, WORD, END, USAGE, DONE]),
    "reasoning": b"".join([ROLE, *[chunk({"reasoning": "hm"})] * 3, WORD, END, USAGE, DONE]),
    "reasoning_content": b"".join([ROLE, *[chunk({"reasoning_content": "hm", "content": None})] * 3, WORD, END, USAGE, DONE]),
    "no [DONE]": b"".join(ANSWER[:-1]),
    "usage in the last chunk": b"".join([ROLE, *[WORD] * 4, event({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}],
                                                                  "usage": {"prompt_tokens": 9, "completion_tokens": 4}}), DONE]),
    "events with ids": b"id: 7\nevent: message\n".join([b"", *ANSWER]),
}

# Answers that broke in the middle, and the reason to be shown.
BROKEN_STREAMS = {
    "vllm": (event({"error": {"message": "engine died", "type": "ServerError", "code": 500}}), "ServerError"),
    "vllm before 0.10": (event({"object": "error", "message": "engine died", "type": "ServerError", "code": 500}), "ServerError"),
    "tgi": (event({"error": "engine died", "error_type": "generation"}), "generation"),
    "named event": (b'event: error\ndata: {"message": "engine died", "status": 500}\n\n', "error_event"),
    "llama.cpp": (b'error: {"code":500,"message":"engine died","type":"server_error"}\n\n', "server_error"),
}


class OtherServer:
    """One thread a connection. `answer(request)` returns status, headers and body of a POST; a body that is a list is sent in these pieces,
    each with the seconds to wait before. `calls` has path, headers and JSON of each POST."""

    def __init__(self, answer, models_path="/v1/models", models=("m",), models_status=200, models_headers=(), http10=False):
        outer = self
        self.calls, self.answer = [], answer

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0" if http10 else "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _send(self, status, headers, body):
                pieces = body if isinstance(body, list) else [(0, body)]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if http10:
                    self.end_headers()
                else:
                    self.send_header("content-length", sum(len(piece) for _, piece in pieces))
                    self.end_headers()
                for delay, piece in pieces:
                    time.sleep(delay)
                    self.wfile.write(piece)
                    self.wfile.flush()

            def do_GET(self):  # noqa: N802
                if urllib.parse.urlsplit(self.path).path == models_path:
                    self._send(models_status, dict(models_headers), json.dumps({"data": [{"id": one} for one in models]}).encode())
                else:
                    self._send(404, {}, b'{"detail":"Not Found"}')

            def do_POST(self):  # noqa: N802
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.calls.append((self.path, dict(self.headers), request))
                self._send(*outer.answer(self.path, request))

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 512

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


STREAM = {"content-type": "text/event-stream; charset=utf-8"}


def streaming(body):
    return lambda path, request: (200, STREAM, body)


def zipped(path, request):
    return 200, {**STREAM, "content-encoding": "gzip"}, gzip.compress(GOOD_STREAMS["vllm"])


def strict(*unknown, message="Unrecognized request argument supplied: {}", status=400):
    """A server that refuses members."""
    def answer(path, request):
        for name in unknown:
            if name in request:
                return status, {"content-type": "application/json"}, json.dumps({"error": {"message": message.format(name)}}).encode()
        return 200, STREAM, GOOD_STREAMS["vllm"]
    return answer
