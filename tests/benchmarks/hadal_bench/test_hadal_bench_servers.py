# SPDX-License-Identifier: Apache-2.0
"""hadal-bench against the servers of others: their streams, paths, complaints and errors."""

import json
import subprocess

import pytest

from bench_process import BENCH, FAST, bench, measure
from other_servers import BROKEN_STREAMS, GOOD_STREAMS, STREAM, OtherServer, streaming, strict, zipped

LOAD = ("--rate=20", "--arrivals=constant", "--duration=300ms")


@pytest.mark.parametrize("name", GOOD_STREAMS)
@pytest.mark.parametrize("cut", [None, 7])
def test_reads_the_streams_of_other_servers(out, name, cut):
    stream = GOOD_STREAMS[name]
    # Pieces of 7 bytes cut lines, CRLF and the bytes of characters.
    body = stream if cut is None else [(0, stream[i:i + cut]) for i in range(0, len(stream), cut)]
    with OtherServer(streaming(body)) as server:
        run = measure(server.url, out, *LOAD)["runs"][0]
    assert run["requests"]["served"] == run["requests"]["offered"] > 3, run["failures"]
    assert run["tokens"]["output"] == 4 * run["requests"]["served"] and run["tokens"]["requests_without_usage"] == 0
    assert run["latency"]["ttft_s"]["count"] == run["latency"]["tpot_s"]["count"] == run["requests"]["served"]


def test_reads_a_stream_that_ends_with_its_connection(out):
    with OtherServer(streaming(GOOD_STREAMS["no [DONE]"]), http10=True) as server:
        run = measure(server.url, out, *LOAD)["runs"][0]
    assert run["requests"]["served"] == run["requests"]["offered"] > 3


@pytest.mark.parametrize("name", BROKEN_STREAMS)
def test_an_error_in_the_middle_of_a_stream_is_no_answer(out, name):
    broken, reason = BROKEN_STREAMS[name]
    state = []

    def answer(path, request):
        state.append(None)
        whole = GOOD_STREAMS["vllm"]
        if len(state) <= 2:  # the calibration
            return 200, STREAM, whole
        return 200, STREAM, whole[:whole.index(b'"length"')].rpartition(b"data:")[0] + broken + b"data: [DONE]\n\n"
    with OtherServer(answer) as server:
        run = measure(server.url, out, *LOAD, "--client=none", expect=1)["runs"][0]
    assert run["failures"] == {reason: run["requests"]["offered"]} and run["requests"]["served"] == 0


@pytest.mark.parametrize("answer, wanted", [
    (zipped, "content_encoding: the answer is compressed (gzip)"),
    (lambda *_: (200, {"content-type": "application/json"}, b'{"error":{"message":"no room","type":"overloaded_error"}}'), "overloaded_error: no room"),
    (lambda *_: (200, {"content-type": "text/html"}, b"<html>"), "'text/html' in place of text/event-stream"),
    (lambda path, _: (307, {"location": "http://other.example/x"}, b""), "the server redirects to http://other.example/x, which --url should name"),
    (strict("stream", message="no streams"), "no streams")])
def test_says_what_is_wrong_with_a_server(answer, wanted):
    with OtherServer(answer) as server:
        done = bench(f"--url={server.url}", *FAST)
    assert done.returncode == 1 and wanted in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_a_redirected_list_of_models_names_the_place():
    with OtherServer(streaming(b""), models_status=308, models_headers={"location": "https://there.example/v1/models"}) as server:
        done = bench(f"--url={server.url}", *FAST)
    assert done.returncode == 1 and "redirects to https://there.example/v1/models" in done.stderr


@pytest.mark.parametrize("answer, missing, there", [
    (strict("ignore_eos", "min_tokens"), "ignore_eos", "stream_options"),
    (strict("stream_options", message="Extra inputs are not permitted: {}", status=422), "stream_options", "ignore_eos"),
    (strict("ignore_eos", "min_tokens", "stream_options", message="bad request"), "stream_options", "max_tokens"),
    (strict("max_tokens", message="'{}' is not supported with this model. Use 'max_completion_tokens' instead."), "max_tokens", "max_completion_tokens")])
def test_asks_a_strict_server_for_what_it_takes(out, answer, missing, there):
    with OtherServer(answer) as server:
        run = measure(server.url, out, *LOAD)["runs"][0]
        last = server.calls[-1][2]
    assert missing not in last and there in last
    assert run["requests"]["served"] == run["requests"]["offered"] > 3


