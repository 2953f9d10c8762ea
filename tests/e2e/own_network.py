# SPDX-License-Identifier: Apache-2.0
"""A network namespace for a test: its own loopback, settings and counters."""

import contextlib
import ctypes
import os
import subprocess

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def why_not():
    """Why there can be none here; None where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if subprocess.run(["unshare", "--net", "ip", "link", "set", "lo", "up"], capture_output=True, timeout=30).returncode != 0:
        return "network namespaces cannot be made here"
    return None


@contextlib.contextmanager
def own_network(**settings):
    """This thread, and the processes that it starts, are in the namespace until the block ends. `settings`: of /proc/sys/net/ipv4."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if _libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "cannot make a network namespace")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=30)
        for name, value in settings.items():
            with open(f"/proc/sys/net/ipv4/{name}", "w", encoding="ascii") as setting:
                setting.write(str(value))
        yield
    finally:
        if _libc.setns(before, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "cannot return to the network namespace")
        os.close(before)


def tcp_counter(name):
    """Of this thread's namespace: one of TcpExt in /proc/net/netstat."""
    with open("/proc/thread-self/net/netstat", encoding="ascii") as counters:
        names, values = [line.split() for line in counters if line.startswith("TcpExt:")]
    return int(values[names.index(name)])
