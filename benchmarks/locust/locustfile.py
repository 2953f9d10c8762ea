# SPDX-License-Identifier: Apache-2.0
"""Chat users for Locust, for those who have it already.

    locust -f benchmarks/locust/locustfile.py --host http://127.0.0.1:8000 --headless --users 20 --spawn-rate 5 --run-time 1m

A user waits between 1 and 5 seconds *after* each answer. That is a closed loop: when the server slows down, so does the load, and
the requests that would have come meanwhile are never measured. It finds the capacity for a number of users; what happens beyond
capacity is measured by hadal-bench, whose arrivals do not wait for answers.

An answer counts when it has content, whatever its status says. A refused user comes back when Retry-After tells it to.
HADAL_LOCUST_KEY is sent as the key; HADAL_LOCUST_TOKENS is max_tokens (64).
"""
import os
import random

import gevent
from locust import HttpUser, between, task

KEY = os.environ.get("HADAL_LOCUST_KEY", "")
MAX_TOKENS = int(os.environ.get("HADAL_LOCUST_TOKENS", "64"))
MAX_WAIT_S = 30.0


def has_content(answer):
    """Whether a chat answer says something: text, reasoning or a tool call."""
    choices = answer.get("choices") or []
    return any(choice.get("message", {}).get(field) for choice in choices for field in ("content", "reasoning_content", "tool_calls"))


def seconds_to_wait(headers):
    """What a refusal asks for, at most MAX_WAIT_S; one second without a hint."""
    try:
        if "retry-after-ms" in headers:
            return min(MAX_WAIT_S, float(headers["retry-after-ms"]) / 1000)
        return min(MAX_WAIT_S, float(headers.get("Retry-After", 1)))
    except ValueError:
        return 1.0


class ChatUser(HttpUser):
    wait_time = between(1, 5)

    @task
    def chat(self):
        body = {"prompt": f"What is {random.randrange(100)} + {random.randrange(100)}?", "max_tokens": MAX_TOKENS}
        headers = {"Authorization": f"Bearer {KEY}"} if KEY else {}
        with self.client.post("/v1/chat", json=body, headers=headers, catch_response=True) as response:
            if response.status_code == 200 and has_content(response.json()):
                response.success()
                return
            response.failure("empty answer" if response.status_code == 200 else
                             f"{response.status_code} {response.headers.get('x-hadal-reason', '')}".strip())
            wait_s = seconds_to_wait(response.headers) if response.status_code in (429, 503) else 0
        gevent.sleep(wait_s)
