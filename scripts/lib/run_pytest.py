# SPDX-License-Identifier: Apache-2.0
"""Runs the Python tests in several processes: run_pytest.py RESULTS WORKERS [arguments of pytest]. Exit code as pytest's.

The workers collect the same tests and claim whole modules of them (tests/conftest.py), so that fixtures of a module are made
once. Each writes RESULTS/pytest-N.xml; the first one's lines are shown as they come, the others' when they have ended.
"""
import pathlib
import shutil
import signal
import subprocess
import sys

TIMEOUT_SECONDS = 1500
NO_TESTS = 5  # pytest's exit code


def start(results, worker, workers, arguments):
    claims = [f"--claims={results / 'claims'}", f"--worker={worker}"] if workers > 1 else []
    command = [sys.executable, "-m", "pytest", f"--junitxml={results / f'pytest-{worker}.xml'}", *arguments, *claims]
    if worker == 0:
        return subprocess.Popen(command)
    with open(results / f"pytest-{worker}.log", "wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def finish(process):
    """The exit code of a worker; one that takes too long is told to end, and ends its servers."""
    try:
        return process.wait(TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"the Python tests did not end within {TIMEOUT_SECONDS} s", flush=True)
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        return process.wait() or 1


def main():
    results, workers, arguments = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    shutil.rmtree(results / "claims", ignore_errors=True)
    (results / "claims").mkdir(parents=True)
    processes = [start(results, worker, workers, arguments) for worker in range(workers)]
    codes = [finish(process) for process in processes]
    for worker in range(1, workers):
        print((results / f"pytest-{worker}.log").read_text(encoding="utf-8", errors="replace"), end="", flush=True)
    if set(codes) == {NO_TESTS}:
        print("no Python tests selected")
        return 0
    return next((code for code in codes if code not in (0, NO_TESTS)), 0)


if __name__ == "__main__":
    sys.exit(main())
