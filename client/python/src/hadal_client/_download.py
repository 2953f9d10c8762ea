# SPDX-License-Identifier: Apache-2.0
"""A file that is downloaded, and goes on where it broke off. No I/O: whoever reads it only asks, reads and sleeps."""

from __future__ import annotations

import random
import re
from typing import Any, Callable, Dict, Mapping, Optional

from ._errors import HadalError, RequestError, ServerBusy, ServerUnreachable
from ._retry import RetryOptions

_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")

Progress = Callable[[int, int], None]


class Download:
    """One file:

        while not download.ended:
            try:
                ... ask for what follows download.offset; download.begins(...); for piece in ...: download.got(piece) ...
                download.ends()
            except HadalError as error:
                sleep(download.broke_off(error))  # raises it when another attempt is of no use
    """

    def __init__(self, options: RetryOptions, progress: Optional[Progress], before: int):
        """`progress(bytes that are here, bytes in all)` is called at the beginning and after each piece, with the bytes of earlier files `before` it."""
        self._options = options
        self._progress = progress
        self._earlier = before
        self._data = bytearray()
        self._total = 0
        self._tag: Optional[str] = None
        self._asked: Optional[int] = None
        self._fruitless = 0  # attempts in a row that brought nothing
        self._came = False   # something of this attempt that had not come before
        self._most = 0       # bytes that were here at any time
        self.ended = False

    @property
    def offset(self) -> int:
        return len(self._data)

    def content(self) -> bytes:
        return bytes(self._data)

    # ---- HTTP ----

    def headers(self) -> Dict[str, str]:
        """Of the request for the rest. A range from the beginning, too: so the server says how much it is."""
        return {"accept-encoding": "identity", "range": f"bytes={self.offset}-", **({"if-range": self._tag} if self._data and self._tag else {})}

    def begins_http(self, status: int, headers: Mapping[str, str]) -> None:
        found = _RANGE.fullmatch(headers.get("content-range", "")) if status == 206 else None
        self._tag = headers.get("etag")
        self.begins(int(found[2]) if found else 0, int(found[1]) if found else 0)

    # ---- gRPC ----

    def asks(self) -> int:
        """The offset of a request for the rest."""
        self._asked = self.offset
        return self._asked

    def got_message(self, message: Any) -> None:
        if self._asked is not None:  # the first one
            # A server that knows no offset does not say the size of the file either, and begins anew.
            self.begins(message.file_bytes, self._asked if message.file_bytes else 0)
            self._asked = None
        self.got(message.data)

    # ---- Both ----

    def begins(self, total: int, at: int) -> None:
        """An answer has come. `total`: bytes of the whole file, 0: unknown; `at`: where it goes on. A server that does not know how, or has another file by now,
        begins anew."""
        if at != self.offset:
            del self._data[at:]
        if at > self.offset:
            raise RequestError(f"the server left out bytes {self.offset} to {at} of a file", status=206)
        self._total = total
        self._tell()

    def got(self, piece: bytes) -> None:
        self._data += piece
        if self.offset > self._most:
            self._most, self._came = self.offset, True
        self._tell()

    def ends(self) -> None:
        """The server has sent all."""
        if self._total and self.offset < self._total:
            raise ServerUnreachable(f"the download ended after {self.offset} of {self._total} bytes")
        self._total = self.offset
        self.ended = True

    def broke_off(self, error: HadalError) -> float:
        """Seconds until the next attempt; raises the error when it is not of the connection, or too many have brought nothing."""
        if self._total and self.offset == self._total:
            self.ended = True  # but for the word that this is all
            return 0.0
        if not isinstance(error, (ServerUnreachable, ServerBusy)) or (isinstance(error, ServerBusy) and not self._came):
            raise error
        self._fruitless = 0 if self._came else self._fruitless + 1
        self._came = False
        if self._fruitless >= self._options.max_attempts:
            raise error
        return random.random() * min(self._options.max_backoff, self._options.initial_backoff * 2.0 ** max(0, self._fruitless - 1))

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._earlier + self.offset, self._earlier + max(self._total, self.offset))


def told(progress: Any) -> Optional[Progress]:
    if progress is not None and not callable(progress):
        raise ValueError(f"progress: expected a function of two numbers, found {progress!r}")
    return progress  # type: ignore[no-any-return]
