# SPDX-License-Identifier: Apache-2.0
"""What becomes of a server's lines by the configurations of k8s/addons/logs. The agents themselves are not here (Debian and PyPI have neither), so their
documented steps are followed by a model of each, in the order and with the options of the configuration. Options that a model does not know fail."""
import datetime
import json
import os
import re
import sys

import pytest
import yaml

from rendering import K8S, ROOT

sys.path.insert(0, str(ROOT / "tests/e2e"))
pytestmark = pytest.mark.skipif("HADAL_BINARY" not in os.environ, reason="no server: HADAL_BINARY")

FILE = "/var/log/containers/hadal-0_hadal_hadal-0123.log"
PART = 16384  # bytes of a line, after which containerd begins another one
# What Filebeat itself puts into an event, most of it as objects.
FILEBEATS = {"@timestamp", "@metadata", "agent", "container", "ecs", "host", "input", "log", "message", "service", "stream"}


def container_log(lines):
    """As containerd writes (stream, text) of a container; those that are too long in parts."""
    written = []
    for second, (stream, text) in enumerate(lines):
        raw = text.encode()
        parts = [raw[i:i + PART] for i in range(0, len(raw), PART)] or [b""]
        for number, part in enumerate(parts):
            tag = "F" if number == len(parts) - 1 else "P"
            written.append(f"2026-01-02T03:{second // 60:02}:{second % 60:02}.000000001Z {stream} {tag} ".encode() + part)
    return written


def known(options, *names):
    assert set(options) <= set(names), f"the model does not know {set(options) - set(names)}"
    return options


def joined(lines, pattern):
    """(stream, time, text) of whole lines; of each stream by itself."""
    begun = {}
    for line in lines:
        time, stream, tag, part = pattern.fullmatch(line).groups()
        begun[stream] = begun.get(stream, b"") + part
        if tag == b"F":
            yield stream.decode(), time.decode(), begun.pop(stream).decode()


def fluent_bit(lines, configuration):
    """The messages to Kafka, each a list of keys and values: the agent does not stop a key from coming twice."""
    pipeline = configuration["pipeline"]
    tail, = pipeline["inputs"]
    known(tail, "name", "path", "multiline.parser", "tag", "path_key", "db", "storage.type", "mem_buf_limit")
    assert (tail["name"], tail["multiline.parser"]) == ("tail", "cri")
    step, = pipeline["filters"]
    known(step, "name", "match", "key_name", "parser", "reserve_data")
    parser, = (known(one, "name", "format", "time_key", "time_format") for one in configuration["parsers"] if one["name"] == step["parser"])
    assert (step["name"], parser["format"]) == ("parser", "json")
    output, = pipeline["outputs"]
    assert (output["name"], output["format"], output["timestamp_format"]) == ("kafka", "json", "iso8601_ns")
    for stream, time, text in joined(lines, re.compile(rb"(.+?) (stdout|stderr) (F|P) (.*)")):
        record = [("time", time), ("stream", stream), ("_p", "F"), ("log", text)] + ([(tail["path_key"], FILE)] if "path_key" in tail else [])
        stamp, value = time, dict(record).get(step["key_name"])
        try:
            parsed = json.loads(value, object_pairs_hook=list)
        except ValueError:
            parsed = None
        if isinstance(parsed, list) and parsed:
            if (key := parser.get("time_key")) in dict(parsed):
                text_form = parser["time_format"].replace("%L", "%f")
                stamp = datetime.datetime.strptime(dict(parsed)[key], text_form).isoformat()
                parsed = [one for one in parsed if one[0] != key]
            record = parsed + ([one for one in record if one[0] != step["key_name"]] if step.get("reserve_data") else [])
        yield [("@timestamp", stamp), *record]


