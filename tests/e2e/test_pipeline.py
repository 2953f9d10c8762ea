# SPDX-License-Identifier: Apache-2.0
"""One model on several hosts: `hadal serve` with `hadal worker`s as real processes, what they answer, and what happens when one is lost, late or
not what it should be."""

import contextlib
import http.client
import json
import pathlib
import shutil
import socket
import subprocess
import threading

import pytest

from hadal_process import HadalProcess
from ports import free_port
from test_metrics import documented, parse
from worker_process import WorkerProcess

PROMPTS = ["What is 17 + 25?", "Name the colours of a rainbow, in their order, and say why they come in it. " * 6, "x"]
# Batch-invariant: requests that come at once meet in other steps on each server, and must get the same bits all the same.
SERVE = ["--threads=1", "--batch-invariant", "--max-batch-size=8", "--max-batch-tokens=64", "--memory-budget=256MiB"]


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("pipeline") / "key"
    path.write_text("a secret of all hosts of the test\n")
    return path


def lead(key, workers, *flags, **options):
    return HadalProcess(*SERVE, f"--pipeline-workers={','.join(worker.address for worker in workers)}", f"--pipeline-key-file={key}", *flags, **options)


def complete(server, prompt, **fields):
    """(status, headers, answer) of a greedy completion."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    body = {"model": "hadal-demo", "prompt": prompt, "max_tokens": 24, "temperature": 0, "logprobs": 5, "ignore_eos": True, "return_token_ids": True, **fields}
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    headers, body = dict(answer.getheaders()), json.loads(answer.read())
    connection.close()
    return answer.status, headers, body


def constrained(server):
    """What a chat says that may only write an object."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    schema = {"type": "object", "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["sum"], "additionalProperties": False}
    body = {"model": "hadal-demo", "messages": [{"role": "user", "content": "17 + 25"}], "max_tokens": 60, "temperature": 0, "max_thinking_tokens": 0,
            "response_format": {"type": "json_schema", "json_schema": {"name": "sum", "strict": True, "schema": schema}}}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    assert answer.status == 200, body
    assert "sum" in json.loads(body["choices"][0]["message"]["content"])
    return body["choices"][0]["message"]["content"]


def answers(server):
    """Token ids and log-probabilities of every prompt: alone, again from the prefix cache, then all at once with prompts scored in chunks.
    And an answer under a schema."""
    results = [constrained(server)]
    for fields in ({}, {}, {"echo": True, "seed": 3, "temperature": 0.8, "frequency_penalty": 0.5}):
        found = [None] * len(PROMPTS)

        def ask(i, fields=fields, found=found):
            found[i] = complete(server, PROMPTS[i], **fields)

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(PROMPTS))]
        for thread in threads:
            thread.start()
            if not fields:
                thread.join()
        for thread in threads:
            thread.join()
        for status, _, answer in found:
            assert status == 200, answer
            choice = answer["choices"][0]
            results.append((choice["token_ids"], choice["logprobs"], answer["usage"]["prompt_tokens"]))
    return results


@pytest.fixture(scope="module")
def alone():
    """What one host answers."""
    with HadalProcess(*SERVE) as server:
        found = answers(server)
        assert server.metric("hadal_prefix_cache_hit_tokens_total") > 0
        return found


@pytest.mark.parametrize("workers, flags", [(1, []), (1, ["--pipeline-steps=1"]), (2, []), (2, ["--pipeline-steps=5"])])
def test_several_hosts_answer_as_one_does(alone, key, workers, flags):
    with contextlib.ExitStack() as stack:
        hosts = [stack.enter_context(WorkerProcess(key)) for _ in range(workers)]
        with lead(key, hosts, *flags) as server:
            assert answers(server) == alone
            assert server.metric("hadal_prefix_cache_hit_tokens_total") > 0
            families = parse(server.get("/metrics")[1])
            assert {name: (kind, labels) for name, (kind, labels, _) in families.items()} == documented(pipeline=True)
            for host in hosts:
                assert server.metric(f'hadal_pipeline_worker_up{{worker="{host.address}"}}') == 1
                assert server.metric(f'hadal_pipeline_sent_bytes_total{{worker="{host.address}"}}') > 10_000
                assert server.metric(f'hadal_pipeline_wait_seconds_count{{worker="{host.address}"}}') > 10
        # The server has ended: its workers are free for the next.
        for host in hosts:
            host.wait_text("its layers are freed")
        with lead(key, hosts) as server:
            assert complete(server, PROMPTS[0])[2]["choices"][0]["token_ids"] == alone[1][0]
        for host in hosts:
            host.wait_text("its layers are freed", count=2)
            assert host.stop() == 0


