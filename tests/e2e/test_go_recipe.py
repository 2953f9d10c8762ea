# SPDX-License-Identifier: Apache-2.0
"""The recipe of docs/clients.md for Go: made and run as it stands there. It wants Debian's golang-go, golang-google-grpc-dev,
golang-github-golang-protobuf-1-5-dev, protoc-gen-go-1-5 and protoc-gen-go-grpc: 560 MB, so that scripts/packages.apt does not have them."""

import os
import pathlib
import re
import shutil
import subprocess
import time
from concurrent import futures

import grpc
import pytest

from hadal_process import PATIENCE

SOURCE = pathlib.Path(os.environ["HADAL_SOURCE_DIR"])
SECTION = (SOURCE / "docs/clients.md").read_text(encoding="utf-8").split("\n## gRPC: Go\n")[1].split("\n## ")[0]
GENERATE, PROGRAM = (re.search(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)[1] for language in ("sh", "go"))
PACKAGES = pathlib.Path("/usr/share/gocode")

missing = [name for name in ("go", "protoc", "protoc-gen-go", "protoc-gen-go-grpc") if shutil.which(name) is None]
missing += [name for name in ("grpc", "protobuf") if not (PACKAGES / "src/google.golang.org" / name).is_dir()]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """build(port): the program for a server there."""
    folder = tmp_path_factory.mktemp("go")
    ask = folder / "src/ask"
    ask.mkdir(parents=True)
    (ask / "hadal").symlink_to(SOURCE)
    subprocess.run(["sh", "-euc", GENERATE], cwd=ask, check=True)
    # Debian's packages are of the time before modules.
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": f"{folder}:{PACKAGES}", "GOCACHE": str(folder / "cache"), "GOFLAGS": "", "CGO_ENABLED": "0"}

    def build_for(port):
        (ask / "main.go").write_text(PROGRAM.replace("127.0.0.1:8000", f"127.0.0.1:{port}"), encoding="utf-8")
        subprocess.run(["go", "build", "-o", f"ask{port}"], cwd=ask, env=env, check=True, timeout=600)
        return subprocess.Popen([ask / f"ask{port}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "GRPC_GO_RETRY": "on"})

    return build_for


def test_it_asks_a_server(server, build):
    out, err = build(server.port).communicate(timeout=PATIENCE)
    assert "42" in out, err


@pytest.mark.parametrize("refusals, asked", [(2, 3), (9, 5)])
def test_it_comes_back_when_it_is_told_and_gives_up_after_five_attempts(build, refusals, asked):
    at = []

    def chat(request, context):
        at.append(time.monotonic())
        if len(at) <= refusals:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", "300"),))
            context.abort(grpc.StatusCode.UNAVAILABLE, "full")
        yield b"\x12\x0242"

    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("hadal.v1.Inference", {"Chat": grpc.unary_stream_rpc_method_handler(chat)}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    out, err = build(port).communicate(timeout=PATIENCE)
    server.stop(None)
    assert out == "42\n" if refusals < 5 else "full" in err, err
    assert len(at) == asked and all(later - earlier >= 0.3 for earlier, later in zip(at, at[1:]))
