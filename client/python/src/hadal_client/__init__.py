# SPDX-License-Identifier: Apache-2.0
"""Client of the hadal inference server.

    import hadal_client
    with hadal_client.Client("http://127.0.0.1:8000") as client:
        print(client.chat("17 + 25").text)

When a server is busy, the call waits as told and keeps its place. See README.md.
"""

from typing import TYPE_CHECKING, Any

from ._batches import Batch
from ._cache import Cache
from ._client import Client
from ._client_aio import AsyncClient
from ._errors import AnswerInterrupted, DeadlineExceeded, HadalError, RequestError, ServerBusy, ServerUnreachable
from ._http import AsyncTransport, Transport
from ._retry import RetryOptions
from ._stream import AsyncStream, Stream
from ._types import Answer, CallCounts, Delta, Load, Model, Usage

if TYPE_CHECKING:  # under its own name: so it is exported to type checkers
    from ._grpc import GrpcClient as GrpcClient
    from ._grpc_aio import AsyncGrpcClient as AsyncGrpcClient


def __getattr__(name: str) -> Any:
    """The gRPC clients, which need grpcio, are imported when they are asked for."""
    if name in ("GrpcClient", "AsyncGrpcClient"):
        try:
            import grpc  # noqa: F401
        except ImportError as error:
            raise ImportError(f"{name} needs grpcio: pip install 'hadal-client[grpc]'") from error
        from . import _grpc, _grpc_aio
        return getattr(_grpc if name == "GrpcClient" else _grpc_aio, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# Without the gRPC clients: `import *` would want grpcio.
__all__ = ["Answer", "AnswerInterrupted", "AsyncClient", "AsyncStream", "AsyncTransport", "Batch", "Cache", "CallCounts", "Client", "DeadlineExceeded", "Delta", "HadalError", "Load", "Model",
           "RequestError", "RetryOptions", "ServerBusy", "ServerUnreachable", "Stream", "Transport", "Usage"]
