# SPDX-License-Identifier: Apache-2.0
"""scripts/bootstrap makes the Python environment beside the one that is there: what interrupts it leaves one that works."""
import base64
import hashlib
import os
import pathlib
import shutil
import subprocess
import zipfile

import pytest

ROOT = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
pytestmark = pytest.mark.skipif(not pathlib.Path("/etc/debian_version").exists() or
                                subprocess.run(["/usr/bin/python3", "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode != 0,
                                reason="needs Debian's python3-venv")


def stamp_of(lines=""):
    return hashlib.sha256(lines.encode()).hexdigest()[:32]


class Checkout:
    """A copy of scripts/ for which only the Python environment is to be made, of a package `tiny` with one program."""

    def __init__(self, folder):
        self.root, self.wheels = folder / "checkout", folder / "wheels"
        self.wheels.mkdir(parents=True)
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        (self.root / "scripts/packages.apt").write_text("bash\n", encoding="utf-8")
        for name, stamp in (("xgrammar", ".stamp"), ("bin", ".kubectl-stamp")):
            (self.root / ".deps" / name).mkdir(parents=True)
            (self.root / ".deps" / name / stamp).write_text(stamp_of(), encoding="utf-8")
        self.tools = folder / "tools"
        self.tools.mkdir()
        df = self.tools / "df"
        df.write_text('#!/bin/bash\necho "Filesystem 1024-blocks Used Available Capacity Mounted"; echo "/dev/x 9 9 99999999 9% /"\n', encoding="utf-8")
        df.chmod(0o755)
        self.folders = sorted(self.deps())

    def lock(self, version, wrong_hash=False):
        """The lock asks for that version. Its program says it, and where Python finds itself."""
        path = self.wheels / f"tiny-{version}-py3-none-any.whl"
        files = {"tiny.py": f"import sys\ndef main():\n    print({version}, sys.prefix)\n",
                 f"tiny-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n",
                 f"tiny-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
                 f"tiny-{version}.dist-info/entry_points.txt": "[console_scripts]\ntiny = tiny:main\n"}
        record = "".join(f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}\n"
                         for name, text in files.items())
        with zipfile.ZipFile(path, "w") as wheel:
            for name, text in {**files, f"tiny-{version}.dist-info/RECORD": record}.items():
                wheel.writestr(name, text)
        digest = "0" * 64 if wrong_hash else hashlib.sha256(path.read_bytes()).hexdigest()
        (self.root / "scripts/requirements.lock").write_text(f"tiny=={version} --hash=sha256:{digest}\n", encoding="utf-8")

    def bootstrap(self):
        environment = {"PATH": f"{self.tools}:{os.environ['PATH']}", "HOME": str(self.root), "HADAL_SKIP_OS_CHECK": "1", "PIP_NO_INDEX": "1",
                       "PIP_FIND_LINKS": str(self.wheels)}
        return subprocess.run([self.root / "scripts/bootstrap", "--test"], env=environment, capture_output=True, text=True, timeout=900, check=False)

    def deps(self):
        return {path.name for path in (self.root / ".deps").iterdir() if path.is_dir()}

    def check_works(self, version):
        venv = self.root / ".deps/venv"
        said = subprocess.run([venv / "bin/tiny"], capture_output=True, text=True, check=True, timeout=300).stdout
        assert said == f"{version} {venv}\n"
        assert "venv.new" not in (venv / "bin/activate").read_text(encoding="utf-8") + (venv / "bin/pip").read_text(encoding="utf-8")


@pytest.fixture
def checkout(tmp_path):
    made = Checkout(tmp_path)
    made.lock(1)
    done = made.bootstrap()
    assert done.returncode == 0, done.stderr
    return made


def test_the_environment_works_where_it_was_put(checkout):
    checkout.check_works(1)
    assert sorted(checkout.deps()) == sorted([*checkout.folders, "venv"])
    inode = (checkout.root / ".deps/venv").stat().st_ino
    assert checkout.bootstrap().returncode == 0 and (checkout.root / ".deps/venv").stat().st_ino == inode, "nothing to do"


def test_one_that_cannot_be_made_leaves_the_old_one_until_the_next_run(checkout):
    checkout.lock(2, wrong_hash=True)
    failed = checkout.bootstrap()
    assert failed.returncode == 1 and "differs from its hash" in failed.stderr
    checkout.check_works(1)
    checkout.lock(2)
    assert checkout.bootstrap().returncode == 0
    checkout.check_works(2)
    assert sorted(checkout.deps()) == sorted([*checkout.folders, "venv"]), "nothing is left of the old one or of the attempt"


def test_what_ended_between_the_two_renames_is_put_right(checkout):
    deps = checkout.root / ".deps"
    (deps / "venv").rename(deps / "venv.old")
    checkout.lock(2, wrong_hash=True)
    assert checkout.bootstrap().returncode == 1
    checkout.check_works(1)