def test_clients_that_leave_take_nothing_from_the_others(alone, key):
    """Streams that end in the middle, while steps of theirs and of others are with the workers."""
    with WorkerProcess(key) as first, WorkerProcess(key) as second, lead(key, [first, second]) as server:
        expected = alone[1][0]
        found = []

        def stay():
            found.append(complete(server, PROMPTS[0])[2]["choices"][0]["token_ids"])

        def leave():
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
            body = {"model": "hadal-demo", "prompt": PROMPTS[1], "max_tokens": 2000, "ignore_eos": True, "stream": True}
            connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
            connection.getresponse().readline()
            connection.close()

        threads = [threading.Thread(target=(stay, leave)[i % 2]) for i in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [expected] * 20
        server.wait_idle()
        assert server.metric("hadal_kv_cache_usage_ratio") == 0


def test_a_worker_tells_its_health_and_its_metrics(key):
    """Two workers, so that one of them waits for another one itself."""
    with WorkerProcess(key, "--http-port=0") as first, WorkerProcess(key, "--http-port=0") as second:
        for worker in (first, second):
            status, body = worker.get("/health/ready")
            assert (status, json.loads(body)["stage"]) == (503, "waiting")
            assert worker.get("/health/live")[0] == worker.get("/health/startup")[0] == 200
            assert worker.get("/v1/models")[0] == 404
        with lead(key, [first, second]) as server:
            begin = {}
            for worker in (first, second):
                status, body = worker.get("/health/ready")
                assert (status, json.loads(body)["stage"]) == (200, "ready")
                begin[worker] = worker_values(worker)
                assert begin[worker]["hadal_pipeline_leader_connected"] == begin[worker]["hadal_pipeline_leaders_total"] == 1
                assert begin[worker]["hadal_pipeline_part_info"] == 1
            # While a stream of steps runs.
            asking = threading.Thread(target=complete, args=(server, "x"), kwargs={"max_tokens": 200})
            asking.start()
            server.wait_metric("hadal_requests_running", 1)
            while asking.is_alive():
                assert first.get("/health/live")[0] == first.get("/health/ready")[0] == 200
                worker_values(first)
            asking.join()
            for worker in (first, second):
                end = worker_values(worker)
                for name in ("hadal_pipeline_step_seconds", "hadal_pipeline_leader_wait_seconds"):
                    assert end[name] >= begin[worker][name] + 199, name
                for name in ("hadal_pipeline_leader_received_bytes_total", "hadal_pipeline_leader_sent_bytes_total"):
                    assert end[name] > begin[worker][name] + 1000, name
            first.process.terminate()
            first.wait_stage("draining")
            assert first.get("/health/ready")[0] == 503
            assert first.get("/health/live")[0] == 200
        second.wait_stage("waiting")
        assert first.process.wait(60) == 0
        assert second.get("/health/ready")[0] == 503
        left = worker_values(second)
        assert left["hadal_pipeline_leader_connected"] == left["hadal_pipeline_part_info"] == 0


def worker_values(worker):
    """What a worker counts, by family; all of docs/metrics.md, with its kinds and labels, and nothing else of hadal's but connections."""
    families = parse(worker.get("/metrics")[1])
    shown = {name: (kind, labels) for name, (kind, labels, _) in families.items()}
    own = {name: found for name, found in documented(worker=True).items() if name not in documented()}
    assert {name: shown.get(name) for name in own} == own
    connections = {"hadal_open_connections", "hadal_connections_evicted_total", "hadal_accept_failures_total", "hadal_tls_mismatches_total"}
    assert shown.keys() == own.keys() | connections
    return {name: value for name, (_, _, value) in families.items()}


def test_a_worker_whose_http_port_is_taken_says_so(key):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError, match=f"hadal worker: --http-port: .*{port}"):
            WorkerProcess(key, f"--http-port={port}")


def test_layers_can_be_given_by_count(alone, key):
    with WorkerProcess(key) as worker:
        layers = json.loads((pathlib.Path(HadalProcess.demo_model()) / "config.json").read_text())["num_hidden_layers"]
        with lead(key, [worker], f"--pipeline-layers=1,{layers - 1}") as server:
            worker.wait_text(f"loaded layers [1, {layers})")
            assert complete(server, PROMPTS[0])[2]["choices"][0]["token_ids"] == alone[1][0]


def test_a_worker_killed_in_mid_stream_ends_what_runs_with_a_retryable_error(key):
    with WorkerProcess(key) as first, WorkerProcess(key) as second:
        with lead(key, [first, second], expect_exit=3) as server:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
            body = {"model": "hadal-demo", "prompt": "x", "max_tokens": 2000, "ignore_eos": True, "stream": True}
            connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
            stream = connection.getresponse()
            assert stream.status == 200
            for _ in range(6):
                stream.readline()
            second.kill()
            rest = stream.read().decode()
            assert "DEVICE_FAULT" in rest or "device_fault" in rest.lower(), rest
            assert server.process.wait(60) == 3
        assert f"worker {second.address}" in server.text()
        # The one that lives is free again.
        first.wait_text("has ended")
        assert first.process.poll() is None


