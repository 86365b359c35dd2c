"""Checks the shipped files by a second path: numpy straight from the GGUF, adapters merged, own BPE.

    python check.py

The numpy model keeps the GGUF's row order and turns neighbouring pairs, so a wrong permutation shows.
"""

import json
import sys

import gguf
import jinja2
import numpy as np
import regex
import torch

import data
import files
import tokenizer as tok

PRETOKENIZE = [r"\p{N}", r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"]
LOGIT_TOLERANCE = 2e-3


def byte_letters():
    """GPT-2's printable stand-in for every byte."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in keep]
    return {b: chr(b) for b in keep} | {b: chr(256 + i) for i, b in enumerate(rest)}


class OwnTokenizer:
    """A plain BPE over the GGUF's own lists."""

    def __init__(self, reader):
        self.ids = {t: i for i, t in enumerate(reader.fields["tokenizer.ggml.tokens"].contents())}
        self.ranks = {tuple(m.split(" ")): i for i, m in enumerate(reader.fields["tokenizer.ggml.merges"].contents())}
        self.letters = byte_letters()

    def encode(self, text):
        out = []
        for part in regex.split("(" + "|".join(map(regex.escape, tok.SPECIALS)) + ")", text):
            out += [self.ids[part]] if part in tok.SPECIALS else self.plain(part)
        return out

    def plain(self, text):
        """Text without control tokens: first digits apart, then the GPT-2 pattern."""
        pieces = [p for p in regex.split(f"({PRETOKENIZE[0]})", text) if p]
        pieces = [q for p in pieces for q in regex.findall(PRETOKENIZE[1], p)]
        return [i for p in pieces for i in self.merge([self.letters[b] for b in p.encode()])]

    def merge(self, parts):
        """Merges the lowest rank first, leftmost first."""
        while len(parts) > 1:
            rank, at = min((self.ranks.get(pair, 1 << 30), i) for i, pair in enumerate(zip(parts, parts[1:])))
            if rank == 1 << 30:
                break
            parts = parts[:at] + [parts[at] + parts[at + 1]] + parts[at + 2:]
        return [self.ids[p] for p in parts]


class NumpyModel:
    """The llama forward pass in float64 on the GGUF's tensors, an adapter merged into the weights."""

    def __init__(self, reader, adapter=None):
        self.key = lambda name: reader.fields["llama." + name].contents()
        self.t = {t.name: np.array(t.data, np.float64) for t in reader.tensors}
        if adapter:
            self.merge(adapter)

    def merge(self, folder):
        """Adds scale * B A, in GGUF row order."""
        shape = files.Shape()
        pairs, scale = files.read_adapter(folder, shape)
        for (i, name), (a, b) in pairs.items():
            b, heads = b.numpy(), files.row_heads(shape, name)
            b = files.to_gguf_rows(b, heads) if heads else b
            delta = scale * (b.astype(np.float64) @ a.numpy().astype(np.float64))
            self.t[f"blk.{i}.{files.GGUF_NAMES[name]}.weight"] += delta

    def norm(self, x, name):
        square = (x * x).mean(-1, keepdims=True) + self.key("attention.layer_norm_rms_epsilon")
        return x / np.sqrt(square) * self.t[name + ".weight"]

    def heads(self, x, n, turn):
        """(token, n * length) as (n, token, length), neighbouring pairs turned by the position."""
        x = x.reshape(len(x), n, -1).transpose(1, 0, 2)
        if not turn:
            return x
        half = x.shape[2] // 2
        z = x[..., 0::2] + 1j * x[..., 1::2]
        angles = np.outer(np.arange(x.shape[1]), self.key("rope.freq_base") ** (-np.arange(half) / half))
        z = z * np.exp(1j * angles)
        return np.stack((z.real, z.imag), axis=-1).reshape(x.shape)

    def attention(self, x, blk):
        n, kv = self.key("attention.head_count"), self.key("attention.head_count_kv")
        w = lambda name: self.t[f"{blk}.attn_{name}.weight"].T
        q, k, v = self.heads(x @ w("q"), n, True), self.heads(x @ w("k"), kv, True), self.heads(x @ w("v"), kv, False)
        k, v = np.repeat(k, n // kv, 0), np.repeat(v, n // kv, 0)
        s = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[2])
        s = np.where(np.tri(len(x), dtype=bool), s, -np.inf)
        p = np.exp(s - s.max(-1, keepdims=True))
        y = (p / p.sum(-1, keepdims=True)) @ v
        return y.transpose(1, 0, 2).reshape(len(x), -1) @ w("output")

    def last_logits(self, ids):
        x = self.t["token_embd.weight"][ids]
        for i in range(self.key("block_count")):
            blk = f"blk.{i}"
            x = x + self.attention(self.norm(x, blk + ".attn_norm"), blk)
            h = self.norm(x, blk + ".ffn_norm")
            gate, up = h @ self.t[blk + ".ffn_gate.weight"].T, h @ self.t[blk + ".ffn_up.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * up) @ self.t[blk + ".ffn_down.weight"].T
        return self.norm(x, "output_norm")[-1] @ self.t["token_embd.weight"].T


def check_template(reader):
    """The chat template renders what training rendered."""
    template = jinja2.Environment().from_string(reader.fields["tokenizer.chat_template"].contents())
    dialogue = [("system", "Answer briefly."), ("user", "Hi\nthere"), ("assistant", "Hello!"), ("user", "Bye")]
    messages = [{"role": r, "content": c} for r, c in dialogue]
    return template.render(messages=messages, add_generation_prompt=True) == data.render(dialogue, generate=True)


def check_tokenizer(reader, tokenizer):
    """Our own BPE and the tokenizers package agree on every held-out line and on hard strings."""
    own = OwnTokenizer(reader)
    texts = ["", " ", "a  b\n\n c\t", "12345 6,7", "l'été à Genève", "日本語 🌱", "it's we'll",
             "<|im_start|>user\nx<|im_end|>\n"]
    for path in sorted((files.MODELS / "heldout").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            texts.append(data.render([("user", row["prompt"]), ("assistant", row["answer"])]))
    same = all(own.encode(t) == tokenizer.encode(t).ids for t in texts)
    return same and all(tokenizer.decode(own.plain("x" + t)) == "x" + t for t in texts)


def check_logits(reader, adapter):
    """The largest difference between numpy and the reference's logits for one adapter."""
    folder = files.MODELS / "adapters" / adapter["adapter"] if adapter["adapter"] else None
    model = NumpyModel(reader, folder)
    worst = 0.0
    for row in adapter["rows"]:
        logits = model.last_logits(row["prompt_ids"])
        worst = max(worst, *(abs(logits[i] - v) for i, v in row["top"]))
    return worst


def main():
    """Prints one line a check; exit status 1 when one fails."""
    torch.set_num_threads(2)
    reader = gguf.GGUFReader(files.MODELS / "demo.gguf")
    _, tokenizer = files.read_base(files.MODELS / "demo.gguf")
    results = [("chat template", check_template(reader), ""), ("tokenizer", check_tokenizer(reader, tokenizer), "")]
    for adapter in json.loads((files.MODELS / "heldout" / "reference.json").read_text()):
        worst = check_logits(reader, adapter)
        name = adapter["adapter"] or "the base"
        results.append((f"logits of {name}", worst < LOGIT_TOLERANCE, f"off by {worst:.1e}"))
    for name, good, note in results:
        print(f"{'ok  ' if good else 'FAIL'} {name} {note}")
    sys.exit(0 if all(good for _, good, _ in results) else 1)


if __name__ == "__main__":
    main()
