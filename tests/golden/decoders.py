#!/usr/bin/env python3
"""Small random models of every decoder architecture, as GGUF files, and what transformers computes with them.

    decoders.py FOLDER [NAME...]     (FOLDER: tests/golden/decoders)

Needs torch, transformers, peft, gguf and numpy (PyPI). For each model it writes NAME.gguf (named, ordered and permuted
as llama.cpp's converters do), NAME.json (prompts, logits, greedy continuations, from transformers in float32 with eager
attention) and, where there is one, the PEFT adapter NAME.lora/. The same versions write the same bytes.

Each model also lists what it must be sensitive to ("without"): taking that out of the configuration has to move a logit
by more than TEETH, or the tool fails, for then the numbers would not show whether an engine honours it.
"""
import json
import math
import os
import shutil
import sys
import zlib

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import gguf
import numpy as np
import peft
import torch
import transformers as hf

TEETH = 0.03  # 30 times the bound of the test
MARGIN = 0.01  # between a greedy choice and the next one
GREEDY = 8

SMALL = dict(vocab_size=96, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-5)
LARGE = dict(SMALL, vocab_size=160, hidden_size=48, intermediate_size=72)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64, rope_theta=10000.0)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32, rope_theta=10000.0)
LINEAR = dict(rope_type="linear", factor=4.0, rope_theta=10000.0)
PLAIN = dict(rope_type="default", rope_theta=10000.0)
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
ALL = ATTENTION + ["gate_proj", "up_proj", "down_proj"]

