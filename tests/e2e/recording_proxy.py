# SPDX-License-Identifier: Apache-2.0
"""A proxy between a tool and a server that keeps what the tool asks: for tests that run the tool, and to renew the requests of recorded/."""

import http.client
import json

from background_http import BackgroundServer, Handler

# The tool's own words; everything else is its HTTP library's.
KEPT_HEADERS = ("content-type", "accept", "authorization")


class RecordingProxy(BackgroundServer):
    """Passes requests on to the port `target`, which may change, byte for byte, and answers as they come."""

    def __init__(self, target):
        self.target = target
        self.exchanges = []  # {"method", "path", "headers", "body", "status"}, in the order of their answers' heads
        super().__init__(self.Passed)

    class Passed(Handler):
        def handle_any(self):
            body = self.body()
            passed = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
            server = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=120)
            server.request(self.command, self.path, body or None, passed)
            answer = server.getresponse()
            self.server.note(self.command, self.path, self.headers, body, answer.status)
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                while piece := answer.read1(65536):
                    self.wfile.write(piece)
                    self.wfile.flush()
            finally:
                self.close_connection = True
                server.close()

        do_GET = do_POST = do_DELETE = do_HEAD = do_OPTIONS = do_PUT = handle_any

    def note(self, method, path, headers, body, status):
        exchange = {"method": method, "path": path, "headers": {name: headers[name] for name in KEPT_HEADERS if name in headers}, "status": status}
        if body:
            exchange["body"] = json.loads(body)
        self.exchanges.append(exchange)

    def asked(self, path):
        return [exchange for exchange in self.exchanges if exchange["path"] == path]
