"""Time `medley compose` beside compose.py, alternately, on the zoo and on the shape of FLAN-T5-base, with two threads each.

Both make the same number of evaluations on the same five examples. Prints evaluations per second of the search alone, the whole
process's time and its peak memory (medians over rounds), and the ratios of evaluations per second; writes every run to
OUT/peers.json. Imports nothing large: on Linux a child's peak memory is never below what its parent held when starting it.

usage: bench.py --medley BINARY --shape FOLDER [--zoo shared/zoo/data] [--out out/bench] [--rounds 3] [--budget 40]
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
THREADS = 2
TASK = "which_shelf"
PEER = "pytorch"
# Of Medley: what it does by default, and the peer's own search, composition and objective.
SEARCHES = {
    "medley": ["--method", "delta", "--objective", "sparse", "--optimizer", "gntr", "--batch", "20"],
    "medley like pytorch": ["--method", "product", "--objective", "lorahub", "--optimizer", "cobyla", "--batch", "1"],
}


def run(command):
    """Run command; its JSON output with the process's wall time and peak memory added."""
    env = {**os.environ, "GOMAXPROCS": str(THREADS), "OMP_NUM_THREADS": str(THREADS)}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=out, stderr=err, env=env)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)  # wait4 took the status that Popen would wait for
        out.seek(0)
        err.seek(0)
        if child.returncode != 0:
            sys.exit(f"{' '.join(command)}\nexit status {child.returncode}\n{err.read().decode()[-2000:]}")
        result = json.load(out)
    result["wall_seconds"] = wall
    result["peak_mib"] = usage.ru_maxrss / 1024  # KiB on Linux
    result["per_second"] = result["evaluations"] / result["search_seconds"]
    return result


def commands(args, workload):
    """{system: command} for one workload."""
    base, modules, few = workload
    peer = [sys.executable, os.path.join(HERE, "compose.py"), base, modules, few]
    result = {PEER: [*peer, "--budget", str(args.budget), "--threads", str(THREADS)]}
    for name, flags in SEARCHES.items():
        result[name] = [args.medley, "compose", "--base", base, "--modules", modules, "--examples", few, *flags,
                        "--budget", str(args.budget), "--backend", "cpu", "--out", os.path.join(args.out, "composed"), "--json"]
    return result


def report(name, runs):
    """Print one workload; runs is {system: [result per round]}. The best rounds are those that the machine's other work
    disturbed least."""
    print(f"\n{name}\n{'':<20} {'evaluations/s':>14} {'best':>8} {'whole run':>11} {'peak memory':>13}   times pytorch, by round; best rounds")
    rates = {system: [r["per_second"] for r in results] for system, results in runs.items()}
    for system, results in runs.items():
        wall, peak = (statistics.median(r[k] for r in results) for k in ("wall_seconds", "peak_mib"))
        ratios = [own / peer for own, peer in zip(rates[system], rates[PEER])]
        best = max(rates[system])
        line = f"{system:<20} {statistics.median(rates[system]):>14.2f} {best:>8.2f} {wall:>9.2f} s {peak:>9.0f} MiB"
        if system != PEER:
            line += f"   {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}); {best / max(rates[PEER]):.1f}"
        print(line)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--medley", required=True, help="the medley binary")
    parser.add_argument("--shape", required=True, help="what make_shape.py wrote")
    parser.add_argument("--zoo", default="shared/zoo/data")
    parser.add_argument("--out", default="out/bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=40, help="evaluations per search")
    return parser.parse_args()


def main():
    args = parse()
    os.makedirs(args.out, exist_ok=True)
    if hasattr(os, "sched_setaffinity"):  # children inherit it, so that no system can use more processors than the other
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    workloads = {
        f"zoo, {TASK}": (f"{args.zoo}/base", f"{args.zoo}/modules/*", f"{args.zoo}/tasks/{TASK}.few.jsonl"),
        "FLAN-T5-base shape": (f"{args.shape}/base", f"{args.shape}/modules/*", os.path.join(HERE, "long.few.jsonl")),
    }
    results = {}
    for name, workload in workloads.items():
        runs = {}
        for _ in range(args.rounds):
            for system, command in commands(args, workload).items():
                runs.setdefault(system, []).append(run(command))
        report(name, runs)
        results[name] = runs
    with open(os.path.join(args.out, "peers.json"), "w", encoding="utf-8") as f:
        json.dump(results, f, indent=1)


if __name__ == "__main__":
    main()
