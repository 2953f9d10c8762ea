# SPDX-License-Identifier: Apache-2.0
"""The Python client as a package: it installs, carries its own messages, and its README is true."""

import ast
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
@pytest.mark.parametrize("proto", ["batches", "inference"])
def test_its_messages_are_those_of_the_proto(tmp_path, proto):
    subprocess.run(["protoc", f"-I{SOURCE / 'proto'}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", f"hadal/v1/{proto}.proto"], check=True)
    for suffix in (".py", ".pyi"):
        committed = (PACKAGE / f"src/hadal_client/_{proto}_pb2{suffix}").read_text()
        assert (tmp_path / f"hadal/v1/{proto}_pb2{suffix}").read_text() == committed, "protoc --python_out --pyi_out, and copy both files"


MODULES = sorted((PACKAGE / "src/hadal_client").glob("*.py*"))
# Of the standard library, and newer than 3.9.
NEWER = {"TaskGroup", "timeout_at", "Runner", "pairwise", "batched", "Self", "TypeAlias", "ParamSpec", "Concatenate", "StrEnum", "ExceptionGroup", "aiter", "anext",
         "override", "file_digest", "bit_count", "UTC"}
NEWER_ARGUMENTS = {"slots", "kw_only", "strict", "delete_on_close"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_python_3_9_reads_it(path):
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 9))  # match, except*, type parameters
    generated = "_pb2." in path.name
    evaluated = "from __future__ import annotations" not in source and path.suffix == ".py" and not generated
    for node in ast.walk(tree):
        name = getattr(node, "attr", None) or getattr(node, "id", None) or getattr(node, "name", None)
        assert name not in NEWER, f"{path.name}:{node.lineno}: {name} is newer than Python 3.9"
        if isinstance(node, ast.Call):
            assert not NEWER_ARGUMENTS & {one.arg for one in node.keywords}, f"{path.name}:{node.lineno}"
        annotations = [getattr(node, "annotation", None), getattr(node, "returns", None)] if evaluated else []
        for annotation in filter(None, annotations):
            assert not any(isinstance(part, ast.BinOp) for part in ast.walk(annotation)), f"{path.name}:{node.lineno}: X | Y is evaluated here"


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13"])
def test_other_pythons_that_are_here_compile_it(tmp_path, version):
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "--version"], capture_output=True).returncode != 0:
        pytest.skip(f"python{version} is not installed")
    shutil.copytree(PACKAGE / "src/hadal_client", tmp_path / "hadal_client", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([python, "-m", "compileall", "-q", str(tmp_path)], check=True)
    # What needs no other package runs.
    (tmp_path / "hadal_client/__init__.py").write_text("")
    subprocess.run([python, "-c", "from hadal_client import _cache, _errors, _retry, _sharing, _stream, _types"], check=True, cwd=tmp_path)


def test_a_missing_grpcio_is_named(tmp_path):
    (tmp_path / "grpc.py").write_text("raise ImportError('none here')")
    done = subprocess.run([sys.executable, "-c", "import hadal_client; hadal_client.GrpcClient"], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{PACKAGE / 'src'}"})
    assert done.returncode != 0 and "pip install 'hadal-client[grpc]'" in done.stderr


def test_type_checkers_see_the_grpc_clients():
    tree = ast.parse((PACKAGE / "src/hadal_client/__init__.py").read_text(encoding="utf-8"))
    checked = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    lazy = [name for node in checked.body for name in node.names]
    assert {name.name for name in lazy} == {"GrpcClient", "AsyncGrpcClient"}
    assert all(name.asname == name.name for name in lazy), "else --strict takes them for no part of the package (PEP 484, stub files)"


@pytest.mark.parametrize("number, code", list(enumerate(re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.S))))
def test_the_readme_is_true(server, number, code):
    code = code.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    if sys.version_info < (3, 10):
        code = code.replace("httpx2", "httpx")  # as its comment says
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": str(PACKAGE / "src")})
    assert done.returncode == 0, f"example {number}: {done.stderr}"
    assert done.stdout.strip()


def test_no_two_modules_import_each_other():
    """Be it by a third one, or for their types alone."""
    imports = {}
    for path in MODULES:
        if path.suffix != ".py":
            continue
        found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom) and node.level == 1]
        imports[path.stem] = {node.module or name.name for node in found for name in node.names} - {path.stem}
    assert imports["__init__"], "a package of modules that import others"

    def reached(module, seen):
        for other in imports.get(module, set()) - seen:
            if other not in seen:
                seen.add(other)
                reached(other, seen)
        return seen

    assert [module for module in imports if module in reached(module, set())] == []
