# SPDX-License-Identifier: Apache-2.0
"""Sums the results of scripts/test: summarize_tests.py RESULTS. Exit code 1 when anything failed or nothing passed.

RESULTS holds stages.tsv (name, exit code, seconds), pytest-N.xml of each worker, and for each preset <preset>.ctest.xml with a folder
<preset>/ of GoogleTest XML files. A GoogleTest binary counts its cases; one that crashed counts as one failure more.
"""
import collections
import pathlib
import sys
import xml.etree.ElementTree as ElementTree


class Totals:
    def __init__(self):
        self.passed = 0
        self.failures = []
        self.skips = collections.defaultdict(list)  # reason -> names

    def add_case(self, name, case):
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
            self.failures.append(name)
        elif skipped is not None or case.get("status") in ("notrun", "disabled"):
            reason = "" if skipped is None else (skipped.get("message") or skipped.text or "")
            lines = [line.strip() for line in reason.splitlines() if line.strip()]
            lines = [line for line in lines if not line.startswith("Skipped") or len(lines) == 1]
            self.skips[lines[-1] if lines else "disabled"].append(name)
        else:
            self.passed += 1


def parse(path):
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError):
        return None


def add_ctest(totals, results, report):
    preset = report.name.split(".")[0]
    root = parse(report)
    if root is None:
        totals.failures.append(f"{preset}: CTest wrote no report")
        return
    for entry in root.iter("testcase"):
        name = f"{preset}: {entry.get('name')}"
        ctest_failed = entry.get("status") == "fail" or entry.find("failure") is not None
        gtest = parse(results / preset / f"{entry.get('name')}.xml")
        if gtest is None:
            totals.add_case(name, entry)
            continue
        before = len(totals.failures)
        for case in gtest.iter("testcase"):
            totals.add_case(f"{name} {case.get('classname')}.{case.get('name')}", case)
        if ctest_failed and len(totals.failures) == before:
            totals.failures.append(f"{name}: ended abnormally (crash, sanitizer report or time-out)")


def main():
    results = pathlib.Path(sys.argv[1])
    totals = Totals()
    for report in sorted(results.glob("*.ctest.xml")):
        add_ctest(totals, results, report)
    for report in sorted(results.glob("pytest-*.xml")):
        root = parse(report)
        for case in [] if root is None else root.iter("testcase"):
            totals.add_case(f"{case.get('classname')}.{case.get('name')}", case)
    seconds = 0
    for line in (results / "stages.tsv").read_text(encoding="utf-8").splitlines():
        name, code, took = line.split("\t")
        seconds += int(took)
        explained = totals.failures and ("tests" in name and not name.startswith("build"))
        if int(code) != 0 and not explained:
            totals.failures.append(f"stage '{name}' ended with code {code}")
        print(f"{int(took):6d} s  {name}" + ("" if code == "0" else f"  FAILED ({code})"))
    print(f"{seconds:6d} s  total")
    for reason, names in sorted(totals.skips.items()):
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        print(f"SKIPPED {len(names)}: {reason} [{shown}]")
    for name in totals.failures:
        print(f"FAILED {name}")
    skipped = sum(len(names) for names in totals.skips.values())
    print(f"{totals.passed} passed, {len(totals.failures)} failed, {skipped} skipped")
    return 0 if totals.passed > 0 and not totals.failures else 1


if __name__ == "__main__":
    sys.exit(main())
