# SPDX-License-Identifier: Apache-2.0
"""TCP Fast Open for HTTP: httpcore's own backends set a socket's options when it is connected already."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import select
import socket
import ssl
import sys
from typing import Any, Callable, Iterator, Optional, Type, TypeVar

from ._httpx import httpcore

_TCP_FASTOPEN_CONNECT = 30  # Linux; Python has no name for it before 3.13
T = TypeVar("T")
_UNREACHED = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH)


def use(transport: Any, backend: Any) -> None:
    """Its connections are made by the backend."""
    pool = getattr(transport, "_pool", None)
    if pool is None or not hasattr(pool, "_network_backend"):
        raise ValueError("tcp_fast_open: a transport of your own, or this version of httpx, makes its connections itself")
    pool._network_backend = backend


def _opened(family: int, kind: int, protocol: int) -> socket.socket:
    one = socket.socket(family, kind, protocol)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a kernel without it
            one.setsockopt(socket.IPPROTO_TCP, _TCP_FASTOPEN_CONNECT, 1)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one


@contextlib.contextmanager
def _errors(late: Type[Exception], broken: Type[Exception]) -> Iterator[None]:
    """httpcore's own. A connection that is still being made when the first bytes are written fails then."""
    try:
        yield
    except (socket.timeout, asyncio.TimeoutError) as error:
        raise late(error) from error
    except OSError as error:
        raise (httpcore.ConnectError if error.errno in _UNREACHED else broken)(error) from error


def _extra(sock: Any, tls: Any, info: str) -> Any:
    if info == "ssl_object":
        return tls
    if info == "socket":
        return sock
    if info == "is_readable":
        return _readable(sock)
    with contextlib.suppress(OSError):  # not connected yet
        return {"client_addr": sock.getsockname, "server_addr": sock.getpeername}.get(info, lambda: None)()
    return None


def _readable(sock: Any) -> bool:
    if sock.fileno() < 0 or not hasattr(select, "poll"):
        return sock.fileno() < 0 or bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


class _Stream(httpcore.NetworkStream):
    def __init__(self, sock: socket.socket):
        self._sock = sock

    def read(self, max_bytes: int, timeout: Optional[float] = None) -> bytes:
        with _errors(httpcore.ReadTimeout, httpcore.ReadError):
            self._sock.settimeout(timeout)
            return self._sock.recv(max_bytes)

    def write(self, buffer: bytes, timeout: Optional[float] = None) -> None:
        with _errors(httpcore.WriteTimeout, httpcore.WriteError):
            self._sock.settimeout(timeout)
            self._sock.sendall(buffer)

    def close(self) -> None:
        self._sock.close()

    def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: Optional[str] = None, timeout: Optional[float] = None) -> _TlsStream:
        with _errors(httpcore.ConnectTimeout, httpcore.ConnectError):
            try:
                return _TlsStream(self._sock, ssl_context, server_hostname, timeout)
            except BaseException:
                self.close()
                raise

    def get_extra_info(self, info: str) -> Any:
        return _extra(self._sock, None, info)


class _TlsStream(_Stream):
    """ssl's own sockets want to be connected before the handshake begins."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, hostname: Optional[str], timeout: Optional[float]):
        super().__init__(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)
        self._do(self._tls.do_handshake, timeout)

    def read(self, max_bytes: int, timeout: Optional[float] = None) -> bytes:
        with _errors(httpcore.ReadTimeout, httpcore.ReadError):
            try:
                return self._do(lambda: self._tls.read(max_bytes), timeout)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def write(self, buffer: bytes, timeout: Optional[float] = None) -> None:
        with _errors(httpcore.WriteTimeout, httpcore.WriteError):
            self._do(lambda: self._tls.write(buffer), timeout)

    def get_extra_info(self, info: str) -> Any:
        return _extra(self._sock, self._tls, info)

    def _do(self, step: Callable[[], T], timeout: Optional[float]) -> T:
        self._sock.settimeout(timeout)
        while True:
            wants = False
            try:
                return step()
            except ssl.SSLWantReadError:
                wants = True
            finally:
                if self._outgoing.pending:
                    self._sock.sendall(self._outgoing.read())
                if wants:
                    received = self._sock.recv(1 << 16)
                    if received:
                        self._incoming.write(received)
                    else:
                        self._incoming.write_eof()


class Backend(httpcore.NetworkBackend):
    """For threads."""

    def connect_tcp(self, host: str, port: int, timeout: Optional[float] = None, local_address: Optional[str] = None, socket_options: Any = None) -> _Stream:
        with _errors(httpcore.ConnectTimeout, httpcore.ConnectError):
            last: Optional[OSError] = None
            for family, kind, protocol, _, address in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM):
                sock = _opened(family, kind, protocol)
                try:
                    sock.settimeout(timeout)
                    sock.connect(address)
                    return _Stream(sock)
                except OSError as error:
                    sock.close()
                    last = error
            raise last or OSError(f"{host} has no address")


class _AsyncStream(httpcore.AsyncNetworkStream):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, under: Optional[_AsyncStream] = None):
        """`under`: with TLS the plain connection, whose writer would close it when nobody held it any more (Python 3.13)."""
        self._reader = reader
        self._writer = writer
        self._under = under

    async def read(self, max_bytes: int, timeout: Optional[float] = None) -> bytes:
        with _errors(httpcore.ReadTimeout, httpcore.ReadError):
            return await asyncio.wait_for(self._reader.read(max_bytes), timeout)

    async def write(self, buffer: bytes, timeout: Optional[float] = None) -> None:
        with _errors(httpcore.WriteTimeout, httpcore.WriteError):
            self._writer.write(buffer)
            await asyncio.wait_for(self._writer.drain(), timeout)

    async def aclose(self) -> None:
        self._writer.close()

    async def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: Optional[str] = None, timeout: Optional[float] = None) -> _AsyncStream:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        with _errors(httpcore.ConnectTimeout, httpcore.ConnectError):
            try:
                starting = loop.start_tls(self._writer.transport, protocol, ssl_context, server_hostname=server_hostname)
                transport = await asyncio.wait_for(starting, timeout)
            except BaseException:
                await self.aclose()
                raise
        assert transport is not None
        protocol.connection_made(transport)
        return _AsyncStream(reader, asyncio.StreamWriter(transport, protocol, reader, loop), under=self)

    def get_extra_info(self, info: str) -> Any:
        return _extra(self._writer.get_extra_info("socket"), self._writer.get_extra_info("ssl_object"), info)


class AsyncBackend(httpcore.AsyncNetworkBackend):
    """For asyncio; trio has none."""

    async def connect_tcp(self, host: str, port: int, timeout: Optional[float] = None, local_address: Optional[str] = None,
                          socket_options: Any = None) -> _AsyncStream:
        with _errors(httpcore.ConnectTimeout, httpcore.ConnectError):
            return await asyncio.wait_for(self._connect(host, port), timeout)

    async def _connect(self, host: str, port: int) -> _AsyncStream:
        loop = asyncio.get_running_loop()
        last: Optional[OSError] = None
        for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            sock = _opened(family, kind, protocol)
            try:
                sock.setblocking(False)
                await loop.sock_connect(sock, address)
                return _AsyncStream(*await asyncio.open_connection(sock=sock))
            except OSError as error:
                sock.close()
                last = error
            except BaseException:  # its caller's
                sock.close()
                raise
        raise last or OSError(f"{host} has no address")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
