#!/usr/bin/env python3
"""Precision and recall of the pii plugin, per type, through `rootstock guard`.

    tests/perf/pii.py ROOTSTOCK FOLDER

FOLDER holds presidio_synth.dev.jsonl and the other labelled sets; absent ones are skipped. A finding counts when its
type is right and it overlaps a labelled span by at least half of their union.
"""
import json
import pathlib
import subprocess
import sys
import tempfile
from collections import Counter

TYPES = ["EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_SSN", "IP_ADDRESS"]
SPANS = ["presidio_synth", "presidio_generated_large"]
CLEAN = ["clinc150", "banking77", "task_route", "mmlu_pro_category"]
POLICY = """version: v0.3
routing:
  decisions:
    - {name: guard, rules: {operator: AND, conditions: []}, plugins: [{type: pii, configuration: {threshold: 0}}]}
"""


class Guard:
    def __init__(self, program):
        self.program = program
        self.config = tempfile.NamedTemporaryFile("w", suffix=".yaml")
        self.config.write(POLICY)
        self.config.flush()

    def run(self, texts):
        """Findings of each text as (start, end, type), in code points."""
        lines = "".join(json.dumps({"text": t}) + "\n" for t in texts)
        out = subprocess.run([self.program, "guard", "-c", self.config.name], input=lines, stdout=subprocess.PIPE,
                             text=True, check=True).stdout.splitlines()
        return [self.spans(t, json.loads(o)["findings"]) for t, o in zip(texts, out, strict=True)]

    @staticmethod
    def spans(text, findings):
        raw = text.encode()
        chars = lambda n: len(raw[:n].decode())
        return [(chars(f["start"]), chars(f["end"]), f["type"]) for f in findings]


def rows(folder, name):
    path = folder / f"{name}.dev.jsonl"
    return [json.loads(line) for line in path.open()] if path.exists() else []


def overlaps(a, b):
    both = min(a[1], b[1]) - max(a[0], b[0])
    return a[2] == b[2] and 2 * both >= max(a[1], b[1]) - min(a[0], b[0])


def score_spans(guard, folder, name):
    data, hit, false, missed = rows(folder, name), Counter(), Counter(), Counter()
    for row, found in zip(data, guard.run([d["text"] for d in data])):
        wanted = [tuple(s) for s in row["spans"] if s[2] in TYPES]
        for f in found:
            match = next((w for w in wanted if overlaps(f, w)), None)
            if match:
                wanted.remove(match)
            (hit if match else false)[f[2]] += 1
        missed.update(w[2] for w in wanted)
    for t in TYPES + ["all"]:
        h, f, m = (sum(c.values()) if t == "all" else c[t] for c in (hit, false, missed))
        if h + f + m:
            print(f"{name:26} {t:14} n {h + m:4}  P {100 * h / max(1, h + f):5.1f}  R {100 * h / max(1, h + m):5.1f}")


def score_units(guard, folder):
    data = [d for d in rows(folder, "presidio_unit") if d["label"] in TYPES]
    right, all_ = Counter(), Counter()
    for row, found in zip(data, guard.run([d["text"] for d in data])):
        spans = [[s, e] for s, e, t in found if t == row["label"]]
        all_[row["label"]] += 1
        right[row["label"]] += len(spans) == row["expected"] and (not row["spans"] or spans == row["spans"])
    for t in TYPES:
        print(f"{'presidio_unit':26} {t:14} exact {right[t]}/{all_[t]}")


def score_clean(guard, folder):
    for name in CLEAN:
        texts = [d["text"] for d in rows(folder, name)]
        flagged = sum(bool(f) for f in guard.run(texts))
        if texts:
            print(f"{name:26} texts with a finding per 1000: {1000 * flagged / len(texts):.2f}")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    guard, folder = Guard(sys.argv[1]), pathlib.Path(sys.argv[2])
    for name in SPANS:
        score_spans(guard, folder, name)
    score_units(guard, folder)
    score_clean(guard, folder)


main()
