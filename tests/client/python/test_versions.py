# SPDX-License-Identifier: Apache-2.0
"""The Pythons that the client promises, 3.9 to 3.13: what it says of itself, what it uses of them, and what types it shows. scripts/client-pythons runs the
tests of this folder on those that are installed."""

import email
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

PACKAGE = pathlib.Path(os.environ["HADAL_SOURCE_DIR"]) / "client/python"
VERSIONS = ["3.9", "3.10", "3.11", "3.12", "3.13"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(PACKAGE, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", f"--wheel-dir={folder}", str(folder / "source")],
                   check=True, capture_output=True)
    (made,) = folder.glob("*.whl")
    with zipfile.ZipFile(made) as archive:
        yield made.name, {name: archive.read(name).decode() for name in archive.namelist()}


def test_the_wheel_says_what_it_runs_on(wheel):
    name, files = wheel
    assert name == "hadal_client-0.1.0-py3-none-any.whl"
    said = email.message_from_string(next(text for path, text in files.items() if path.endswith("/METADATA")))
    assert said["Name"] == "hadal-client" and said["Requires-Python"] == ">=3.9"
    assert [one.rsplit(" ", 1)[1] for one in said.get_all("Classifier") if "Python ::" in one] == VERSIONS
    needs = {re.sub(r"[\s\"'()]", "", one) for one in said.get_all("Requires-Dist")}
    assert needs == {"httpx2>=2;python_version>=3.10", "httpx>=0.25;python_version<3.10", "grpcio>=1.51;extra==grpc", "protobuf>=4.21;extra==grpc"}
    assert "import hadal_client" in said.get_payload(), "the README is its description"


def test_the_wheel_holds_the_package_and_its_types(wheel):
    there = {path for path in wheel[1] if not path.split("/")[0].endswith(".dist-info")}
    wanted = {f"hadal_client/{path.name}" for path in (PACKAGE / "src/hadal_client").iterdir() if path.suffix in (".py", ".pyi", ".typed")}
    assert there == wanted and "hadal_client/py.typed" in there


@pytest.mark.parametrize("version", ["3.9", "3.13"])
def test_its_types_hold(version, tmp_path):
    """And it uses nothing of the standard library that this version lacks, which the types of the library know."""
    pytest.importorskip("mypy")
    done = subprocess.run([sys.executable, "-m", "mypy", f"--python-version={version}", f"--cache-dir={tmp_path}"], cwd=PACKAGE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_python_3_9_lacks_would_be_found(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "new.py").write_text("import asyncio\n\n\nasync def wait() -> None:\n    async with asyncio.timeout(1):\n        pass\n")
    done = subprocess.run([sys.executable, "-m", "mypy", f"--config-file={PACKAGE / 'pyproject.toml'}", "--python-version=3.9", f"--cache-dir={tmp_path}",
                           str(tmp_path / "new.py")], capture_output=True, text=True)
    assert done.returncode == 1 and 'has no attribute "timeout"' in done.stdout, done.stdout + done.stderr
