#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How the autoscaler of k8s/overlays/hpa follows a surge: replica count and refusals, second by second.

    python3 benchmarks/sim/replicas.py                          # a table of start-up times
    python3 benchmarks/sim/replicas.py --startup 120 --plot docs/replicas.svg

The HorizontalPodAutoscaler is modelled by its documented algorithm with the numbers of k8s/overlays/hpa/hpa.yaml: a sync every 15 s, no
action within a tenth, stabilisation windows and policies; pods that still load have nothing waiting. A replica is a queue: it serves `--capacity`
requests a second, and refuses what would wait longer than `--wait-limit`. docs/overload.md has where both numbers are from, and
tests/benchmarks/sim compares this queue with hadal-sim, which runs the server's own admission. Only hadal_requests_waiting moves: KV
use, the second signal, is taken to stay below its target. A seed gives the same run each time.
"""
import argparse
import dataclasses
import math
import pathlib
import random

SYNC_SECONDS = 15
TOLERANCE = 0.1
METRIC_WINDOW_SECONDS = 30  # max_over_time of the adapter's rule


@dataclasses.dataclass
class Scaling:
    """One direction of the autoscaler's behaviour: pods or percent added or removed in a period."""
    window_seconds: int
    kind: str
    value: int
    period_seconds: int


@dataclasses.dataclass
class Autoscaler:
    """hpa.yaml; `target` is of hadal_requests_waiting."""
    minimum: int = 3
    maximum: int = 20
    target: float = 16
    up: Scaling = dataclasses.field(default_factory=lambda: Scaling(30, "Percent", 100, 60))
    down: Scaling = dataclasses.field(default_factory=lambda: Scaling(600, "Pods", 1, 120))

    def __post_init__(self):
        self.recommended = []  # (time, replicas) of the last windows
        self.counts = []       # (time, replicas) that were set

    def recommendation(self, waiting, replicas):
        """Replicas for the waiting requests of the ready pods. Pods that load answer scrapes, too, and have none."""
        ratio = sum(waiting) / replicas / self.target
        return replicas if abs(ratio - 1) <= TOLERANCE else math.ceil(replicas * ratio)

    def _at(self, time):
        """The replica count that was set last at or before `time`."""
        earlier = [count for when, count in self.counts if when <= time]
        return earlier[-1] if earlier else self.counts[0][1]

    def _bound(self, now, scaling, up):
        base = self._at(now - scaling.period_seconds)
        step = math.ceil(base * scaling.value / 100) if scaling.kind == "Percent" else scaling.value
        return base + step if up else base - step

    def sync(self, now, waiting, replicas):
        """The replica count from now on."""
        if not self.counts:
            self.counts.append((now - SYNC_SECONDS, replicas))
        wanted = min(max(self.recommendation(waiting, replicas), self.minimum), self.maximum)
        self.recommended.append((now, wanted))
        lowest = min(count for when, count in self.recommended if when > now - self.up.window_seconds)
        highest = max(count for when, count in self.recommended if when > now - self.down.window_seconds)
        if lowest > replicas:
            replicas = max(replicas, min(lowest, self._bound(now, self.up, True)))
        elif highest < replicas:
            replicas = min(replicas, max(highest, self._bound(now, self.down, False)))
        self.counts.append((now, replicas))
        return replicas


@dataclasses.dataclass
class Fleet:
    """Replicas, each with a queue; those that start are not ready for `startup` seconds."""
    capacity: float
    wait_limit: float
    startup: int

    def __post_init__(self):
        self.queues = []    # waiting requests of each ready replica
        self.starting = []  # when each other one is ready

    def scale(self, now, replicas):
        while self.size() < replicas:
            self.starting.append(now + self.startup)
        while self.size() > replicas and self.starting:
            self.starting.pop()
        while self.size() > replicas:
            self.queues.pop()  # it drains: what waits there is refused with a hint and comes back elsewhere

    def size(self):
        return len(self.queues) + len(self.starting)

    def second(self, now, arrivals):
        """Serves for a second; returns how many arrivals are refused."""
        self.queues += [0.0 for ready in self.starting if ready <= now]
        self.starting = [ready for ready in self.starting if ready > now]
        if not self.queues:
            return arrivals
        share, room = arrivals / len(self.queues), self.capacity * self.wait_limit
        refused = 0.0
        for i, queue in enumerate(self.queues):
            left = max(0.0, queue + share - self.capacity)
            refused += max(0.0, left - room)
            self.queues[i] = min(left, room)
        return refused


def surge(second, base, factor, begin, end):
    return base * (factor if begin <= second < end else 1)


