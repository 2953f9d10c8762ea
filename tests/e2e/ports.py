# SPDX-License-Identifier: Apache-2.0
"""Ports that a test has to know before the server that will listen on them starts, or that a server comes back to."""

import socket

_held = []


def free_port():
    """A port of 127.0.0.1 that nobody else gets while the tests run.

    It is bound and not listening: a server that sets SO_REUSEADDR may listen on it, as often as it likes, and until then connections are
    refused. A port that is only looked for and given back becomes that of any other server, or of a client's connection, before it is used.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    _held.append(held)
    return held.getsockname()[1]
