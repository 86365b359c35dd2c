"""Trains models/signals/language.bin, the shipped identifier of languages, from published n-gram counts.

    python train_language.py OUT [--samples N] [--seed N]

No text is needed. The models of the package lingua-language-detector (75 languages, Apache-2.0) say how often every run
of 1 to 5 letters follows the run before it, as exact fractions; what a run lacks to the sum over its continuations is
how often a word ends (or begins) there. So the words of a language can be drawn from a chain of order 4. Where letters
carry marks that those models cut off (Devanagari), the chain of order 2 in the profiles of the package langdetect
(Apache-2.0) is used. A linear classifier over hashed runs of characters learns to tell the drawn words apart.

The file is little-endian: `MAGIC`, header, and groups of languages that share a script; see router/signals/langid.h.
"""

import argparse
import json
import math
import struct
import time
import unicodedata
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import brotli
import numpy as np
import scipy.sparse

from language_words import EVERYDAY

MAGIC = b"RSLANG1\0"
LONGEST_WORD = 24
PAD = 64  # bytes behind a table, which may be read with its last row
MARK = ord(".")  # both ends of a word

LATIN = (
    "af az bs ca cs cy da de en eo es et eu fi fr ga hr hu id is it la lg lt lv mi ms nb nl nn pl pt ro sk sl sn so sq "
    "st sv sw tl tn tr ts vi xh yo zu"
).split()
# script, first letters of the name in Unicode; languages; rows of the table; longest run
GROUPS = [
    ("LATIN", LATIN, 32768, 5),
    ("CYRILLIC", "be bg kk mk mn ru sr uk".split(), 8192, 5),
    ("ARABIC", "ar fa ur".split(), 8192, 5),
    ("DEVANAGARI", "hi mr ne".split(), 8192, 4),
    ("HAN", "zh ja".split(), 16384, 1),
]
RANGES = {  # letters of a script
    "LATIN": [(0x41, 0x24F), (0x1E00, 0x1EFF)],
    "CYRILLIC": [(0x400, 0x52F)],
    "ARABIC": [(0x620, 0x65F), (0x66E, 0x6EF), (0x6FA, 0x6FF), (0x750, 0x77F)],
    "DEVANAGARI": [(0x900, 0x963), (0x970, 0x97F)],
    "HAN": [(0x3400, 0x9FFF)],
}
# The languages that most requests are in; a word that several languages share is more likely one of theirs.
COMMON = set("ar bn cs de en es fr hi id it ja ko nl pl pt ru sv th tr uk vi zh".split())
PRIOR, ENGLISH_PRIOR = 1.0, 2.5  # log-odds of a common language, and of English, against another
HAN_PRIOR = 1.0  # and of Chinese against Japanese where there is no Kana
TEMPERATURE, TEMPERATURE_WORD = 1.0, 0.2  # of the softmax: for no word, and more for each word

EVERYDAY_SHARE = 0.05  # of the weight of a language, for its everyday words
BARE_SHARE = 0.05  # of the weight of a word, for the same without its accents
FLATTEN = 0.6  # power of a word's frequency that is its weight: 1 token by token, 0 type by type
EPOCHS, BATCH, RATE = 6, 32768, 0.05
HAN_LIMIT, HAN_KNOWN, HAN_RARE = 4.0, 3e-6, 1e-7


def belongs(character, script):
    """Whether a character is a letter of the script."""
    if script != "DEVANAGARI" and not character.isalpha():
        return False
    return any(low <= ord(character) <= high for low, high in RANGES[script])


# ---- counts of runs ----


def data_folder(package):
    """Where an installed package lies; it is not imported, so what it needs is not needed."""
    return Path(find_spec(package).submodule_search_locations[0])