# name → arch: general.architecture; config: class and fields; runs: (prompt length, context); without: fields that
# must matter; lora: target modules, rank, alpha.
CASES = {
    "llama": dict(arch="llama", config=hf.LlamaConfig, fields=dict(LARGE, rope_parameters=LLAMA3),
                  runs=[(40, 64)], without=[dict(rope_parameters=PLAIN)], lora=(ALL, 3, 8)),
    "llama-tied": dict(arch="llama", config=hf.LlamaConfig, runs=[(24, 64)],
                       fields=dict(SMALL, num_attention_heads=6, num_key_value_heads=2, hidden_size=36,
                                   tie_word_embeddings=True)),
    "llama-linear": dict(arch="llama", config=hf.LlamaConfig, runs=[(24, 64)],
                         fields=dict(SMALL, attention_bias=True, mlp_bias=True, rope_parameters=LINEAR),
                         without=[dict(rope_parameters=PLAIN), dict(attention_bias=False), dict(mlp_bias=False)]),
    "llama-yarn": dict(arch="llama", config=hf.LlamaConfig, fields=dict(SMALL, rope_parameters=YARN),
                       runs=[(48, 64)],
                       without=[dict(rope_parameters=PLAIN), dict(rope_parameters=dict(YARN, attention_factor=1.0)),
                                dict(rope_parameters=LINEAR)]),
    "mistral": dict(arch="llama", config=hf.MistralConfig, runs=[(24, 64)],
                    fields=dict(SMALL, head_dim=20, num_key_value_heads=1, sliding_window=None)),
    "qwen2": dict(arch="qwen2", config=hf.Qwen2Config, runs=[(24, 64)],
                  fields=dict(LARGE, tie_word_embeddings=True), lora=(ALL, 2, 3)),
    "qwen2-yarn": dict(arch="qwen2", config=hf.Qwen2Config, fields=dict(SMALL, rope_parameters=YARN), runs=[(48, 64)],
                       without=[dict(rope_parameters=PLAIN)]),
    "qwen3": dict(arch="qwen3", config=hf.Qwen3Config, runs=[(24, 64)],
                  fields=dict(LARGE, head_dim=20, tie_word_embeddings=True), lora=(ALL, 3, 6)),
    "gemma": dict(arch="gemma", config=hf.GemmaConfig, runs=[(24, 64)],
                  fields=dict(SMALL, head_dim=12, num_key_value_heads=1)),
    "gemma2": dict(arch="gemma2", config=hf.Gemma2Config, runs=[(24, 64)],
                   fields=dict(LARGE, head_dim=16, query_pre_attn_scalar=16, sliding_window=6,
                               attn_logit_softcapping=2.0, final_logit_softcapping=4.0),
                   without=[dict(sliding_window=64), dict(attn_logit_softcapping=None),
                            dict(final_logit_softcapping=None),
                            dict(layer_types=["full_attention", "sliding_attention"])], lora=(ATTENTION, 3, 4)),
    # As deep as the model whose queries are scaled by another number than the head size.
    "gemma2-deep": dict(arch="gemma2", config=hf.Gemma2Config, runs=[(12, 32)],
                        fields=dict(SMALL, vocab_size=64, hidden_size=8, intermediate_size=8, num_hidden_layers=46,
                                    num_attention_heads=2, num_key_value_heads=1, head_dim=8,
                                    query_pre_attn_scalar=4, sliding_window=5),
                        without=[dict(query_pre_attn_scalar=8)]),
    "gemma3": dict(arch="gemma3", config=hf.Gemma3TextConfig, runs=[(40, 64)],
                   fields=dict(SMALL, num_hidden_layers=7, head_dim=16, query_pre_attn_scalar=16, sliding_window=5,
                               rope_parameters=dict(full_attention=dict(rope_type="linear", factor=8.0,
                                                                        rope_theta=1000000.0),
                                                    sliding_attention=dict(rope_type="default",
                                                                           rope_theta=10000.0))),
                   without=[dict(sliding_window=64), dict(layer_types=["sliding_attention"] * 7),
                            dict(rope_parameters=dict(full_attention=dict(rope_type="default", rope_theta=1000000.0),
                                                      sliding_attention=PLAIN)),
                            dict(rope_parameters=dict(full_attention=dict(rope_type="linear", factor=8.0,
                                                                          rope_theta=1000000.0),
                                                      sliding_attention=dict(rope_type="default",
                                                                             rope_theta=1000000.0)))],
                   lora=(ALL, 2, 4)),
    "gemma3-deep": dict(arch="gemma3", config=hf.Gemma3TextConfig, runs=[(12, 32)],
                        fields=dict(SMALL, vocab_size=64, hidden_size=8, intermediate_size=8, num_hidden_layers=62,
                                    num_attention_heads=2, num_key_value_heads=1, head_dim=8,
                                    query_pre_attn_scalar=4, sliding_window=5),
                        without=[dict(query_pre_attn_scalar=8)]),
    "phi3": dict(arch="phi3", config=hf.Phi3Config, runs=[(24, 64)],
                 fields=dict(LARGE, num_key_value_heads=4, sliding_window=9, original_max_position_embeddings=128,
                             pad_token_id=0, eos_token_id=1),
                 without=[dict(sliding_window=None)],
                 lora=(["qkv_proj", "o_proj", "gate_up_proj", "down_proj"], 3, 6)),
    # Half of the head is rotated; below 32 positions by the short factors, above by the long ones.
    "phi3-longrope": dict(arch="phi3", config=hf.Phi3Config, runs=[(20, 32), (40, 64)],
                          fields=dict(SMALL, hidden_size=48, tie_word_embeddings=True,
                                      original_max_position_embeddings=32, pad_token_id=0, eos_token_id=1, partial_rotary_factor=0.5,
                                      rope_parameters=dict(rope_type="longrope", rope_theta=10000.0,
                                                           original_max_position_embeddings=32,
                                                           partial_rotary_factor=0.5,
                                                           short_factor=[1.0, 1.25, 1.5],
                                                           long_factor=[1.5, 4.0, 9.0])),
                          without=[dict(max_position_embeddings=32)]),
}
MODELS = {hf.LlamaConfig: hf.LlamaForCausalLM, hf.MistralConfig: hf.MistralForCausalLM,
          hf.Qwen2Config: hf.Qwen2ForCausalLM, hf.Qwen3Config: hf.Qwen3ForCausalLM, hf.GemmaConfig: hf.GemmaForCausalLM,
          hf.Gemma2Config: hf.Gemma2ForCausalLM, hf.Gemma3TextConfig: hf.Gemma3ForCausalLM,
          hf.Phi3Config: hf.Phi3ForCausalLM}


