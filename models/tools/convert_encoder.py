#!/usr/bin/env python3
"""Turns a Hugging Face folder of an encoder into one GGUF file.

    convert_encoder.py FOLDER OUT.gguf [--type f32|f16|bf16|q8_0] [--pooling mean|cls|last]

Architectures: BERT (MiniLM, bge, e5, …), DistilBERT and RoBERTa as `bert`, NomicBERT, ModernBERT; bare or
with a head that classifies sequences or tokens. The folder holds config.json, tokenizer.json (or vocab.txt)
and model.safetensors (or pytorch_model.bin, which needs torch). Keys and tensors are named as llama.cpp
names them, and beyond it:

    ARCH.classifier.pooling_type     what a sequence head reads: 1 mean of states, 2 the first token's
    ARCH.classifier.activation       of a head's hidden layer: tanh, gelu, relu
    token_cls.weight, .bias          a head that scores every token; its labels are those of
                                     ARCH.classifier.output_labels
    token_cls.dense.*, .norm.*       the hidden layer in front of it, where the model has one

Needs gguf and numpy (PyPI).
"""
import argparse
import json
import re
import sys
from pathlib import Path

import gguf
import numpy as np

CONTROL, NORMAL, USER, UNUSED = (gguf.TokenType.CONTROL, gguf.TokenType.NORMAL,
                                 gguf.TokenType.USER_DEFINED, gguf.TokenType.UNUSED)
POOLINGS = {"none": 0, "mean": 1, "cls": 2, "last": 3, "rank": 4}
WORD_START = "\u2581"

