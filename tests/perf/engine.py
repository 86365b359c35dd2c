#!/usr/bin/env python3
"""The embedded engine beside llama.cpp: one model, several types, prefill and decode, ratios from one run.

usage: engine.py [--rootstock BIN] [--llama-bench BIN] [--threads 1,2] [--pp 512] [--tg 64] [--rounds 3] GGUF...

Each GGUF is measured by `rootstock bench --json` and by `llama-bench` in turn (A B A B ...), so that a machine that
others load too slows both alike; the table has the median of each and the ratio of the medians. A ratio above 1 says
that Rootstock is faster. The qwen2.5-0.5b shape comes from ../shared/engine/scripts/gen_random.py; llama-quantize
makes the types. Timings judge nothing: the exit status is 0 when everything ran, 1 when a program failed, 2 when
something is not there.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TIMEOUT_S = 600  # of one measurement


def run(command):
    """What a program prints, or an exit with its complaint."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        sys.exit(f"engine.py: {command[0]} ran longer than {TIMEOUT_S} s")
    if done.returncode:
        print(f"engine.py: {' '.join(command)}: exit {done.returncode}\n{done.stderr[-2000:]}", file=sys.stderr)
        sys.exit(1)
    return done.stdout


def ours(options, model, threads):
    """Tokens a second: {"prefill": ..., "decode": ...}."""
    out = run([options.rootstock, "bench", "-m", model, "-t", str(threads), "--pp", str(options.pp), "--tg",
               str(options.tg), "--json"])
    row = json.loads(out)
    return {"prefill": row["pp_tps"], "decode": row["tg_tps"]}


def theirs(options, model, threads):
    """The same from llama-bench, which prints one object for each of the two tests."""
    out = run([options.llama_bench, "-m", model, "-t", str(threads), "-p", str(options.pp), "-n", str(options.tg), "-r",
               "1", "-o", "json"])
    speeds = {}
    for row in json.loads(out):
        speeds["decode" if row["n_gen"] else "prefill"] = row["avg_ts"]
    return speeds


def measure(options, model, threads):
    """Medians of both programs, measured in turn."""
    samples = {"rootstock": [], "llama.cpp": []}
    for _ in range(options.rounds):
        samples["rootstock"].append(ours(options, model, threads))
        samples["llama.cpp"].append(theirs(options, model, threads))
    return {name: {work: statistics.median(s[work] for s in rows) for work in ("prefill", "decode")}
            for name, rows in samples.items()}


def check(options):
    """What is missing, in words; empty when all is there."""
    missing = []
    if not os.access(options.rootstock, os.X_OK):
        missing.append(f"rootstock is not at {options.rootstock}: build it, or name it with --rootstock")
    if not options.llama_bench or not os.access(options.llama_bench, os.X_OK):
        missing.append("llama-bench is not on PATH: build llama.cpp, or name it with --llama-bench")
    if not options.models:
        missing.append("no model: name GGUF files")
    missing += [f"{m} is not there" for m in options.models if not os.path.isfile(m)]
    return missing


def parse(argv):
    """The command line."""
    p = argparse.ArgumentParser(description="Rootstock's engine beside llama.cpp.")
    p.add_argument("--rootstock", default=os.path.join(os.environ.get("ROOTSTOCK_BUILD", ROOT / "build"),
                                                       "gateway/rootstock"))
    p.add_argument("--llama-bench", default=shutil.which("llama-bench"))
    p.add_argument("--threads", default="1,2")
    p.add_argument("--pp", type=int, default=512)
    p.add_argument("--tg", type=int, default=64)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("models", nargs="*", metavar="GGUF")
    return p.parse_args(argv)


def main(argv):
    """Prints the table."""
    options = parse(argv)
    missing = check(options)
    if missing:
        print("\n".join("engine.py: " + m for m in missing), file=sys.stderr)
        return 2
    print(f"tokens/s, medians of {options.rounds}; prefill {options.pp}, decode {options.tg}")
    print(f"{'model':32} {'threads':>7} {'work':>8} {'rootstock':>10} {'llama.cpp':>10} {'ratio':>6}", flush=True)
    for model in options.models:
        for threads in (int(t) for t in options.threads.split(",")):
            medians = measure(options, model, threads)
            for work in ("prefill", "decode"):
                a, b = medians["rootstock"][work], medians["llama.cpp"][work]
                print(f"{pathlib.Path(model).stem:32} {threads:7} {work:>8} {a:10.2f} {b:10.2f} {a / b:6.2f}",
                      flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
