# SPDX-License-Identifier: Apache-2.0
"""A host far away: a network namespace at the end of a link that delays, jitters, reorders and loses packets, as `tc netem` does where a
kernel has it.

Both ends are TUN devices, one here and one in the namespace; a process of its own (this file as a script) carries the packets between
them. So what is tested is the kernel's TCP, with its time-outs and retransmissions, and a host can vanish without a word.
"""
import argparse
import contextlib
import fcntl
import heapq
import json
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
MTU = 1400


def ip(*arguments, namespace=None):
    enter = ["nsenter", f"--net=/proc/{namespace}/ns/net"] if namespace else []
    subprocess.run([*enter, "ip", *map(str, arguments)], check=True, timeout=30)


def open_tun(name):
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return descriptor


def why_not():
    """Why there can be no such host here; None where there can."""
    for tool in ("ip", "nsenter", "unshare"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, timeout=30).returncode != 0:
        return "network namespaces cannot be made here"
    try:
        os.close(open_tun(f"hadal{os.getpid()}t"))
    except OSError as error:
        return f"TUN devices cannot be made here: {error}"
    return None


class FarHost:
    """Use as a context manager. `address` is ours as the host sees it."""

    def __init__(self, delay, jitter, loss, seed=1):
        network = f"198.18.{os.getpid() % 256}"  # for tests of networks (RFC 2544)
        self.address = f"{network}.1"
        self._far_address = f"{network}.2"
        self._link = [f"--delay={delay}", f"--jitter={jitter}", f"--loss={loss}", f"--seed={seed}"]

    def __enter__(self):
        # The namespace lives as long as its process.
        self._namespace = subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"],
                                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert self._namespace.stdout.readline() == "ready\n"
            self._carrier = subprocess.Popen([sys.executable, __file__, str(self._namespace.pid), self.address, self._far_address, *self._link],
                                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert self._carrier.stdout.readline() == "ready\n"
        except BaseException:  # a block that was not entered is not left
            self._namespace.kill()
            raise
        return self

    def __exit__(self, *_):
        self._carrier.stdin.close()
        self._carrier.wait(20)
        self._namespace.stdin.close()
        self._namespace.wait(20)

    def start(self, *command, **options):
        """A process of that host."""
        return subprocess.Popen(["nsenter", f"--net=/proc/{self._namespace.pid}/ns/net", *map(str, command)],
                                stdout=subprocess.PIPE, text=True, **options)

    def _ask(self, command):
        self._carrier.stdin.write(command + "\n")
        self._carrier.stdin.flush()
        return json.loads(self._carrier.stdout.readline())

    def vanish(self):
        """From now on no packet passes, either way."""
        self._ask("down")

    def packets(self):
        """{"passed": so many, "lost": so many}."""
        return self._ask("count")


class Carrier:
    def __init__(self, near, far, delay, jitter, loss, seed):
        self._other = {near: far, far: near}
        self._delay, self._jitter, self._loss = delay, jitter, loss
        self._random = random.Random(seed)
        self._flying = []  # (when it is due, number, where to, packet)
        self._up = True
        self._counts = {"passed": 0, "lost": 0}

    def run(self):
        commands = sys.stdin.fileno()
        while True:
            wait = max(0, self._flying[0][0] - time.monotonic()) if self._flying else None
            ready = select.select([*self._other, commands], [], [], wait)[0]
            if commands in ready and not self._obey(sys.stdin.readline()):
                return
            for end in ready:
                if end in self._other:
                    self._take(end)
            while self._flying and self._flying[0][0] <= time.monotonic():
                _, _, end, packet = heapq.heappop(self._flying)
                with contextlib.suppress(OSError):  # a full device loses it
                    os.write(end, packet)

    def _take(self, end):
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = os.read(end, 65536)
                if not self._up or self._random.random() < self._loss:
                    self._counts["lost"] += 1
                    continue
                self._counts["passed"] += 1
                due = time.monotonic() + self._random.uniform(self._delay - self._jitter, self._delay + self._jitter)
                heapq.heappush(self._flying, (due, self._counts["passed"], self._other[end], packet))

    def _obey(self, command):
        """False at the end."""
        if command == "down\n":
            self._up = False
            self._flying.clear()
        if command:
            print(json.dumps(self._counts), flush=True)
        return bool(command)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("namespace", type=int, help="a process in it")
    parser.add_argument("near_address")
    parser.add_argument("far_address")
    for name in ("delay", "jitter", "loss"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args()
    near_name, far_name = f"hadal{os.getpid()}n", f"hadal{os.getpid()}f"
    near, far = open_tun(near_name), open_tun(far_name)
    ip("link", "set", far_name, "netns", args.namespace)
    for name, address, peer, namespace in ((near_name, args.near_address, args.far_address, None),
                                           (far_name, args.far_address, args.near_address, args.namespace)):
        ip("address", "add", address, "peer", peer, "dev", name, namespace=namespace)
        ip("link", "set", name, "mtu", MTU, "up", namespace=namespace)
    print("ready", flush=True)
    Carrier(near, far, args.delay, args.jitter, args.loss, args.seed).run()


if __name__ == "__main__":
    main()
