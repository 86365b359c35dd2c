#!/usr/bin/env python3
"""Distils a sentence encoder into models/signals/words.bin: a vector for each word and piece of a word.

usage: distill_words.py DATA WORDNET PROGRAM ENCODER.gguf [--out FILE] [--cache FOLDER] [--epochs N]

DATA is the folder of the labelled sets (*.dev.jsonl), WORDNET that of WordNet's data.* files, PROGRAM a rootstock
that embeds, ENCODER a converted all-MiniLM-L6-v2. The table is fitted so that the sum of the items of a text points
where the encoder's vector of the text does (in the directions that most of its vectors lie in), and so that texts are
as alike as the encoder says. --cache keeps the encoder's vectors between runs.

The idea is that of static distillation (Tissier et al., "Near-lossless Binarization of Word Embeddings", 2019;
Minish Lab's Model2Vec and Tokenlearn). Needs numpy, torch and gguf (PyPI).
"""
import argparse
import ast
import collections
import json
import pathlib
import random
import re
import struct
import subprocess
import sysconfig

import gguf
import numpy as np
import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE.parent / "signals" / "words.bin"
WIDTH = 64
PIECE_BYTES = 24  # of an item, as in router/vectors/words.c
WORDS, PIECES = 19300, 4400
SETS = """clinc150 banking77 hwu64 mmlu_pro_category mtbench_vicuna task_route routellm_mmlu routellm_gsm8k routerarena
jailbreak prompt_injection harmful_requests output_length begin""".split()
UNIT = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3]|[^\W_]+")
PLAIN = re.compile(r"[a-z0-9àáâãäåæçèéêëìíîïðñòóôõöøùúûüýÿß]+")
WORD_START = "\u2581"
MAX_CHARS = 240


def units(text):
    """The words of a text, nearly as the program cuts them."""
    return UNIT.findall(text.lower())


# ---- texts ----

def read_sets(data):
    """Texts of the labelled sets, each once, in a fixed order."""
    seen, texts = set(), []
    for name in SETS:
        rows = [json.loads(line) for line in open(data / f"{name}.dev.jsonl", encoding="utf-8")]
        random.shuffle(rows)
        for row in rows[:6000]:
            text = " ".join(row["text"].split())[:400]
            if len(text) > 2 and text not in seen:
                seen.add(text)
                texts.append(text)
    return texts


def read_wordnet(folder):
    """Definitions, with and without the word, examples, and names of several words."""
    texts = []
    for path in [folder / f"data.{kind}" for kind in ("verb", "adv", "noun", "adj")]:
        for line in open(path, encoding="latin1"):
            if line.startswith("  "):  # the licence
                continue
            head, gloss = line.split(" | ", 1)
            name = re.sub(r"\(.*?\)", "", head.split()[4].replace("_", " "))
            definition, *examples = [part.strip().strip('"') for part in gloss.strip().split("; ")]
            texts.append(f"{name}: {definition}" if random.random() < 0.5 else definition)
            texts += [e for e in examples if len(e) > 12]
            if " " in name and random.random() < 0.3:
                texts.append(name)
    texts = list(dict.fromkeys(texts))
    random.shuffle(texts)
    return texts


def read_docstrings():
    """Sentences of the standard library's docstrings: how programmers talk."""
    texts = []
    for path in sorted(pathlib.Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if {"test", "tests", "site-packages", "dist-packages"} & set(path.parts):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            documented = isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module, ast.AsyncFunctionDef))
            for part in ((ast.get_docstring(node) if documented else None) or "").split("\n\n")[:3]:
                for s in re.split(r"(?<=[.!?]) ", " ".join(part.split()))[:3]:
                    plain = sum(c.isalpha() or c == " " for c in s)
                    if 20 < len(s) < MAX_CHARS and ">>>" not in s and plain / len(s) > 0.8:
                        texts.append(s)
    texts = list(dict.fromkeys(texts))
    random.shuffle(texts)
    return texts


# ---- items ----

