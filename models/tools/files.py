"""The shipped files: GGUF base, GGUF LoRA and PEFT folders, written and read back.

GGUF stores q and k rows in interleaved-rope order, PyTorch and PEFT in rotate-half order.
"""

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import data
import tokenizer as tok
from model import LINEARS, Llama, Shape

MODELS = Path(__file__).resolve().parent.parent
GGUF_NAMES = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output",
              "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"}
PEFT_NAMES = {n: f"{'self_attn' if n in 'qkvo' else 'mlp'}.{n}_proj" for n in LINEARS}
CONTROL, NORMAL = 3, 1


def to_gguf_rows(x, heads):
    """Rotate-half rows to interleaved rows; works on a weight and on a LoRA B."""
    return x.reshape(heads, 2, -1, x.shape[1]).swapaxes(1, 2).reshape(x.shape)


def from_gguf_rows(x, heads):
    """The inverse of to_gguf_rows."""
    return x.reshape(heads, -1, 2, x.shape[1]).swapaxes(1, 2).reshape(x.shape)


def row_heads(shape, name):
    """How many rope heads the rows of a linear hold, or None where rope does not touch them."""
    return {"q": shape.head_count, "k": shape.head_count_kv}.get(name)


def finish(writer):
    """Writes the file out."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_tokenizer(writer, path):
    """The tokenizer's metadata from tokenizer.json."""
    spec = json.loads(Path(path).read_text())["model"]
    tokens = sorted(spec["vocab"], key=spec["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL if t in tok.SPECIALS else NORMAL for t in tokens])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in spec["merges"]])
    writer.add_bos_token_id(tok.END_OF_TEXT)
    writer.add_eos_token_id(tok.IM_END)
    writer.add_eot_token_id(tok.IM_END)
    writer.add_pad_token_id(tok.END_OF_TEXT)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(data.CHAT_TEMPLATE)


def write_base(path, model, tokenizer_path):
    """The base as a llama GGUF: matrices F16, norms F32, no output.weight (tied)."""
    s = model.shape
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("model")
    writer.add_name("Rootstock demo")
    writer.add_basename("rootstock-demo")
    writer.add_description("A small chat model of a closed world; ships with Rootstock and carries its demo adapters.")
    writer.add_license("apache-2.0")
    writer.add_languages(["en"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_vocab_size(s.vocab_size)
    writer.add_context_length(s.context_length)
    writer.add_embedding_length(s.embedding_length)
    writer.add_block_count(s.block_count)
    writer.add_feed_forward_length(s.feed_forward_length)
    writer.add_head_count(s.head_count)
    writer.add_head_count_kv(s.head_count_kv)
    writer.add_layer_norm_rms_eps(s.rms_epsilon)
    writer.add_rope_dimension_count(s.head_length)
    writer.add_rope_freq_base(s.rope_base)
    write_tokenizer(writer, tokenizer_path)
    writer.add_tensor("token_embd.weight", model.embedding.weight.detach().half().numpy())
    for i, block in enumerate(model.blocks):
        writer.add_tensor(f"blk.{i}.attn_norm.weight", block.attention_norm.weight.detach().numpy())
        writer.add_tensor(f"blk.{i}.ffn_norm.weight", block.feed_norm.weight.detach().numpy())
        for name in LINEARS:
            weight = getattr(block, name).weight.detach().half().numpy()
            heads = row_heads(s, name)
            writer.add_tensor(f"blk.{i}.{GGUF_NAMES[name]}.weight",
                              np.ascontiguousarray(to_gguf_rows(weight, heads)) if heads else weight)
    writer.add_tensor("output_norm.weight", model.norm.weight.detach().numpy())
    finish(writer)


def read_base(path):
    """(model in float32, tokenizer) of a base GGUF, the row order undone."""
    reader = gguf.GGUFReader(path)
    key = lambda name: reader.fields[name].contents()
    shape = Shape(
        vocab_size=key("llama.vocab_size"), embedding_length=key("llama.embedding_length"),
        block_count=key("llama.block_count"), feed_forward_length=key("llama.feed_forward_length"),
        head_count=key("llama.attention.head_count"), head_count_kv=key("llama.attention.head_count_kv"),
        context_length=key("llama.context_length"), rms_epsilon=key("llama.attention.layer_norm_rms_epsilon"),
        rope_base=key("llama.rope.freq_base"))
    tensors = {t.name: np.array(t.data, np.float32) for t in reader.tensors}
    state = {"embedding.weight": tensors["token_embd.weight"], "norm.weight": tensors["output_norm.weight"]}
    for i in range(shape.block_count):
        state[f"blocks.{i}.attention_norm.weight"] = tensors[f"blk.{i}.attn_norm.weight"]
        state[f"blocks.{i}.feed_norm.weight"] = tensors[f"blk.{i}.ffn_norm.weight"]
        for name in LINEARS:
            weight, heads = tensors[f"blk.{i}.{GGUF_NAMES[name]}.weight"], row_heads(shape, name)
            state[f"blocks.{i}.{name}.weight"] = from_gguf_rows(weight, heads) if heads else weight
    model = Llama(shape)
    model.load_state_dict({k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in state.items()})
    return model.requires_grad_(False), read_tokenizer(reader)


def read_tokenizer(reader):
    """The tokenizer that a GGUF's metadata describes."""
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    types = reader.fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in reader.fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([t for t, kind in zip(tokens, types) if kind == CONTROL])
    return tokenizer


def write_adapter(folder, pairs, shape, title, rank, alpha, form, dtype):
    """One revision into its folder, as a PEFT folder or a GGUF LoRA."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = np.float16 if dtype == "F16" else np.float32
    pairs = {k: (a.numpy().astype(kind), b.numpy().astype(kind)) for k, (a, b) in pairs.items()}
    if form == "peft":
        write_peft(folder, pairs, rank, alpha)
    else:
        write_gguf_lora(folder / "adapter.gguf", pairs, shape, title, alpha, dtype)


def write_peft(folder, pairs, rank, alpha):
    """adapter_config.json and adapter_model.safetensors, as peft writes them."""
    tensors = {}
    for (i, name), (a, b) in pairs.items():
        prefix = f"base_model.model.model.layers.{i}.{PEFT_NAMES[name]}"
        tensors[prefix + ".lora_A.weight"], tensors[prefix + ".lora_B.weight"] = a, b
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = dict(
        alpha_pattern={}, base_model_name_or_path="demo", bias="none", fan_in_fan_out=False, inference_mode=True,
        init_lora_weights=True, layers_pattern=None, layers_to_transform=None, lora_alpha=alpha, lora_dropout=0.0,
        modules_to_save=None, peft_type="LORA", r=rank, rank_pattern={}, revision=None,
        target_modules=[PEFT_NAMES[n].split(".")[1] for n in LINEARS], task_type="CAUSAL_LM", use_dora=False,
        use_rslora=False)
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def write_gguf_lora(path, pairs, shape, title, alpha, dtype):
    """A GGUF LoRA; the rows of B for q and k are in GGUF order."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_name(title)
    writer.add_license("apache-2.0")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(alpha))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if dtype == "F16" else gguf.LlamaFileType.ALL_F32)
    for (i, name), (a, b) in pairs.items():
        heads = row_heads(shape, name)
        if heads:
            b = np.ascontiguousarray(to_gguf_rows(b, heads))
        writer.add_tensor(f"blk.{i}.{GGUF_NAMES[name]}.weight.lora_a", a)
        writer.add_tensor(f"blk.{i}.{GGUF_NAMES[name]}.weight.lora_b", b)
    finish(writer)


def read_adapter(folder, shape):
    """(pairs in float32 and rotate-half order, scale) of a shipped revision."""
    pairs = {}
    if (folder / "adapter.gguf").exists():
        reader = gguf.GGUFReader(folder / "adapter.gguf")
        tensors = {t.name: np.array(t.data, np.float32) for t in reader.tensors}
        alpha = reader.fields["adapter.lora.alpha"].contents()
        name_of = lambda i, n, half: f"blk.{i}.{GGUF_NAMES[n]}.weight.lora_{half}"
    else:
        tensors = {k: v.astype(np.float32) for k, v in load_file(folder / "adapter_model.safetensors").items()}
        alpha = json.loads((folder / "adapter_config.json").read_text())["lora_alpha"]
        name_of = lambda i, n, half: f"base_model.model.model.layers.{i}.{PEFT_NAMES[n]}.lora_{half.upper()}.weight"
    for i in range(shape.block_count):
        for n in LINEARS:
            a, b = tensors[name_of(i, n, "a")], tensors[name_of(i, n, "b")]
            if "blk.0.attn_q.weight.lora_a" in tensors and row_heads(shape, n):
                b = np.ascontiguousarray(from_gguf_rows(b, row_heads(shape, n)))
            pairs[i, n] = (torch.from_numpy(a), torch.from_numpy(b))
    rank = pairs[0, "q"][0].shape[0]
    return pairs, alpha / rank


def hang_adapter(model, folder):
    """Puts a shipped revision on the model."""
    pairs, scale = read_adapter(folder, model.shape)
    for i, name, linear in model.linears():
        model.set_lora(linear, *pairs[i, name], scale)
