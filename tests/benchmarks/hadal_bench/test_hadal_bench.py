# SPDX-License-Identifier: Apache-2.0
"""hadal-bench as somebody uses it: against the demo model, and against a server that lies and breaks."""

import json
import os
import re
import signal
import ssl
import subprocess
import time

import pytest

from bench_process import BENCH, FAST, MEASURED, bench, measure
from fake_server import FakeServer, refusing
from hadal_process import HadalProcess
from tls_files import Authority

# ---- A stranger at the terminal --------------------------------------------------------------------------------------

def test_help_is_enough_to_start():
    done = bench("--help")
    assert done.returncode == 0 and not done.stderr
    for wanted in ("hadal-bench --url http://", "--rate", "--slo", "Ctrl-C", "azure-conversation", "grpc", "Usage: hadal-bench [OPTIONS]", "HADAL_BENCH_RATE",
                   "TTFT  ", "Exit status"):
        assert wanted in done.stdout, wanted
    # What a flag can be is said, not only what it is.
    for choices in (("poisson", "gamma", "constant"), ("always", "never"), ("on, off, or auto",), ("mooncake-synthetic", "thinking"), ("obey", "urllib3", "immediate")):
        assert all(choice in done.stdout for choice in choices), choices


@pytest.mark.parametrize("flag, wanted", [
    ("--rat=4", "did you mean 'rate'"), ("--rate=-4", "--rate"), ("--rate=fast", "found 'fast'"), ("--rate=0", "above 0"),
    ("--lengths=long", "azure-conversation"), ("--slo=good", "r1-interactive"), ("--client=polite", "obey, urllib3"),
    ("--url=ftp://x", "--url"), ("--insecure", "https:// or grpcs://"), ("--tls-ca=/nonexistent.pem", "https:// or grpcs://"), ("--warmup=99s", "--warmup"), ("--duration=0", "--duration"), ("--classes=high:no", "--classes"),
    ("--tenant=key", "NAME=KEY"), ("--sweep=5,x", "--sweep"), ("--attain=2", "--attain"), ("--cv=0", "--cv"), ("--rate=1e6", "at most 10000000 requests, this one of 60 s would have 60000000"),
    ("--json=/nonexistent/x.json", "--json: cannot write /nonexistent/x.json: No such file"), ("--html=/tmp", "--html: cannot write /tmp: it is a folder"), ("--runs=0", "--runs"), ("--trace=/nonexistent.csv", "/nonexistent.csv"),
    ("--prompt-file=/nonexistent", "/nonexistent"), ("--header=x y=1", "--header"), ("--header=Content-Length=1", "content-length itself"),
    ("--extra-body=[1]", "--extra-body"), ('--extra-body={"model":"x"}', "found 'model'")])
def test_nonsense_is_named(flag, wanted):
    done = bench(flag)
    assert done.returncode != 0
    assert wanted in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_a_capacity_is_looked_for_from_one_rate():
    done = bench("--find-capacity", "--rate=1..5")
    assert done.returncode == 2 and "begins at one rate, found '1..5'" in done.stderr


def test_a_server_that_is_not_there():
    done = bench("--url=http://127.0.0.1:1")
    assert done.returncode == 1 and "Connection refused; is it running?" in done.stderr
    done = bench("--url=grpc://127.0.0.1:1")
    assert done.returncode == 1 and "is it running?" in done.stderr
    done = bench("--url=http://no-such-host.invalid")
    assert done.returncode == 1 and "no-such-host.invalid" in done.stderr


def test_a_server_that_is_no_model_server():
    with FakeServer(models=False) as server:
        done = bench(f"--url={server.url}")
        assert done.returncode == 1 and "--model" in done.stderr
    with FakeServer(lambda prompt, attempt: "html") as server:
        done = bench(f"--url={server.url}", *FAST)
        assert done.returncode == 1 and "no_stream" in done.stderr