# What the tensors are called: pattern in the folder → name in the file. {head} and {out} are those of the
# head's hidden layer and output; None drops a tensor.
NORM = [(r"\.gamma$", ".weight"), (r"\.beta$", ".bias")]
BERT = [
    (r"embeddings\.word_embeddings\.", "token_embd."),
    (r"embeddings\.position_embeddings\.", "position_embd."),
    (r"embeddings\.token_type_embeddings\.", "token_types."),
    (r"embeddings\.LayerNorm\.", "token_embd_norm."),
    (r"embeddings\.position_ids", None),
    (r"encoder\.layer\.(\d+)\.attention\.self\.query\.", r"blk.\1.attn_q."),
    (r"encoder\.layer\.(\d+)\.attention\.self\.key\.", r"blk.\1.attn_k."),
    (r"encoder\.layer\.(\d+)\.attention\.self\.value\.", r"blk.\1.attn_v."),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blk.\1.attn_output."),
    (r"encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\.", r"blk.\1.attn_output_norm."),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.", r"blk.\1.ffn_up."),
    (r"encoder\.layer\.(\d+)\.output\.dense\.", r"blk.\1.ffn_down."),
    (r"encoder\.layer\.(\d+)\.output\.LayerNorm\.", r"blk.\1.layer_output_norm."),
    (r"transformer\.layer\.(\d+)\.attention\.q_lin\.", r"blk.\1.attn_q."),
    (r"transformer\.layer\.(\d+)\.attention\.k_lin\.", r"blk.\1.attn_k."),
    (r"transformer\.layer\.(\d+)\.attention\.v_lin\.", r"blk.\1.attn_v."),
    (r"transformer\.layer\.(\d+)\.attention\.out_lin\.", r"blk.\1.attn_output."),
    (r"transformer\.layer\.(\d+)\.sa_layer_norm\.", r"blk.\1.attn_output_norm."),
    (r"transformer\.layer\.(\d+)\.ffn\.lin1\.", r"blk.\1.ffn_up."),
    (r"transformer\.layer\.(\d+)\.ffn\.lin2\.", r"blk.\1.ffn_down."),
    (r"transformer\.layer\.(\d+)\.output_layer_norm\.", r"blk.\1.layer_output_norm."),
    (r"(?:pooler\.dense|pre_classifier|classifier\.dense)\.", "{head}."),
    (r"classifier\.(?:out_proj\.)?", "{out}."),
    (r"(?:cls|lm_head|vocab_transform|vocab_layer_norm|vocab_projector)\.", None),
]
NOMIC = BERT[:5] + [
    (r"emb_ln\.", "token_embd_norm."),
    (r"(?:encoder\.)?layers\.(\d+)\.attn\.Wqkv\.", r"blk.\1.attn_qkv."),
    (r"(?:encoder\.)?layers\.(\d+)\.attn\.out_proj\.", r"blk.\1.attn_output."),
    (r"(?:encoder\.)?layers\.(\d+)\.mlp\.fc11\.", r"blk.\1.ffn_up."),
    (r"(?:encoder\.)?layers\.(\d+)\.mlp\.fc12\.", r"blk.\1.ffn_gate."),
    (r"(?:encoder\.)?layers\.(\d+)\.mlp\.fc2\.", r"blk.\1.ffn_down."),
    (r"(?:encoder\.)?layers\.(\d+)\.(?:norm1|post_attention_layernorm)\.", r"blk.\1.attn_output_norm."),
    (r"(?:encoder\.)?layers\.(\d+)\.(?:norm2|post_mlp_layernorm)\.", r"blk.\1.layer_output_norm."),
    (r"layers\.(\d+)\.self_attn\.([qkv])_proj\.", r"blk.\1.attn_\2."),
    (r"layers\.(\d+)\.self_attn\.o_proj\.", r"blk.\1.attn_output."),
    (r"layers\.(\d+)\.mlp\.(gate|up|down)_proj\.", r"blk.\1.ffn_\2."),
    (r"pooler\.dense\.", "{head}."),
    (r"classifier\.", "{out}."),
    (r"(?:cls|lm_head)\.", None),
]
MODERN = [
    (r"embeddings\.tok_embeddings\.", "token_embd."),
    (r"embeddings\.norm\.", "token_embd_norm."),
    (r"layers\.(\d+)\.attn_norm\.", r"blk.\1.attn_norm."),
    (r"layers\.(\d+)\.attn\.Wqkv\.", r"blk.\1.attn_qkv."),
    (r"layers\.(\d+)\.attn\.Wo\.", r"blk.\1.attn_output."),
    (r"layers\.(\d+)\.mlp_norm\.", r"blk.\1.ffn_norm."),
    (r"layers\.(\d+)\.mlp\.Wi\.", r"blk.\1.ffn_up."),
    (r"layers\.(\d+)\.mlp\.Wo\.", r"blk.\1.ffn_down."),
    (r"final_norm\.", "output_norm."),
    (r"head\.dense\.", "{head}."),
    (r"head\.norm\.", "{norm}."),
    (r"classifier\.", "{out}."),
    (r"decoder\.", None),
]
FAMILIES = {  # model_type → architecture, names, prefix of the bare model's tensors
    "bert": ("bert", BERT, "bert."),
    "distilbert": ("bert", BERT, "distilbert."),
    "roberta": ("bert", BERT, "roberta."),
    "nomic_bert": ("nomic-bert", NOMIC, "nomic_bert."),
    "modernbert": ("modern-bert", MODERN, "model."),
}
HEADS = {
    "sequence": {"{head}": "cls", "{norm}": "cls.norm", "{out}": "cls.output"},
    "token": {"{head}": "token_cls.dense", "{norm}": "token_cls.norm", "{out}": "token_cls"},
}
TYPES = {"f32": gguf.GGMLQuantizationType.F32, "f16": gguf.GGMLQuantizationType.F16,
         "bf16": gguf.GGMLQuantizationType.BF16, "q8_0": gguf.GGMLQuantizationType.Q8_0}


class Refused(Exception):
    """What is wrong with the folder, for the user."""


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def first(config, *names, default=None):
    """The first of some keys that the configuration has: forks of a model rename them."""
    for name in names:
        if config.get(name) is not None:
            return config[name]
    if default is None:
        raise Refused(f"config.json lacks {names[0]}")
    return default


# ---- tensors ----

def read_safetensors(path):
    """Name → float32 array; a header of JSON, then the bytes."""
    data = np.memmap(path, np.uint8, "r")
    size = int(data[:8].view("<u8")[0])
    kinds = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8", "BF16": "<u2"}
    for name, at in json.loads(data[8:8 + size].tobytes()).items():
        if name == "__metadata__":
            continue
        if at["dtype"] not in kinds:
            raise Refused(f"the tensor {name} is of type {at['dtype']}")
        begin, end = at["data_offsets"]
        values = np.frombuffer(data[8 + size + begin:8 + size + end].tobytes(), kinds[at["dtype"]])
        if at["dtype"] == "BF16":
            values = (values.astype("<u4") << 16).view("<f4")
        yield name, values.astype(np.float32).reshape(at["shape"])


