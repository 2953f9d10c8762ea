# SPDX-License-Identifier: Apache-2.0
"""The four clients of the library behind one interface, so that one test serves all."""

import asyncio

import hadal_client

# A server that one running and one waiting request fill.
ONE_AT_A_TIME = ("--load-format=null:2ms", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none")


class Waited:
    """A client of asyncio as if it were one of threads, so that one test serves both."""

    def __init__(self, client):
        self._client = client
        self._loop = asyncio.new_event_loop()

    def __getattr__(self, name):
        attribute = getattr(self._client, name)
        if not callable(attribute):
            return attribute

        def call(*args, **kwargs):
            given = attribute(*args, **kwargs)
            return WaitedStream(given, self._loop.run_until_complete) if hasattr(given, "__anext__") else self._loop.run_until_complete(given)

        return call

    def run(self, program):
        """Of a coroutine that `program` makes with the client."""

        async def run():
            return await program(self._client)

        return self._loop.run_until_complete(run())

    def close(self):
        self._loop.run_until_complete(self._client.aclose())
        self._loop.close()


class WaitedStream:
    def __init__(self, stream, wait):
        self._stream = stream
        self._wait = wait

    @property
    def request_id(self):
        return self._stream.request_id

    @property
    def answer(self):
        return self._stream.answer

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return self._wait(self._stream.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def end_thinking(self):
        self._wait(self._stream.end_thinking())

    def close(self):
        self._wait(self._stream.aclose())


def grpc_target(server):
    return f"127.0.0.1:{server.port}"


# Made inside a running loop, as programs do.
KINDS = {
    "http": lambda servers, **options: hadal_client.Client([server.url for server in servers], **options),
    "http-async": lambda servers, **options: waited(hadal_client.AsyncClient, [server.url for server in servers], **options),
    "grpc": lambda servers, **options: hadal_client.GrpcClient([grpc_target(server) for server in servers], **options),
    "grpc-async": lambda servers, **options: waited(hadal_client.AsyncGrpcClient, [grpc_target(server) for server in servers], **options),
}


def waited(kind, servers, **options):
    loop = asyncio.new_event_loop()

    async def make():
        return kind(servers, **options)

    asyncio.set_event_loop(loop)
    client = Waited(loop.run_until_complete(make()))
    client._loop.close()
    client._loop = loop
    return client


def counts_of(client):
    return getattr(client, "_client", client).counts()


def targets(client):
    return getattr(client, "_transport", client).targets.all
