# SPDX-License-Identifier: Apache-2.0
"""httpx under the name that this Python has it by: httpx2 from 3.10 on. The openai package uses the same."""

try:
    import httpcore2 as httpcore
    import httpx2 as httpx
except ImportError:
    import httpcore  # type: ignore[import-not-found,no-redef]
    import httpx  # type: ignore[import-not-found,no-redef]

__all__ = ["httpcore", "httpx"]
