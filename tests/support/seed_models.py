#!/usr/bin/env python3
"""Writes the small GGUF files that tests and fuzz targets begin with.

    seed_models.py [REPOSITORY_ROOT]

Needs gguf, numpy and tokenizers (PyPI). The vocabularies are made here: two alphabets of bytes, a few words and
marks. tokens.json holds ids that a plain quadratic merge loop finds, written apart from the C code.
"""
import json
import pathlib
import struct
import sys

import gguf
import numpy as np

TEXTS = [
    "", " ", "  ", "a", "hello", "hello hello", " hello", "hello  world\n", "hell", "lo", "the them then",
    "é世🦙", "x<|im_end|>y", "<|im_start|>user\nhello<|im_end|>", "<tool>hello</tool>", "a\tb\r\n\r\n c",
    "12345 67", "don't can't WE'LL", "<s>hello</s>", "\u0000\u0001", "<|im_<|im_end|>end|>", "hhhhhhh", "lllll",
]
WORDS = ["he", "ll", "hell", "hello", "lo", "th", "the", "them", "en", "or", "wor", "world", "ld", "hh", "lll"]


def byte_runes():
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    out, n = {}, 0
    for b in range(256):
        out[b] = chr(b) if b in kept else chr(256 + n)
        n += b not in kept
    return out


def spm(path):
    texts, scores, kinds = ["<unk>", "<s>", "</s>"], [0.0] * 3, [2, 3, 3]
    for b in range(256):
        texts.append(f"<0x{b:02X}>"), scores.append(0.0), kinds.append(6)
    pieces = [*"\u2581abcdefghijklmnopqrstuvwxyzTHEW'", *WORDS, "\u2581hello", "\u2581h", "\u2581the", "\u2581\u2581", "é"]
    for i, p in enumerate(pieces):
        texts.append(p), scores.append(-((i * 7) % 13) - i / 100), kinds.append(1)
    for mark, kind in (("<|im_start|>", 3), ("<|im_end|>", 3), ("<tool>", 4), ("</tool>", 4)):
        texts.append(mark), scores.append(0.0), kinds.append(kind)
    w = gguf.GGUFWriter(path, "llama")
    w.add_tokenizer_model("llama")
    w.add_token_list(texts)
    w.add_token_scores(scores)
    w.add_token_types(kinds)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    w.add_add_bos_token(True)
    w.add_add_eos_token(False)
    finish(w)
    return texts, scores, kinds


def bpe(path):
    runes = byte_runes()
    texts, kinds = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], [3, 3, 3]
    texts += [runes[b] for b in range(256)]
    merges = []
    for word in [*WORDS, "Ġh", "Ġhe", "Ġhello", "Ġw", "ĠĠ", "ĊĊ", "'t", "12", "Ã©"]:
        for i in range(1, len(word)):
            if word[:i] in texts and word[i:] in texts and word not in texts:
                merges.append(f"{word[:i]} {word[i:]}")
                texts.append(word)
    texts += ["<tool>", "</tool>", "    "]
    kinds += [1] * (len(texts) - len(kinds) - 3) + [4, 4, 4]
    w = gguf.GGUFWriter(path, "llama")
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(texts)
    w.add_token_types(kinds)
    w.add_token_merges(merges)
    w.add_bos_token_id(0)
    w.add_eos_token_id(2)
    finish(w)
    return texts, merges, kinds


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def everything(path):
    """A key of each kind, arrays of each kind, tensors of several types."""
    w = gguf.GGUFWriter(path, "llama")
    V = gguf.GGUFValueType
    scalars = [("u8", 255, V.UINT8), ("i8", -128, V.INT8), ("u16", 65535, V.UINT16), ("i16", -32768, V.INT16),
               ("u32", 4294967295, V.UINT32), ("i32", -2147483648, V.INT32), ("f32", 1.5, V.FLOAT32), ("bool", True, V.BOOL),
               ("string", "grüße", V.STRING), ("u64", 2**64 - 1, V.UINT64), ("i64", -(2**63), V.INT64), ("f64", -2.25, V.FLOAT64)]
    for name, value, kind in scalars:
        w.add_key_value(f"test.{name}", value, kind)
    for name, values, kind in [("u8", [1, 2, 3], V.UINT8), ("i32", [-1, 0, 1], V.INT32), ("f32", [0.5, -0.5], V.FLOAT32),
                               ("string", ["a", "", "cc"], V.STRING), ("i64", [-5], V.INT64), ("bool", [True, False], V.BOOL)]:
        w.add_key_value(f"test.array.{name}", values, V.ARRAY, sub_type=kind)
    w.add_tensor("f32", np.arange(12, dtype=np.float32).reshape(3, 4))
    w.add_tensor("f16", np.arange(8, dtype=np.float16))
    for name, kind in (("q8_0", gguf.GGMLQuantizationType.Q8_0), ("q4_0", gguf.GGMLQuantizationType.Q4_0)):
        data = gguf.quantize(np.linspace(-1, 1, 64, dtype=np.float32).reshape(2, 32), kind)
        w.add_tensor(name, data, raw_dtype=kind)
    finish(w)


