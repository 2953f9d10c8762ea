# SPDX-License-Identifier: Apache-2.0
"""A run that cannot give a rate ends the benchmark; it does not enter the median."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(os.environ["HADAL_SOURCE_DIR"]) / "benchmarks" / "models"))

from qwen2_1p5b import decode_rate  # noqa: E402


def test_counts_tokens_while_all_sequences_decode():
    assert decode_rate([[1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 4.0, 5.0]]) == 2.0


@pytest.mark.parametrize("times, message", [
    ([[1.0, 2.0], [5.0, 5.0]], "no decode rate"),  # one was silent until its end
    ([[1.0, 2.0], [2.0, 3.0]], "no decode rate"),
    ([[1.0, 2.0], []], "1 of 2 sequences gave no token"),
])
def test_a_silent_sequence_fails(times, message):
    with pytest.raises(SystemExit, match=message):
        decode_rate(times)
