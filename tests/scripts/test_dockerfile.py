# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile builds from sources that exist, on bases that can be pinned, and its image runs as the manifests want it."""
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
import yaml

ROOT = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))


def instructions():
    """[(keyword, rest)] with continued lines joined and comments left out."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\\\n\s*", " ", text)
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


LINES = instructions()


def stage(name):
    start = next(i for i, (word, rest) in enumerate(LINES) if word == "FROM" and rest.endswith(f" AS {name}"))
    end = next((i for i in range(start + 1, len(LINES)) if LINES[i][0] == "FROM"), len(LINES))
    return LINES[start:end]


def one(lines, keyword):
    found = [rest for word, rest in lines if word == keyword]
    assert len(found) == 1, keyword
    return found[0]


def arguments():
    """Build arguments that stand before the first stage: {name: default}."""
    first = next(i for i, (word, _) in enumerate(LINES) if word == "FROM")
    return dict(rest.split("=", 1) for word, rest in LINES[:first] if word == "ARG")


def test_bases_are_build_arguments_with_a_version():
    known = arguments()
    stages = set()
    for rest in (rest for word, rest in LINES if word == "FROM"):
        base, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()
        variables = re.findall(r"\$\{(\w+)\}", base)
        assert base in stages or variables, f"{base} is neither a stage nor a build argument"
        assert all(variable in known for variable in variables)
        stages.add(name)
    for name in ("DEBIAN", "CUDA"):
        assert re.search(r":[\w.-]+$", known[name]) and not known[name].endswith(":latest")


DIGEST = "@sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize("variant, debian, cuda, pinned, accepted", [
    ("cpu", "debian:12", "cuda:13", "0", True),
    ("cpu", "debian:12", "cuda:13", "1", False),
    ("cpu", "debian:12" + DIGEST, "cuda:13", "1", True),
    ("cuda", "debian:12" + DIGEST, "cuda:13", "1", False),
    ("cuda", "debian:12" + DIGEST, "cuda:13" + DIGEST, "1", True),
    ("cpu", "debian:12@sha256:12", "cuda:13", "1", False),
])
def test_a_release_is_refused_without_digests(variant, debian, cuda, pinned, accepted):
    check = next(rest for word, rest in stage("sources") if word == "RUN" and "PINNED" in rest)
    result = subprocess.run(["bash", "-o", "pipefail", "-c", check], capture_output=True, text=True, timeout=20,
                            env={"PATH": os.environ["PATH"], "VARIANT": variant, "DEBIAN": debian, "CUDA": cuda, "PINNED": pinned})
    assert (result.returncode == 0) == accepted
    assert accepted or "has no digest" in result.stderr


def test_what_is_copied_and_run_exists():
    for word, rest in LINES:
        assert word != "ADD"
        if word == "COPY" and not rest.startswith("--from="):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
        if word == "RUN":
            for script in re.findall(r"scripts/[\w./-]+", rest):
                assert os.access(ROOT / script, os.X_OK), script


def test_labels_name_what_it_is_and_where_it_comes_from():
    lines = stage("runtime")
    labels = dict(part.split("=", 1) for part in shlex.split(one(lines, "LABEL")))
    prefix = "org.opencontainers.image."
    assert {name.removeprefix(prefix) for name in labels} == {
        "title", "description", "licenses", "version", "revision", "created", "source", "base.name"}
    declared = set(re.findall(r"\w+(?==|\s|$)", one(lines, "ARG")))
    for value in labels.values():
        assert value and set(re.findall(r"\$\{(\w+)\}", value)) <= declared


def test_runs_without_root_and_hears_signals_itself():
    lines = stage("runtime")
    user, group = one(lines, "USER").split(":")
    pod = yaml.safe_load((ROOT / "k8s/base/deployment.yaml").read_text(encoding="utf-8"))["spec"]["template"]["spec"]
    assert (int(user), int(group)) == (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"])
    position = [word for word, _ in lines].index("USER")
    assert not {"RUN", "COPY"} & {word for word, _ in lines[position:]}, "nothing is written after the user changes"
    # A shell as process 1 would keep SIGTERM from the server.
    assert one(lines, "ENTRYPOINT") == '["hadal"]' and one(lines, "CMD") == '["serve"]'
    assert one(lines, "STOPSIGNAL") == "SIGTERM"
    assert int(one(lines, "EXPOSE")) == pod["containers"][0]["ports"][0]["containerPort"]


def test_health_check_asks_the_server_and_waits_for_the_model():
    options, command = one(stage("runtime"), "HEALTHCHECK").split(" CMD ")
    assert command == '["hadal", "health"]'
    assert "--start-period=30m" in options.split()


def test_nothing_stays_of_the_package_lists():
    install = next(rest for word, rest in stage("runtime") if word == "RUN")
    assert "--no-install-recommends" in install and "rm -rf /var/lib/apt/lists/*" in install


def test_image_check_can_run_every_step():
    """scripts/image-check runs the Dockerfile where there is no container engine; it takes a while, so scripts/soak runs it."""
    sys.path.insert(0, str(ROOT / "scripts/lib"))
    import image_check

    parsed = image_check.instructions((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert parsed == LINES
    assert {word for word, _ in LINES} <= image_check.KNOWN
    replaced = [rest for word, rest in LINES if word == "RUN" and rest.startswith(image_check.TESTED)]
    assert len(replaced) == 1, "the step that is replaced by building alone is not there any more"
    assert image_check.expand("${A}/b:${NONE}", {"A": "a"}) == "a/b:"


def test_image_check_notices_a_library_that_is_not_there(tmp_path):
    sys.path.insert(0, str(ROOT / "scripts/lib"))
    import image_check

    def compile_(*arguments):
        subprocess.run(["gcc", "-x", "c", "/dev/null", *arguments], check=True, cwd=tmp_path)

    def found():
        return subprocess.run(["/bin/bash", "-o", "pipefail", "-c", image_check.LIBRARIES_FOUND.format("hadal")],
                              cwd=tmp_path, capture_output=True, text=True, check=False)

    (tmp_path / "hadal/bin").mkdir(parents=True)
    (tmp_path / "hadal/bin/notes.txt").write_text("no program")
    compile_("-shared", "-fPIC", "-o", "libneeded.so")
    compile_("-shared", "-fPIC", "-Wl,--no-as-needed", "-L.", "-lneeded", "-Wl,-rpath,$ORIGIN/..", "-o", "hadal/libuser.so")
    assert found().returncode == 0, found().stdout
    (tmp_path / "libneeded.so").unlink()
    assert found().returncode == 1
    assert "libneeded.so => not found" in found().stdout