def read_tensors(folder):
    """Name → float32 array."""
    paths = sorted(folder.glob("model*.safetensors"))
    if paths:
        return {name: values for path in paths for name, values in read_safetensors(path)}
    path = folder / "pytorch_model.bin"
    if not path.exists():
        raise Refused(f"{folder}: no model.safetensors and no pytorch_model.bin")
    import torch
    return {k: v.float().numpy() for k, v in torch.load(path, map_location="cpu", weights_only=True).items()}


def rename(name, family, head):
    """Its name in the file; None: it has no place there."""
    _, names, prefix = family
    for old, new in NORM:
        name = re.sub(old, new, name)
    bare = name.removeprefix(prefix)
    for pattern, new in names:
        if not re.match(pattern, bare):
            continue
        if new is None:
            return None
        new = re.match(pattern, bare).expand(new) + bare[re.match(pattern, bare).end():]
        mark = re.match(r"\{\w+\}", new)
        if not mark:
            return new
        return new.replace(mark[0], HEADS[head][mark[0]]) if head else None
    raise Refused(f"the tensor {name} is not known")


def graph_tensors(folder, config, family, head):
    out = {}
    for name, values in read_tensors(folder).items():
        new = rename(name, family, head)
        if new:
            out[new] = values
    if config["model_type"] == "roberta":  # its positions begin behind the padding's
        out["position_embd.weight"] = out["position_embd.weight"][config.get("pad_token_id", 1) + 1:]
    if config["model_type"] == "bert" and head == "token":
        out = {k: v for k, v in out.items() if not k.startswith("token_cls.dense.")}  # a pooler left over
    for i in range(layers_of(config)):
        parts = [f"blk.{i}.attn_{x}.weight" for x in "qkv"]
        if family[0] == "nomic-bert" and parts[0] in out:
            out[f"blk.{i}.attn_qkv.weight"] = np.concatenate([out.pop(p) for p in parts])
    return out


def write_tensors(writer, tensors, kind):
    matrices = re.compile(r"(token_embd|blk\.\d+\.(attn_(q|k|v|qkv|output)|ffn_(gate|up|down)))\.weight$")
    for name, values in tensors.items():
        type_ = TYPES[kind] if matrices.match(name) else TYPES["f32"]
        block = gguf.GGML_QUANT_SIZES[type_][0]
        if values.shape[-1] % block:
            type_ = TYPES["f16"]
        values = np.ascontiguousarray(values, dtype=np.float32)
        if type_ in (TYPES["f32"], TYPES["f16"]):
            writer.add_tensor(name, values.astype(np.float32 if type_ == TYPES["f32"] else np.float16))
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, type_), raw_dtype=type_)


# ---- configuration ----

def layers_of(config):
    return first(config, "num_hidden_layers", "n_layer", "n_layers")


def head_of(config):
    name = (config.get("architectures") or [""])[0]
    if name.endswith("ForSequenceClassification"):
        return "sequence"
    return "token" if name.endswith("ForTokenClassification") else None


def rope_base(config, layer_type, old, default):
    """transformers 5 keeps them by kind of layer."""
    rope = config.get("rope_parameters") or {}
    rope = rope.get(layer_type, rope)
    return float(rope.get("rope_theta") or config.get(old) or default)


def check_graph(config):
    gelu = first(config, "hidden_act", "hidden_activation", "activation", "activation_function", default="gelu")
    wanted = ("silu", "swiglu") if config["model_type"] == "nomic_bert" else ("gelu",)
    if gelu not in wanted:
        raise Refused(f"the activation {gelu} is not supported; supported is {wanted[0]}")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise Refused(f"position_embedding_type {config['position_embedding_type']} is not supported")
    if config.get("prenorm") or config.get("parallel_block") or config.get("num_experts"):
        raise Refused("this variant (prenorm, parallel_block or num_experts) is not supported")
    if config.get("rotary_emb_fraction", 1.0) != 1.0 or config.get("rotary_emb_interleaved"):
        raise Refused("partial or interleaved rotation is not supported")


def pooling_of(folder, head, asked):
    if asked:
        return POOLINGS[asked]
    config = read_json(folder / "1_Pooling" / "config.json") or {}
    for key, kind in (("cls_token", "cls"), ("lasttoken", "last"), ("mean_tokens", "mean")):
        if config.get(f"pooling_mode_{key}"):
            return POOLINGS[kind]
    mode = {"cls": "cls", "lasttoken": "last", "mean": "mean"}.get(config.get("pooling_mode"))
    return POOLINGS[mode or {"sequence": "rank", "token": "none", None: "mean"}[head]]