class Cutter:
    """Cuts words as router/vectors/words.c does: the longest item first. Items that go on begin with '#'."""

    def __init__(self, items):
        self.at = {item: i for i, item in enumerate(items)}
        self.memo = {}

    def word(self, word):
        if word not in self.memo:
            found, at = [], 0
            while at < len(word):
                for n in range(min(len(word) - at, PIECE_BYTES), 0, -1):
                    item = self.at.get(("#" if at else "") + word[at:at + n])
                    if item is not None:
                        found.append(item)
                        at += n
                        break
                else:
                    at += 1
            self.memo[word] = found
        return self.memo[word]

    def text(self, text):
        return [item for unit in units(text) for item in self.word(unit)]


def choose_items(encoder, texts, weights):
    """Letters, the commonest words of the texts and of the encoder's vocabulary, and its most used pieces."""
    field = gguf.GGUFReader(encoder).fields["tokenizer.ggml.tokens"]
    tokens = [bytes(field.parts[i]).decode("utf-8") for i in field.data]
    whole = [t[1:] for t in tokens if t.startswith(WORD_START)]
    pieces = [t for t in tokens if not t.startswith(WORD_START) and PLAIN.fullmatch(t)
              and not (re.search(r"\d", t) and len(t) > 2)]
    score = collections.Counter()
    for text, weight in zip(texts, weights):
        for word in set(units(text)):
            score[word] += weight
    for word in (HERE / "signals" / "words.txt").read_text(encoding="utf-8").split():
        score[word] += 30  # what requests to a gateway speak of
    for i, word in enumerate(whole):
        score[word] += max(0, 9000 - i) / 9000 * 8  # its order is that of frequency
    known = [w for w in score if PLAIN.fullmatch(w) and not re.search(r"\d", w) and 1 < len(w) <= 20]
    known.sort(key=lambda w: (-score[w], w))
    letters = sorted({w for w in whole if len(w) == 1 and re.fullmatch(r"[a-z0-9]", w)})
    every = letters + known[:WORDS] + ["#" + p for p in pieces]
    cutter, use = Cutter(every), collections.Counter()
    for word in known[WORDS:]:
        for item in cutter.word(word):
            use[every[item]] += score[word]
    long = sorted((p for p in every if p.startswith("#") and len(p) > 2), key=lambda p: (-use[p], p))
    return letters + known[:WORDS] + ["#" + p for p in pieces if len(p) == 1] + long[:PIECES]


# ---- the encoder ----

