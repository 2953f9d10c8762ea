# SPDX-License-Identifier: Apache-2.0
"""An OpenAI-compatible server that misbehaves as told, for the tests of hadal-bench."""

import asyncio
import json
import threading
import time

CHUNK = 'data: {"choices":[{"index":0,"delta":{"content":"word"},"finish_reason":null}]}\n\n'
LAST = ('data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\n'
        'data: {"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":4}}\n\ndata: [DONE]\n\n')
BUSY = json.dumps({"error": {"message": "Server busy (服务器繁忙请稍后重试)", "type": "overloaded_error",
                             "code": "CONNECTION_QUEUE_FULL"}})


class FakeServer:
    """Answers in a thread of its own. `behave(prompt, attempt)` says how: "serve", "empty", "cut", "close", "error", "stall", "html",
    or a dict of headers for a 503. `calls` maps each prompt to the times at which it came. Prompts begin with a word of their own."""

    def __init__(self, behave=lambda prompt, attempt: "serve", models=True, refuse_fields=(), tls=None):
        self.behave = behave
        self.models = models
        self.refuse_fields = refuse_fields
        self.tls = tls
        self.calls = {}
        self.headers = []
        self.probes = []
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self):
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls))
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        server.close()
        self._loop.run_until_complete(server.wait_closed())
        self._loop.run_until_complete(asyncio.sleep(0))  # the cancelled tasks end
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                if not await self._answer(writer, head[0].split()[1], fields, body):
                    return
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer, path, fields, body):
        """Whether the connection goes on."""
        if path == "/v1/models":
            self.probes.append(fields)
        if path == "/v1/models" and self.models:
            return await self._whole(writer, 200, {}, json.dumps({"data": [{"id": "fake"}]}))
        if path == "/v1/chat":  # not streamed, and nothing in it
            return await self._whole(writer, 200, {}, json.dumps({"choices": [{"message": {"content": ""}}]}))
        if path != "/v1/chat/completions":
            return await self._whole(writer, 404, {}, "{}")
        request = json.loads(body)
        for field in self.refuse_fields:
            if field in request:
                return await self._whole(writer, 400, {}, json.dumps({"error": {"message": f"unknown field {field}"}}))
        prompt = request["messages"][0]["content"]
        self.headers.append(fields)
        times = self.calls.setdefault(prompt.split()[0], [])
        times.append(time.monotonic())
        how = self.behave(prompt, len(times) - 1)
        if isinstance(how, dict):
            return await self._whole(writer, 503, how, BUSY)
        if how == "error":
            return await self._whole(writer, 500, {}, "oops")
        if how == "html":
            return await self._whole(writer, 200, {"content-type": "text/html"}, "<html>welcome</html>")
        if how == "close":
            return False
        if how == "stall":
            await asyncio.sleep(3600)
        chunks = {"serve": [CHUNK] * 4 + [LAST % len(prompt.split())], "empty": [LAST % 1], "cut": [CHUNK]}[how]
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for chunk in chunks:
            writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk.encode()))
            await writer.drain()
        if how == "cut":
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _whole(self, writer, status, fields, body):
        data = body.encode()
        head = "".join(f"{name}: {value}\r\n" for name, value in {"content-type": "application/json", **fields}.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        await writer.drain()
        return True


def refusing(**headers):
    """Refuses the first attempt of each measured request; the calls of the calibration have short and long prompts of their own."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda prompt, attempt: fields if attempt == 0 and len(prompt.split()) in (6, 7) else "serve"