def simulate(options):
    """A row for each second: {second, offered, refused, ready, replicas}."""
    autoscaler, generator = Autoscaler(), random.Random(options.seed)
    fleet = Fleet(options.capacity, options.wait_limit, options.startup)
    fleet.queues = [0.0] * autoscaler.minimum
    replicas, rows, seen = autoscaler.minimum, [], []
    for second in range(options.seconds):
        rate = surge(second, options.rate, options.surge, options.begin, options.end)
        arrivals = max(0.0, generator.gauss(rate, math.sqrt(rate)))  # Poisson, nearly
        refused = fleet.second(second, arrivals)
        seen = (seen + [list(fleet.queues)])[-METRIC_WINDOW_SECONDS:]
        if second % SYNC_SECONDS == 0:
            waiting = [max(queues[i] for queues in seen if i < len(queues)) for i in range(len(fleet.queues))]
            replicas = autoscaler.sync(second, waiting, replicas)
            fleet.scale(second, replicas)
        rows.append({"second": second, "offered": arrivals, "refused": refused, "ready": len(fleet.queues), "replicas": replicas})
    return rows


def summary(rows, options):
    """What an operator asks of one surge."""
    during = [row for row in rows if options.begin <= row["second"] < options.end]
    late = [row["second"] for row in during if row["refused"] > 0.01 * row["offered"]]
    return {"refused": sum(row["refused"] for row in during) / sum(row["offered"] for row in during),
            "last_refusal": (late[-1] + 1 - options.begin) if late else 0,
            "most": max(row["replicas"] for row in rows)}


def plot(rows):
    """Offered and refused requests above, replicas below, as a self-contained SVG on a white ground."""
    width, height, left, right = 720, 240, 60, 20
    length = rows[-1]["second"] + 1
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {2 * height}" '
           'style="background:#fff;font-family:sans-serif;font-size:12px">']
    panels = [("requests a second", [("offered", "#999"), ("refused", "#c0392b")]), ("replicas", [("replicas", "#999"), ("ready", "#2e8b57")])]
    for number, (title, lines) in enumerate(panels):
        top, bottom = number * height + 30, (number + 1) * height - 30
        most = max(row[name] for row in rows for name, _ in lines) * 1.05
        x = lambda second: left + (width - left - right) * second / length  # noqa: E731
        y = lambda value: bottom - (bottom - top) * value / most  # noqa: E731
        out.append(f'<text x="{left}" y="{top - 10}">{title}</text>')
        for tick in range(5):
            value = most / 1.05 * tick / 4
            out.append(f'<line x1="{left}" x2="{width - right}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#eee"/>'
                       f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.0f}</text>')
        for minute in range(0, length // 60 + 1, 5):
            out.append(f'<text x="{x(minute * 60):.1f}" y="{bottom + 16}" text-anchor="middle">{minute} min</text>')
        for place, (name, colour) in enumerate(lines):
            points = " ".join(f"{x(row['second']):.1f},{y(row[name]):.1f}" for row in rows[::10])
            out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
            out.append(f'<text x="{width - right - 70 * (place + 1)}" y="{top - 10}" fill="{colour}">{name}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capacity", type=float, default=29.4, help="requests a second of one replica [29.4]")
    parser.add_argument("--wait-limit", type=float, default=5, help="longest wait in the queue, seconds [5]")
    parser.add_argument("--startup", type=int, default=120, help="seconds from a new pod to its first request [120]")
    parser.add_argument("--rate", type=float, default=60, help="requests a second before and after the surge [60]")
    parser.add_argument("--surge", type=float, default=4, help="rate during the surge as a multiple [4]")
    parser.add_argument("--begin", type=int, default=300, help="second at which it begins [300]")
    parser.add_argument("--end", type=int, default=1500, help="second at which it ends [1500]")
    parser.add_argument("--seconds", type=int, default=3600, help="seconds of the whole run [3600]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plot", type=pathlib.Path, help="write a figure of this run instead of the table")
    return parser.parse_args(arguments)


def table(options):
    """The table of docs/kubernetes.md: what start-up times cost."""
    minutes = (options.end - options.begin) // 60
    lines = [f"| start-up | refused during the {minutes} minutes of the surge | last refusal after | max replicas |", "|---|---|---|---|"]
    for startup in (5, 30, 120, 300):
        run = argparse.Namespace(**{**vars(options), "startup": startup})
        found = summary(simulate(run), run)
        lines.append(f"| {startup} s | {100 * found['refused']:.1f} % | {found['last_refusal']} s | {found['most']} |")
    return "\n".join(lines) + "\n"


def main():
    options = parse()
    if options.plot:
        options.plot.write_text(plot(simulate(options)), encoding="utf-8")
    else:
        print(table(options), end="")


if __name__ == "__main__":
    main()
