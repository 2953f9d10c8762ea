#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a Retry-After is worth at twice and five times the capacity: whether its promises are kept, how many attempts a served request took,
and how far the estimates were off.

Usage: retry_after.py [--clock virtual] [--seeds 20] [--duration 120s] [--capacities RESULT.json] [--output FILE.json]
       retry_after.py --clock wall [--rounds 3] [--seconds 120] [--share] [--realtime] [--output FILE.json]
       retry_after.py --table RESULT.json...     prints the table of docs/overload.md

On the virtual clock hadal-sim runs clients that return when they are told, over HTTP to the millisecond (obey) and to the whole second
(urllib3) and over gRPC, where batch slots are the limit and where memory is; on the wall clock hadal-bench does with a null model of 20 ms a
step. A promise is a refusal with `x-hadal-promise: held`. All figures are of the time in which the load lasts: afterwards everybody is let in
sooner than could be foreseen. `to_rest` has the verdicts of the virtual clock until the server is at rest.
The error is that of the server's own estimates, |estimate - true| / true (hadal_retry_after_error_ratio): a client that is let in
when it returns never learns whether it could have come earlier. `deny` tells those to stay away for whom no capacity is in sight, and
nearly all estimates are then of promises; `once` (the default) lets them return once, and only promises kept have a goal.
--realtime lets server and load go before all other processes on a machine that is not idle.
"""
import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "benchmarks/sim")]
import lib  # noqa: E402
import load  # noqa: E402
import overload  # noqa: E402

# Memory for some thirty of the callers, less than half of what slots and device would serve.
LIMITED = {"slots": [], "memory": ["--kv-tokens", "40000"]}
RATES = {"slots": [26, 27, 28, 29, 30], "memory": [10, 12, 14, 16, 18, 20, 22]}
CASES = [("deny", "obey"), ("deny", "urllib3"), ("deny", "grpc"), ("once", "obey")]
# On the virtual clock also callers that nothing tells apart: one address, one length, no ticket, key or count; a few milliseconds late.
VIRTUAL_CASES = [*CASES, ("deny", "anonymous")]
ANONYMOUS = ("--client", "obey", "--known-by", "nothing", "--lateness", "3ms")
LOADS = (2, 5)
GOALS = {"promises_kept_ratio": (">=", 0.9), "attempts_of_served_mean": ("<=", 1.2), "estimate_error_ratio": ("<=", 0.2), "false_refusals_ratio": ("<=", 0.02)}

NULL_MODEL = ("--load-format=null:20ms", "--max-batch-size=32")
WALL_LIMITS = "--wait-limits=high=1s,normal=500ms,low=30s"
LENGTHS = ("--lengths=azure-conversation", "--length-scale=0.1", "--max-prompt-tokens=1500", "--max-output-tokens=400", "--slo=r1")


def median_of_buckets(buckets):
    """The median of cumulative [bound, count] pairs, the last bound null: linear within its bucket; None without any."""
    half = buckets[-1][1] / 2 if buckets else 0
    low, below = 0.0, 0
    for bound, count in buckets:
        if count >= half > 0:
            return low if bound is None else low + (bound - low) * (half - below) / (count - below)
        low, below = bound, count
    return None


def ratio(part, whole):
    return load.round_off(part / whole) if whole else None


def rounded(value):
    return None if value is None else load.round_off(value)


def virtual_row(reports):
    """All seeds of one case as one: sums of counts, and the seed with the fewest promises kept."""
    promises = [report["promises"] for report in reports]
    total = {name: sum(one[name] for one in promises) for name in ("made", "returned", "admitted", "served")}
    tries = sum(one["tries_of_served_mean"] * one["served"] for one in promises if one["served"])

    def pooled(verdicts):
        return [[bound, sum(one["estimate_errors"][i][1] for one in verdicts)] for i, (bound, _) in enumerate(verdicts[0]["estimate_errors"])]

    under_load = [report["under_load"] for report in reports]
    errors = pooled(under_load)
    kept = [one["admitted_ratio"] for one in promises if one["admitted_ratio"] is not None]
    ghosts = sum(one["ghosts"] for one in under_load)
    return {"promises": total["made"], "returns": total["returned"], "promises_kept_ratio": ratio(total["admitted"], total["returned"]),
            "promises_kept_ratio_min": min(kept, default=None), "served": total["served"], "attempts_of_served_mean": ratio(tries, total["served"]),
            "estimate_error_ratio": rounded(median_of_buckets(errors)), "estimates": errors[-1][1],
            "false_refusals_ratio": ratio(sum(one["false_refusals"] for one in under_load), ghosts), "refusals_followed": ghosts,
            "to_rest": {"estimate_error_ratio": rounded(median_of_buckets(pooled(reports))), "estimates": pooled(reports)[-1][1],
                        "false_refusals_ratio": ratio(sum(one["false_refusals"] for one in reports), sum(one["ghosts"] for one in reports)),
                        "refusals_followed": sum(one["ghosts"] for one in reports)},
            "refusals": overload.sum_of_counts(report["refusals"] for report in reports)}


def virtual(args):
    run = overload.Runner(args.seeds, args.duration, args.jobs)
    rows = {}
    earlier = json.loads(pathlib.Path(args.capacities).read_text(encoding="utf-8")) if args.capacities else None
    for limit, flags in LIMITED.items():
        peak = earlier["metrics"][f"{limit}/capacity"] if earlier else overload.capacity(run, RATES[limit], flags)
        rows[f"{limit}/capacity"] = peak
        points = {f"{limit}/{surplus}/{client}/{at}": run.submit(
            "--rate", peak["requests_per_s"], "--load", at, *(ANONYMOUS if client == "anonymous" else ("--client", client)), "--surplus-retry", surplus,
            *flags, *overload.LIMITS) for surplus, client in VIRTUAL_CASES for at in LOADS}
        rows |= {name: virtual_row(point.result()) for name, point in points.items()}
    settings = {"device": "h200-7b", "lengths": "azure-conversation", "seeds": args.seeds, "duration": args.duration, "memory": LIMITED["memory"],
                "limits": overload.LIMITS, **({"capacities_of": earlier["commit"]} if earlier else {})}
    return lib.result("retry_after_sim", rows, settings, bandwidth=False)


def wall_row(results):
    """The rounds of one case as one."""
    runs = [result["runs"][0] for result in results]
    retry = [run["retry_after"] for run in runs]
    server = [run["server_reported"] for run in runs]
    kept = [one["held_promises_admitted_ratio"] for one in retry if one["held_promises_admitted_ratio"] is not None]
    held = sum(one["held_promises"] for one in retry)
    admitted = sum(one["held_promises_admitted_ratio"] * one["held_promises"] for one in retry if one["held_promises"])
    served = sum(run["requests"]["served"] for run in runs)
    attempts = sum(run["metrics"]["attempts_of_served_mean"] * run["requests"]["served"] for run in runs if run["requests"]["served"])
    errors = [one["estimate_error_ratio_median"] for one in server if one["estimate_error_ratio_median"] is not None]
    followed = sum(one["refusals_followed"] for one in server)
    return {"returns": held, "promises_kept_ratio": ratio(admitted, held), "promises_kept_ratio_min": min(kept, default=None), "served": served,
            "attempts_of_served_mean": ratio(attempts, served), "estimate_error_ratio": load.round_off(sorted(errors)[len(errors) // 2]) if errors else None,
            "estimates": sum(one["estimates"] for one in server), "false_refusals_ratio": ratio(sum(one["false_refusals"] for one in server), followed),
            "refusals_followed": followed, "tickets": sum(one["tickets"] for one in retry), **load.attempts_by_reason(results)}


def wall(args):
    server_cores, client_cores = load.server_and_client_cores(args.share)
    rows, noise, lag = {}, [], []

    def run(server, rate, *flags, seconds=args.seconds, seed=1):
        url = f"grpc://{server.target}" if "--client=grpc" in flags else server.url
        with load.on_cores(client_cores), load.realtime(args.realtime):
            result, meter = load.quiet(lambda: load.bench(url, rate, *LENGTHS, *flags, seconds=seconds, seed=seed), server.process.pid,
                                       noise=float("inf") if args.realtime else load.NOISE)
        noise.append(meter.others)
        lag.extend(one["metrics"]["generator_lag_p99_s"] for one in result["runs"])
        return result

    with load.on_cores(server_cores), load.realtime(args.realtime):
        servers = {surplus: load.HadalProcess(*NULL_MODEL, WALL_LIMITS, f"--surplus-retry={surplus}") for surplus in ("deny", "once")}
    try:
        capacity = args.capacity
        if not capacity:
            found = run(servers["deny"], 50, "--find-capacity", "--client=none", seconds=args.seconds / 4)
            capacity = max(one["metrics"]["goodput_requests_per_s"] for one in found["runs"])
        results = {}
        for seed in range(1, args.rounds + 1):
            for surplus, client in CASES:
                for at in LOADS:
                    print(f"retry_after: round {seed}, --surplus-retry={surplus}, {client}, {at}x", file=sys.stderr)
                    results.setdefault(f"slots/{surplus}/{client}/{at}", []).append(
                        run(servers[surplus], round(at * capacity, 2), f"--client={client}", seed=seed))
        rows = {"slots/capacity": {"requests_per_s": load.round_off(capacity)}, **{name: wall_row(rounds) for name, rounds in results.items()}}
    finally:
        for server in servers.values():
            server.stop()
    settings = {"model_flags": " ".join(NULL_MODEL), "lengths": " ".join(LENGTHS), "limits": WALL_LIMITS, "rounds": args.rounds, "seconds": args.seconds,
                "realtime": args.realtime, "other_cpu_ratio_max": load.round_off(max(noise)), "generator_lag_p99_s_max": load.round_off(max(lag)),
                **load.placement(server_cores, client_cores)}
    return lib.result("retry_after_wall_clock", rows, settings, bandwidth=False)


CLIENTS = {"obey": "HTTP, `retry-after-ms`", "urllib3": "HTTP, whole seconds", "grpc": "gRPC, pushback",
           "anonymous": "HTTP, `retry-after-ms`, nothing tells them apart"}


def figure(value, digits=3):
    if value is None:
        return "-"
    text = f"{value:.{digits}f}".rstrip("0").rstrip(".")
    return f"{float(text):g}" if text else "0"


def table(results):
    """The rows of docs/overload.md."""
    heads = ("clock, limit", "`--surplus-retry`", "clients", "load", "returns to a promise", "of them admitted (worst run)", "attempts of a served request",
             "error of the estimates, median (of)", "false refusals (of)")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for result in results:
        clock = "virtual" if result["name"] == "retry_after_sim" else "wall"
        for name, row in result["metrics"].items():
            if name.endswith("/capacity"):
                continue
            limit, surplus, client, at = name.split("/")
            cells = (f"{clock}, {limit}", surplus, CLIENTS[client], f"{at}x", f"{row['returns']:,}",
                     f"{figure(row['promises_kept_ratio'])} ({figure(row['promises_kept_ratio_min'])})", figure(row["attempts_of_served_mean"], 2),
                     f"{figure(row['estimate_error_ratio'], 2)} ({row['estimates']:,})", f"{figure(row['false_refusals_ratio'])} ({row['refusals_followed']:,})")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def misses(result):
    """What falls short of the goals, in words."""
    found = []
    for name, row in result["metrics"].items():
        for figure_name, (sign, goal) in GOALS.items():
            value = row.get(figure_name)
            if name.endswith("/capacity") or (figure_name == "promises_kept_ratio" and row["returns"] == 0):
                continue
            if "/once/" in name and figure_name != "promises_kept_ratio":  # of returns and estimates without a promise, too
                continue
            if value is None or (value < goal if sign == ">=" else value > goal):
                found.append(f"{name}: {figure_name} is {value}, wanted {sign} {goal}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clock", choices=("virtual", "wall"), default="virtual")
    parser.add_argument("--table", nargs="+", metavar="RESULT.json", help="print the table of these results, measure nothing")
    parser.add_argument("--seeds", type=int, default=20, help="virtual clock: runs of a case")
    parser.add_argument("--duration", default="120s", help="virtual clock: of each run")
    parser.add_argument("--capacities", metavar="RESULT.json", help="virtual clock: those of an earlier result, instead of finding them")
    parser.add_argument("--jobs", type=int, default=lib.cores())
    parser.add_argument("--rounds", type=int, default=3, help="wall clock: runs of a case")
    parser.add_argument("--seconds", type=float, default=120, help="wall clock: measured part of a run")
    parser.add_argument("--capacity", type=float, help="wall clock: requests a second, if known")
    parser.add_argument("--realtime", action="store_true", help="wall clock: real-time priority for server and load (root only)")
    parser.add_argument("--share", action="store_true", help="wall clock: server and load use the same cores")
    parser.add_argument("--output", help="file to write; else stdout")
    args = parser.parse_args()
    if args.table:
        print(table([json.loads(pathlib.Path(path).read_text(encoding="utf-8")) for path in args.table]))
        return
    result = virtual(args) if args.clock == "virtual" else wall(args)
    for miss in misses(result):
        print(f"retry_after: {miss}", file=sys.stderr)
    lib.write(result, args.output)


if __name__ == "__main__":
    main()
