# SPDX-License-Identifier: Apache-2.0
"""A real redis-server, started by the shell command of the manifests as kustomize renders it, is what the manifests say it is."""
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from rendering import ROOT, pods, render

sys.path.insert(0, str(ROOT / "tests/e2e"))

from ports import free_port

PASSWORD = "a pass'word with $ and \""


def redis_container(target, workload):
    (spec,) = [spec for name, _, spec in pods(render(target)) if name == workload]
    (container,) = spec["containers"]
    return spec, container


class Client:
    """Speaks RESP 2: commands whose answers are a line, or an array of strings."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.file = self.socket.makefile("rb")

    def call(self, *words):
        encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
        return self._answer()

    def _answer(self):
        line = self.file.readline().decode().rstrip("\r\n")
        if line.startswith("*"):
            return [self._answer() for _ in range(int(line[1:]))]
        if line.startswith("$"):
            size = int(line[1:])
            return None if size < 0 else self.file.read(size + 2)[:-2].decode()
        return line

    def config(self, name):
        _, value = self.call("CONFIG", "GET", name)
        return value

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()


class ManifestRedis:
    """The container's command and arguments, letter by letter but for the folders of its mounts, which lie in `folder`, and the port."""

    def __init__(self, spec, container, folder):
        self.port = free_port()
        assert "command" in container and container["command"] == ["sh", "-c"] and len(container["args"]) == 1
        script = container["args"][0]
        assert script.startswith("exec redis-server ") and script.count("redis-server") == 1, "the process that hears SIGTERM"
        for mount in container["volumeMounts"]:
            own = folder / mount["name"]
            own.mkdir(exist_ok=True)
            script, count = re.subn(re.escape(mount["mountPath"]) + r"\b", str(own), script)
            assert count == 1, f"{mount['mountPath']} is mounted and not used"
        secrets = {volume["name"] for volume in spec["volumes"] if "secret" in volume}
        for name in secrets:
            (folder / name / "password").write_text(PASSWORD)
        (port,) = [port["containerPort"] for port in container["ports"]]
        assert port == 6379 and "--port" not in script, "Redis' own port"
        # A working folder of its own: with a read-only root file system only the mounts can be written.
        self.folder = folder / "root"
        self.folder.mkdir(exist_ok=True)
        self.command = [*container["command"], script.replace("redis-server ", f"redis-server --port {self.port} --bind 127.0.0.1 ", 1)]
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        deadline = time.monotonic() + 30
        while True:
            assert self.process.poll() is None, self.process.stdout.read()
            assert time.monotonic() < deadline
            with contextlib.suppress(OSError), Client(self.port) as client:
                if client.call("AUTH", PASSWORD) == "+OK" and not client.call("PING").startswith("-LOADING"):
                    return
            time.sleep(0.02)

    def client(self):
        client = Client(self.port)
        assert client.call("AUTH", PASSWORD) == "+OK"
        return client

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self.process.stdout.close()
        return code


@pytest.fixture
def start(tmp_path):
    """start(target, workload): its Redis, and the container."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    running = []

    def start_one(target, workload):
        spec, container = redis_container(target, workload)
        running.append(ManifestRedis(spec, container, tmp_path))
        return running[-1], container

    yield start_one
    for redis in running:
        if redis.process.poll() is None:
            redis.process.kill()
            redis.process.wait()


CACHE = ("overlays/redis", "Deployment hadal-redis")
STORE = ("overlays/batches", "StatefulSet hadal-batches-redis")
GIB = 1 << 30


@pytest.mark.parametrize("where, wanted", [
    (CACHE, {"maxmemory": 3 * GIB, "maxmemory-policy": "allkeys-lfu", "save": "", "appendonly": "no", "shutdown-timeout": 5}),
    (STORE, {"maxmemory": 4 * GIB, "maxmemory-policy": "noeviction", "save": "", "appendonly": "yes", "appendfsync": "everysec",
             "shutdown-timeout": 10})], ids=["cache", "store"])
def test_redis_takes_the_settings_of_the_manifest(start, where, wanted):
    redis, container = start(*where)
    with redis.client() as client:
        assert {name: client.config(name) for name in wanted} == {name: str(value) for name, value in wanted.items()}
        assert client.config("requirepass") == PASSWORD
    with Client(redis.port) as stranger:
        assert stranger.call("PING").startswith("-NOAUTH")
        assert stranger.call("AUTH", "other").startswith("-WRONGPASS")
    limit = int(container["resources"]["limits"]["memory"].removesuffix("Gi")) * GIB
    assert limit > wanted["maxmemory"], "room for what clients have in flight"
    assert redis.stop() == 0


def test_a_full_cache_drops_what_is_asked_for_least(start, tmp_path):
    redis, _ = start(*CACHE)
    with redis.client() as client:
        assert client.call("CONFIG", "SET", "maxmemory", 8 << 20) == "+OK"
        for turn in range(40):
            assert client.call("SET", f"cold-{turn}", "x" * (1 << 19)) == "+OK", "never full"
            if turn == 0:
                assert client.call("SET", "hot", "y") == "+OK"
            for _ in range(50):
                client.call("GET", "hot")
        assert client.call("GET", "hot") == "y"
        assert client.call("GET", "cold-0") is None
    assert redis.stop() == 0
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".rdb", ".aof")], "it writes no file"


def test_a_full_store_refuses_and_keeps_what_it_has(start, tmp_path):
    redis, container = start(*STORE)
    with redis.client() as client:
        assert client.call("SET", "kept", "for ever") == "+OK"
        assert client.call("CONFIG", "SET", "maxmemory", 1) == "+OK"
        assert client.call("SET", "more", "x").startswith("-OOM")
        assert client.call("GET", "kept") == "for ever"
    assert redis.stop() == 0
    data = next(mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == "/data")
    written = [path for path in tmp_path.rglob("*") if path.suffix in (".rdb", ".aof")]
    assert written and all((tmp_path / data) in path.parents for path in written), "all of it in the volume"
    redis.start()
    with redis.client() as client:
        assert client.call("GET", "kept") == "for ever"
    assert redis.stop() == 0


def test_the_stores_readiness_probe_says_when_it_answers(start, tmp_path):
    if shutil.which("redis-cli") is None:
        pytest.skip("redis-cli is not installed")
    redis, container = start(*STORE)
    shell, flag, probe = container["readinessProbe"]["exec"]["command"]
    probe = probe.replace("/etc/redis", str(tmp_path / "password")).replace("redis-cli", f"redis-cli -p {redis.port}")

    def ready():
        return subprocess.run([shell, flag, probe], env={"PATH": os.environ["PATH"]}, capture_output=True, timeout=20).returncode == 0

    assert ready()
    assert redis.stop() == 0
    assert not ready()
