# SPDX-License-Identifier: Apache-2.0
"""A name server with addresses that a test changes."""

import contextlib
import socket
import struct
import threading

A, IN, NO_ERROR, NO_SUCH_NAME = 1, 1, 0x8180, 0x8183


class DnsServer:
    """Answers on a UDP port of 127.0.0.1 until the block ends. `records`: {name: [IPv4 address]}; a name that is not there does not exist."""

    def __init__(self, records):
        self.records = records
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self):
        while True:
            query, client = self._socket.recvfrom(512)
            if not query:
                return
            self._socket.sendto(self._answer(query), client)

    def _answer(self, query):
        labels, place = [], 12
        while length := query[place]:
            labels.append(query[place + 1:place + 1 + length].decode())
            place += 1 + length
        question = query[12:place + 5]
        addresses = self.records.get(".".join(labels))
        found = addresses if addresses and struct.unpack(">HH", question[-4:]) == (A, IN) else []
        # 0xc00c: the name is that of the question.
        answers = [struct.pack(">HHHIH", 0xC00C, A, IN, 1, 4) + socket.inet_aton(address) for address in found]
        head = query[:2] + struct.pack(">HHHHH", NO_ERROR if addresses else NO_SUCH_NAME, 1, len(answers), 0, 0)
        return head + question + b"".join(answers)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with contextlib.closing(self._socket):
            self._socket.sendto(b"", ("127.0.0.1", self.port))
            self._thread.join()
