# SPDX-License-Identifier: Apache-2.0
"""Reads KV events as a router does, with Debian's pyzmq and msgpack: python3 kv_subscriber.py EVENTS REPLAY.

Prints each message as a line of JSON: {"live": true, "topic", "seq", "batch"}. A line `N` on its input asks for a replay
from N, whose messages come as {"live": false, ...}, then {"end": true}.
"""
import json
import sys

import msgpack
import zmq


def show(live, topic, number, payload):
    batch = msgpack.unpackb(payload, strict_map_key=False)
    print(json.dumps({"live": live, "topic": topic.decode(), "seq": int.from_bytes(number, "big"), "batch": batch}), flush=True)


def replay(dealer, start):
    dealer.send_multipart([b"", start.to_bytes(8, "big")])
    while True:
        empty, topic, number, payload = dealer.recv_multipart()
        assert empty == b""
        if not payload:
            assert topic == b"" and number == (-1).to_bytes(8, "big", signed=True)
            print(json.dumps({"end": True}), flush=True)
            return
        show(False, topic, number, payload)


def main():
    context = zmq.Context()
    events, dealer = context.socket(zmq.SUB), context.socket(zmq.DEALER)
    events.setsockopt(zmq.SUBSCRIBE, b"kv@")
    events.connect(sys.argv[1])
    dealer.connect(sys.argv[2])
    poller = zmq.Poller()
    poller.register(events, zmq.POLLIN)
    poller.register(sys.stdin, zmq.POLLIN)
    while True:
        ready = dict(poller.poll())
        if events in ready:
            show(True, *events.recv_multipart())
        if sys.stdin.fileno() in ready:
            line = sys.stdin.readline()
            if not line:
                return
            replay(dealer, int(line))


if __name__ == "__main__":
    main()
