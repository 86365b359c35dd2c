#!/usr/bin/env python3
"""PEFT adapters, one for each way to say something in adapter_config.json, and what PEFT computes with them.

    adapters.py FOLDER [NAME...]     (FOLDER: tests/golden/adapters)

Needs torch, transformers, peft, gguf and numpy (PyPI). The bases are models of decoders.py, whose GGUF files are
committed. For each case it writes FOLDER/NAME/ as PEFT saves it and a row of FOLDER/adapters.json: the prompt and logits of
some of its positions, computed by PEFT in float32 from the folder as it was written. The same versions write the same
bytes.

Each case lists what must matter ("without"): taking that out of adapter_config.json has to move a logit by more than
TEETH, or the tool fails, for then the numbers would not show whether a server honours it.
"""
import json
import os
import shutil
import sys
import warnings
import zlib

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = "1"
warnings.simplefilter("ignore")

import decoders
import gguf
import numpy as np
import peft
import torch
from safetensors.torch import load_file, save_file

TEETH = 0.03  # 30 times the bound of the test
PROMPT = 20

# name → base: a case of decoders.py; config: of LoraConfig; stored: fields written over the saved ones; without: fields
# that must matter; dtype: of the tensors; invocation: ids that the prompt holds; gguf: written as a GGUF adapter with
# tensors of this type, as llama.cpp's converter names, orders and scales it.
PAIR = ["q_proj", "down_proj"]
CASES = {
    "plain": dict(base="llama", config=dict(r=3, lora_alpha=8, target_modules=["k_proj", "up_proj"]),
                  without=[dict(lora_alpha=3)]),
    "rslora": dict(base="llama", config=dict(r=4, lora_alpha=6, use_rslora=True, target_modules=PAIR),
                   without=[dict(use_rslora=False)]),
    "alpha-fraction": dict(base="qwen2", config=dict(r=2, lora_alpha=3, target_modules=["o_proj"]),
                           stored=dict(lora_alpha=2.5), without=[dict(lora_alpha=2)]),
    "rank-pattern": dict(base="llama", without=[],
                         config=dict(r=2, lora_alpha=4, target_modules=PAIR + ["v_proj"],
                                     rank_pattern={"down_proj": 4, r"layers\.1\.self_attn\.(q|v)_proj": 3})),
    "alpha-pattern": dict(base="llama", without=[dict(alpha_pattern={})],
                          config=dict(r=2, lora_alpha=2, target_modules=PAIR,
                                      alpha_pattern={"^model.layers.0.self_attn.q_proj": 12, "mlp.down_proj": 5})),
    "patterns-rslora": dict(base="qwen2", without=[dict(alpha_pattern={}), dict(use_rslora=False)],
                            config=dict(r=2, lora_alpha=3, use_rslora=True, target_modules=PAIR,
                                        rank_pattern={"q_proj": 5}, alpha_pattern={"q_proj": 7, r".*\.mlp\..*": 9})),
    "target-regex": dict(base="llama", without=[],
                         config=dict(r=2, lora_alpha=8, target_modules=r".*\.(0\.self_attn\.v|1\.mlp\.gate)_proj")),
    "all-linear": dict(base="qwen2", config=dict(r=1, lora_alpha=2, target_modules="all-linear"), without=[]),
    "exclude": dict(base="llama", without=[],
                    config=dict(r=2, lora_alpha=8, target_modules=PAIR, exclude_modules=["layers.0.mlp.down_proj"])),
    "layers": dict(base="llama", without=[],
                   config=dict(r=2, lora_alpha=8, target_modules=PAIR, layers_to_transform=[1],
                               layers_pattern="layers")),
    "fan-in-fan-out": dict(base="llama", config=dict(r=2, lora_alpha=8, target_modules=["o_proj"]),
                           stored=dict(fan_in_fan_out=True), without=[]),
    "gaussian": dict(base="llama", config=dict(r=2, lora_alpha=8, target_modules=["v_proj"],
                                               init_lora_weights="gaussian"), without=[]),
    "orthogonal": dict(base="llama", config=dict(r=2, lora_alpha=8, target_modules=["v_proj"],
                                                 init_lora_weights="orthogonal"), without=[]),
    "eva": dict(base="llama", config=dict(r=2, lora_alpha=8, target_modules=["v_proj"]), without=[],
                stored=dict(init_lora_weights="eva", eva_config=dict(rho=2.0))),
    "mica": dict(base="llama", config=dict(r=2, lora_alpha=8, target_modules=["v_proj"], init_lora_weights="mica"),
                 without=[]),
    "bias-lora-only": dict(base="qwen2", config=dict(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"],
                                                     bias="lora_only"), without=[]),
    "bias-all": dict(base="qwen2", config=dict(r=2, lora_alpha=4, target_modules=["v_proj"], bias="all"), without=[]),
    "bias-none-there": dict(base="llama", config=dict(r=2, lora_alpha=8, target_modules=["q_proj"], bias="all"),
                            without=[]),
    "lora-bias": dict(base="llama", config=dict(r=2, lora_alpha=5, target_modules=PAIR, lora_bias=True), without=[]),
    "lora-bias-bias": dict(base="qwen2", config=dict(r=2, lora_alpha=5, target_modules=["k_proj"], lora_bias=True,
                                                     bias="all"), without=[]),
    "dora": dict(base="llama", config=dict(r=2, lora_alpha=6, target_modules=["q_proj", "k_proj", "gate_proj"],
                                           use_dora=True), without=[]),
    "dora-bias": dict(base="qwen2", config=dict(r=2, lora_alpha=6, target_modules=["q_proj", "v_proj"], bias="all",
                                                use_dora=True), without=[]),
    "dora-patterns": dict(base="qwen2", without=[dict(use_rslora=False), dict(alpha_pattern={})],
                          config=dict(r=2, lora_alpha=6, target_modules=PAIR, use_dora=True, use_rslora=True,
                                      rank_pattern={"q_proj": 3}, alpha_pattern={"down_proj": 2})),
    "fused": dict(base="phi3", config=dict(r=2, lora_alpha=6, target_modules=["qkv_proj", "gate_up_proj"]), without=[]),
    "fused-dora": dict(base="phi3", config=dict(r=2, lora_alpha=6, target_modules=["qkv_proj", "gate_up_proj"],
                                                use_dora=True), without=[]),
    "f16": dict(base="llama", config=dict(r=3, lora_alpha=8, target_modules=PAIR), dtype=torch.float16, without=[]),
    "bf16": dict(base="qwen2", config=dict(r=3, lora_alpha=8, target_modules=PAIR), dtype=torch.bfloat16, without=[]),
    "bf16-dora": dict(base="llama", config=dict(r=2, lora_alpha=6, target_modules=PAIR, use_dora=True),
                      dtype=torch.bfloat16, without=[]),
    "alora": dict(base="llama", config=dict(r=3, lora_alpha=8, target_modules=PAIR,
                                            alora_invocation_tokens=[7, 3, 9]), invocation=[7, 3, 9], without=[]),
    "gguf-f32": dict(base="llama", config=dict(r=3, lora_alpha=7, target_modules=PAIR), gguf="F32", without=[]),
    "gguf-f16": dict(base="llama", config=dict(r=3, lora_alpha=7, target_modules=PAIR), gguf="F16", without=[]),
    "gguf-bf16": dict(base="qwen2", config=dict(r=3, lora_alpha=7, target_modules=PAIR), gguf="BF16", without=[]),
    "gguf-q8_0": dict(base="llama-linear", config=dict(r=32, lora_alpha=40, target_modules=["q_proj", "v_proj"]),
                      gguf="Q8_0", without=[]),
}


