# SPDX-License-Identifier: Apache-2.0
"""Pretended HTTP servers of this process, beside the test that uses them."""
import http.server
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    """Keeps connections and logs nothing."""

    protocol_version = "HTTP/1.1"

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in {**dict(headers), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class BackgroundServer(http.server.ThreadingHTTPServer):
    """Answers by `handler` on a free port, from its making to the end of its `with` block. A handler finds it as `self.server`."""

    daemon_threads = True  # one that still answers keeps no test waiting

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.port = self.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *exception):
        self.shutdown()
        super().__exit__(*exception)
