# SPDX-License-Identifier: Apache-2.0
"""docs/metrics.md says what a scrape shows, and what happens to requests moves the metrics that it should."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import resource
import signal
import statistics
import threading
import time

import grpc
import pytest

from hadal_process import HadalProcess
from http_client import post as post_whole
from http_client import send_raw

ROOT = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))

# What the scenario below does not move, and why.
UNMOVED = {
    "hadal_kv_window_blocks": "the model has no windowed cache",
    "hadal_body_bytes_in_flight": "every body arrives whole and is parsed at once",
    "hadal_body_rejections_total": "the bodies are few and small",
    "hadal_body_uploads": "every body arrives whole",
    "hadal_connections_evicted_total": "the connections are few",
    "hadal_accept_failures_total": "there are descriptors",
    "hadal_tls_connections": "there is no TLS",
    "hadal_tls_handshakes_total": "there is no TLS",
    "hadal_tls_handshake_failures_total": "there is no TLS",
    "hadal_tls_certificate_expiry_timestamp_seconds": "there is no TLS",
    "hadal_tls_reloads_total": "there is no TLS",
    "hadal_tls_mismatches_total": "every client speaks as it should",
    "hadal_draining": "the server is not asked to end",
    "hadal_recomputed_tokens_total": "needs a KV cache that is too small",
    "hadal_discarded_rows_total": "on a processor steps wait for their tokens",
    "hadal_preemptions_total": "needs a KV cache that is too small",
    "hadal_set_aside_sequences_total": "needs a batch beside other requests",
    "hadal_rested_rows_total": "needs a batch beside other requests",
    "hadal_queue_token_overruns_total": "the queue has no limit of tokens",
    "hadal_lease_extensions_total": "needs a KV cache that is too small",
    "hadal_slow_readers_total": "every client reads",
    "hadal_degraded_total": "no rung of the ladder is on",
    "hadal_response_cache_lookups_total": "nobody asks for it",
    "hadal_response_cache_store_errors_total": "there is no second level",
    "hadal_response_cache_store_writes_total": "there is no second level",
    "hadal_response_cache_store_circuit_state": "there is no second level",
    "hadal_response_cache_evictions_total": "nobody asks for it",
    "hadal_response_cache_bytes": "nobody asks for it",
    "hadal_response_cache_entries": "nobody asks for it",
    "hadal_batch_lines_taken_over_total": "there is one replica",
    "hadal_batch_store_circuit_state": "the store is no Redis",
    "hadal_kv_events_total": "no events are asked for",
    "hadal_kv_event_batches_total": "no events are asked for",
    "hadal_kv_event_overflows_total": "no events are asked for",
    "hadal_kv_event_replays_total": "no events are asked for",
    "hadal_batches": "files and batches are off",
    "hadal_batch_lines": "files and batches are off",
    "hadal_batch_lines_total": "files and batches are off",
    "hadal_batch_oldest_window_ratio": "files and batches are off",
    "hadal_batch_window": "files and batches are off",
    "hadal_batch_store_bytes": "files and batches are off",
    "hadal_batch_store_errors_total": "files and batches are off",
    "hadal_grpc_refusals_total": "every client keeps to the limits",
    "hadal_grpc_pending_calls": "every message has arrived",
    "hadal_refused_products_total": "nothing is computed",
    "hadal_mps_enabled": "no GPU",
    "hadal_mps_sms": "no GPU",
    "hadal_mps_fault": "no GPU",
    "hadal_mps_memory_limit_bytes": "no GPU",
    "hadal_log_dropped_total": "the log keeps up",
    "hadal_trace_spans_total": "there is no collector",
    "hadal_access_log_dropped_total": "there is no access log",
    "hadal_retry_returns_total": "nobody returns to a refusal",
    "hadal_retry_ghosts_total": "one refusal in a hundred is followed",
    "hadal_false_refusals_total": "one refusal in a hundred is followed",
    "hadal_retry_after_error_ratio": "one refusal in a hundred is followed",
}


def parse(text):
    """{family: (kind, {label names}, sum of the values)} of the text format; a histogram counts its observations."""
    families = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in families, f"{name} is exposed twice"
            families[name] = (kind, [], 0.0)
        elif line and not line.startswith("#"):
            series, labels, value = re.fullmatch(r'([a-z0-9_:]+)(?:\{(.*)\})? (\S+)', line).groups()
            name = series if series in families else re.sub(r"_(bucket|sum|count)$", "", series)
            kind, known, total = families[name]
            names = [n for n in re.findall(r'(\w+)="', labels or "") if (kind, n) != ("histogram", "le")]
            assert not known or names == known, line
            if kind != "histogram" or series.endswith("_count"):
                total += float(value)
            families[name] = (kind, names, total)
    return families


def documented(gpu=False, upstreams=False, pipeline=False, worker=False):
    """{family: (kind, [label names])} of docs/metrics.md; the sections of what not every server has only where they are asked for
    (test_emulated_gpu.py, test_upstream.py, test_pipeline.py)."""
    everywhere, of_gpu = (ROOT / "docs/metrics.md").read_text(encoding="utf-8").split("\n## GPU\n")
    everywhere, of_upstreams = everywhere.split("\n## Upstreams\n")
    everywhere, of_workers = everywhere.split("\n## Workers\n")
    everywhere, of_pipeline = everywhere.split("\n## Several hosts for one model\n")
    text = everywhere + (of_pipeline if pipeline else "") + (of_workers if worker else "") + (of_upstreams if upstreams else "") + (of_gpu if gpu else "")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]+) \|", text, re.MULTILINE)
    return {name: (kind, [] if labels == "-" else labels.split(", ")) for name, kind, labels in rows}


def post(server, body, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json", **(headers or {})})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


@pytest.fixture(scope="module")
def scrapes(stubs):
    """The text before the first request to a server, and scrapes of it when it has had calls over both fronts: during a full queue, and at the end."""
    ask = {"messages": [{"role": "user", "content": "What is 17 + 25? " * 20}], "max_tokens": 4}
    tool = {"type": "function", "function": {"name": "add", "strict": True, "parameters": {
        "type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}}}
    with HadalProcess("--load-format=null:10ms", "--max-model-len=2048", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none",
                      "--kv-block-tokens=16", "--chat-template=deepseek-v3.2") as server:
        begin = server.get("/metrics")[1]
        assert post(server, ask) == 200
        assert post(server, ask) == 200  # the same prompt: from the prefix cache
        for _ in range(16):  # how long answers are is known
            assert post(server, {**ask, "max_tokens": 1}) == 200
        assert post(server, {**ask, "max_tokens": 200, "max_thinking_tokens": 1, "tools": [tool], "tool_choice": "required", "parallel_tool_calls": False}) == 200

        stub = stubs.services.InferenceStub(grpc.insecure_channel(server.target))
        endless = stubs.pb.GenerateRequest(text="count")
        endless.stopping.ignore_eos = True
        endless.stopping.max_tokens = 500
        occupant = stub.Generate(endless)
        next(iter(occupant))
        # A deadline that the forecast takes for possible, however slow the machine makes the steps.
        status, tries = 504, 0
        while status == 504:  # until the forecast has seen the occupant
            assert (tries := tries + 1) < 4
            status, headers, _ = post_whole(server, "/v1/chat/completions", ask, {"x-hadal-deadline-ms": "1000"})
        assert (status, headers["x-hadal-reason"]) == (503, "DEADLINE_INFEASIBLE")
        # Of each that was answered 504, before the next one's deadline.
        missed = tries - 1
        server.wait_metric('hadal_deadline_misses_total{stage="queue"}', missed)
        deadline_ms = 2 * int(headers["x-hadal-estimated-wait-ms"]) + 1000
        waiting = threading.Thread(target=post, args=(server, ask, {"x-hadal-deadline-ms": str(deadline_ms)}))
        waiting.start()
        server.wait_metric("hadal_requests_waiting", 1)
        by = time.monotonic() + deadline_ms / 1000  # its deadline is earlier
        assert post(server, ask) == 503
        full = parse(server.get("/metrics")[1])
        server.signal(signal.SIGSTOP)  # what runs does not end before it
        time.sleep(max(0, by - time.monotonic()))
        server.signal(signal.SIGCONT)
        waiting.join()
        server.wait_metric('hadal_deadline_misses_total{stage="queue"}', missed + 1)
        occupant.cancel()
        server.wait_idle()
        server.wait_metric('hadal_cancellations_total{stage="running"}', 1)
        yield begin, full, parse(server.get("/metrics")[1])


def test_all_series_are_there_as_zeros_before_the_first_request(scrapes):
    """Else rates miss the first increments, and an autoscaler without its series never scales down. No exemplars: old Prometheus servers refuse them."""
    begin = parse(scrapes[0])
    assert {name: (kind, labels) for name, (kind, labels, _) in begin.items()} == documented()
    moved = {name for name, (kind, _, total) in begin.items() if kind != "gauge" and total != 0}
    assert moved == set()
    assert not re.search(r"^[^#\n]+ # \{", scrapes[0], re.MULTILINE)


def test_a_scrape_shows_what_is_documented(scrapes):
    _, _, end = scrapes
    exposed = {name: (kind, labels) for name, (kind, labels, _) in end.items()}
    assert len(exposed) > 40
    assert exposed == documented()


def test_what_should_move_has_moved(scrapes):
    moved = {name for scrape in scrapes[1:] for name, (_, _, total) in scrape.items() if total != 0}
    assert moved == set(documented()) - set(UNMOVED)


@pytest.mark.parametrize("accepted", ["application/openmetrics-text; version=1.0.0", "application/vnd.google.protobuf;encoding=delimited"])
def test_whatever_a_scraper_would_take_it_gets_the_text_format_without_exemplars(server, accepted):
    assert post(server, {"messages": [{"role": "user", "content": "x"}], "max_tokens": 2}) == 200
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/metrics", headers={"Accept": accepted})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    assert "# EOF" not in text and not re.search(r"^[^#\n]+ # \{", text, re.MULTILINE)
    parse(text)


def test_metrics_of_vllm_show_the_same_values():
    """The names that vLLM's dashboards and the endpoint pickers made for it ask for."""
    ask = {"messages": [{"role": "user", "content": "What is 17 + 25?"}], "max_tokens": 4}
    with HadalProcess("--load-format=null", "--metrics-aliases=vllm") as server:
        assert post(server, ask) == 200
        server.wait_idle()
        text = server.get("/metrics")[1]
    families = parse(text)
    aliases = {name: family for name, family in families.items() if name.startswith("vllm:")}
    assert {name for name in families if not name.startswith("vllm:")} == set(documented())
    assert aliases["vllm:num_requests_waiting"] == ("gauge", ["model_name", "engine"], 0)
    assert aliases["vllm:num_requests_running"] == ("gauge", ["model_name", "engine"], 0)
    assert aliases["vllm:generation_tokens_total"][2] == families["hadal_generation_tokens_total"][2] > 0
    assert aliases["vllm:request_success_total"] == ("counter", ["model_name", "engine", "finished_reason"], 1)
    assert 'vllm:request_success_total{model_name="hadal-demo",engine="0",finished_reason="length"} 1' in text
    assert aliases["vllm:e2e_request_latency_seconds"][2] == families["hadal_request_duration_seconds"][2] == 1
    assert {"vllm:kv_cache_usage_perc", "vllm:cache_config_info", "vllm:time_to_first_token_seconds"} <= aliases.keys()
    block_size, blocks = re.search(r'vllm:cache_config_info{model_name="hadal-demo",engine="0",block_size="(\d+)",num_gpu_blocks="(\d+)"} 1', text).groups()
    assert int(block_size) > 0 and int(blocks) > 0


def test_a_scrape_is_quick_while_thousands_of_streams_run():
    streams = 2000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < streams + 500:
        pytest.skip(f"{streams} connections need more than {hard} file descriptors")
    flags = ("--load-format=null:500ms", f"--max-batch-size={streams}", f"--max-queue-requests={streams}", "--wait-limits=none",
             "--max-batch-tokens=16384")
    with HadalProcess(*flags) as server, contextlib.ExitStack() as open_sockets:
        open_sockets.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, streams + 500), hard))
        for _ in range(streams):
            open_sockets.enter_context(contextlib.closing(send_raw(
                server, "/v1/completions", {"prompt": "x", "max_tokens": 2000, "ignore_eos": True, "stream": True})))
        server.wait_metric("hadal_requests_running", streams, timeout=120)
        times = {"/metrics": [], "/health/live": []}
        for _ in range(50):
            for path, taken in times.items():
                begin = time.monotonic()
                assert server.get(path, timeout=60)[0] == 200
                taken.append(time.monotonic() - begin)
        # What an answer without content takes is the machine's and its other users'.
        assert statistics.median(times["/metrics"]) < statistics.median(times["/health/live"]) + 0.010, times
