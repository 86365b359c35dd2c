#!/usr/bin/env python3
"""Trains the classifiers of models/signals/ and writes their numbers beside them.

usage: train_signals.py DATA TOOL [NAME…] [--rarity]

DATA is the folder of the labelled sets (*.dev.jsonl), TOOL the compiled train_signal. Without a NAME all classifiers are
made; with --rarity the table of rarity is counted again, after which all must be made again.
"""
import argparse
import collections
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "signals"))
import sources  # noqa: E402

MODELS = HERE.parent / "signals"


def write_rows(path, rows):
    with open(path, "w", encoding="utf-8") as f:
        for row in rows:
            f.write(json.dumps(row, ensure_ascii=False) + "\n")


def count_rarity(data, tool, folder):
    path = os.path.join(folder, "background.jsonl")
    texts = [row for name in sources.BACKGROUND for row in sources.read(data, name)]
    texts += [row for name, (rows, *_) in sources.SIGNALS.items() for row in rows(data)
              if row["source"] in ("patterns", "topics")]
    write_rows(path, [{"text": row["text"]} for row in texts])
    subprocess.run([tool, "count", MODELS / "rarity.bin", path], check=True)


def calibration_error(rows, scores, labels):
    """Mean gap between how sure and how often right, over ten bins of the surest class."""
    bins = collections.defaultdict(list)
    for row, p in zip(rows, scores):
        best = max(range(len(p)), key=lambda k: p[k])
        bins[min(9, int(p[best] * 10))].append((p[best], labels[best] == row["label"]))
    return sum(abs(sum(p for p, _ in b) - sum(right for _, right in b)) for b in bins.values()) / max(1, len(rows))


def table(head, lines):
    out = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(out + ["| " + " | ".join(str(c) for c in line) + " |" for line in lines])


def report(name, rows, scores, said):
    """The numbers of a model card: from models that had not seen the row."""
    labels = sorted({row["label"] for row in rows})
    truth = collections.Counter((row["label"], labels[max(range(len(p)), key=lambda k: p[k])])
                                for row, p in zip(rows, scores))
    right = sum(n for (a, b), n in truth.items() if a == b)
    used = [a for a in labels if any(truth[a, b] for b in labels)]
    lines = [[f"`{a}`"] + [truth[a, b] or "" for b in labels] + [f"{100 * truth[a, a] / sum(truth[a, b] for b in labels):.1f} %"]
             for a in used]
    by_source = collections.defaultdict(list)
    for row, p in zip(rows, scores):
        by_source[row["source"], row["label"] if len(labels) <= 5 else ""].append(
            labels[max(range(len(p)), key=lambda k: p[k])] == row["label"])
    learnt = collections.Counter(row["source"] for row in rows)
    most = max(sum(truth[a, b] for b in labels) for a in used)
    text = [f"{said.strip()}.", "",
            f"Five-fold cross-validation, {len(rows)} texts: accuracy {100 * right / len(rows):.1f} % "
            f"(always the commonest class: {100 * most / len(rows):.1f} %), "
            f"calibration error {calibration_error(rows, scores, labels):.3f}.", "",
            "Rows are what a text is, columns what it is taken for:", "",
            table(["", *(f"`{b}`" for b in labels), "right"], lines), "",
            "By where the texts are from:", "",
            table(["source", "class", "texts", "right"],
                  [[s, f"`{c}`" if c else "all", len(v), f"{100 * sum(v) / len(v):.1f} %"]
                   for (s, c), v in sorted(by_source.items())]), "",
            "Learnt from: " + ", ".join(f"{n} of {s}" for s, n in sorted(learnt.items())) + "."]
    return "\n".join(text) + "\n"


def extra(name, rows, scores):
    """Rates at the thresholds that policies use, of the classifiers of two classes."""
    labels = sorted({row["label"] for row in rows})
    positive = {"jailbreak": "jailbreak", "fact_check": "needs_fact_check"}.get(name)
    if not positive:
        return ""
    at = labels.index(positive)
    out = collections.defaultdict(lambda: [0, 0, 0, 0])
    for row, p in zip(rows, scores):
        cell = out[row["source"], row["label"] == positive]
        cell[0] += 1
        for i, threshold in enumerate((0.45, 0.5, 0.7)):
            cell[1 + i] += p[at] >= threshold
    lines = [[s, f"found of `{positive}`" if yes else "false alarms", c[0]] + [f"{100 * c[i] / c[0]:.1f} %" for i in (1, 2, 3)]
             for (s, yes), c in sorted(out.items(), key=lambda x: (not x[0][1], x[0][0]))]
    return "\nAt the thresholds of policies:\n\n" + table(["source", "", "texts", "0.45", "0.5", "0.7"], lines) + "\n"


def train(name, data, tool, folder):
    make, cost, most, odds, sharpen = sources.SIGNALS[name]
    rows = make(data)
    texts, scores = os.path.join(folder, name + ".jsonl"), os.path.join(folder, name + ".scores")
    write_rows(texts, rows)
    said = subprocess.run([tool, "train", "--cost", str(cost), "--iterations", "60", "--max-bytes", str(most), "--sharpen", str(sharpen), "--scores", scores, *(["--odds", odds] if odds else []),
                           MODELS / "rarity.bin", MODELS / f"{name}.model", texts],
                          check=True, stdout=subprocess.PIPE, text=True).stdout
    with open(scores, encoding="utf-8") as f:
        p = [json.loads(line) for line in f]
    text = report(name, rows, p, said) + extra(name, rows, p)
    card = MODELS / f"{name}.md"
    head = card.read_text(encoding="utf-8").split("\n## Numbers\n")[0] if card.exists() else f"# {name}\n"
    card.write_text(head.rstrip() + "\n\n## Numbers\n\n" + text, encoding="utf-8")
    print(name, said, end="")
    print(text)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("data")
    p.add_argument("tool")
    p.add_argument("names", nargs="*")
    p.add_argument("--rarity", action="store_true")
    args = p.parse_args()
    MODELS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        if args.rarity or not (MODELS / "rarity.bin").exists():
            count_rarity(args.data, args.tool, folder)
        for name in args.names or sources.SIGNALS:
            train(name, args.data, args.tool, folder)


if __name__ == "__main__":
    main()