def lingua_counts(language):
    """[{run: count}] for runs of 1 letter, of 2, and so on."""
    folder = data_folder("lingua") / "language-models" / language
    counts = []
    for name in ("unigrams", "bigrams", "trigrams", "quadrigrams", "fivegrams"):
        file = folder / f"{name}.json.br"
        if not file.is_file():
            break
        table = json.loads(brotli.decompress(file.read_bytes()))["ngrams"]
        shares = [(*map(int, share.split("/")), runs.split(" ")) for share, runs in table.items()]
        if not counts:
            total = math.lcm(*(below for _, below, _ in shares))
            counts.append({run: above * total // below for above, below, runs in shares for run in runs})
        else:
            last = counts[-1]
            counts.append({r: round(last[r[:-1]] * above / below) for above, below, runs in shares for r in runs})
    return counts


def with_ends(counts):
    """Adds runs that begin with "<" or end with ">": a word's ends, as what the longer runs leave over."""
    runs = [dict(c) for c in counts]
    for n in range(len(counts) - 1):
        before, after = defaultdict(int), defaultdict(int)
        for run, count in counts[n + 1].items():
            before[run[1:]] += count
            after[run[:-1]] += count
        for run, count in counts[n].items():
            if count > before[run]:
                runs[n + 1]["<" + run] = count - before[run]
            if count > after[run]:
                runs[n + 1][run + ">"] = count - after[run]
    for n in range(1, len(counts) - 1):
        after = defaultdict(int)
        for run, count in runs[n + 1].items():
            if run[0] == "<" and run[-1] != ">":
                after[run[:-1]] += count
        for run, count in list(runs[n].items()):
            if run[0] == "<" and run[-1] != ">" and count > after[run]:
                runs[n + 1][run + ">"] = count - after[run]
    return runs


def langdetect_counts(language):
    """The same from a profile: spaces are the ends, the longest run has 3 characters."""
    profile = json.loads((data_folder("langdetect") / "profiles" / language).read_text("utf-8"))["freq"]
    runs = [{}, {}, {}]
    for run, count in profile.items():
        inside = run.strip(" ")
        if inside and all(belongs(c, "DEVANAGARI") for c in inside):
            marked = ("<" if run[0] == " " else "") + inside + (">" if run[-1] == " " else "")
            runs[len(run) - 1][marked] = count
    return runs


# ---- words drawn from them ----


class Chain:
    """Runs by length, sorted, so that the continuations of a run are neighbours."""

    def __init__(self, runs):
        self.order = len(runs)
        self.tables = []
        for n, table in enumerate(runs, start=1):
            keep = sorted(r for r in table if n == self.order or r[0] == "<")
            self.tables.append((np.array(keep, dtype=f"U{n}"), np.cumsum([0] + [table[r] for r in keep])))

    def draw(self, number, rng):
        """Words with how often each was drawn."""
        words = np.full(number, "", dtype=f"U{LONGEST_WORD}")
        states = np.full(number, "<", dtype=f"U{self.order}")
        alive, done = np.arange(number), []
        for step in range(LONGEST_WORD + 1):
            length = min(step + 2, self.order)
            runs, sums = self.tables[length - 1]
            low = np.searchsorted(runs, states)
            total = sums[np.searchsorted(runs, np.char.add(states, "\U0010ffff"))] - sums[low]
            picked = np.searchsorted(sums, sums[low] + (rng.random(len(alive)) * total).astype(np.int64), side="right") - 1
            chosen = runs[np.clip(picked, 0, len(runs) - 1)]
            last = np.array([run[-1] for run in chosen])
            done.append(alive[(last == ">") & (total > 0)])
            go = (last != ">") & (total > 0)
            alive, chosen, last = alive[go], chosen[go], last[go]
            words[alive] = np.char.add(words[alive], last)
            states = np.array([run[-(self.order - 1) :] for run in chosen], dtype=f"U{self.order}")
            if not len(alive):
                break
        return np.unique(words[np.concatenate(done)], return_counts=True)


# ---- features ----


def features(words, rows, longest):
    """One row a word: how often each hashed run of it occurs. The hash is that of router/signals/langid.c."""
    letters = np.array(words, dtype=f"U{LONGEST_WORD}").view(np.uint32).reshape(len(words), LONGEST_WORD)
    marked = np.zeros((len(words), LONGEST_WORD + 2), np.uint32)
    marked[:, 0], marked[:, 1:-1] = MARK, letters
    marked[np.arange(len(words)), (letters != 0).sum(1) + 1] = MARK
    row, column = [], []
    with np.errstate(over="ignore"):
        for n in range(1, longest + 1):
            width = marked.shape[1] - n + 1
            h = np.full((len(words), width), 0x9E3779B1, np.uint32)
            whole = np.ones_like(h, bool)
            for j in range(n):
                character = marked[:, j : j + width]
                whole &= character != 0
                h = (h ^ character) * np.uint32(0x85EBCA6B)
                h ^= h >> np.uint32(15)
            h *= np.uint32(0xC2B2AE35)
            h ^= h >> np.uint32(16)
            if n == 1:
                whole &= marked != MARK
            at = np.nonzero(whole)
            row.append(at[0])
            column.append(h[at] & np.uint32(rows - 1))
    row, column = np.concatenate(row), np.concatenate(column).astype(np.int32)
    return scipy.sparse.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=(len(words), rows))


# ---- training ----


def fit(x, y, weight, classes, rng):
    """Multinomial logistic regression by Adam over shuffled batches, the rate falling to zero."""
    shape = (x.shape[1], classes)
    w, mean, square = np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    batch = min(BATCH, max(1024, x.shape[0] // 16))
    steps, step = EPOCHS * math.ceil(x.shape[0] / batch), 0
    for epoch in range(EPOCHS):
        order, loss = rng.permutation(x.shape[0]), 0.0
        for at in range(0, x.shape[0], batch):
            part = order[at : at + batch]
            xs, ys, ws = x[part], y[part], weight[part]
            z = xs @ w
            p = np.exp(z - z.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            loss -= (ws * np.log(p[np.arange(len(part)), ys] + 1e-9)).sum()
            p[np.arange(len(part)), ys] -= 1
            gradient = xs.T.tocsr() @ (p * (ws / len(part))[:, None])
            step += 1
            mean += 0.1 * (gradient - mean)
            square += 0.01 * (gradient * gradient - square)
            rate = RATE * (1 - step / steps) + 1e-4
            w -= rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-7)
        print(f"  epoch {epoch + 1}/{EPOCHS} loss {loss / weight.sum():.4f}", flush=True)
    return w


def unaccented(word):
    """The word as it is typed on a plain keyboard."""
    return "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))


def draw_words(script, languages, samples, rng):
    """Drawn words of all languages, the language of each, and its weight."""
    words, labels, weights = [], [], []
    for label, language in enumerate(languages):
        runs = langdetect_counts(language) if script == "DEVANAGARI" else with_ends(lingua_counts(language))
        drawn, times = Chain(runs).draw(samples, rng)
        own = np.array([w != "" and all(belongs(c, script) for c in w) for w in drawn])
        weight = times[own] ** FLATTEN
        weight *= (1 - EVERYDAY_SHARE) / weight.sum()
        everyday = [w for w in EVERYDAY.get(language, "").replace("'", " ").split() if all(belongs(c, script) for c in w)]
        bare = {w: unaccented(w) for w in drawn[own]} if script == "LATIN" else {}
        changed = [i for i, w in enumerate(drawn[own]) if bare.get(w, w) != w]
        more = [bare[drawn[own][i]] for i in changed]
        words += list(drawn[own]) + everyday + more
        weights += [weight, np.full(len(everyday), EVERYDAY_SHARE / max(1, len(everyday))), weight[changed] * BARE_SHARE]
        labels += [label] * (len(weight) + len(everyday) + len(more))
    weights = np.concatenate(weights)
    return words, np.array(labels), (weights / weights.mean()).astype(np.float32)


def shares(counts):
    """Counts of letters of East Asian scripts as shares of their sum."""
    counts = {c: n for c, n in counts.items() if len(c) == 1 and c.isalpha() and ord(c) >= 0x3000}
    total = sum(counts.values())
    return {c: n / total for c, n in counts.items()}


def han_shares(language, profile, codecs):
    """How common each character is: the mean of two sources, and a little for all that the language's codecs write."""
    folder = data_folder("langdetect") / "profiles" / profile
    sources = shares(lingua_counts(language)[0]), shares(json.loads(folder.read_text("utf-8"))["freq"])
    mean = defaultdict(float)
    for source in sources:
        for character, share in source.items():
            mean[character] += share / len(sources)
    for low, high in RANGES["HAN"]:
        for character in map(chr, range(low, high + 1)):
            if any(character.encode(codec, "ignore") for codec in codecs):
                mean[character] += HAN_KNOWN
    return mean


def han_weights(rows):
    """How much a character speaks for either language: half the log ratio of its shares, within bounds. A share of
    Japanese is one of Kanji and Kana, so that Kanji alone speak against it."""
    chinese = han_shares("zh", "zh-cn", ("gb2312", "big5"))
    japanese = han_shares("ja", "ja", ("shift_jis",))
    characters = sorted(c for c in set(chinese) | set(japanese) if belongs(c, "HAN"))
    ratio = np.array([math.log((chinese[c] + HAN_RARE) / (japanese[c] + HAN_RARE)) for c in characters])
    x = features(characters, rows, 1)
    half = np.clip(x.T @ ratio / np.maximum(1, np.asarray(x.sum(0))[0]), -HAN_LIMIT, HAN_LIMIT) / 2
    return np.stack([half, -half], 1)


def prior_of(language):
    """Log-odds of a language before anything is read."""
    if language == "en":
        return ENGLISH_PRIOR
    return PRIOR * (language in COMMON) + HAN_PRIOR * (language == "zh")


def write(path, groups):
    """The file that router/signals/langid.c reads."""
    with open(path, "wb") as out:
        out.write(MAGIC + struct.pack("<Iff", len(groups), TEMPERATURE, TEMPERATURE_WORD))
        for (script, languages, rows, longest), w in groups:
            scale = np.abs(w).max() / 127
            out.write(struct.pack("<12sIIIf", script.encode(), len(languages), rows, longest, scale))
            for language in languages:
                out.write(struct.pack("<4sf", language.encode(), prior_of(language)))
            quantized = np.rint(w / scale).astype(np.int8).tobytes()
            quantized += bytes(PAD)
            out.write(quantized + bytes(-len(quantized) % 4))


def main():
    """Trains every group and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--samples", type=int, default=80000, help="words drawn a language")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    start, groups = time.time(), []
    for group in GROUPS:
        script, languages, rows, longest = group
        rng = np.random.default_rng(arguments.seed)
        if script == "HAN":
            w = han_weights(rows)
        else:
            words, labels, weights = draw_words(script, languages, arguments.samples, rng)
            print(f"{time.time() - start:5.0f}s {script}: {len(words)} words", flush=True)
            w = fit(features(words, rows, longest), labels, weights, len(languages), rng)
        groups.append((group, w))
    write(arguments.out, groups)
    print(f"{time.time() - start:5.0f}s {arguments.out}")


if __name__ == "__main__":
    main()