def test_ctrl_c_prints_what_it_has(out):
    with FakeServer() as server:
        process = subprocess.Popen([BENCH, f"--url={server.url}", "--rate=50", "--duration=600s", "--warmup=0", "--lengths=16:4",
                                    f"--json={out}", "--progress=always"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for line in process.stderr:  # a second has passed
            if "served" in line:
                break
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in printed and "TTFT" in printed
    run = json.loads(out.read_text())["runs"][0]
    assert run["interrupted"] and run["requests"]["served"] > 0 and 0 < run["measured_s"] < 600


def test_the_terminal_says_what_goes_on_and_where_files_are(out, tmp_path):
    page = tmp_path / "page.html"
    with FakeServer(refusing(retry_after_ms="2500")) as server:
        done = bench(f"--url={server.url}", *FAST, *MEASURED, "--progress=always", f"--json={out}", f"--html={page}")
    assert done.returncode == 0 and f"result: {out}\npage: {page}\n" in done.stdout and page.exists()
    assert done.stderr.startswith("two short answers of fake first, each within --timeout 10m\n")
    assert re.search(r"s drain  sent 11  served 0  refused 11 .*to return 11", done.stderr), done.stderr


# ---- Against hadal ---------------------------------------------------------------------------------------------------

def test_measures_the_demo_model(server, out):
    result = measure(server.url, out, "--rate=40", "--lengths=64:8", "--classes=high:0.5,low:0.5", "--slo=r1",
                     "--slo=ttft=60000")
    assert result["name"] == "hadal_bench" and result["schema"] == 1 and result["server"]["model"] == "hadal-demo"
    assert re.fullmatch(r"[0-9a-f]{12}(\+changes)?|unknown", result["commit"]) and result["machine"]["cores"] >= 1
    run = result["runs"][0]
    assert run["requests"]["served"] == run["requests"]["offered"] > 10
    assert run["finish_reasons"] == {"length": run["requests"]["served"]}  # ignore_eos was taken
    tokens = run["tokens"]
    assert tokens["output"] == 8 * run["requests"]["served"] and tokens["per_word_measured"]
    assert tokens["prompt"] == pytest.approx(tokens["planned_prompt"], rel=0.15)
    assert [group["name"] for group in run["groups"]["priority"]] == ["high", "low"]
    assert run["goodput"][1]["offered_ratio"] == 1
    assert run["latency"]["ttft_s"]["count"] == run["requests"]["served"]
    assert sum(window["served"] for window in run["windows"]) == run["requests"]["served"]
    assert set(result["settings"]) >= {"rate", "lengths", "seed", "client"}


def test_no_run_finds_the_prompts_of_another_in_the_prefix_cache(server, out):
    load = ("--sweep=20,40", "--lengths=400:2", "--seed=7")
    for _ in range(2):
        assert [run["tokens"]["cached"] for run in measure(server.url, out, *load)["runs"]] == [0, 0]
    first, second = measure(server.url, out, *load, "--prompt-salt=5")["runs"]
    assert first["prompt_salt"] == second["prompt_salt"] == 5 and first["tokens"]["cached"] == 0 < second["tokens"]["cached"]


def test_measures_the_demo_model_over_grpc(server, out):
    result = measure(f"grpc://{server.target}", out, "--rate=40", "--lengths=64:8")
    run = result["runs"][0]
    assert result["server"]["model"] == "hadal-demo" and "version" in result["server"]["version"] and result["server"]["calibration_calls"] == 2
    assert run["requests"]["served"] == run["requests"]["offered"] > 10
    assert run["finish_reasons"] == {"length": run["requests"]["served"]}
    assert run["tokens"]["output"] == 8 * run["requests"]["served"]
    assert run["tokens"]["prompt"] == pytest.approx(run["tokens"]["planned_prompt"], rel=0.15)
    assert run["latency"]["itl_s"]["count"] > 0


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_refusals_of_hadal_have_their_reason_and_hint(start, out, scheme):
    """More than its queue holds: some are refused on either front, told when to return, and counted."""
    server = start("--max-queue-requests=1", "--max-batch-size=1", "--load-format=null:20ms")
    run = measure(f"{scheme}://{server.target}", out, "--rate=40", "--lengths=16:10", "--client=none", "--drain=20s")["runs"][0]
    assert run["requests"]["refused"] > 5 and run["requests"]["served"] > 0 and run["failures"] == {}
    assert sum(run["refusals"].values()) == run["requests"]["refused"] == run["retry_after"]["hints"]
    assert set(run["refusals"]) <= {"CONNECTION_QUEUE_FULL", "WAIT_LIMIT", "QUEUE_TOKENS_FULL"}


def test_completions_of_a_prompt_file(server, out, tmp_path):
    """Turns that the demo model answers: over random words it may say nothing but control tokens, which is an empty answer."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"<｜User｜>{sum}<｜Assistant｜><think>\n"}) + "\n" for sum in ("1 + 1", "2 + 5")))
    run = measure(server.url, out, "--api=completions", "--rate=40", f"--prompt-file={prompts}")["runs"][0]
    assert run["requests"]["served"] == run["requests"]["offered"] > 10
    assert run["tokens"]["output"] == 4 * run["requests"]["served"]


def test_replays_traces(server, out, tmp_path):
    trace = tmp_path / "azure.csv"
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.0,40,4\n2023-11-16 18:15:46.5,80,6\n"
                     "2023-11-16 18:25:00.0,80,6\n")
    run = measure(server.url, out, f"--trace={trace}", "--duration=1s")["runs"][0]
    assert run["requests"]["offered"] == 2 and run["tokens"]["output"] == 10  # the third lies behind the duration


def test_tenants_send_their_keys_and_hide_them(start, out, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("sk-quiet quiet\nsk-noisy noisy\n")
    keys.chmod(0o600)
    server = start(f"--api-key-file={keys}")
    done = bench(f"--url={server.url}", *FAST)
    assert done.returncode == 1 and "--api-key" in done.stderr
    result = measure(server.url, out, "--rate=30", "--tenant=quiet=sk-quiet:1", "--tenant=noisy=sk-noisy:3")
    assert [group["name"] for group in result["runs"][0]["groups"]["tenant"]] == ["quiet", "noisy"]
    assert result["runs"][0]["requests"]["failed"] == 0
    assert "sk-" not in out.read_text()


# ---- Against a server that breaks ------------------------------------------------------------------------------------

@pytest.mark.parametrize("how, reason", [
    ("empty", "empty_answer"), ("cut", "cut_off"), ("close", "connection_lost"), ("error", "http_500"), ("html", "no_stream"),
    ("stall", "timeout")])
def test_fast_failures_are_no_successes(out, how, reason):
    with FakeServer(lambda prompt, attempt: how if len(prompt.split()) in (6, 7) else "serve") as server:
        run = measure(server.url, out, *MEASURED, "--client=none", "--timeout=" + ("2s" if how == "stall" else "60s"), expect=1)["runs"][0]
    assert run["failures"] == {reason: run["requests"]["offered"]}
    assert run["requests"]["failed"] == run["requests"]["offered"] > 5
    assert run["metrics"]["goodput_requests_per_s"] == 0 and run["latency"]["e2e_s"]["count"] == 0


def test_a_strict_server_is_asked_without_ignore_eos(out):
    with FakeServer(refuse_fields=("ignore_eos",)) as server:
        run = measure(server.url, out, "--rate=20")["runs"][0]
        assert run["requests"]["served"] == run["requests"]["offered"] > 5
        assert not run["tokens"]["exact_length"]
        done = bench(f"--url={server.url}", *FAST, "--exact-length=on")
        assert done.returncode == 1 and "unknown field ignore_eos" in done.stderr


def test_https(out, tmp_path):
    """A certificate that nobody signed is refused, unless one says not to look."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    "/CN=127.0.0.1", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with FakeServer(tls=context) as server:
        done = bench(f"--url={server.url}", *FAST)
        assert done.returncode == 1 and "certificate verify failed" in done.stderr
        run = measure(server.url, out, *MEASURED, "--insecure")["runs"][0]
    assert run["requests"]["served"] == run["requests"]["offered"] > 5


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_certificates_of_hadal_are_checked(out, tmp_path, scheme):
    authority = Authority(tmp_path)
    certificate, key = authority.sign("server")
    with HadalProcess(f"--tls-cert={certificate}", f"--tls-key={key}", tls=authority.context()) as server:
        url = f"{scheme}://{server.target}"
        for trust in (f"--tls-ca={authority.certificate}", "--insecure"):
            run = measure(url, out, "--rate=20", trust)["runs"][0]
            assert run["requests"]["served"] == run["requests"]["offered"] > 5
        done = bench(f"--url={url}", *FAST)
        assert done.returncode == 1 and re.search("certificate.verify.failed", done.stderr, re.IGNORECASE), done.stderr
        assert server.metric("hadal_tls_connections") <= 1  # the scrape's own


def test_headers_reach_the_server(out):
    with FakeServer(refusing(retry_after_ms="10")) as server:
        measure(server.url, out, *MEASURED, "--classes=batch", "--deadline=1500ms", "--api-key=sk-1")
        sent = server.headers[-1]
    assert sent["x-hadal-priority"] == "batch" and sent["x-hadal-deadline-ms"] == "1500"
    assert sent["authorization"] == "Bearer sk-1" and sent["x-stainless-retry-count"] == "1"
    assert json.loads(out.read_text())["settings"]["api-key"] == "***"


def test_headers_and_members_of_the_user_reach_the_server(out):
    with FakeServer(refuse_fields=("temperature",)) as server:
        measure(server.url, out, *MEASURED, "--header=api-key=k-1=2", "--header=X-Org=o", '--extra-body={"seed": 7}')
        assert all(fields["api-key"] == "k-1=2" and fields["x-org"] == "o" for fields in server.headers + server.probes)
        assert server.probes
        done = bench(f"--url={server.url}", *FAST, '--extra-body={"temperature": 0}')  # it did arrive
        assert done.returncode == 1 and "unknown field temperature" in done.stderr
    assert json.loads(out.read_text())["settings"]["header"] == "***"


def test_hadal_takes_headers_of_the_user_over_grpc(server, out):
    run = measure(f"grpc://{server.target}", out, "--rate=20", "--header=x-hadal-priority=low")["runs"][0]
    low = server.metric('hadal_requests_total{route="Chat",class="low",http_code="",grpc_code="0",outcome="ok",reason=""}')
    assert low >= run["requests"]["served"] > 5


def test_many_connections_from_one_thread(out):
    with FakeServer(lambda prompt, attempt: "stall" if len(prompt.split()) in (6, 7) else "serve") as server:
        with subprocess.Popen([BENCH, f"--url={server.url}", *FAST, *MEASURED, "--rate=800", "--duration=1s", "--drain=30s", "--client=none", f"--json={out}"],
                              stdout=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 30
            while len(os.listdir(f"/proc/{process.pid}/fd")) < 600:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)
            threads = len(os.listdir(f"/proc/{process.pid}/task"))
            process.send_signal(signal.SIGINT)
            process.wait(60)
    assert threads == 1
    assert json.loads(out.read_text())["runs"][0]["requests"]["unfinished"] >= 500


def test_what_waits_for_a_connection_is_counted_and_waits_within_its_latency(out):
    load = ("--rate=100", "--arrivals=constant", "--lengths=16:10")
    with HadalProcess("--load-format=null:5ms") as server:  # 50 ms each, however fast the machine is
        free = measure(server.url, out, *load)["runs"][0]
        done = bench(f"--url={server.url}", f"--json={out}", *FAST, *load, "--max-connections=1")
    one = json.loads(out.read_text())["runs"][0]
    assert free["generator"]["connection_waits"] == 0 and one["generator"]["connection_waits"] > 20
    assert "waited for a connection: raise --max-connections" in done.stdout
    assert one["metrics"]["ttft_p99_s"] > free["metrics"]["ttft_p99_s"]


def test_load_does_not_wait_for_the_server(out):
    """Open loop: requests go out on time though none has been answered, and what is open at the end is unfinished."""
    with FakeServer(lambda prompt, attempt: "stall" if len(prompt.split()) in (6, 7) else "serve") as server:
        run = measure(server.url, out, *MEASURED, "--drain=0", expect=1)["runs"][0]
        assert len(server.calls) >= 11
    assert run["requests"]["unfinished"] == run["requests"]["offered"] == 11
    assert run["failures"] == {}
