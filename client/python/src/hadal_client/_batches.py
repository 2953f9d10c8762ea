# SPDX-License-Identifier: Apache-2.0
"""Batches: what their files hold, both ways. No calls are made here."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from ._errors import HadalError, RequestError
from ._http_messages import answer_of, chat_body
from ._types import Answer, Messages

ENDPOINT = "/v1/chat/completions"


@dataclass
class Batch:
    """Questions that have a day's time, as the server said last."""

    id: str
    status: str                  # validating, in_progress, completed, failed, expired, cancelling or cancelled, ...
    total: int = 0
    completed: int = 0
    failed: int = 0
    errors: List[str] = field(default_factory=list)  # what was wrong with the questions, when it has failed
    files: Tuple[str, ...] = ()  # of the answers that are there
    server: str = ""             # where it is kept

    @property
    def ended(self) -> bool:
        return self.status in ("completed", "failed", "expired", "cancelled")


def batch_of(raw: Mapping[str, Any], server: str) -> Batch:
    counts = raw.get("request_counts") or {}
    errors = [str(one.get("message", one)) for one in (raw.get("errors") or {}).get("data", [])]
    files = tuple(raw[name] for name in ("output_file_id", "error_file_id") if raw.get(name))
    return Batch(raw["id"], raw["status"], counts.get("total", 0), counts.get("completed", 0), counts.get("failed", 0), errors, files, server)


def id_of(batch: Union[str, Batch]) -> str:
    return batch if isinstance(batch, str) else batch.id


def keeper_of(batch: Union[str, Batch], servers: Sequence[str]) -> str:
    """The server that has it."""
    if isinstance(batch, Batch):
        return batch.server
    if len(servers) > 1:
        raise ValueError(f"batch {batch!r}: of several servers one has it; give the Batch that submit_batch returned, or a client of that server")
    return servers[0]


def lines_of(questions: Mapping[str, Messages], fields: Dict[str, Any]) -> bytes:
    """The file of a batch."""
    if not isinstance(questions, Mapping):
        raise ValueError(f"questions: expected {{name: question}}, found {type(questions).__name__}")
    if not questions:
        raise ValueError("a batch needs at least one question")
    return b"".join(json.dumps({"custom_id": name, "method": "POST", "url": ENDPOINT, "body": chat_body(messages, False, fields)}).encode() + b"\n"
                    for name, messages in questions.items())


def submission_of(file_id: str) -> Dict[str, Any]:
    return {"input_file_id": file_id, "endpoint": ENDPOINT, "completion_window": "24h"}


def answers_in(file: str) -> Iterator[Tuple[str, Union[Answer, HadalError]]]:
    """By the names of their questions."""
    for line in filter(None, file.split("\n")):  # splitlines ends lines at more than that, which JSON may hold
        raw = json.loads(line)
        response, error = raw.get("response") or {}, raw.get("error")
        body = response.get("body") or {}
        status, request_id = response.get("status_code", 0), response.get("request_id") or ""
        if status == 200 and error is None:
            yield raw["custom_id"], answer_of(body, request_id)
        else:
            reason: Optional[Dict[str, Any]] = error or body.get("error")
            yield raw["custom_id"], RequestError((reason or {}).get("message", line), status=status, reason=(reason or {}).get("code"), request_id=request_id)