@pytest.mark.parametrize("suffix, models, path, flags", [
    ("", "/v1/models", "/v1/chat/completions", ()),
    ("/v1/", "/v1/models", "/v1/chat/completions", ()),
    ("/proxy/a/v1", "/proxy/a/v1/models", "/proxy/a/v1/chat/completions", ()),
    ("/api/v4/chat/completions", "/api/v4/models", "/api/v4/chat/completions", ()),
    ("/openai/deployments/d/chat/completions?api-version=1", "/none", "/openai/deployments/d/chat/completions?api-version=1",
     ("--model=d", "--header=api-key=secret")),
    ("", "/v1/models", "/v1/completions", ("--api=completions",)),
    ("/old/completions", "/old/models", "/old/completions", ())])
def test_calls_the_path_that_the_url_says(out, suffix, models, path, flags):
    words = b'data: {"choices":[{"text":"a"}]}\n\n' * 4 + b"".join([b'data: {"choices":[{"text":"","finish_reason":"length"}]}\n\ndata: [DONE]\n\n'])
    with OtherServer(streaming(words), models_path=models) as server:
        result = measure(server.url + suffix, out, *LOAD, *flags)
        assert {call[0] for call in server.calls} == {path}
        assert ("prompt" in server.calls[0][2]) == (not path.partition("?")[0].endswith("/chat/completions"))
        if "--model=d" in flags:
            assert server.calls[0][1]["api-key"] == "secret"
    assert result["runs"][0]["requests"]["served"] > 3
    assert "secret" not in json.dumps(result)


def test_a_query_belongs_to_a_call():
    done = bench("--url=http://127.0.0.1:1/openai?api-version=1")
    assert done.returncode == 2 and "/chat/completions" in done.stderr and "api-version=1" in done.stderr


# ---- What the report says --------------------------------------------------------------------------------------------

def test_failures_have_their_message(out):
    def answer(path, request):
        if len(server.calls) > 2:
            return 500, {"content-type": "application/json"}, b'{"error":{"message":"CUDA out of memory \xff","type":"server_error"}}'
        return 200, STREAM, GOOD_STREAMS["vllm"]
    with OtherServer(answer) as server:
        done = bench(f"--url={server.url}", *FAST, *LOAD, "--client=none", f"--json={out}")
        assert done.returncode == 1, done.stdout
    assert any("CUDA out of memory" in text for text in json.loads(out.read_text())["runs"][0]["messages"].values())
    assert "CUDA out of memory" in done.stdout


def test_answers_shorter_than_planned_are_named(out):
    with OtherServer(streaming(GOOD_STREAMS["vllm"])) as server:
        done = bench(f"--url={server.url}", *FAST, *LOAD, "--lengths=16:8")
        assert "the server ignores ignore_eos: answers have 20 of 40 planned tokens" in done.stdout, done.stdout
        assert "ignores ignore_eos" not in bench(f"--url={server.url}", *FAST, *LOAD, "--lengths=16:4").stdout


def test_a_trace_is_measured_up_to_its_own_end(out, tmp_path):
    trace = tmp_path / "burst.csv"
    trace.write_text("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
                     + "".join(f"{5 + i / 10},ChatGPT,16,4,20,API log\n" for i in range(11)))
    with OtherServer(streaming(GOOD_STREAMS["vllm"])) as server:
        run = measure(server.url, out, f"--trace={trace}", "--duration=60s")["runs"][0]
        assert run["requests"]["served"] == 11 and run["measured_s"] == pytest.approx(1.1)
        assert run["metrics"]["offered_requests_per_s"] == pytest.approx(10)
        done = bench(f"--url={server.url}", *FAST, f"--trace={trace}", "--duration=450ms")
        assert "trace: 6 requests lie behind --duration 450ms and are left out" in done.stdout
        done = bench(f"--url={server.url}", f"--trace={trace}", "--warmup=3s")
        assert done.returncode == 2 and "leaves nothing of the trace, which ends after 1.1 s" in done.stderr


def test_calls_wait_where_the_system_has_no_more_descriptors(out):
    with OtherServer(streaming([(0.5, GOOD_STREAMS["vllm"])])) as server:
        done = subprocess.run(["bash", "-c", 'ulimit -n 60 && exec "$@"', "-", BENCH, f"--url={server.url}", *FAST, "--rate=80",
                               "--arrivals=constant", f"--json={out}"], capture_output=True, text=True, timeout=120)
    assert "the limit of 60 open files (ulimit -n) leaves 20 of --max-connections 4096" in done.stderr
    run = json.loads(out.read_text())["runs"][0]
    assert run["failures"] == {} and run["requests"]["served"] == run["requests"]["offered"] > 30
    assert run["generator"]["connection_waits"] > 5