def write_config(writer, config, arch, folder, head, pooling):
    positions = first(config, "max_position_embeddings", "n_positions")
    if config["model_type"] == "roberta":
        positions -= config.get("pad_token_id", 1) + 1
    writer.add_context_length(positions)
    writer.add_embedding_length(first(config, "hidden_size", "dim", "n_embd"))
    writer.add_block_count(layers_of(config))
    writer.add_feed_forward_length(first(config, "intermediate_size", "hidden_dim", "n_inner"))
    writer.add_head_count(first(config, "num_attention_heads", "n_heads", "n_head"))
    writer.add_layer_norm_eps(first(config, "norm_eps", "layer_norm_eps", "layer_norm_epsilon", default=1e-12))
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType(pooling_of(folder, head, pooling)))
    if arch == "nomic-bert":
        writer.add_rope_freq_base(rope_base(config, "full_attention", "rotary_emb_base", 1000))
    if arch == "modern-bert":
        writer.add_rope_freq_base(rope_base(config, "full_attention", "global_rope_theta", 160000))
        writer.add_rope_freq_base_swa(rope_base(config, "sliding_attention", "local_rope_theta", 10000))
        writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)
        writer.add_sliding_window(first(config, "local_attention", default=128))
        writer.add_sliding_window_pattern(window_period(config))
    if head:
        labels = config.get("id2label") or {}
        writer.add_classifier_output_labels([labels[k] for k in sorted(labels, key=int)])
        write_head(writer, config, arch, head)


def window_period(config):
    kinds = config.get("layer_types")
    if not kinds:
        return config.get("global_attn_every_n_layers", 3)
    full = [i for i, kind in enumerate(kinds) if kind == "full_attention"]
    period = full[1] if len(full) > 1 else len(kinds)
    if full != list(range(0, len(kinds), period)):
        raise Refused(f"layer_types {kinds} is not every n-th layer from the first on")
    return period


def write_head(writer, config, arch, head):
    activation = {"distilbert": "relu", "modernbert": config.get("classifier_activation", "gelu")}
    writer.add_string(f"{arch}.classifier.activation", activation.get(config["model_type"], "tanh"))
    if head == "sequence":
        mean = config["model_type"] == "modernbert" and config.get("classifier_pooling", "cls") == "mean"
        writer.add_uint32(f"{arch}.classifier.pooling_type", POOLINGS["mean" if mean else "cls"])


# ---- vocabulary ----

def token_text(content):
    return content if isinstance(content, str) else content["content"]


def special_ids(folder, vocab):
    """What the marks of the tokenizer are called in its files → their ids."""
    config = dict(read_json(folder / "special_tokens_map.json") or {})
    config.update({k: v for k, v in (read_json(folder / "tokenizer_config.json") or {}).items() if v is not None})
    out = {}
    for name in ("cls", "sep", "bos", "eos", "unk", "pad", "mask"):
        text = config.get(f"{name}_token")
        if text is not None and token_text(text) in vocab:
            out[name] = vocab[token_text(text)]
    for name in ("cls", "sep", "unk", "pad", "mask"):
        if name not in out and f"[{name.upper()}]" in vocab:
            out[name] = vocab[f"[{name.upper()}]"]
    return out


def read_vocabulary(folder):
    """tokenizer.json, or what BERT's vocab.txt says as well."""
    doc = read_json(folder / "tokenizer.json")
    if doc:
        return doc
    if not (folder / "vocab.txt").exists():
        raise Refused(f"{folder}: no tokenizer.json and no vocab.txt")
    config = read_json(folder / "tokenizer_config.json") or {}
    words = (folder / "vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return {
        "model": {"type": "WordPiece", "vocab": {w: i for i, w in enumerate(words)}},
        "normalizer": {"lowercase": config.get("do_lower_case", True), "strip_accents": config.get("strip_accents")},
        "added_tokens": [{"id": words.index(m), "content": m, "special": True} for m in marks if m in words],
    }


def padded(tokens, types, size):
    if len(tokens) > size:
        raise Refused(f"the vocabulary has {len(tokens)} tokens, the embedding table {size} rows")
    for i in range(len(tokens), size):
        tokens.append(f"[PAD{i}]")
        types.append(UNUSED)
    return tokens, types


