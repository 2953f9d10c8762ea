#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws the plots of docs/overload.md from results of benchmarks/sim/overload.py, benchmarks/server/overload.py and
benchmarks/server/client_storm.py.

Usage: plot.py RESULT.json... FOLDER        (as in: plot.py benchmarks/results/{overload_*,client_storm}.json docs/plots)
"""
import json
import math
import pathlib
import sys

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 34, 48
COLOURS = ["#1f77b4", "#d62728", "#e69f00", "#2ca02c"]
STYLE = "font-family: sans-serif; font-size: 12px"


def nice_ceiling(value):
    """The least of 1, 2, 5 x 10^n that is not below the value."""
    power = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999)


class Chart:
    """Lines over a logarithmic x axis, as a self-contained SVG on a white ground."""

    def __init__(self, title, x_label, y_label, x_ticks, y_top):
        self.title, self.x_label, self.y_label, self.x_ticks, self.y_top = title, x_label, y_label, x_ticks, y_top
        self.lines = []

    def add(self, name, points):
        """`points`: (x, median, least, most) in the order of x."""
        self.lines.append((name, points))

    def _x(self, value):
        low, high = math.log(self.x_ticks[0]), math.log(self.x_ticks[-1])
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log(value) - low) / (high - low)

    def _y(self, value):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(value, self.y_top) / self.y_top

    def svg(self):
        out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" style="{STYLE}">',
               f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
               f'<text x="{LEFT}" y="20" font-weight="bold">{self.title}</text>']
        for i in range(5):
            value = self.y_top * i / 4
            y = self._y(value)
            out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
                       f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
        for tick in self.x_ticks:
            out.append(f'<text x="{self._x(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:g}</text>')
        out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{self.x_label}</text>')
        out.append(f'<text transform="translate(14 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">{self.y_label}</text>')
        for i, (name, points) in enumerate(self.lines):
            colour = COLOURS[i % len(COLOURS)]
            band = [(x, most) for x, _, _, most in points] + [(x, least) for x, _, least, _ in reversed(points)]
            out.append(f'<polygon points="{self._path(band)}" fill="{colour}" fill-opacity="0.15"/>')
            out.append(f'<polyline points="{self._path([(x, y) for x, y, _, _ in points])}" fill="none" stroke="{colour}" stroke-width="2"/>')
            y = TOP + 14 + 20 * i
            out.append(f'<line x1="{WIDTH - RIGHT + 10}" x2="{WIDTH - RIGHT + 30}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="3"/>'
                       f'<text x="{WIDTH - RIGHT + 36}" y="{y}">{name}</text>')
        return "\n".join(out + ["</svg>"]) + "\n"

    def _path(self, points):
        return " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in points)


class Bars:
    """A row for each name and a panel of bars for each figure, with the least and most as a thin line."""

    ROW, NAMES, GAP = 24, 150, 60

    def __init__(self, title, panels):
        """`panels`: (label, format of a value)."""
        self.title, self.panels, self.rows = title, panels, []

    def add(self, name, values):
        """`values`: (median, least, most) for each panel."""
        self.rows.append((name, values))

    def svg(self):
        width = (WIDTH - self.NAMES) / len(self.panels)
        height = TOP + 24 + self.ROW * len(self.rows) + 10
        out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" style="{STYLE}">', f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
               f'<text x="10" y="20" font-weight="bold">{self.title}</text>']
        tops = [max(values[i][2] for _, values in self.rows) for i in range(len(self.panels))]
        for i, (label, _) in enumerate(self.panels):
            out.append(f'<text x="{self.NAMES + i * width:.1f}" y="{TOP + 12}">{label}</text>')
        for row, (name, values) in enumerate(self.rows):
            y = TOP + 24 + row * self.ROW
            out.append(f'<text x="{self.NAMES - 8}" y="{y + 14}" text-anchor="end">{name}</text>')
            for i, (value, least, most) in enumerate(values):
                left, unit = self.NAMES + i * width, (width - self.GAP) / tops[i]
                out.append(f'<rect x="{left:.1f}" y="{y + 3}" width="{unit * value:.1f}" height="14" fill="{COLOURS[i % len(COLOURS)]}"/>'
                           f'<line x1="{left + unit * least:.1f}" x2="{left + unit * most:.1f}" y1="{y + 10}" y2="{y + 10}" stroke="black"/>'
                           f'<text x="{left + unit * most + 4:.1f}" y="{y + 14}">{value:{self.panels[i][1]}}</text>')
        return "\n".join(out + ["</svg>"]) + "\n"


def over_load(table, figure, scale=1.0):
    """Points of a table of the simulator."""
    rows = sorted((float(load), row[figure]) for load, row in table.items() if row.get(figure))
    return [(load, value["median"] * scale, value["min"] * scale, value["max"] * scale) for load, value in rows]


def simulator(metrics):
    """File names and charts."""
    names = {"hadal": "hadal", "fifo": "unbounded queue", "fifo-bounded": "256 in the queue"}
    # In bursts any device is idle at times: there the share is one of what an ideal device could have served in time.
    for arrivals, title, figure, share in (("poisson", "Poisson arrivals", "of_peak_ratio", "share of the peak"),
                                           ("cv13", "bursts (CV 13)", "of_attainable_ratio", "share of the attainable")):
        chart = Chart(f"Goodput on the virtual clock, {title}", "offered load, multiples of the capacity", share, [0.7, 1, 2, 5, 10], 1.2)
        for policy, name in names.items():
            chart.add(name, over_load(metrics["goodput"][f"{arrivals}/{policy}"], figure))
        yield f"goodput_{arrivals}.svg", chart
    tables = {name: {key.split("/")[1]: row for key, row in metrics["classes"].items() if key.startswith(f"{name}/")}
              for name in ("normal", "low", "batch", "alone")}
    slowest = max(value for table in tables.values() for _, value, _, _ in over_load(table, "ttft_p99_s"))
    chart = Chart("High class, a tenth of all callers", "offered load, multiples of the capacity", "TTFT p99, s", [2, 5, 10],
                  nice_ceiling(slowest))
    for name, table in tables.items():
        chart.add("without the others" if name == "alone" else f"beside {name}", over_load(table, "ttft_p99_s"))
    yield "high_class.svg", chart


def wall_clock(metrics):
    loads = sorted({float(load) for name in ("load", "bursts") if name in metrics for load in metrics[name]})
    chart = Chart("Goodput on the wall clock, 20 ms a step", "offered load, multiples of the capacity", "share of the peak",
                  [load for load in (0.8, 1, 2, 5, 10) if load <= loads[-1]], 1.2)
    for name, title in {"load": "Poisson", "bursts": "bursts, attainable"}.items():
        if name not in metrics:
            continue
        points = []
        for load, row in sorted((float(load), row) for load, row in metrics[name].items()):
            if "of_attainable_ratio" in row:  # of bursts, each with arrivals of its own
                points.append((load, *(row.get(f"of_attainable_ratio{end}", row["of_attainable_ratio"]) for end in ("", "_min", "_max"))))
                continue
            scale = row["of_peak_ratio"] / row["goodput_tokens_per_s"]
            value = row["goodput_tokens_per_s"]
            points.append((load, *(scale * row.get(f"goodput_tokens_per_s{end}", value) for end in ("", "_min", "_max"))))
        chart.add(title, points)
    yield "goodput_wall_clock.svg", chart


def clients(metrics):
    figures = {"served_ratio": ("share served", ".3f"), "mean_s": ("mean latency, s", ".1f"), "attempts_per_served_ratio": ("attempts a served call", ".2f")}
    bars = Bars("A storm of +300 % for different clients", list(figures.values()))
    for kind, row in metrics.items():
        bars.add(kind, [(row[name], row.get(f"{name}_min", row[name]), row.get(f"{name}_max", row[name])) for name in figures])
    yield "client_storm.svg", bars


DRAW = {"overload_sim": simulator, "overload_null_model": wall_clock, "client_storm": clients}


def main():
    if len(sys.argv) < 3 or not all(path.endswith(".json") for path in sys.argv[1:-1]):
        raise SystemExit(__doc__)
    folder = pathlib.Path(sys.argv[-1])
    folder.mkdir(parents=True, exist_ok=True)
    for path in sys.argv[1:-1]:
        result = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        if result["name"] not in DRAW:
            raise SystemExit(f"{path}: no plot of {result['name']}; there are {', '.join(DRAW)}")
        for name, chart in DRAW[result["name"]](result["metrics"]):
            (folder / name).write_text(chart.svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
