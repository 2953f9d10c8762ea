# SPDX-License-Identifier: Apache-2.0
"""Checks texts: README length, links and citations inside the repository, no paths of one machine: check_docs.py SOURCE_DIR."""
import os
import pathlib
import re
import sys

README_LINES = 150
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:wo[r]k/|opt/hadal-ven[v]|home/(?!\$|<|user|you)\w)")
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
# A page named in prose or a comment: "engine/README.md", "docs/api.md". Not a name in quotes or after a wildcard, which is data.
PAGE = re.compile(r"(?<![\w./*\"'-])[\w-][\w./-]*\.md\b(?![\"'])")
CITING = {".md", ".h", ".cc", ".cu", ".cuh", ".proto", ".cmake", ".txt"}
TEXTS = {".md", ".h", ".cc", ".cu", ".cuh", ".py", ".sh", ".cmake", ".txt", ".proto", ".yaml", ".yml", ".json", ".toml", ".apt", ""}
SKIPPED_FOLDERS = {"build", ".deps", ".git", "__pycache__", "data", "node_modules", ".pytest_cache"}
MAX_TEXT_BYTES = 1 << 20


def text_files(root):
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in SKIPPED_FOLDERS and not name.startswith("build"))
        for file in sorted(files):
            path = pathlib.Path(folder) / file
            if path.suffix in TEXTS and file != ".git" and not path.is_symlink() and path.stat().st_size <= MAX_TEXT_BYTES:
                yield path


def check(root):
    """Yields one message for each problem below root."""
    readme = root / "README.md"
    if not readme.is_file():
        yield "README.md is missing"
    elif (lines := len(readme.read_text(encoding="utf-8").splitlines())) > README_LINES:
        yield f"README.md: {lines} lines, at most {README_LINES}"
    pages = {page.relative_to(root).as_posix() for page in text_files(root) if page.suffix == ".md"}
    for path in text_files(root):
        name = path.relative_to(root).as_posix()
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if found := MACHINE_PATH.search(line):
                yield f"{name}:{number}: '{found.group(0)}' is a path of one machine"
        if path.suffix in CITING:
            for page in sorted(set(PAGE.findall(text))):
                if not any(known == page or known.endswith("/" + page) for known in pages):
                    yield f"{name}: cites '{page}', which is not in the repository"
        if path.suffix == ".md":
            for target in LINK.findall(text):
                if "://" in target or target.startswith("mailto:"):
                    continue
                if not (path.parent / target).exists():
                    yield f"{name}: the link to '{target}' leads nowhere"


def main():
    problems = list(check(pathlib.Path(sys.argv[1]).resolve()))
    print("\n".join(problems))
    print(f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
