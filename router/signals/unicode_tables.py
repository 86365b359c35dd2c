#!/usr/bin/env python3
"""Prints the tables of unicode.c: properties by code point in two levels, and the case folding."""
import sys
import unicodedata

WORD, DENSE, ALNUM, CJK = 1, 2, 4, 8  # as in unicode.c

# Scripts written without spaces between words, or (Hangul) with particles glued to the word: a
# literal is found anywhere inside them.
DENSE_RANGES = [
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x109F),  # Tibetan, Myanmar
    (0x1100, 0x11FF),  # Hangul Jamo
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x2E80, 0x2FDF),  # CJK radicals
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3031, 0x3035),
    (0x3038, 0x303C),
    (0x3041, 0x31BF),  # Kana, Bopomofo, Hangul compatibility Jamo
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xA000, 0xA4CF),  # Yi
    (0xA960, 0xA97F),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAADF),
    (0xAC00, 0xD7FF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFFDC),
    (0x1B000, 0x1B16F),
    (0x20000, 0x323AF),
]

NOT_CJK = [(0x0E00, 0x109F), (0x1780, 0x1AAF), (0x3100, 0x312F), (0xA000, 0xA4CF), (0xA9E0, 0xAADF)]


def properties(cp):
    c = chr(cp)
    kind = unicodedata.category(c)
    p = 0
    if kind[0] in "LMN" or kind == "Pc":
        p |= WORD
    if kind[0] == "L" or kind == "Nd":
        p |= ALNUM
    if p & WORD and any(a <= cp <= b for a, b in DENSE_RANGES):
        p |= DENSE
        if not any(a <= cp <= b for a, b in NOT_CJK):
            p |= CJK
    return p


def fold(cp):
    if cp in (0x2018, 0x2019, 0x02BC):  # apostrophes as people and their keyboards write them
        return 0x27
    for s in (chr(cp).casefold(), chr(cp).lower()):
        if len(s) == 1:
            return ord(s)
    return ord(chr(cp).lower()[0])


def main():
    pages, index = [], []
    for page in range(0x110000 >> 8):
        row = tuple(properties((page << 8) + i) for i in range(256))
        if row not in pages:
            pages.append(row)
        index.append(pages.index(row))
    out = ["#include <stdint.h>", "static const uint8_t page_of[%d] = {" % len(index)]
    out.append(",".join(map(str, index)) + "};")
    out.append("static const uint8_t pages[%d][256] = {" % len(pages))
    out += ["{" + ",".join(map(str, row)) + "}," for row in pages]
    folds = [(cp, fold(cp)) for cp in range(0x110000) if not 0xD800 <= cp < 0xE000]
    folds = [(a, b) for a, b in folds if a != b]
    out.append("};\nstatic const struct { uint32_t from, to; } folds[%d] = {" % len(folds))
    out += ["{%d,%d}," % pair for pair in folds]
    out.append("};")
    pairs = []
    for cp in range(0x110000):
        parts = unicodedata.decomposition(chr(cp)).split()
        if len(parts) == 2 and parts[0][0] != "<" and fold(cp) == cp:
            base, mark = (int(x, 16) for x in parts)
            if unicodedata.normalize("NFC", chr(base) + chr(mark)) == chr(cp):
                pairs.append((base, mark, cp))
    out.append("static const struct { uint32_t base, mark, whole; } wholes[%d] = {" % len(pairs))
    out += ["{%d,%d,%d}," % triple for triple in sorted(pairs)]
    out.append("};")
    with open(sys.argv[1], "w") as f:
        f.write("\n".join(out) + "\n")


main()
