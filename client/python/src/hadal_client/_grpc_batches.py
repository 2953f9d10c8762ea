# SPDX-License-Identifier: Apache-2.0
"""Batches in the messages of hadal.v1.Batches. Nothing is sent here."""

from __future__ import annotations

from typing import Any, Dict, Iterator, Mapping

from . import _batches_pb2 as pb
from ._batches import ENDPOINT, Batch, lines_of
from ._grpc_calls import Question
from ._types import Messages

SERVICE = "/hadal.v1.Batches/"
_PIECE = 256 << 10  # of an upload


def upload(questions: Mapping[str, Messages], fields: Dict[str, Any]) -> Question[str]:
    """The id of the file. An upload that breaks off leaves nothing, and one that is made twice a file too many."""
    content = lines_of(questions, fields)

    def pieces() -> Iterator[Any]:
        yield pb.UploadFileRequest(file=pb.NewFile(name="questions.jsonl", purpose="batch"))
        for at in range(0, len(content), _PIECE):
            yield pb.UploadFileRequest(data=content[at:at + _PIECE], last=at + _PIECE >= len(content))

    return Question(SERVICE + "UploadFile", pieces, pb.File, lambda file: str(file.id), sends=pb.UploadFileRequest)


def creation(file: str, server: str) -> Question[Batch]:
    return Question(SERVICE + "CreateBatch", pb.CreateBatchRequest(input_file_id=file, endpoint=ENDPOINT), pb.Batch,
                    lambda batch: batch_of(batch, server), once=True)


def state(batch_id: str, server: str) -> Question[Batch]:
    return Question(SERVICE + "GetBatch", pb.GetBatchRequest(id=batch_id), pb.Batch, lambda batch: batch_of(batch, server))


def cancelling(batch_id: str, server: str) -> Question[Batch]:
    return Question(SERVICE + "CancelBatch", pb.CancelBatchRequest(id=batch_id), pb.Batch, lambda batch: batch_of(batch, server))


def batch_of(message: Any, server: str) -> Batch:
    status = pb.BatchStatus.Name(message.status) if message.status in pb.BatchStatus.values() else str(message.status)
    files = tuple(file for file in (message.output_file_id, message.error_file_id) if file)
    return Batch(message.id, status.replace("BATCH_STATUS_", "").lower(), message.total, message.completed, message.failed,
                 [error.message for error in message.errors], files, server)
