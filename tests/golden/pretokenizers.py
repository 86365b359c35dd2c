#!/usr/bin/env python3
"""Cuts texts with Hugging Face tokenizers, by the expressions in the models' own tokenizer.json.

    pretokenizers.py > pretokenizers.json      (needs tokenizers, PyPI)
"""
import json
import random
import sys

from tokenizers import Regex
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s|%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CLITICS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
KIMI = "|".join([
    r"[\p{Han}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
DEEPSEEK3 = [r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+",
             r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]


def split(*patterns):
    return Sequence([Split(Regex(p), "isolated") for p in patterns])


RAW = {
    "llama-bpe": split(LLAMA3),
    "dbrx": split(LLAMA3),
    "qwen2": split(QWEN2),
    "tekken": split(CASED % ("", "", r"\p{N}")),
    "gpt-4o": split(CASED % (CLITICS, CLITICS, r"\p{N}{1,3}")),
    "kimi-k2": split(KIMI),
    "deepseek-v3": split(*DEEPSEEK3),
}
BYTES = {  # these hand out byte-level text
    "gpt-2": ByteLevel(add_prefix_space=False, use_regex=True),
    "smollm": Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]),
}

TEXTS = [
    "", " ", "   ", "\n", "\n\n \n", " a", "  a", "a  b", "a\n\n  b", "\t\tx", "Hello, World!", "don't DON'T we'Ll 'ſ", "x'y 's",
    "1 12 123 1234 12345", "3.14 1,000,000", "½ ² ٣ 一二三 Ⅷ", "camelCase HTTPServer XMLHttpRequest iPhone", "été ÉTÉ naïve ǅ",
    "你好世界 こんにちは 안녕 ไทย हिन्दी", "a你b好1", "🦙🚀 😀x ❤️ 👩‍💻", "...!!! ?! -- == => ++ /* */ //\n", "a/b\\c #include <x>\r\n\r\n",
    "foo(bar)[0]{x}: $y = `z` ~ ^", "\u00a0nbsp\u2003em\u3000wide\u0085next", "e\u0301a\u0308 \u0301", "A.B.C. U.S.A's", "_x __init__ a_b",
    "line1\r\nline2\rline3\n", "  \n  \n\n   x   \n", "x \n", "<|im_start|>user", "\u200b\ufeffzero", "々〇𠀀漢字kana", "\u180e \u180ex",
]


def random_texts(n):
    r = random.Random(7)
    alphabet = " \n\t\r'.,!?/-_<>()09aAzZéÉßñ世界の한🦙\u0301\u00a0\u3000½ſǅsStTrRlL"
    return ["".join(r.choice(alphabet) for _ in range(r.randint(1, 24))) for _ in range(n)]


def main():
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    back, n = {}, 0
    for b in range(256):
        back[chr(b) if b in kept else chr(256 + n)] = b
        n += b not in kept
    texts = TEXTS + random_texts(150)
    out = {"texts": texts, "lengths": {}}
    for name, pre in RAW.items():
        out["lengths"][name] = [[len(p.encode()) for p, _ in pre.pre_tokenize_str(t)] for t in texts]
    for name, pre in BYTES.items():
        out["lengths"][name] = [[len(bytes(back[c] for c in p)) for p, _ in pre.pre_tokenize_str(t)] for t in texts]
    json.dump(out, sys.stdout)
    print()


if __name__ == "__main__":
    main()
