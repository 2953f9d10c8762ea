# SPDX-License-Identifier: Apache-2.0
"""Client of the hadal inference server.

    import hadal_client
    with hadal_client.Client("http://127.0.0.1:8000") as client:
        print(client.chat("17 + 25").text)

When a server is busy, the call waits as told and keeps its place. See README.md.
"""

from typing import TYPE_CHECKING, Any

from ._client import AsyncClient, Client
from ._errors import DeadlineExceeded, HadalError, RequestError, ServerBusy, ServerUnreachable
from ._http import AsyncTransport, Transport
from ._retry import RetryOptions
from ._stream import AsyncStream, Stream
from ._types import Answer, Delta, Model, Usage

if TYPE_CHECKING:
    from ._grpc import AsyncGrpcClient, GrpcClient


def __getattr__(name: str) -> Any:
    """The gRPC clients, which need grpcio, are imported when they are asked for."""
    if name in ("GrpcClient", "AsyncGrpcClient"):
        from . import _grpc
        return getattr(_grpc, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# Without the gRPC clients: `import *` would want grpcio.
__all__ = ["Answer", "AsyncClient", "AsyncStream", "AsyncTransport", "Client", "DeadlineExceeded", "Delta", "HadalError", "Model", "RequestError",
           "RetryOptions", "ServerBusy", "ServerUnreachable", "Stream", "Transport", "Usage"]