def test_requests_behind_a_lost_worker_are_told_to_come_back(key):
    """A request that waits when the worker is lost gets a status, not a stream's end."""
    with WorkerProcess(key) as worker:
        with lead(key, [worker], "--max-batch-size=1", expect_exit=3) as server:
            outcomes = []
            threads = [threading.Thread(target=lambda: outcomes.append(complete(server, "x", max_tokens=2000))) for _ in range(2)]
            for thread in threads:
                thread.start()
            server.wait_metric("hadal_requests_running", 1)
            server.wait_metric("hadal_requests_waiting", 1)
            worker.kill()
            for thread in threads:
                thread.join()
            for status, headers, answer in outcomes:
                assert status == 503, answer
                assert int(headers["Retry-After"]) >= 1
            # The step that fails and the end of the process race for the one that waits.
            codes = sorted(answer["error"]["code"].upper() for _, _, answer in outcomes)
            assert codes in (["DEVICE_FAULT", "DEVICE_FAULT"], ["DEVICE_FAULT", "DRAINING"])
            assert server.process.wait(60) == 3


def test_an_idle_server_that_loses_its_worker_ends(key):
    with WorkerProcess(key) as worker:
        with lead(key, [worker], expect_exit=3) as server:
            worker.kill()
            assert server.process.wait(60) == 3
            assert f"worker {worker.address}: the connection was closed" in server.text()


def failed_start(key, address, *flags):
    """What a server that cannot have its worker says as it ends."""
    command = HadalProcess.command_of(*SERVE, f"--pipeline-workers={address}", f"--pipeline-key-file={key}", *flags)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=HadalProcess.clean_environment())
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_another_key_is_refused_by_name(key, tmp_path):
    other = tmp_path / "other"
    other.write_text("a secret that nobody else has")
    with WorkerProcess(other) as worker:
        assert failed_start(key, worker.address) == f"hadal: worker {worker.address}: its --pipeline-key-file holds another key"
        worker.wait_text("refused the leader at 127.0.0.1")


def test_another_checkpoint_is_refused_by_name(key, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(HadalProcess.demo_model(), model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "rms_norm_eps": config["rms_norm_eps"] * 2}))
    with WorkerProcess(key, model=model) as worker:
        line = failed_start(key, worker.address)
        assert line.startswith(f"hadal: worker {worker.address}: the checkpoint in {model} is fp_") and "expected the leader's fp_" in line


def test_a_worker_without_room_is_named(key):
    with WorkerProcess(key, "--memory-budget=1MiB") as worker:
        line = failed_start(key, worker.address)
        assert line.startswith(f"hadal: worker {worker.address}: no memory is left for the KV cache of layers [")


def test_a_worker_that_never_comes_ends_the_start(key):
    port = free_port()
    line = failed_start(key, f"127.0.0.1:{port}", "--pipeline-connect-timeout=1s")
    assert line == f"hadal: worker 127.0.0.1:{port}: Connection refused; given up after 1s"


def test_a_worker_that_comes_late_is_waited_for(key):
    port = free_port()
    with HadalProcess(*SERVE, f"--pipeline-workers=127.0.0.1:{port}", f"--pipeline-key-file={key}", wait_ready=False) as server:
        server.wait_text(f"waiting for worker 127.0.0.1:{port}", timeout=30)
        assert server.get("/health/ready")[0] == 503
        with WorkerProcess(key, port=port):
            server.wait_ready()
            assert complete(server, "x")[0] == 200
            assert server.stop() == 0


def test_a_worker_told_to_end_serves_its_server_first(key):
    with WorkerProcess(key) as worker:
        with lead(key, [worker]) as server:
            worker.process.terminate()
            worker.wait_text("no other leader is served")
            assert complete(server, "x")[0] == 200
            assert worker.process.poll() is None
        assert worker.process.wait(60) == 0


def test_flags_that_do_not_go_together_are_named(key):
    for flags, wanted in [
            (["--load-format=null:1ms"], "--load-format=null"),
            (["--pipeline-layers=1,2,3"], "--pipeline-layers has 3 numbers, expected 2"),
            ([f"--model=other={HadalProcess.demo_model()}"], "--pipeline-workers serve one model"),
    ]:
        assert wanted in failed_start(key, "127.0.0.1:1", *flags)
    assert "--pipeline-key-file: /none/such" in failed_start("/none/such", "127.0.0.1:1")


def test_a_plan_shows_what_every_host_holds():
    command = HadalProcess.command_of("--pipeline-workers=b:7000,c:7000", "--pipeline-layers=1,2,1", "--memory-budget=256MiB")
    command[1] = "plan"
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=HadalProcess.clean_environment())
    assert done.returncode == 0, done.stderr
    assert [line.split(" on ")[0] for line in done.stdout.splitlines() if line.startswith("hadal-demo")] == [
        "hadal-demo, layers [0, 1) of the server", "hadal-demo, layers [1, 3) of worker b:7000", "hadal-demo, layers [3, 4) of worker c:7000"]
    whole = subprocess.run([word for word in command if not word.startswith("--pipeline")], capture_output=True, text=True, timeout=60, env=HadalProcess.clean_environment())
    per_token = [int(line.split()[3]) for line in done.stdout.splitlines() if line.startswith("cache per token")]
    assert sum(per_token) == next(int(line.split()[3]) for line in whole.stdout.splitlines() if line.startswith("cache per token"))