def version2(path):
    def s(b):
        return struct.pack("<Q", len(b)) + b
    head = b"GGUF" + struct.pack("<IQQ", 2, 1, 2) + s(b"general.architecture") + struct.pack("<I", 8) + s(b"llama")
    head += s(b"general.alignment") + struct.pack("<II", 4, 64)
    head += s(b"w") + struct.pack("<IQQIQ", 2, 4, 2, 0, 0)
    head += b"\0" * (-len(head) % 64)
    path.write_bytes(head + struct.pack("<8f", *range(8)))


def merge_spm(text, texts, scores, kinds):
    usable = {t: i for i, t in enumerate(texts) if kinds[i] in (1, 4)}
    parts = [*(" " + text).replace(" ", "\u2581")]
    while True:
        best = None
        for i in range(len(parts) - 1):
            id = usable.get(parts[i] + parts[i + 1])
            if id is not None and (best is None or np.float32(scores[id]) > best[0]):
                best = (np.float32(scores[id]), i)
        if best is None:
            break
        parts[best[1] : best[1] + 2] = [parts[best[1]] + parts[best[1] + 1]]
    ids = []
    for p in parts:
        ids += [usable[p]] if p in usable else [texts.index(f"<0x{b:02X}>") for b in p.encode()]
    return ids


def merge_bpe(word, texts, merges):
    ranks = {tuple(m.split(" ")): i for i, m in enumerate(merges)}
    runes = byte_runes()
    parts = [runes[b] for b in word]
    while True:
        found = [(ranks[p], i) for i, p in enumerate(zip(parts, parts[1:])) if p in ranks]
        if not found:
            return [texts.index(p) for p in parts]
        i = min(found)[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def cut_marks(text, marks):
    """(is_mark, piece): the longest mark first over the whole text."""
    pieces = [(False, text)]
    for mark in sorted(marks, key=lambda m: -len(m.encode())):
        out = []
        for done, piece in pieces:
            if done or mark not in piece:
                out.append((done, piece))
                continue
            for i, part in enumerate(piece.split(mark)):
                out += ([(True, mark)] if i else []) + ([(False, part)] if part else [])
        pieces = out
    return [p for p in pieces if p[1]]


def expected(texts, kinds, encode):
    rows = []
    for text in TEXTS:
        row = {"text": text}
        for key, usable in (("plain", (4,)), ("parsed", (2, 3, 4))):
            marks = [t for t, k in zip(texts, kinds) if k in usable]
            ids = []
            for mark, piece in cut_marks(text, marks):
                ids += [texts.index(piece)] if mark else encode(piece)
            row[key] = ids
        rows.append(row)
    return rows


def main():
    import tokenizers

    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    corpus = root / "tests/fuzz/corpus"
    everything(corpus / "gguf/everything.gguf")
    version2(corpus / "gguf/version2.gguf")
    t, s, k = spm(corpus / "tokenizer/spm.gguf")
    spm_rows = expected(t, k, lambda piece: merge_spm(piece, t, s, k))
    bt, m, bk = bpe(corpus / "tokenizer/bpe.gguf")
    split = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    back = {c: b for b, c in byte_runes().items()}

    def encode(piece):
        words = [bytes(back[c] for c in w) for w, _ in split.pre_tokenize_str(piece)]
        return [id for w in words for id in merge_bpe(w, bt, m)]

    bpe_rows = expected(bt, bk, encode)
    out = root / "tests/golden/tokens.json"
    out.write_text(json.dumps({"spm": spm_rows, "bpe": bpe_rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