def write_wordpiece(writer, doc, size):
    vocab, special = doc["model"]["vocab"], {t["id"] for t in doc["added_tokens"] if t["special"]}
    tokens, types = [], []
    for text, i in sorted(vocab.items(), key=lambda item: item[1]):
        if i != len(tokens):
            raise Refused(f"the vocabulary has no token {len(tokens)}")
        mark = i in special or re.fullmatch(r"\[.+\]", text)
        tokens.append(text if mark else text[2:] if text.startswith("##") else WORD_START + text)
        types.append(CONTROL if i in special else NORMAL)
    tokens, types = padded(tokens, types, size)
    normalizer = doc.get("normalizer") or {}
    lower = bool(normalizer.get("lowercase", True))
    strip = normalizer.get("strip_accents")
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_bool("tokenizer.ggml.normalizer.lowercase", lower)
    writer.add_bool("tokenizer.ggml.normalizer.strip_accents", lower if strip is None else bool(strip))
    return vocab


def write_bpe(writer, doc, size, model_type):
    vocab = dict(doc["model"]["vocab"])
    kinds = {}
    for token in doc["added_tokens"]:
        vocab[token["content"]] = token["id"]
        kinds[token["id"]] = CONTROL if token["special"] else USER
    tokens, types = [], []
    for text, i in sorted(vocab.items(), key=lambda item: item[1]):
        while len(tokens) < i:  # a hole
            tokens.append(f"[PAD{len(tokens)}]")
            types.append(UNUSED)
        tokens.append(text)
        types.append(kinds.get(i, NORMAL))
    tokens, types = padded(tokens, types, size)
    merges = [m if isinstance(m, str) else " ".join(m) for m in doc["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre({"modernbert": "modern-bert", "roberta": "roberta-bpe"}.get(model_type, "gpt-2"))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)
    return vocab


def write_vocabulary(writer, folder, config, size):
    doc = read_vocabulary(folder)
    kind = doc["model"].get("type") or ("WordPiece" if "merges" not in doc["model"] else "BPE")
    if kind not in ("WordPiece", "BPE"):
        raise Refused(f"the tokenizer is of type {kind}; supported are WordPiece and BPE")
    if kind == "WordPiece":
        vocab = write_wordpiece(writer, doc, size)
        writer.add_token_type_count(config.get("type_vocab_size", 2))
    else:
        vocab = write_bpe(writer, doc, size, config["model_type"])
    ids = special_ids(folder, vocab)
    marks = {"sep": writer.add_sep_token_id, "unk": writer.add_unk_token_id, "pad": writer.add_pad_token_id,
             "mask": writer.add_mask_token_id}
    for name, add in marks.items():
        if name in ids:
            add(ids[name])
    if "cls" in ids:
        writer.add_uint32("tokenizer.ggml.cls_token_id", ids["cls"])
    writer.add_bos_token_id(ids.get("cls", ids.get("bos", 0)))
    if kind == "BPE":
        writer.add_eos_token_id(ids.get("sep", ids.get("eos", 0)))


# ---- the whole ----

def convert(folder, out, kind="f16", pooling=None):
    """Writes `out`; raises Refused with what is wrong."""
    folder = Path(folder)
    config = read_json(folder / "config.json")
    if not config:
        raise Refused(f"{folder}: no config.json")
    family = FAMILIES.get(config.get("model_type"))
    if not family:
        raise Refused(f"model_type {config.get('model_type')} is not supported; supported are {', '.join(FAMILIES)}")
    check_graph(config)
    head = head_of(config)
    tensors = graph_tensors(folder, config, family, head)
    writer = gguf.GGUFWriter(out, family[0])
    writer.add_name(Path(config.get("_name_or_path") or folder.resolve().name).name)
    write_config(writer, config, family[0], folder, head, pooling)
    write_vocabulary(writer, folder, config, len(tensors["token_embd.weight"]))
    write_tensors(writer, tensors, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--type", choices=TYPES, default="f16", help="of the matrices (default f16)")
    parser.add_argument("--pooling", choices=("mean", "cls", "last"), help="default: what the folder says, else mean")
    args = parser.parse_args()
    try:
        convert(args.folder, args.out, args.type, args.pooling)
    except Refused as e:
        sys.exit(f"convert_encoder: {e}")


if __name__ == "__main__":
    main()
