# SPDX-License-Identifier: Apache-2.0
"""Writes the lock file: write_lock.py PIP_REPORT CUDA_REPORT KUBECTL_REPORT SOURCE_REPORT PACKAGES_APT > requirements.lock."""
import json
import re
import subprocess
import sys

HEADER = """\
# Tested versions and hashes of everything hadal fetches. Written by scripts/update-lock; do not edit.
# Plain lines are pip's --require-hashes format (the whole closure of requirements.txt, CPython 3.11, x86-64).
# "#source:" lines are source archives that scripts/bootstrap fetches for the build, "#cuda:" lines are fetched by
# scripts/bootstrap --cuda, "#kubectl:" by --test. "#apt:" lines are Debian packages: apt checks Debian's signatures
# itself, and a security update replaces a version, so scripts/bootstrap warns when another version is installed."""


def pins(report_path):
    with open(report_path, encoding="utf-8") as file:
        report = json.load(file)
    rows = []
    for item in report["install"]:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
        rows.append(f"{name}=={item['metadata']['version']} --hash=sha256:{digest}")
    return sorted(rows)


def debian(packages_path):
    with open(packages_path, encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    names = sorted({line.split(":")[-1].strip() for line in lines if line and not line.startswith("#")})
    for name in names:
        version = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name], check=True, capture_output=True, text=True).stdout
        shown = subprocess.run(["apt-cache", "show", f"{name}={version}"], capture_output=True, text=True).stdout
        digest = re.search(r"^SHA256: (\w+)", shown, re.MULTILINE)
        yield f"#apt: {name}={version}" + (f" sha256:{digest.group(1)}" if digest else "")


def main():
    print(HEADER)
    print("\n".join(pins(sys.argv[1])))
    print("\n".join("#cuda: " + row for row in pins(sys.argv[2])))
    print("\n".join("#kubectl: " + row for row in pins(sys.argv[3])))
    print("\n".join("#source: " + row for row in pins(sys.argv[4])))
    print("\n".join(debian(sys.argv[5])))


if __name__ == "__main__":
    main()
