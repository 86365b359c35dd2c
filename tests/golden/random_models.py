#!/usr/bin/env python3
"""Random models of the stored references, in F16 and, quantised here, in Q8_0: random_models.py SHARED/engine OUT

Runs SHARED/engine/scripts/gen_random.py; a file that is there already is kept.
"""
import os
import pathlib
import sys

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, GGUFValueType, GGUFWriter, quants

NAMES = ("tiny-llama-spm", "tiny-llama3", "tiny-qwen2", "tiny-qwen3", "tiny-gemma3")


def copy_field(writer, field):
    """One key with its value, as it stands."""
    kind = field.types[0]
    value = field.contents()
    if kind == GGUFValueType.ARRAY:
        writer.add_key_value(field.name, value, kind, sub_type=field.types[-1])
    else:
        writer.add_key_value(field.name, value, kind)


def quantise(source, target):
    """Every matrix as Q8_0, as llama.cpp's own tool does: norms and biases stay as they are."""
    reader = GGUFReader(source)
    arch = reader.fields["general.architecture"].contents()
    writer = GGUFWriter(target, arch)
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name not in ("general.architecture", "general.file_type"):
            copy_field(writer, field)
    writer.add_file_type(7)
    for tensor in reader.tensors:
        data = np.array(tensor.data)
        if data.ndim < 2:
            writer.add_tensor(tensor.name, data)
            continue
        packed = quants.quantize(data.astype(np.float32), Type.Q8_0)
        writer.add_tensor(tensor.name, packed, raw_dtype=Type.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    """Writes what is missing, each under another name until it is whole."""
    shared, out = (pathlib.Path(a) for a in sys.argv[1:3])
    sys.path.insert(0, str(shared / "scripts"))
    import gen_random  # noqa: E402

    for name in NAMES:
        plain, small = out / f"{name}.f16.gguf", out / f"{name}.q8_0.gguf"
        part = out / f"{name}.part"
        if not plain.exists():
            gen_random.gen(name, str(part))
            os.replace(part, plain)
        if not small.exists():
            quantise(str(plain), str(part))
            os.replace(part, small)


if __name__ == "__main__":
    main()
