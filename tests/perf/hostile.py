#!/usr/bin/env python3
"""What the worst policies and prompts cost: time a route and memory, through `rootstock route`.

    tests/perf/hostile.py ROOTSTOCK [--base CONFIG.yaml]

Policies: 5,000 keyword rules, patterns that backtrack for ever, 1,000 decisions over projections, every approximate
method; with --base also that configuration. Prompts: a megabyte of one letter, of blanks, of words, of Chinese, of
combining marks, of bytes that are no UTF-8, and a conversation of 1,000 turns. Each line: policy, prompt, median and
largest time of a route, and the peak of resident memory. A route that takes over 10 s, or a crash, ends it with 1.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

MEGABYTE = 1 << 20
LIMIT_S = 10
TIMES = 3


def policy(signals, decisions, projections=None):
    """A policy as YAML (JSON is YAML)."""
    routing = {"signals": signals, "decisions": decisions, "modelCards": [{"name": "m"}]}
    if projections:
        routing["projections"] = projections
    return json.dumps({"version": "v0.3", "providers": {"defaults": {"default_model": "m"}}, "routing": routing})


def decision(i, rules):
    return {"name": f"d{i}", "priority": i, "modelRefs": [{"model": "m"}], "rules": rules}


def keyword_rules(n):
    rules = [{"name": f"k{i}", "operator": "OR", "keywords": [f"word{i}x{k} of rule{i}" for k in range(8)]} for i in range(n)]
    return policy({"keywords": rules}, [decision(i, {"type": "keyword", "name": f"k{i}"}) for i in range(n)])


def patterns():
    evil = [r"(a+)+$", r"(a|aa)+b", r"(\w+\s?)*!", r"\s+\d", r"(.*a){20}", r"(x+x+)+y", r"^(([a-z])+.)+[A-Z]([a-z])+$"]
    rules = [{"name": f"p{i}", "operator": "OR", "method": "regex", "keywords": [p]} for i, p in enumerate(evil)]
    return policy({"keywords": rules}, [decision(i, {"type": "keyword", "name": f"p{i}"}) for i in range(len(evil))])


def approximate():
    rules = [{"name": f"{m}{i}", "operator": "OR", "method": m, "keywords": [f"kubernetes{i} cluster", f"datab{i}ase"]}
             for m in ("fuzzy", "ngram", "bm25") for i in range(50)]
    return policy({"keywords": rules}, [decision(i, {"type": "keyword", "name": r["name"]}) for i, r in enumerate(rules)])


def projections(n):
    rules = [{"name": f"k{i}", "operator": "OR", "keywords": [f"word{i}"]} for i in range(100)]
    inputs = [{"type": "keyword", "name": f"k{i}", "weight": 0.01 * i} for i in range(100)]
    scores = [{"name": f"s{i}", "method": "weighted_sum", "inputs": inputs} for i in range(n)]
    mappings = [{"name": f"m{i}", "source": f"s{i}", "method": "threshold_bands",
                 "outputs": [{"name": f"o{i}", "gte": 0.5}, {"name": f"l{i}", "lt": 0.5}]} for i in range(n)]
    return policy({"keywords": rules}, [decision(i, {"type": "projection", "name": f"o{i}"}) for i in range(n)],
                  {"scores": scores, "mappings": mappings})


def prompts():
    def turn(text):
        return json.dumps({"text": text}).encode()

    chat = [{"role": ("user", "assistant")[i % 2], "content": f"turn {i} " + "x" * 500} for i in range(1000)]
    return {
        "letters": turn("a" * MEGABYTE),
        "blanks": turn(" " * MEGABYTE + "!"),
        "words": turn("kubernets word1x2 datbase xx " * (MEGABYTE // 29)),
        "chinese": turn("数据库错误" * (MEGABYTE // 15)),
        "marks": turn("e\u0301" * (MEGABYTE // 3)),
        "not UTF-8": b'{"text":"' + b"\xff\xc3\xe2\x82 " * (MEGABYTE // 5) + b'"}',
        "turns": json.dumps({"model": "auto", "messages": chat}).encode(),
    }


def measure(program, path, line):
    """(median us, largest us, peak MiB) or the error line; None after the limit or a crash."""
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen([program, "route", "-c", path], stdin=subprocess.PIPE, stdout=out, stderr=subprocess.DEVNULL)
        try:
            child.stdin.write((line + b"\n") * TIMES)
            child.stdin.close()
            _, status, usage = os.wait4(child.pid, 0)
        except BrokenPipeError:
            return None
        out.seek(0)
        rows = [json.loads(row) for row in out.read().splitlines()]
    if os.waitstatus_to_exitcode(status) not in (0, 1) or len(rows) != TIMES:
        return None
    if "error" in rows[0]:
        return rows[0]["error"]["message"][:60]
    us = [row["us"] for row in rows]
    return statistics.median(us), max(us), usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--base", type=pathlib.Path)
    args = parser.parse_args()
    policies = {"5,000 rules": keyword_rules(5000), "patterns": patterns(), "approximate": approximate(),
                "1,000 scores": projections(1000)}
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for i, (name, text) in enumerate(policies.items()):
            paths[name] = pathlib.Path(folder) / f"{i}.yaml"
            paths[name].write_text(text)
        if args.base:
            paths[args.base.parent.name] = args.base
        for name, path in paths.items():
            for kind, line in prompts().items():
                got = measure(args.program, path, line)
                bad = got is None or (isinstance(got, tuple) and got[1] > LIMIT_S * 1e6)
                failed = failed or bad
                shown = got if isinstance(got, str) else "FAILED" if got is None else \
                    f"median {got[0] / 1e3:9.1f} ms   largest {got[1] / 1e3:9.1f} ms   peak {got[2]:6.0f} MiB"
                print(f"{name:14s} {kind:10s} {shown}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