# ---- weights ----

def values(case, name, shape):
    """Random, by name; halves, so that the file packs well."""
    rng = np.random.default_rng([20261121, zlib.crc32(case.encode()), zlib.crc32(name.encode())])
    x = rng.standard_normal(shape)
    gemma = case.startswith("gemma")
    if "norm" in name:
        x = 0.2 * x + (0.0 if gemma else 1.0)
    elif name.endswith(".bias"):
        x *= 0.5
    elif "embed_tokens" in name:
        x *= 1.5 / math.sqrt(shape[1])
    elif "lora_" in name:
        x *= 0.5 / math.sqrt(shape[1])
    else:
        # Queries and keys far enough apart that attention chooses; less so where layers repeat it often.
        chooses = "q_proj" in name or "k_proj" in name or "qkv_proj" in name
        x *= (1.0 if "deep" in case else 2.5 if chooses else 1.5) / math.sqrt(shape[1])
    return torch.from_numpy(x.astype(np.float16).astype(np.float32))


def fill(model, case):
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(values(case, name.replace("base_model.model.", "").replace(".base_layer", ""), tuple(p.shape)))


def build(case, fields):
    return MODELS[case["config"]](case["config"](**fields, attn_implementation="eager")).eval().float()


# ---- GGUF ----

def permute(x, heads):
    """Rows of each head from halves to pairs."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def llama3_factors(rope, head):
    out = []
    for i in range(0, head, 2):
        wave = 2 * math.pi * rope["rope_theta"] ** (i / head)
        low = rope["original_max_position_embeddings"] / rope["low_freq_factor"]
        high = rope["original_max_position_embeddings"] / rope["high_freq_factor"]
        if wave < high:
            out.append(1.0)
        elif wave > low:
            out.append(rope["factor"])
        else:
            smooth = (rope["original_max_position_embeddings"] / wave - rope["low_freq_factor"]) / (
                rope["high_freq_factor"] - rope["low_freq_factor"])
            out.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(out, dtype=np.float32)


def write_rope(w, arch, c, head):
    rope = c.rope_parameters
    if "full_attention" in rope:
        rope = rope["full_attention"]
    w.add_rope_freq_base(rope["rope_theta"])
    kind = rope["rope_type"]
    rotated = int(head * (rope.get("partial_rotary_factor") or 1.0))
    if arch in ("llama", "phi3"):
        w.add_rope_dimension_count(rotated)
    if kind == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope["factor"])
    elif kind == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(rope["factor"])
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    elif kind == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_factors(rope, head))
    elif kind == "longrope":
        original = rope["original_max_position_embeddings"]
        factor = c.max_position_embeddings / original
        w.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(factor) / math.log(original)))
        w.add_tensor("rope_factors_long.weight", np.array(rope["long_factor"], dtype=np.float32))
        w.add_tensor("rope_factors_short.weight", np.array(rope["short_factor"], dtype=np.float32))


def write_gguf(path, name, case, model):
    c, arch = model.config, case["arch"]
    heads, kv = c.num_attention_heads, c.num_key_value_heads
    own_head = getattr(c, "head_dim", None)
    head = own_head or c.hidden_size // heads
    w = gguf.GGUFWriter(path, arch)
    w.add_name(name + "-random")
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_file_type(gguf.LlamaFileType.ALL_F32)
    if own_head:
        w.add_key_length(head)
        w.add_value_length(head)
    if arch in ("gemma2", "gemma3"):
        w.add_sliding_window(c.sliding_window)
    if arch == "gemma2":
        w.add_attn_logit_softcapping(c.attn_logit_softcapping)
        w.add_final_logit_softcapping(c.final_logit_softcapping)
    if arch == "phi3":
        w.add_sliding_window(c.sliding_window or 0)
        w.add_rope_scaling_orig_ctx_len(c.original_max_position_embeddings)
    write_rope(w, arch, c, head)
    kinds = {v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[arch], c.num_hidden_layers)
    for key, p in sorted(model.named_parameters()):
        x = p.detach().numpy()
        if arch == "llama" and "q_proj" in key:
            x = permute(x, heads)
        if arch == "llama" and "k_proj" in key:
            x = permute(x, kv)
        if arch.startswith("gemma") and key.endswith("norm.weight"):
            x = x + np.float32(1)
        to = names.get_name(key, try_suffixes=(".weight", ".bias"))
        assert to, key
        w.add_tensor(to, np.ascontiguousarray(x, dtype=np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


# ---- numbers ----

def logits_of(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float().numpy()


def run(model, prompt, context):
    """Logits at some positions of the prompt and the greedy continuation, without a cache; None: too near a choice."""
    at = sorted({0, 1, 7, len(prompt) // 2, len(prompt) - 2, len(prompt) - 1})
    logits = logits_of(model, prompt)
    ids = list(prompt)
    for _ in range(GREEDY):
        last = logits_of(model, ids)[-1]
        best = np.sort(last)[-2:]
        if best[1] - best[0] < MARGIN:
            return None
        ids.append(int(last.argmax()))
    assert len(ids) <= context
    return dict(context=context, prompt=prompt, greedy=ids[len(prompt):],
                logits={str(i): [round(float(v), 4) for v in logits[i]] for i in at})


def runs_of(name, case, model):
    """One run a row of "runs"; random prompts, until the model's choices are clear."""
    rng = np.random.default_rng([7, zlib.crc32(name.encode())])
    out = []
    for n, context in case["runs"]:
        found = None
        while not found:
            found = run(model, [int(i) for i in rng.integers(0, model.config.vocab_size, n)], context)
        out.append(found)
    return out


