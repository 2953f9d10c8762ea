# SPDX-License-Identifier: Apache-2.0
"""Programs of those who use the C++ client: compiled against what is public, and linked with the client that is built."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

SOURCE = pathlib.Path(os.environ["HADAL_SOURCE_DIR"])
BUILD = pathlib.Path(os.environ.get("HADAL_BUILD_DIR", SOURCE / "build/release"))
PUBLIC = re.findall(r"\S+\.h", re.search(r"foreach\(header (.*?)\)", (SOURCE / "client/standalone.cmake").read_text(encoding="utf-8"))[1])

needs = {name: pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed") for name in ("c++", "cmake", "ninja", "pkg-config")}


@pytest.fixture
def include(tmp_path):
    """The headers that are installed, and no others."""
    for header in PUBLIC:
        (tmp_path / "include" / header).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SOURCE / header, tmp_path / "include" / header)
    return tmp_path / "include"


def compiled(folder, include, source):
    """The program that a source makes with the client that is built. One that leaves a leak fails at its end."""
    libraries = [BUILD / path for path in ("client/libhadal_client.a", "proto/libhadal_proto.a", "base/libhadal_read_file.a")]
    if not all(library.exists() for library in libraries):
        pytest.skip("the client is not built in HADAL_BUILD_DIR")
    needed = subprocess.run(["pkg-config", "--libs", "grpc++", "protobuf", "absl_random_random", "absl_statusor", "libcrypto"], check=True, capture_output=True, text=True)
    subprocess.run(["c++", "-std=c++20", "-fsanitize=leak", f"-I{include}", source, "-o", "ask", *map(str, libraries), *needed.stdout.split()], cwd=folder, check=True)
    return folder / "ask"
