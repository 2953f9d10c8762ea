# SPDX-License-Identifier: Apache-2.0
"""`hadal chat`, which is made with the C++ client, when its server is killed in the middle of an answer."""

import os
import pathlib
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(os.environ["HADAL_SOURCE_DIR"]) / "tests/e2e"))
from hadal_process import HadalProcess  # noqa: E402


def test_the_answer_is_not_asked_for_again_and_the_error_says_how_much_came():
    with HadalProcess("--load-format=null:5ms", expect_exit=None) as one, HadalProcess("--load-format=null:5ms", expect_exit=None) as two:
        chat = subprocess.Popen([one.command[0], "chat", f"--server=127.0.0.1:{one.port},127.0.0.1:{two.port}", "--max-tokens=1500", "x"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=HadalProcess.clean_environment())
        chat.stdout.read(20)  # it has begun
        dead, other = (one, two) if one.metric("hadal_requests_running") else (two, one)
        dead.signal(signal.SIGKILL)
        _, err = chat.communicate(timeout=30)
        assert chat.returncode != 0
        assert b"the response broke off after " in err and b"was not asked for again" in err, err
        assert other.metric("hadal_admission_attempts_total") == 0