def random(name, key, shape):
    rng = np.random.default_rng([20261122, zlib.crc32(name.encode()), zlib.crc32(key.encode())])
    return rng.standard_normal(shape)


def value_of(name, key, p, dtype):
    """Of a trained parameter: something else than what it began as."""
    x = random(name, key, tuple(p.shape))
    if "magnitude" in key:
        x = p.detach().numpy() * (1 + 0.4 * np.tanh(x))
    elif key.endswith("bias"):
        x = 0.5 * x
    else:
        x *= 0.7 / np.sqrt(p.shape[1])
    return torch.from_numpy(x.astype(np.float32)).to(dtype).to(torch.float32)


def base_of(case):
    model = decoders.build(decoders.CASES[case["base"]], decoders.CASES[case["base"]]["fields"])
    decoders.fill(model, case["base"])
    return model


def write_config(folder, changes):
    path = os.path.join(folder, "adapter_config.json")
    with open(path) as f:
        stored = json.load(f)
    if isinstance(stored["target_modules"], list):
        stored["target_modules"] = sorted(stored["target_modules"])  # a set
    stored.update(changes)
    with open(path, "w") as f:
        json.dump({k: v for k, v in stored.items() if v not in (None, {}, False)}, f, indent=1, sort_keys=True)
        f.write("\n")


