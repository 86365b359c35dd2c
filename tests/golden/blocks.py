#!/usr/bin/env python3
"""Random blocks of every quantised type and the floats they mean, by the `gguf` package.

    blocks.py > blocks.json

Needs gguf and numpy (PyPI). Bytes and little-endian floats are stored in hexadecimal.
"""
import json
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf.quants import dequantize

ELEMENTS = 512  # two super-blocks: the second shows the stride
# Type → offsets of its halves, which random bytes would make infinite.
HALVES = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
    Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
    Type.IQ4_NL: [0], Type.IQ4_XS: [0], Type.TQ1_0: [52], Type.TQ2_0: [64],
}


def main():
    random = np.random.default_rng(20260314)
    out = []
    for kind, halves in HALVES.items():
        elements, size = GGML_QUANT_SIZES[kind]
        blocks = random.integers(0, 256, (ELEMENTS // elements, size), dtype=np.uint8)
        for at in halves:  # of both signs, a few of them subnormal
            scale = random.normal(0, 0.02, len(blocks)).astype(np.float16)
            scale[-1] *= np.float16(2**-12)
            blocks[:, at : at + 2] = scale.view(np.uint8).reshape(-1, 2)
        values = dequantize(blocks.reshape(-1), kind).astype("<f4")
        assert values.size == ELEMENTS and np.isfinite(values).all()
        out.append({"type": kind.name, "bytes": blocks.tobytes().hex(), "values": values.tobytes().hex()})
    json.dump(out, sys.stdout, indent=0)
    print()


main()
