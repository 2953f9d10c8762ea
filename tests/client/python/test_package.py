# SPDX-License-Identifier: Apache-2.0
"""The Python client as a package: it installs, carries its own messages, and its README is true."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(os.environ["HADAL_SOURCE_DIR"])
PACKAGE = SOURCE / "client/python"


def test_it_installs_and_imports_without_grpc(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "source", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", f"--target={tmp_path / 'site'}",
                    str(tmp_path / "source")], check=True, capture_output=True)
    shown = subprocess.run([sys.executable, "-c", "import sys, hadal_client; print(hadal_client.__file__, 'grpc' in sys.modules, hadal_client.GrpcClient)"],
                           capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(tmp_path / "site")})
    assert str(tmp_path / "site") in shown.stdout and " False " in shown.stdout
    assert (tmp_path / "site/hadal_client/py.typed").exists() and (tmp_path / "site/hadal_client/_inference_pb2.pyi").exists()


@pytest.mark.skipif(shutil.which("protoc") is None, reason="protoc is not installed")
def test_its_messages_are_those_of_the_proto(tmp_path):
    subprocess.run(["protoc", f"-I{SOURCE / 'proto'}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", "hadal/v1/inference.proto"], check=True)
    for suffix in (".py", ".pyi"):
        committed = (PACKAGE / f"src/hadal_client/_inference_pb2{suffix}").read_text()
        assert (tmp_path / f"hadal/v1/inference_pb2{suffix}").read_text() == committed, "protoc --python_out --pyi_out, and copy both files"


@pytest.mark.parametrize("number, code", list(enumerate(re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.S))))
def test_the_readme_is_true(server, number, code):
    code = code.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(PACKAGE / "src")})
    assert done.returncode == 0, f"example {number}: {done.stderr}"
    assert done.stdout.strip()