def save(folder, name, case):
    config = peft.LoraConfig(task_type="CAUSAL_LM", **case["config"])
    tuned = peft.get_peft_model(base_of(case), config).eval()
    with torch.no_grad():
        for key, p in tuned.named_parameters():
            if p.requires_grad or "lora_" in key:
                p.copy_(value_of(name, key, p, case.get("dtype", torch.float32)))
    to = os.path.join(folder, name)
    shutil.rmtree(to, ignore_errors=True)
    tuned.save_pretrained(to)
    os.remove(os.path.join(to, "README.md"))
    path = os.path.join(to, "adapter_model.safetensors")
    if "gguf" in case:
        kind = gguf.GGMLQuantizationType[case["gguf"]]
        rounded = {k: gguf.quants.dequantize(gguf.quants.quantize(v.numpy(), kind), kind)
                   for k, v in load_file(path).items()}
        save_file({k: torch.from_numpy(v) for k, v in rounded.items()}, path, metadata={"format": "pt"})
    if "dtype" in case:
        save_file({k: v.to(case["dtype"]) for k, v in load_file(path).items()}, path, metadata={"format": "pt"})
    write_config(to, dict(base_model_name_or_path=case["base"], **case.get("stored", {})))
    return to


def write_gguf(folder, case):
    """The adapter in FOLDER as FOLDER/adapter.gguf, and nothing else in there."""
    base, kind = decoders.CASES[case["base"]], gguf.GGMLQuantizationType[case["gguf"]]
    path = os.path.join(folder, "adapter_model.safetensors")
    tensors = load_file(path)
    os.remove(path)
    os.remove(os.path.join(folder, "adapter_config.json"))
    w = gguf.GGUFWriter(os.path.join(folder, "adapter.gguf"), base["arch"])
    w.add_string("general.type", "adapter")
    w.add_string("adapter.type", "lora")
    w.add_float32("adapter.lora.alpha", float(case["config"]["lora_alpha"]))
    kinds = {v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[base["arch"]], base["fields"]["num_hidden_layers"])
    for key, x in sorted(tensors.items()):
        module, which = key.removeprefix("base_model.model.").removesuffix(".weight").split(".lora_")
        x = x.numpy()
        if base["arch"] == "llama" and which == "B" and ("q_proj" in key or "k_proj" in key):
            x = decoders.permute(x, base["fields"]["num_attention_heads" if "q_proj" in key else "num_key_value_heads"])
        to = names.get_name(module + ".weight", try_suffixes=(".weight",)) + ".lora_" + which.lower()
        w.add_tensor(to, gguf.quants.quantize(np.ascontiguousarray(x), kind), raw_dtype=kind)
    w.add_tensor("output_norm.weight", np.ones(4, dtype=np.float32))  # converters leave norms in, readers pass over them
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def logits_of(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float().numpy()


def loaded(folder, case):
    """From the files: what they say, not what was in memory."""
    return peft.PeftModel.from_pretrained(base_of(case), folder).eval().float()


def check_teeth(folder, name, case, prompt, logits):
    assert np.abs(logits - logits_of(base_of(case), prompt)).max() > TEETH, f"{name}: moves no logit"
    for change in case["without"]:
        other = folder + ".without"
        shutil.rmtree(other, ignore_errors=True)
        shutil.copytree(folder, other)
        write_config(other, change)
        off = float(np.abs(logits_of(loaded(other, case), prompt) - logits).max())
        shutil.rmtree(other)
        assert off > TEETH, f"{name}: {change} moves no logit ({off})"


def make(folder, name, case):
    to = save(folder, name, case)
    tuned = loaded(to, case)
    prompt = [int(i) for i in np.random.default_rng([3, zlib.crc32(name.encode())]).integers(10, 90, PROMPT)]
    row = dict(base=case["base"], prompt=prompt, first=0)
    if case.get("gguf") == "F16":  # activations are rounded, too: as llama.cpp does, and unlike PEFT
        row["rounded"] = True
    if "invocation" in case:  # twice: the last one counts
        prompt[4:7] = prompt[11:14] = case["invocation"]
        row["first"] = 11
    logits = logits_of(tuned, prompt)
    check_teeth(to, name, case, prompt, logits)
    if "gguf" in case:
        write_gguf(to, case)
    at = [PROMPT // 2, PROMPT - 1]
    row["logits"] = {str(i): [round(float(v), 4) for v in logits[i]] for i in at}
    return row


def main():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    folder, names = sys.argv[1], sys.argv[2:] or list(CASES)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "adapters.json")
    rows = {}
    if sys.argv[2:] and os.path.exists(path):
        with open(path) as f:
            rows = json.load(f)
    for name in names:
        rows[name] = make(folder, name, CASES[name])
        print(name, file=sys.stderr)
    with open(path, "w") as f:
        f.write("{\n" + ",\n".join(f'"{k}":' + json.dumps(v, separators=(",", ":")) for k, v in sorted(rows.items())))
        f.write("\n}\n")


if __name__ == "__main__":
    main()
