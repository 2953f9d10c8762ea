# SPDX-License-Identifier: Apache-2.0
"""A cache of answers on the client's side."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import threading
import time
from collections import OrderedDict
from dataclasses import asdict
from typing import Any, Callable, Dict, Optional, Tuple, Union

from ._types import Answer, Usage

_KEPT = ("stop", "length", "tool_calls")  # not what a shutdown cut
_BOOKKEEPING = 300                        # bytes of an entry in memory besides its texts
_UNFINISHED = ".unfinished"
_UNFINISHED_AGE_S = 3600.0                # then its writer was killed


def determined(fields: Dict[str, Any]) -> bool:
    """Whether the same request has the same answer the next time: it is greedy or seeded, one answer, and nobody may end its thinking."""
    greedy = fields.get("temperature") is not None and fields["temperature"] == 0
    return (greedy or fields.get("seed") is not None) and fields.get("n") in (None, 1) and not fields.get("reasoning_control")


def key_of(*parts: Any) -> str:
    """The key of all that decides an answer."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=True).encode("ascii")).hexdigest()


class Cache:
    """Answers of `chat` and `complete` that are determined, by temperature 0 or a seed, in memory and, with `folder`, on disk: there for the next run
    and for other processes of the same user. Give it to clients as `cache`. Servers, API key and every field of the request are part of the key, so
    that nobody gets another one's answers. `ttl`: seconds that an answer may be old; servers may get another model under the same name. A disk that
    is full or gone costs misses, nothing else. Thread-safe; the files are small, and read on the calling thread."""

    def __init__(self, memory_bytes: int = 64_000_000, folder: Union[str, os.PathLike[str], None] = None, disk_bytes: int = 1_000_000_000,
                 ttl: float = 3600.0, clock: Callable[[], float] = time.time):
        for name, value, least in (("memory_bytes", memory_bytes, 0), ("disk_bytes", disk_bytes, 1)):
            if value < least:
                raise ValueError(f"{name} is {value}; it must be {least} or more")
        if not ttl > 0:
            raise ValueError(f"ttl is {ttl}; it must be above 0")
        self._ttl = ttl
        self._clock = clock
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._items: OrderedDict[str, Tuple[str, float]] = OrderedDict()  # the lately used last
        self._bytes = 0
        self._disk = None if folder is None else _Folder(os.fspath(folder), disk_bytes)

    def find(self, key: str) -> Optional[Answer]:
        """The answer, with `from_cache` set."""
        now = self._clock()
        entry = self._in_memory(key, now)
        if entry is None and self._disk is not None:
            entry = self._disk.find(key, now)
            if entry is not None:
                self._keep(key, *entry)
        if entry is None:
            return None
        fields = json.loads(entry[0])
        return Answer(**{**fields, "usage": Usage(**fields["usage"]), "from_cache": True})

    def add(self, key: str, answer: Answer) -> None:
        if answer.finish_reason not in _KEPT:
            return
        text, expires = json.dumps(asdict(answer)), self._clock() + self._ttl
        self._keep(key, text, expires)
        if self._disk is not None:
            self._disk.add(key, text, expires)

    def _in_memory(self, key: str, now: float) -> Optional[Tuple[str, float]]:
        with self._lock:
            entry = self._items.get(key)
            if entry is None:
                return None
            if entry[1] <= now:
                self._drop(key)
                return None
            self._items.move_to_end(key)
            return entry

    def _keep(self, key: str, text: str, expires: float) -> None:
        size = len(text) + _BOOKKEEPING
        with self._lock:
            if key in self._items:
                self._drop(key)
            if size > self._memory_bytes:
                return
            while self._bytes + size > self._memory_bytes:
                self._drop(next(iter(self._items)))
            self._items[key] = (text, expires)
            self._bytes += size

    def _drop(self, key: str) -> None:
        self._bytes -= len(self._items.pop(key)[0]) + _BOOKKEEPING


class _Folder:
    """A file for each answer, which comes whole by a rename and is believed only with its checksum."""

    def __init__(self, folder: str, max_bytes: int):
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(f"the cache folder {folder} cannot be read and written")
        self._bytes = 0  # as far as this process knows
        self._trim()

    def find(self, key: str, now: float) -> Optional[Tuple[str, float]]:
        path = os.path.join(self._folder, key)
        try:
            with open(path, encoding="utf-8") as file:
                entry = json.load(file)
            text, expires = entry["answer"], float(entry["expires"])
            if expires > now and entry["check"] == key_of(key, text, expires):
                return text, expires
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            pass
        with contextlib.suppress(OSError):
            os.unlink(path)  # old, or broken
        return None

    def add(self, key: str, text: str, expires: float) -> None:
        entry = json.dumps({"answer": text, "expires": expires, "check": key_of(key, text, expires)})
        if len(entry) > self._max_bytes:
            return
        unfinished = None
        try:
            descriptor, unfinished = tempfile.mkstemp(_UNFINISHED, key + ".", self._folder)  # for its owner alone
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(entry)
            os.replace(unfinished, os.path.join(self._folder, key))
        except OSError:
            if unfinished is not None:
                with contextlib.suppress(OSError):
                    os.unlink(unfinished)
            return
        with self._lock:
            self._bytes += len(entry)
            full = self._bytes > self._max_bytes
        if full:
            self._trim()

    def _trim(self) -> None:
        """Looks at all files, since others write here, too; drops the oldest until a tenth of the bound is free."""
        files = []
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # another process may trim as well
                    status = entry.stat()
                    if entry.name.endswith(_UNFINISHED):
                        if time.time() - status.st_mtime > _UNFINISHED_AGE_S:
                            os.unlink(entry.path)
                    elif len(entry.name) == 64 and set(entry.name) <= set("0123456789abcdef"):
                        files.append((status.st_mtime, status.st_size, entry.path))
        total = sum(size for _, size, _ in files)
        if total > self._max_bytes:
            for _, size, path in sorted(files):
                if total <= 0.9 * self._max_bytes:
                    break
                with contextlib.suppress(OSError):
                    os.unlink(path)
                total -= size
        with self._lock:
            self._bytes = total
