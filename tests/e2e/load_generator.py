# SPDX-License-Identifier: Apache-2.0
"""Clients that overload servers and keep what they saw of each answer, so that what the servers say of themselves can be compared with it."""

import dataclasses
import http.client
import json
import math
import threading
import time


@dataclasses.dataclass
class Seen:
    """One request as its client saw it; times are those of time.monotonic, and infinite where there was no such moment."""
    server: str
    sent: float
    status: int = 0
    first_token: float = math.inf
    ended: float = math.inf
    prompt_tokens: int = 0
    generated_tokens: int = 0
    hint: float = math.nan  # seconds of the retry-after-ms of a refusal
    passed_on: bool = False  # another server answered


class LoadGenerator:
    """`servers`: {name: HadalProcess}. Every answer of `ask` and of the clients that `begin` starts becomes one Seen."""

    def __init__(self, servers, tokens, prompt_words):
        self._servers = servers
        self._tokens = tokens
        self._prompt_words = prompt_words
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = []
        self._asked = 0
        self.seen, self.failures = [], []

    def ask(self, name, headers=None, **fields):
        """A streaming completion with a prompt of its own; its Seen."""
        with self._lock:
            self._asked += 1
            number = self._asked
        prompt = f"{number} " + " ".join(f"w{number % 89 + 10}" for _ in range(self._prompt_words))
        body = {"model": "hadal-demo", "prompt": prompt, "max_tokens": self._tokens, "ignore_eos": True, "stream": True,
                "stream_options": {"include_usage": True}, **fields}
        connection = http.client.HTTPConnection("127.0.0.1", self._servers[name].port, timeout=120)
        seen = Seen(name, time.monotonic())
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        seen.status = answer.status
        seen.passed_on = answer.headers.get("x-hadal-served-by") is not None
        if answer.status == 200:
            self._read_stream(answer, seen)
        else:
            seen.hint = float(answer.headers.get("retry-after-ms", "nan")) / 1000
            answer.read()
        seen.ended = time.monotonic()
        connection.close()
        with self._lock:
            self.seen.append(seen)
        return seen

    @staticmethod
    def _read_stream(answer, seen):
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            if seen.first_token == math.inf:
                seen.first_token = time.monotonic()
            usage = json.loads(line[6:]).get("usage")
            if usage:
                seen.prompt_tokens, seen.generated_tokens = usage["prompt_tokens"], usage["completion_tokens"]

    def begin(self, name, clients, pause):
        """So many clients ask again and again; one that was refused waits for `pause` seconds, whatever its hint says."""

        def run():
            try:
                while not self._stop.is_set():
                    if self.ask(name).status != 200:
                        self._stop.wait(pause)
            except Exception as error:  # pylint: disable=broad-except
                self.failures.append(repr(error))

        for _ in range(clients):
            self._threads.append(threading.Thread(target=run))
            self._threads[-1].start()

    def close(self):
        """Waits for the answers that are under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join(120)

    def of(self, name=None, status=None, since=-math.inf):
        with self._lock:
            return [seen for seen in self.seen if name in (None, seen.server) and status in (None, seen.status) and seen.sent >= since]

    def most_held(self, name):
        """The largest number of requests that the server held at a time: sent and in the end answered, but not yet then."""
        changes = sorted(change for seen in self.of(name, 200) for change in ((seen.sent, 1), (seen.ended, -1)))
        held = most = 0
        for _, change in changes:
            held += change
            most = max(most, held)
        return most

    def served_per_second(self, name, since, until):
        """Answers that ended in that time."""
        return sum(since < seen.ended <= until for seen in self.of(name, 200)) / (until - since)

    def arrivals_per_second(self, name, at, half_life):
        """The decayed average of docs/metrics.md: the weight of an arrival halves every `half_life` seconds."""
        ages = [at - seen.sent for seen in self.of(name) if seen.sent <= at]
        watched = 1 - 2 ** (-max(ages) / half_life)
        return sum(2 ** (-age / half_life) for age in ages) * math.log(2) / half_life / watched
