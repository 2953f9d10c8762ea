# SPDX-License-Identifier: Apache-2.0
"""scripts/release-image builds on digests that the registry told, or not at all. The container engines are scripts that note how they are called."""
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")
DIGESTS = {name: "sha256:" + letter * 64 for name, letter in (("debian", "a"), ("cuda", "b"))}
BASES = dict(re.findall(r"^ARG (DEBIAN|CUDA)=(\S+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE))
TOOLS = ("bash", "dirname", "git", "sed", "date")

# argv in a line of JSON; a question about a base gets its digest, or what ANSWER says.
ENGINE = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
if "inspect" in sys.argv:
    if os.environ.get("ANSWER") == "fail":
        sys.exit("no route to the registry")
    print(os.environ.get("ANSWER") or ("{DIGESTS['cuda']}" if "cuda" in sys.argv[-1] else "{DIGESTS['debian']}"))
"""


@pytest.fixture
def checkout(tmp_path):
    """A commit with what the script reads."""
    root = tmp_path / "checkout"
    (root / "scripts/lib").mkdir(parents=True)
    for path in ("scripts/release-image", "scripts/lib/common.sh", "Dockerfile", "CMakeLists.txt"):
        shutil.copy(ROOT / path, root / path)
    for command in (["init", "-q"], ["remote", "add", "origin", "https://user:secret@example.com/hadal.git"], ["add", "-A"],
                    ["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "t"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


@pytest.fixture
def release(checkout, tmp_path):
    """release(*arguments, engines=, **environment): (the finished process, the engines' calls)."""

    def run(*arguments, engines=("docker",), **environment):
        tools, calls = tmp_path / "tools", tmp_path / "calls"
        shutil.rmtree(tools, ignore_errors=True)
        tools.mkdir()
        calls.write_text("")
        for name in TOOLS:
            (tools / name).symlink_to(shutil.which(name))
        for name in engines:
            (tools / name).write_text(ENGINE)
            (tools / name).chmod(0o755)
        done = subprocess.run([checkout / "scripts/release-image", *arguments], capture_output=True, text=True, timeout=60,
                              env={"PATH": str(tools), "CALLS": str(calls), "HOME": str(tmp_path), **environment})
        return done, [json.loads(line) for line in calls.read_text().splitlines()]

    return run


def build_arguments(command):
    return dict(value.split("=", 1) for flag, value in zip(command, command[1:]) if flag == "--build-arg")


@pytest.mark.parametrize("engines", [("docker",), ("podman", "skopeo")], ids=["docker", "podman"])
def test_bases_are_those_of_the_dockerfile_with_the_registrys_digests(release, checkout, engines):
    done, calls = release("--cuda", "example.com/hadal:1.0-cuda", engines=engines)
    assert done.returncode == 0, done.stderr
    assert [call[-1].removeprefix("docker://") for call in calls[:-1]] == [BASES["DEBIAN"], BASES["CUDA"]]
    engine, verb, *rest = calls[-1]
    assert (engine, verb) == (engines[0], "build") and rest[-3:] == ["-t", "example.com/hadal:1.0-cuda", "."]
    given = build_arguments(rest)
    assert given.pop("CREATED")
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()
    assert given == {"PINNED": "1", "VARIANT": "cuda", "DEBIAN": f"{BASES['DEBIAN']}@{DIGESTS['debian']}", "CUDA": f"{BASES['CUDA']}@{DIGESTS['cuda']}",
                     "VERSION": "0.1.0", "REVISION": revision, "SOURCE": "https://example.com/hadal.git"}


def test_the_dockerfile_knows_each_argument_and_takes_the_pinned_bases(release):
    done, calls = release("--cuda", "hadal:1.0")
    assert done.returncode == 0
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    declared = set(re.findall(r"\b([A-Z]+)(?==|\s|$)", " ".join(re.findall(r"^ARG (.*)$", text, re.MULTILINE))))
    given = build_arguments(calls[-1])
    assert given.keys() <= declared
    check = re.search(r"^RUN (for base in .*;\s+done)$", text.replace("\\\n", ""), re.MULTILINE).group(1)
    assert subprocess.run(["bash", "-c", check], env={"PATH": os.environ["PATH"], **given}, timeout=20).returncode == 0


def test_a_cpu_image_asks_for_one_base_and_prints_what_builds_it_again(release):
    done, calls = release("--print", "hadal:1.0", HADAL_SOURCE_URL="https://example.com/with space")
    assert done.returncode == 0 and len(calls) == 1, "nothing is built"
    given = build_arguments(shlex.split(done.stdout))
    assert given["SOURCE"] == "https://example.com/with space" and "CUDA" not in given
    pinned = f"{BASES['DEBIAN']}@{DIGESTS['debian']}"
    done, calls = release("hadal:1.0", DEBIAN=pinned, ANSWER="fail")
    assert done.returncode == 0 and len(calls) == 1 and build_arguments(calls[0])["DEBIAN"] == pinned


@pytest.mark.parametrize("arguments, environment, says", [
    ((), {}, "NAME:TAG"),
    (("hadal",), {}, "NAME:TAG"),
    (("hadal:latest",), {}, "latest"),
    (("hadal:1", "hadal:2"), {}, "hadal:2"),
    (("hadal:1",), {"ANSWER": "fail"}, "does not tell the digest of debian:"),
    (("hadal:1",), {"ANSWER": "sha256:12"}, "DEBIAN is"),
    (("hadal:1",), {"DEBIAN": "debian:12"}, "DEBIAN is 'debian:12'"),
    (("--cuda", "hadal:1"), {"CUDA": "cuda@" + DIGESTS["cuda"]}, "CUDA is"),
    (("hadal:1",), {"engines": ()}, "neither docker nor podman with skopeo"),
    (("hadal:1",), {"engines": ("podman",)}, "neither docker nor podman with skopeo")])
def test_nothing_is_built_without_name_digests_or_engine(release, arguments, environment, says):
    done, calls = release(*arguments, **environment)
    assert done.returncode == 1 and not any("build" in call for call in calls)
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(errors) == 1 and says in errors[0], done.stderr


def test_a_checkout_with_changes_is_no_release(release, checkout):
    (checkout / "Dockerfile").write_text("FROM scratch AS x\n")
    done, calls = release("hadal:1.0")
    assert done.returncode == 1 and "has changes" in done.stderr and not calls


def test_documents_build_releases_with_the_script_only():
    """By hand a base without a digest is easily taken; what is not a release says so by being unpinned."""
    pages = [*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "Dockerfile", *ROOT.glob("k8s/**/*.md")]
    assert not [page for page in pages if "PINNED=1" in re.sub(r"with PINNED=1 a base|PINNED=1, but", "", page.read_text(encoding="utf-8"))]
    assert "scripts/release-image" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "scripts/release-image" in (ROOT / "docs/operations.md").read_text(encoding="utf-8")
