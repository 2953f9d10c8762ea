# SPDX-License-Identifier: Apache-2.0
"""Checks how the product locks and waits: check_locks.py SOURCE_DIR.

Locks are those of base/sync.h: clang checks their annotations, and ThreadSanitizer sees their order. Who waits is woken by
what it waits for; nobody sleeps to look again.
"""
import pathlib
import re
import sys

SOURCES = (".h", ".cc", ".cu", ".cuh")
FOLDERS = ("base", "kernels", "models", "server", "client")
LOCK = re.compile(r"\babsl::(?:Mutex\w*|\w+MutexLock|CondVar|Notification|BlockingCounter)\b"
                  r"|\bstd::(?:\w*mutex|lock_guard|unique_lock|scoped_lock|shared_lock|condition_variable\w*)\b")
SLEEP = re.compile(r"\b(?:SleepFor|sleep_for|sleep_until|usleep|nanosleep)\b")

# file -> why it may
OTHER_LOCKS = {
    "base/sync.h": "makes ours of the standard library's",
}
SLEEPERS = {
    "client/client.cc": "a call that blocks waits as long as the server told it to, and nothing can end it sooner",
    "models/null_model.cc": "the sleep stands for the time of a step",
}


def check_file(path, text):
    """Yields one message for each line of the file named `path` that breaks a rule."""
    for number, line in enumerate(text.splitlines(), start=1):
        code = line.split("//")[0]
        if path not in OTHER_LOCKS and (match := LOCK.search(code)):
            yield f"{path}:{number}: {match.group(0)}: use base/sync.h, and say what the lock guards"
        if path not in SLEEPERS and (match := SLEEP.search(code)):
            yield f"{path}:{number}: {match.group(0)}: wait for what ends the wait (CondVar, descriptor, timer)"


def main():
    root = pathlib.Path(sys.argv[1])
    paths = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*")) if path.suffix in SOURCES]
    problems = []
    for path in paths:
        problems += check_file(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
    print("\n".join(problems))
    print(f"{len(paths)} files checked, {len(problems)} problems")
    return 1 if problems or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
