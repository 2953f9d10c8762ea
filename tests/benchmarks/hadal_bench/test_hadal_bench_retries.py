# SPDX-License-Identifier: Apache-2.0
"""hadal-bench against a server that refuses: how its clients come back, what the report says of hints, and tickets."""

import pytest

from bench_process import MEASURED, check_page, measure
from fake_server import FakeServer, refusing


def waits(server):
    return [times[1] - times[0] for times in server.calls.values() if len(times) > 1]


@pytest.mark.parametrize("client, headers, low, high", [
    ("obey", {"retry_after": "9", "retry_after_ms": "700"}, 0.7, 5),
    ("obey", {"retry_after": "1"}, 1, 6),
    ("urllib3", {"retry_after": "1", "retry_after_ms": "9000"}, 1, 6),
    ("urllib3", {}, 0, 4),
    ("text", {"retry_after": "9", "x_should_retry": "false"}, 0.45, 5),
    ("immediate", {"retry_after": "9"}, 0, 4),
    ("grpc", {"retry_after": "9"}, 0, 4)])
def test_each_client_obeys_what_it_should(out, client, headers, low, high):
    with FakeServer(refusing(**headers)) as server:
        run = measure(server.url, out, *MEASURED, f"--client={client}")["runs"][0]
        found = waits(server)
    assert len(found) == run["requests"]["offered"] > 5
    assert all(low - 0.005 <= wait <= high for wait in found), found
    assert run["requests"]["served"] == run["requests"]["offered"]
    assert run["metrics"]["attempts_per_served_ratio"] == 2
    assert run["refusals"] == {"CONNECTION_QUEUE_FULL": run["requests"]["offered"]}
    assert run["latency"]["ttft_s"]["quantiles"][0][1] >= low * 0.99  # from the schedule, not from the second attempt


@pytest.mark.parametrize("client, headers", [
    ("none", {"retry_after": "1"}), ("obey", {"retry_after": "1", "x_should_retry": "false"}), ("urllib3", {"retry_after": "1.5"})])
def test_who_gives_up_is_refused(out, client, headers):
    with FakeServer(refusing(**headers)) as server:
        run = measure(server.url, out, *MEASURED, f"--client={client}", expect=1)["runs"][0]
        assert waits(server) == []
    assert run["requests"]["refused"] == run["requests"]["offered"] > 5
    assert run["requests"]["served"] == 0 and run["latency"]["ttft_s"]["count"] == 0


def test_the_report_says_what_hints_were_worth(out):
    def behave(prompt, attempt):
        if len(prompt.split()) not in (6, 7) or attempt == 2:
            return "serve"
        return {"retry-after-ms": "300", "x-hadal-promise": "held"}
    with FakeServer(behave) as server:
        run = measure(server.url, out, *MEASURED, "--duration=2s")["runs"][0]
    retry = run["retry_after"]
    assert retry["returns"] == retry["held_promises"] > 5
    assert retry["returns"] + retry["returns_after_load"] == run["requests"]["offered"]
    assert retry["returns_admitted_ratio"] == 0 and retry["held_promises_admitted_ratio"] == 0
    assert retry["error_ratio_median"] == pytest.approx(0.5, abs=0.1)  # came back twice instead of once


@pytest.mark.parametrize("flags, brought", [
    ((), True), (("--tickets=off",), False), (("--client=backoff",), False), (("--client=immediate", "--tickets=on"), True)])
def test_the_ticket_of_a_refusal_comes_back(out, flags, brought):
    with FakeServer(refusing(retry_after_ms="10", x_hadal_ticket="t-1")) as server:
        run = measure(server.url, out, *MEASURED, *flags)["runs"][0]
        tickets = [fields["x-hadal-ticket"] for fields in server.headers if "x-hadal-ticket" in fields]
        counts = [fields["x-stainless-retry-count"] for fields in server.headers if "x-stainless-retry-count" in fields]
    offered = run["requests"]["offered"]
    assert offered > 5 and run["requests"]["attempts"] == 2 * offered
    assert tickets == ["t-1"] * (offered if brought else 0)
    assert run["retry_after"]["tickets"] == len(tickets)
    # As the OpenAI libraries do; nobody else tells first attempts from others.
    assert counts == ["1"] * (0 if "--client" in str(flags) else offered)
    assert run["server_reported"] is None and "false_refusals_ratio" not in run["metrics"]  # this server has no such metrics


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_hadal_gets_its_tickets_back_and_says_what_it_refused(start, out, tmp_path, scheme):
    server = start("--load-format=null:20ms", "--max-batch-size=4", "--wait-limits=normal=300ms", "--surplus-retry=deny")
    page = tmp_path / "page.html"
    load = (f"{scheme}://{server.target}", out, "--rate=200", "--duration=5s", "--drain=5s", "--lengths=16:4", "--slo=ttft=60000")
    result = measure(*load, f"--html={page}")
    run = result["runs"][0]
    taken = server.metric('hadal_retry_tickets_total{outcome="accepted"}')
    assert run["server_reported"]["tickets_taken"] == taken > 5
    assert taken <= run["retry_after"]["tickets"] and run["retry_after"]["held_promises"] > 5
    # The server may come to further verdicts after the run.
    assert 0 < run["server_reported"]["refusals_followed"] <= server.metric("hadal_retry_ghosts_total")
    assert 0 <= result["metrics"]["false_refusals_ratio"] <= 1 and result["metrics"]["promises_kept_ratio"] > 0.5
    assert 1 <= result["metrics"]["attempts_of_served_mean"] < result["metrics"]["attempts_per_served_ratio"]
    check_page(page, "by its own account", "attempts brought their ticket", "false_refusals_ratio")

    again = measure(*load, "--tickets=off")["runs"][0]
    assert again["retry_after"]["tickets"] == again["server_reported"]["tickets_taken"] == 0
    assert server.metric('hadal_retry_tickets_total{outcome="accepted"}') == taken
    assert again["server_reported"]["refusals_followed"] < server.metric("hadal_retry_ghosts_total")  # of this run alone


def test_promises_are_kept_to_callers_whom_nothing_tells_apart(start, out):
    """One address, equal bodies, no ticket, key or count of attempts, at twice the capacity: 0.3 were let in when whoever came first took the place."""
    server = start("--load-format=null:20ms", "--max-batch-size=32", "--surplus-retry=deny", "--wait-limits=high=1s,normal=2s,low=30s")
    run = measure(server.url, out, "--rate=190", "--warmup=0s", "--duration=24s", "--lengths=12:16", "--exact-length=on", "--client=urllib3", "--drain=5s")["runs"][0]
    retry = run["retry_after"]
    assert retry["tickets"] == 0 and retry["held_promises"] >= 20
    assert retry["held_promises_admitted_ratio"] >= 0.6, retry