def check_teeth(name, case, weights, prompt, logits):
    for change in case.get("without", []):
        other = build(case, dict(case["fields"], **change))
        with torch.no_grad():
            for key, p in other.named_parameters():
                p.copy_(weights[key])
        off = float(np.abs(logits_of(other, prompt) - logits).max())
        assert off > TEETH, f"{name}: {change} moves no logit ({off})"
        print(f"{name}: {list(change)} moves a logit by {off:.2g}", file=sys.stderr)


def write_adapter(folder, name, case, model):
    targets, rank, alpha = case["lora"]
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, task_type="CAUSAL_LM",
                             base_model_name_or_path=name)
    tuned = peft.get_peft_model(model, config).eval()
    with torch.no_grad():
        for key, p in tuned.named_parameters():
            if "lora_" in key:
                p.copy_(values(name, key, tuple(p.shape)))
    to = os.path.join(folder, name + ".lora")
    shutil.rmtree(to, ignore_errors=True)
    tuned.save_pretrained(to)
    os.remove(os.path.join(to, "README.md"))
    path = os.path.join(to, "adapter_config.json")
    with open(path) as f:
        stored = json.load(f)
    stored["target_modules"] = sorted(stored["target_modules"])  # a set
    stored["base_model_name_or_path"] = name
    with open(path, "w") as f:
        json.dump(stored, f, indent=1, sort_keys=True)
        f.write("\n")
    return tuned


def make(folder, name, case):
    model = build(case, case["fields"])
    fill(model, name)
    weights = {k: p.detach().clone() for k, p in model.named_parameters()}
    write_gguf(os.path.join(folder, name + ".gguf"), name, case, model)
    out = dict(base=runs_of(name, case, model))
    prompt = out["base"][-1]["prompt"]
    before = logits_of(model, prompt)
    check_teeth(name, case, weights, prompt, before)
    if "lora" in case:
        tuned = write_adapter(folder, name, case, model)
        assert np.abs(logits_of(tuned, prompt) - before).max() > TEETH
        out["adapter"] = runs_of(name, case, tuned)
    with open(os.path.join(folder, name + ".json"), "w") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")


def main():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    folder, names = sys.argv[1], sys.argv[2:] or list(CASES)
    os.makedirs(folder, exist_ok=True)
    for name in names:
        make(folder, name, CASES[name])


if __name__ == "__main__":
    main()