def filebeat(lines, configuration):
    """The events."""
    source, = configuration["filebeat.inputs"]
    known(source, "type", "id", "paths", "prospector.scanner.symlinks", "parsers", "fields", "fields_under_root")
    container, ndjson = source["parsers"]
    streams = {"all": ("stdout", "stderr")}.get(container["container"]["stream"], (container["container"]["stream"],))
    options = known(ndjson["ndjson"], "target", "overwrite_keys", "ignore_decoding_error")
    assert options["target"] == "" and options["overwrite_keys"] and source["fields_under_root"]
    for stream, time, text in joined(lines, re.compile(rb"(\S+) (stdout|stderr) (P|F) (.*)")):
        if stream not in streams:
            continue
        event = {"@timestamp": time, "stream": stream, "log": {"file": {"path": FILE}}, "message": text}
        try:
            decoded = json.loads(text)
        except ValueError:
            assert options.get("ignore_decoding_error"), "it would complain of this line in its own log"
        else:
            del event["message"]
            event |= decoded
        yield {**event, **source["fields"]}


@pytest.fixture(scope="module")
def lines():
    """What a server writes that serves, refuses and is not found, and one that does not start, and a line longer than the runtime takes."""
    from hadal_process import HadalProcess, filled  # pylint: disable=import-outside-toplevel
    from http_client import post  # pylint: disable=import-outside-toplevel

    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x-request-id": "mine"}
    with HadalProcess("--log-level=debug", "--access-log=stdout", "--load-format=null:5ms", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none",
                      log_format="json") as server:
        assert post(server, "/v1/completions", {"prompt": "x", "max_tokens": 2}, trace)[0] == 200
        assert post(server, "/v1/nothing", {}, trace)[0] == 404
        with filled(server):
            assert post(server, "/v1/completions", {"prompt": "x", "max_tokens": 2}, trace)[0] == 503
    found = [("stdout", line) for line in server.text().splitlines()]
    long_line = {"time": "2026-01-02T03:04:05.678Z", "level": "ERROR", "component": "main", "msg": "繁忙" * 20000}
    return [*found, ("stdout", json.dumps(long_line, ensure_ascii=False)), ("stderr", "hadal serve: --port: expected a whole number from 0 to 65535, found '99999'")]


def records_of(lines):
    return [json.loads(text) for _, text in lines if text.startswith("{")]


def test_the_lines_are_of_every_kind(lines):
    records = records_of(lines)
    assert {"WARN", "INFO", "DEBUG", "ERROR"} <= {record.get("level") for record in records}
    assert any("status" in record and "level" not in record for record in records), "the access log"
    assert all(isinstance(value, (str, int, float, bool, type(None))) for record in records for value in record.values()), "flat"
    assert any(record.get("trace_id") for record in records)


def test_fluent_bit_sends_every_line_and_no_key_twice(lines):
    configuration = yaml.safe_load((K8S / "addons/logs/fluent-bit.yaml").read_text(encoding="utf-8"))
    sent = list(fluent_bit(container_log(lines), configuration))
    assert len(sent) == len(lines)
    for message, (stream, text) in zip(sent, lines):
        keys = [key for key, _ in message]
        assert len(keys) == len(set(keys)), f"twice: {keys}"
        message = dict(message)
        assert message["file"] == FILE and message["stream"] == stream
        if text.startswith("{"):
            record = json.loads(text)
            assert datetime.datetime.fromisoformat(message["@timestamp"]) == datetime.datetime.fromisoformat(record.pop("time").replace("Z", "+00:00"))
            assert record.items() <= message.items() and "log" not in message
        else:
            assert message["log"] == text


def test_filebeat_sends_every_line_and_its_own_fields_stay(lines):
    configuration = yaml.safe_load((K8S / "addons/logs/filebeat.yml").read_text(encoding="utf-8"))
    events = list(filebeat(container_log(lines), configuration))
    assert len(events) == len(lines)
    for event, (_, text) in zip(events, lines):
        assert event["service"] == "hadal" and event["log"]["file"]["path"] == FILE
        if text.startswith("{"):
            record = json.loads(text)
            assert record.items() <= event.items() and "message" not in event
            assert not FILEBEATS & record.keys()
        else:
            assert event["message"] == text
