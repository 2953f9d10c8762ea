# SPDX-License-Identifier: Apache-2.0
"""The servers of a gRPC client, a channel to each, and what stands before its calls."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Optional, Sequence, Union

import grpc

from . import _checks
from ._retry import RetryOptions, Target, Targets
from ._types import CallCounts
from ._window import Window

# Signs of life are asked for as long as a call waits; gRPC by itself stops after two where nothing is sent.
OPTIONS = [("grpc.enable_retries", 0), ("grpc.keepalive_time_ms", 60_000), ("grpc.http2.max_pings_without_data", 0),
           ("grpc.max_receive_message_length", 64 << 20)]
_LOOPBACK = re.compile(r"(127\.|localhost(:|$)|\[::1\])")

# With a port, or a name that gRPC has a way of its own to look up.
_SECURE = "grpcs://"
_ADDRESS = re.compile(r"(\[[^\]/\s]+\]|[^:/,\s\[\]]+):\d{1,5}|(dns|unix|unix-abstract|ipv4|ipv6|vsock|xds):.+")


def _options(target: Target) -> List[Any]:
    """For a server on this host without the environment's proxy, which may be elsewhere and would look for the server there."""
    return [*OPTIONS, ("grpc.enable_http_proxy", 0)] if _LOOPBACK.match(target.address) else OPTIONS


def _address(server: str) -> str:
    server = re.sub("^grpcs?://", "", server)
    if _ADDRESS.fullmatch(server) is None:
        raise ValueError(f"over gRPC a server is HOST:PORT, found {server!r}")
    return server


def _secure(servers: Sequence[str], credentials: Optional[grpc.ChannelCredentials], ca_file: Optional[str]) -> List[Optional[grpc.ChannelCredentials]]:
    """Of each server's channel; None: without TLS."""
    if credentials is not None and ca_file is not None:
        raise ValueError("ca_file: with credentials it is named in them")
    if ca_file is not None:
        credentials = grpc.ssl_channel_credentials(_checks.ca_file(ca_file))
    return [grpc.ssl_channel_credentials() if credentials is None and server.startswith(_SECURE) else credentials for server in servers]


class Channels:
    """Whom a client calls, and how. `module`: grpc or grpc.aio."""

    def __init__(self, module: Any, servers: Union[str, Sequence[str]], retry: RetryOptions, api_key: Optional[str],
                 credentials: Optional[grpc.ChannelCredentials], ca_file: Optional[str], max_calls: Optional[int]):
        servers = _checks.addresses(servers)
        self.targets = Targets([_address(server) for server in servers], retry)
        self.threads = module is grpc
        self._window = Window(max_calls)
        key = _checks.api_key(api_key)
        self._key = [] if key is None else [("authorization", f"Bearer {key}")]
        secure = _secure(servers, credentials, ca_file)
        self._channels: Dict[Target, Any] = {
            target: module.insecure_channel(target.address, _options(target)) if one is None else module.secure_channel(target.address, one, _options(target))
            for target, one in zip(self.targets.all, secure)}

    def counts(self) -> CallCounts:
        """What the client has done so far."""
        return self.targets.counts()
