# SPDX-License-Identifier: Apache-2.0
"""Clients of a far host: far_client.py KIND HOST:PORT CALLS TOKENS. Makes the calls at once and prints one line of JSON for each as it ends.

KIND: `http` and `grpc` stream; `http-deadline` and `grpc-deadline` give the server a second and five seconds; `library` asks by
client/python, which returns after refusals. PYTHONPATH holds the generated messages and client/python.
"""
import contextlib
import http.client
import json
import sys
import threading
import time

import grpc
import hadal_client
from hadal.v1 import inference_pb2, inference_pb2_grpc


def http_call(target, tokens, headers=None, stream=True):
    body = {"model": "hadal-demo", "prompt": "x", "max_tokens": tokens, "ignore_eos": True, "stream": stream,
            **({"stream_options": {"include_usage": True}} if stream else {})}
    with contextlib.closing(http.client.HTTPConnection(target, timeout=120)) as connection:
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        text = response.read().decode()
    events = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    usage = [json.loads(event).get("usage") for event in events if event != "[DONE]"] if response.status == 200 and stream else []
    return {"status": response.status, "reason": response.headers.get("x-hadal-reason"), "done": events[-1:] == ["[DONE]"],
            "tokens": usage[-1]["completion_tokens"] if usage and usage[-1] else 0}


def grpc_call(target, tokens, timeout=120):
    request = inference_pb2.GenerateRequest(text="x")
    request.stopping.ignore_eos = True
    request.stopping.max_tokens = tokens
    with grpc.insecure_channel(target, options=[("grpc.enable_retries", 0)]) as channel:
        try:
            answers = list(inference_pb2_grpc.InferenceStub(channel).Generate(request, timeout=timeout))
        except grpc.RpcError as error:
            return {"status": error.code().name}
    return {"status": "OK", "done": True, "tokens": answers[-1].usage.completion_tokens}


def library_call(target, tokens):
    with hadal_client.Client(f"http://{target}") as client:
        answer = client.chat("17 + 25", max_tokens=tokens, deadline=120)
    return {"status": "OK", "tokens": answer.usage.completion_tokens}


KINDS = {
    "http": http_call,
    "grpc": grpc_call,
    "http-deadline": lambda target, tokens: http_call(target, tokens, {"x-hadal-deadline-ms": "1000"}, stream=False),
    "grpc-deadline": lambda target, tokens: grpc_call(target, tokens, timeout=5),
    "library": library_call,
}


def main():
    kind, target, calls, tokens = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    printing = threading.Lock()

    def run():
        begin = time.monotonic()
        try:
            result = KINDS[kind](target, tokens)
        except (OSError, http.client.HTTPException, hadal_client.HadalError) as error:
            result = {"status": repr(error)}
        with printing:
            print(json.dumps({**result, "seconds": time.monotonic() - begin}), flush=True)

    threads = [threading.Thread(target=run) for _ in range(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