def embed(texts, program, encoder, cache):
    """The encoder's vectors of the texts, unit length."""
    have = {}
    if cache and (cache / "vectors.npy").exists():
        kept = json.loads((cache / "texts.json").read_text(encoding="utf-8"))
        have = dict(zip(kept, np.load(cache / "vectors.npy")))
    missing = [t for t in dict.fromkeys(texts) if t not in have]
    print(f"{len(missing)} texts to embed", flush=True)
    for at in range(0, len(missing), 5000):
        part = missing[at:at + 5000]
        ran = subprocess.run([program, "embed", "-m", encoder, "--json"], input="".join(json.dumps(t) + "\n" for t in part),
                             capture_output=True, text=True, check=True)
        have.update((t, np.array(json.loads(v), np.float16)) for t, v in zip(part, ran.stdout.splitlines()))
        if cache:
            cache.mkdir(parents=True, exist_ok=True)
            (cache / "texts.json").write_text(json.dumps(list(have)), encoding="utf-8")
            np.save(cache / "vectors.npy", np.array(list(have.values())))
    vectors = np.array([have[t] for t in texts], np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


# ---- the table ----

def fit(bags, vectors, n_items, epochs):
    """Rows whose sums over a bag point where the bag's vector does; the last n_items bags are single items."""
    rng = np.random.default_rng(1)
    torch.manual_seed(1)
    sample = np.concatenate([vectors[:-n_items], vectors[-n_items:][rng.permutation(n_items)[:8000]]])
    _, directions = np.linalg.eigh(sample.T @ sample / len(sample))
    target = vectors @ directions[:, ::-1][:, :WIDTH]
    single = target[-n_items:]
    seen = np.ones(n_items)
    for bag in bags[:-n_items]:
        seen[list(set(bag))] += 1
    says = 3e-3 / (3e-3 + seen / len(bags) / 8)
    rows = torch.nn.Parameter(torch.tensor((single - 0.8 * single.mean(0)) * says[:, None], dtype=torch.float32))
    target = F.normalize(torch.tensor(target, dtype=torch.float32), dim=1)
    whole = torch.tensor(vectors)
    usable = np.array([i for i, bag in enumerate(bags) if bag])
    optimizer, batch, rate, step = torch.optim.Adam([rows]), 512, 0.01, 0
    steps = epochs * (len(usable) // batch)
    apart = ~torch.eye(batch, dtype=torch.bool)
    for epoch in range(epochs):
        order, total = rng.permutation(usable), 0.0
        for at in range(0, len(order) - batch + 1, batch):
            index = order[at:at + batch]
            flat = torch.tensor([item for i in index for item in bags[i]])
            begins = torch.tensor(np.cumsum([0] + [len(bags[i]) for i in index[:-1]]))
            x = F.normalize(F.embedding_bag(flat, rows, begins, mode="sum"), dim=1)
            like, truth = x @ x.T, whole[index] @ whole[index].T
            pairs = ((1 + 4 * truth.clamp(min=0)) * (like - truth) ** 2)[apart].mean()
            loss = (1 - (x * target[index]).sum(1)).mean() + 4 * pairs
            optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
            step += 1
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
        print(f"epoch {epoch + 1}: loss {total / (len(order) // batch):.4f}", flush=True)
    return rows.detach().numpy()


# ---- the file (its layout: router/vectors/words.c) ----

def slot_of(item):
    h = 2166136261
    for byte in item:
        h = ((h ^ byte) * 16777619) & 0xffffffff
    h = ((h ^ (h >> 15)) * 0x2c1b3c6d) & 0xffffffff
    return h ^ (h >> 13)


def write(path, items, rows):
    names = [item.encode() for item in items]
    slots = 1 << (2 * len(items) - 1).bit_length()
    index = np.zeros(slots, np.uint16)
    for i, name in enumerate(names):
        at = slot_of(name) & (slots - 1)
        while index[at]:
            at = (at + 1) & (slots - 1)
        index[at] = i + 1
    scale = np.maximum(np.abs(rows).max(1), 1e-9) / 127
    unit = float(scale.max() / 65535)
    scale16 = np.maximum(1, np.round(scale / unit)).astype(np.uint16)
    whole = np.clip(np.round(rows / (scale16[:, None] * unit)), -127, 127).astype(np.int8)
    lengths = np.linalg.norm(rows, axis=1)
    says = np.round(np.clip(lengths / np.percentile(lengths, 80), 0, 1) * 255).astype(np.uint8)
    ends = np.cumsum([len(name) for name in names]).astype(np.uint32)
    with open(path, "wb") as f:
        f.write(struct.pack("<8sIIIIfI", b"RWORDS1\n", len(items), slots, WIDTH, int(ends[-1]), unit, 0))
        for part in (whole, ends, index, scale16, says):
            f.write(part.tobytes())
        f.write(b"".join(names))
    print(f"{path}: {len(items)} items, {path.stat().st_size} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("data", "wordnet", "program", "encoder"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    parser.add_argument("--cache", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=4)
    a = parser.parse_args()
    random.seed(7)
    labelled, wordnet = read_sets(a.data), read_wordnet(a.wordnet)
    docs = read_docstrings()
    texts = labelled + docs + wordnet
    items = choose_items(a.encoder, texts, [2] * (len(labelled) + len(docs)) + [1] * len(wordnet))
    learnt = [t[:MAX_CHARS] for t in labelled + docs[:6000] + wordnet[:60000]]
    cutter = Cutter(items)
    vectors = embed(learnt + [item.lstrip("#") for item in items], a.program, a.encoder, a.cache)
    bags = [cutter.text(t) for t in learnt] + [[i] for i in range(len(items))]
    write(a.out, items, fit(bags, vectors, len(items), a.epochs))


if __name__ == "__main__":
    main()
