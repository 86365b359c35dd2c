"""Writes what ships: demo.gguf, the adapters with their cards, the held-out sets and the reference.

    python export.py base|adapters|heldout|reference      from --work (default models/.build)
"""

import argparse
import json
from pathlib import Path

import torch

import data
import files
import tasks_adapters
import tokenizer as tok
import train
from model import generate

REFERENCE_PROMPTS = 10
REFERENCE_TOP = 10
BASE_PROMPTS = [
    "Hello!", "What is the capital of France?", "What is 17 + 25?", "Convert 3 hours to minutes.",
    "What is the opposite of hot?", "Write in upper case: the red bird sees two cats",
    "Reverse the words: my big dog finds a key",
    "name price stock\nlamp 12 40\nchair 55 3\nWhat is the price of chair?",
    "Olga is 34 years old and lives in Oslo.\nWhat is the city?", "How do you say a green apple in French?",
]
HEAD = """name: {name}
base: demo
description: {description}
examples:
{examples}
revisions: [{revisions}]
aliases: {{{aliases}}}
"""


def write_card(name):
    """adapters/<name>/adapter.yaml."""
    entry = tasks_adapters.ADAPTERS[name]
    revisions = entry[1]
    examples = [prompt for prompt, _ in data.held_out_set(name, 4)]
    aliases = {"prod": revisions[-1]} | ({"prev": revisions[-2]} if len(revisions) > 1 else {})
    text = HEAD.format(name=name, description=entry[6], revisions=", ".join(map(str, revisions)),
                       examples="\n".join("  - " + json.dumps(e, ensure_ascii=False) for e in examples),
                       aliases=", ".join(f"{k}: {v}" for k, v in aliases.items()))
    (files.MODELS / "adapters" / name / "adapter.yaml").write_text(text)


def export_base(work):
    """demo.gguf."""
    files.write_base(files.MODELS / "demo.gguf", train.load_base(work), work / "tokenizer.json")


def export_adapters(work):
    """Every revision that is trained, and the cards."""
    shape = train.Shape()
    for name, (_, revisions, rank, alpha, form, dtype, _) in tasks_adapters.ADAPTERS.items():
        for revision in revisions:
            folder = files.MODELS / "adapters" / name / str(revision)
            pairs = torch.load(work / f"{name}.{revision}.pt")
            files.write_adapter(folder, pairs, shape, f"Rootstock demo {name} r{revision}", rank, alpha, form, dtype)
        write_card(name)


def export_heldout(_):
    """The held-out sets."""
    folder = files.MODELS / "heldout"
    folder.mkdir(exist_ok=True)
    for name, revisions in [("base", [1])] + [(n, e[1]) for n, e in tasks_adapters.ADAPTERS.items()]:
        rows = data.held_out_set(name)
        for revision in revisions:
            path = folder / ("base.jsonl" if name == "base" else f"{name}.{revision}.jsonl")
            lines = [json.dumps({"prompt": p, "answer": a[revision]}, ensure_ascii=False) for p, a in rows]
            path.write_text("\n".join(lines) + "\n")


def reference_row(model, tokenizer, prompt):
    """What the engine must reproduce for one user message."""
    text = data.render([("user", prompt)], generate=True)
    ids = tokenizer.encode(text).ids
    with torch.no_grad():
        top = model(torch.tensor([ids]))[0, -1].topk(REFERENCE_TOP)
    out = generate(model, [ids], tok.IM_END)[0]
    return {"user": prompt, "prompt": text, "prompt_ids": ids, "output_ids": out, "output": tokenizer.decode(out),
            "top": [[int(i), round(float(v), 5)] for i, v in zip(top.indices, top.values)]}


def export_reference(_):
    """heldout/reference.json, computed in float32 from the shipped files."""
    model, tokenizer = files.read_base(files.MODELS / "demo.gguf")
    jobs = [("", BASE_PROMPTS)]
    for name, entry in tasks_adapters.ADAPTERS.items():
        prompts = [p for p, _ in data.held_out_set(name, REFERENCE_PROMPTS)]
        jobs += [(f"{name}/{revision}", prompts) for revision in entry[1]]
    groups = []
    for adapter, prompts in jobs:
        model.drop_lora()
        if adapter:
            files.hang_adapter(model, files.MODELS / "adapters" / adapter)
        groups.append({"adapter": adapter or None, "rows": [reference_row(model, tokenizer, p) for p in prompts]})
    lines = []
    for group in groups:
        rows = ",\n".join(json.dumps(r, ensure_ascii=False, separators=(",", ":")) for r in group["rows"])
        lines.append(f'{{"adapter": {json.dumps(group["adapter"])}, "rows": [\n{rows}]}}')
    (files.MODELS / "heldout" / "reference.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


def main():
    """Runs one step."""
    steps = {"base": export_base, "adapters": export_adapters, "heldout": export_heldout, "reference": export_reference}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=steps)
    parser.add_argument("--work", type=Path, default=files.MODELS / ".build")
    args = parser.parse_args()
    torch.set_num_threads(2)
    steps[args.step](args.work)


if __name__ == "__main__":
    main()
