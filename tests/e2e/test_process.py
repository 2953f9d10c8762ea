# SPDX-License-Identifier: Apache-2.0
"""The process itself: it starts or says why not, it ends when it is told, and signals do what the docs say."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request

import grpc
import pytest

from hadal_process import HadalProcess
from ports import free_port

DEMO = os.environ.get("HADAL_DEMO_MODEL", os.path.join(os.environ["HADAL_SOURCE_DIR"], "models/demo"))


def binary():
    return os.environ.get("HADAL_BINARY", os.path.join(os.environ["HADAL_SOURCE_DIR"], "build/release/hadal"))


def clean_environment():
    return {k: v for k, v in os.environ.items() if not k.startswith("HADAL_")}


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "demo"
    shutil.copytree(DEMO, folder)
    return folder


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_a_fifo_in_place_of_a_file_is_refused(checkpoint, name):
    path = checkpoint / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    ended = subprocess.run([binary(), "serve", "--port=0", f"--model={checkpoint}"], capture_output=True, text=True,
                           timeout=120, env=clean_environment())
    assert ended.returncode == 1, ended.stderr
    assert f"{path}: expected a regular file, found a FIFO" in ended.stderr


@pytest.mark.parametrize("flag", ["--api-key-file", "--chat-template", "--config"])
def test_a_file_of_a_flag_must_be_one(tmp_path, flag):
    path = tmp_path / "file.jinja"
    os.mkfifo(path)
    ended = subprocess.run([binary(), "serve", "--port=0", f"--model={DEMO}", f"{flag}={path}"], capture_output=True, text=True,
                           timeout=120, env=clean_environment())
    assert ended.returncode != 0
    assert f"{flag}: {path}: expected a regular file, found a FIFO" in ended.stderr


def test_a_log_that_nobody_reads_costs_lines_and_holds_up_neither_requests_nor_the_end():
    reading, writing = os.pipe()
    process = subprocess.Popen([binary(), "serve", "--port=0", f"--model=demo={DEMO}", "--log-format=json", "--log-level=debug"],
                               stdout=writing, stderr=subprocess.DEVNULL, env=clean_environment())
    os.close(writing)
    try:
        line = b""
        while b"\n" not in line or b"listening" not in line:
            line += os.read(reading, 4096)
        port = int(line.split(b"127.0.0.1:")[1].split()[0])
        # The pipe takes some hundred lines, one a request, and 8192 wait (server/base/line_writer.h).
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

        def get(path):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

        for _ in range(9500):
            assert get("/" + "n" * 100)[0] == 404
        dropped = re.search(r"^hadal_log_dropped_total (\d+)$", get("/metrics")[1], re.MULTILINE)
        assert 0 < int(dropped.group(1)) < 9500 - 8192
        connection.close()
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert time.monotonic() - begin < 20
    finally:
        process.kill()
        process.wait()
        os.close(reading)


def chat(server, **options):
    body = {"messages": [{"role": "user", "content": "17 + 25"}], **options}
    request = urllib.request.Request(server.url + "/v1/chat/completions", json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_truncated_checkpoint_is_a_device_fault(checkpoint):
    with HadalProcess("--dtype=bfloat16", model=checkpoint, expect_exit=3) as server:
        assert chat(server)[0] == 200
        os.truncate(checkpoint / "model.safetensors", 4096)
        status, body = chat(server)
        assert (status, body["error"]["code"]) == (503, "DEVICE_FAULT"), body
        server.wait_text("model.safetensors: the file was cut short")
        assert server.process.wait(60) == 3


def test_copied_weights_survive_their_file(checkpoint):
    with HadalProcess("--dtype=bfloat16", "--weights=copy", model=checkpoint) as server:
        before = chat(server, temperature=0)
        os.truncate(checkpoint / "model.safetensors", 4096)
        after = chat(server, temperature=0)
        assert after[0] == 200
        assert after[1]["choices"] == before[1]["choices"]


def test_sighup_reads_the_keys_again(start_server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("first-key acme\n")
    server = start_server(f"--api-key-file={keys}")

    def status(key):
        request = urllib.request.Request(server.url + "/v1/models", headers={"Authorization": f"Bearer {key}"})
        try:
            return urllib.request.urlopen(request, timeout=60).status
        except urllib.error.HTTPError as error:
            return error.code

    assert (status("first-key"), status("second-key")) == (200, 401)
    keys.write_text("second-key acme\n")
    server.signal(signal.SIGHUP)
    server.wait_text("SIGHUP: --api-key-file was read again")
    assert (status("first-key"), status("second-key")) == (401, 200)
    keys.write_text("second-key acme nonsense\n")
    server.signal(signal.SIGHUP)
    server.wait_text("the keys stay as they were")
    assert status("second-key") == 200


def test_keys_are_read_again_when_the_file_changes(start_server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("first-key acme\n")
    server = start_server(f"--api-key-file={keys}")
    new = tmp_path / "new"
    new.write_text("second-key acme\n")
    new.rename(keys)
    server.wait_text("the file has changed: --api-key-file was read again")
    request = urllib.request.Request(server.url + "/v1/models", headers={"Authorization": "Bearer second-key"})
    assert urllib.request.urlopen(request, timeout=60).status == 200


def test_sighup_without_keys_is_ignored(start_server):
    server = start_server()
    server.signal(signal.SIGHUP)
    server.wait_text("SIGHUP ignored")
    assert server.get("/health/live")[0] == 200


def test_grpc_port_equal_to_port_is_the_shared_one(stubs):
    port = free_port()
    with HadalProcess(f"--port={port}", f"--grpc-port={port}") as server:
        assert server.get("/v1/models")[0] == 200
        with grpc.insecure_channel(server.target) as channel:
            models = stubs.services.InferenceStub(channel)
            assert models.ListModels(stubs.pb.ListModelsRequest(), timeout=60).models


def test_http2_that_is_not_grpc_gets_415(server, start_server, stubs):
    curl = shutil.which("curl")
    if curl is None or "HTTP2" not in subprocess.run([curl, "--version"], capture_output=True, text=True).stdout:
        pytest.skip("curl without HTTP/2")

    def ask(url, *flags):
        """The server looks for the first request for 25 ms (server/http/http2_opening.cc). Curl may be later on a busy machine: then gRPC's library
        has the connection, which answers with nothing."""
        for _ in range(50):
            answer = subprocess.run([curl, "-s", "--http2-prior-knowledge", "-m", "60", "-w", "\n%{http_code} %{http_version}", *flags, url],
                                    capture_output=True, text=True, timeout=90).stdout
            if not answer.endswith("\n200 2"):
                break
        return answer

    apart = start_server("--grpc-port=0")
    for url in (server.url, apart.url, f"http://127.0.0.1:{apart.grpc_port}"):
        for path in ("/v1/models", "/nonsense"):
            answer = ask(url + path)
            assert answer.endswith("\n415 2") and "UNSUPPORTED_MEDIA_TYPE" in answer, answer
        answer = ask(url + "/v1/models", "--head")
        assert answer.endswith("\n415 2") and "415" in answer and "error" not in answer, answer
    with grpc.insecure_channel(f"127.0.0.1:{apart.grpc_port}") as channel:
        models = stubs.services.InferenceStub(channel)
        assert models.ListModels(stubs.pb.ListModelsRequest(), timeout=60).models


def test_a_model_has_several_names_and_slashes(start_server, checkpoint):
    server = start_server(f"--model=org/Demo-1,demo1={checkpoint}", model=checkpoint)
    listed = [model["id"] for model in json.loads(server.get("/v1/models")[1])["data"]]
    assert "org/Demo-1" in listed
    assert json.loads(server.get("/v1/models/org/Demo-1")[1])["id"] == "org/Demo-1"
    assert json.loads(server.get("/v1/models/org%2FDemo-1")[1])["id"] == "org/Demo-1"
    for name in ("org/Demo-1", "demo1"):
        status, body = chat(server, model=name, max_tokens=2)
        assert (status, body["model"]) == (200, name)


def test_a_model_of_the_hub_is_taken_from_the_local_cache(start_server, tmp_path):
    model = tmp_path / "hub" / "models--org--demo"
    shutil.copytree(DEMO, model / "snapshots" / "abc123")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("abc123")
    server = start_server("--model=org/demo", env={"HF_HUB_CACHE": str(tmp_path / "hub")})
    assert chat(server, model="org/demo", max_tokens=2)[0] == 200


@pytest.mark.parametrize("make, wanted", [
    (lambda folder: "org/nobody-has-this", "hf download org/nobody-has-this"),
    (lambda folder: str(folder / "none"), "is no folder"),
    (lambda folder: (folder / "q4.gguf").write_text("GGUF") and str(folder / "q4.gguf"), "GGUF"),
    (lambda folder: (folder / "config.json").write_text("{}") and (folder / "pytorch_model.bin").write_text("x")
     and str(folder), "save_pretrained"),
])
def test_what_is_no_checkpoint_gets_advice(tmp_path, make, wanted):
    ended = subprocess.run([binary(), "serve", "--port=0", f"--model={make(tmp_path)}"], capture_output=True, text=True,
                           timeout=120, env={**clean_environment(), "HF_HUB_CACHE": str(tmp_path)})
    assert ended.returncode == 1
    assert wanted in ended.stderr


def test_a_length_without_limit_in_tokenizer_config_loads(start_server, checkpoint):
    path = checkpoint / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "model_max_length": 1000000000000000019884624838656}))
    server = start_server(model=checkpoint)
    assert chat(server, max_tokens=2, metadata={"id": 1000000000000000019884624838656})[0] == 200


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_mps_that_is_required_and_not_there_ends_the_start(tmp_path, device):
    ended = subprocess.run([binary(), "serve", "--port=0", f"--model={DEMO}", "--mps=require", f"--device={device}"],
                           capture_output=True, text=True, timeout=120,
                           env={**clean_environment(), "CUDA_MPS_PIPE_DIRECTORY": str(tmp_path)})
    assert ended.returncode == 5, ended.stderr
    wanted = f"no MPS daemon answers at {tmp_path}/control" if device == "auto" else "--mps=require needs a GPU"
    assert wanted in ended.stderr


def test_the_chosen_device_is_in_log_and_metrics_and_warm_before_ready(start_server):
    server = start_server("--device=cpu", "--max-batch-tokens=2", "--max-batch-size=8")
    server.wait_text("warmed up on cpu")
    server.wait_text("ready\n")
    text = server.text()
    assert re.search(r"loaded hadal-demo: .* on cpu, \w+, \d+ threads?", text), text
    assert text.index("warmed up on cpu") < text.index("ready\n"), text
    assert re.search(r'hadal_model_info\{.*device="cpu".*\} 1', server.get("/metrics")[1])
