#!/usr/bin/env python3
"""Small random models of every encoder architecture and head, as GGUF files, and what transformers computes with them.

    encoders.py FOLDER [NAME...]     (FOLDER: tests/golden/encoders)
    encoders.py --strings GGUF       random strings and their ids by the vocabulary of any WordPiece file, as JSON

Needs torch, transformers, tokenizers, gguf and numpy (PyPI). For each model it writes NAME.gguf, by way of a Hugging
Face folder and models/tools/convert_encoder.py, and NAME.json: texts with their ids and bytes, and the unit vector, the
scores or each token's scores, by transformers in float32 with eager attention; wordpiece.json holds random strings
and the ids that Hugging Face's BertTokenizerFast gives them with the vocabulary of bert.gguf. The same versions write
the same bytes.

Each model lists what it must be sensitive to ("without"): taking that out of the configuration has to move a number by
more than TEETH, or the tool fails, for then the numbers would not show whether an engine honours it.
"""
import json
import os
import random
import sys
import tempfile
import zlib
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import gguf
import tokenizers
import torch
import transformers as hf

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "models" / "tools"))
import convert_encoder

TEETH = 0.02  # 20 times the bound of the test
MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

SMALL = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             max_position_embeddings=64)
HEADS = dict(SMALL, hidden_size=16, intermediate_size=24)
THREE = dict(id2label={0: "calm", 1: "glad", 2: "wütend"}, label2id={"calm": 0, "glad": 1, "wütend": 2})
TAGS = dict(id2label={0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC"}, label2id={"O": 0, "B-PER": 1, "I-PER": 2, "B-LOC": 3})
DISTIL = dict(dim=16, hidden_dim=24, n_layers=2, n_heads=4, max_position_embeddings=64)
ROPE = dict(full_attention=dict(rope_type="default", rope_theta=160000.0),
            sliding_attention=dict(rope_type="default", rope_theta=100.0))
MODERN = dict(pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3, num_hidden_layers=4, local_attention=6, rope_parameters=ROPE)
FLAT = dict(full_attention=ROPE["full_attention"], sliding_attention=ROPE["full_attention"])

# name → class of the model; vocabulary: of lower-cased or cased WordPiece, or byte-level BPE; what it computes;
# fields; pooling, as sentence-transformers says it; types of matrices to write besides f32.
CASES = {
    "bert": dict(model=hf.BertModel, vocabulary="lower", fields=SMALL, pooling="mean_tokens", types=["f16", "q8_0"]),
    "bert-sequence": dict(model=hf.BertForSequenceClassification, vocabulary="lower", fields=dict(HEADS, **THREE)),
    "bert-token": dict(model=hf.BertForTokenClassification, vocabulary="cased", fields=dict(HEADS, **TAGS)),
    "distilbert": dict(model=hf.DistilBertModel, vocabulary="lower", fields=DISTIL, pooling="cls_token"),
    "distilbert-sequence": dict(model=hf.DistilBertForSequenceClassification, vocabulary="lower",
                                fields=dict(DISTIL, **THREE)),
    "roberta-sequence": dict(model=hf.RobertaForSequenceClassification, vocabulary="bytes",
                             fields=dict(HEADS, pad_token_id=0, bos_token_id=2, eos_token_id=3, **THREE)),
    "nomic-bert": dict(model=hf.NomicBertModel, vocabulary="lower", pooling="mean_tokens",
                       fields=dict(SMALL, rope_parameters=dict(rope_type="default", rope_theta=1000.0)),
                       without=[dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0))]),
    "nomic-bert-sequence": dict(model=hf.NomicBertForSequenceClassification, vocabulary="lower",
                                fields=dict(HEADS, **THREE)),
    "modern-bert": dict(model=hf.ModernBertModel, vocabulary="bytes", fields=dict(SMALL, **MODERN),
                        pooling="lasttoken",
                        without=[dict(local_attention=8), dict(local_attention=4), dict(local_attention=200),
                                 dict(rope_parameters=FLAT), dict(layer_types=["full_attention"] * 4)]),
    "modern-bert-sequence": dict(model=hf.ModernBertForSequenceClassification, vocabulary="bytes",
                                 fields=dict(HEADS, classifier_pooling="mean", classifier_bias=True, norm_bias=True,
                                             **MODERN, **THREE),
                                 without=[dict(classifier_pooling="cls")]),
    "modern-bert-token": dict(model=hf.ModernBertForTokenClassification, vocabulary="bytes",
                              fields=dict(HEADS, **MODERN, **TAGS)),
}
TEXTS = [
    "Hello world", "a", "", "The quick brown fox jumps over the lazy dog, don't you think?",
    "Ångström naïve café — Žižek", "Привет, мир! Ёлка", "我想在apple工作1314151天～", "한국어 문장 하나",
    "tabs\tand\nlines   and\u3000wide blanks ", "zero\u200bwidth, so\u00adft hyphen, \ufeffmark \ufffd \U0001f600 end",
    "[CLS] spelt [SEP] out [MASK]",
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen",
]
SCRIPTS = [  # ranges of code points that the random strings draw from
    (0x20, 0x7e), (0x61, 0x7a), (0x61, 0x7a), (0xa0, 0xff), (0xe0, 0xff), (0x300, 0x314), (0x3ac, 0x3ce), (0x391, 0x3a9),
    (0x430, 0x45f), (0x5d0, 0x5da), (0x627, 0x652), (0x915, 0x94d), (0xac00, 0xac40), (0x1ea0, 0x1ef9), (0x2000, 0x206f),
    (0x3041, 0x3060), (0x30a1, 0x30c0), (0x4e00, 0x4e20), (0xf900, 0xf910), (0xff01, 0xff20), (0x1f600, 0x1f604),
    (0x2f800, 0x2f808), (0x1100, 0x1112),
]


# ---- vocabularies ----

def random_strings(n):
    """Words of one script each, blanks between; seeded."""
    rng = random.Random(20260521)
    out = []
    for _ in range(n):
        words = []
        for _ in range(rng.randint(1, 6)):
            low, high = rng.choice(SCRIPTS)
            words.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 7))))
        out.append(rng.choice(["", " ", " ", "  ", "\u3000"]).join(words))
    return out


def wordpiece_words():
    """Letters as word starts and continuations, some pieces; every fifth letter of the rarer scripts is missing."""
    normalizer = tokenizers.normalizers.BertNormalizer()
    text = normalizer.normalize_str(" ".join(random_strings(1500) + TEXTS))
    letters = sorted(set(text) - set(" "))
    common = [c for c in letters if ord(c) < 0x80]
    rare = [c for i, c in enumerate(c for c in letters if ord(c) >= 0x80) if i % 5][:210]
    pieces = ["hello", "the", "qu", "##ick", "br", "##own", "one", "two", "##teen", "##ing", "wor", "##ld", "apple"]
    cased = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"] + ["Hel", "The", "Å", "é", "##é", "ï", "##ï"]
    words = MARKS + common + ["##" + c for c in common if c.isalnum()] + rare + ["##" + c for c in rare] + pieces
    return words + [w for w in cased if w not in words]


def wordpiece(lower):
    vocab = {w: i for i, w in enumerate(dict.fromkeys(wordpiece_words()))}
    return hf.BertTokenizerFast(vocab=vocab, do_lower_case=lower)


def bytes_bpe():
    core = tokenizers.Tokenizer(tokenizers.models.BPE())
    core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=330, special_tokens=MARKS, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False)
    core.train_from_iterator(TEXTS * 3, trainer)
    core.add_tokens([tokenizers.AddedToken("   ", normalized=False)])
    cls, sep = core.token_to_id("[CLS]"), core.token_to_id("[SEP]")
    core.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", cls), ("[SEP]", sep)])
    return hf.PreTrainedTokenizerFast(tokenizer_object=core, cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]",
                                      pad_token="[PAD]", mask_token="[MASK]")


VOCABULARIES = {"lower": lambda: wordpiece(True), "cased": lambda: wordpiece(False), "bytes": bytes_bpe}


def encode(tokenizer, text):
    """Ids and byte ranges; a user's [CLS] is text."""
    out = tokenizer(text, split_special_tokens=True, return_offsets_mapping=True)
    ranges = []
    for begin, end in out["offset_mapping"]:
        while end > begin + 1 and text[begin].isspace() and text[begin:end].strip():
            begin += 1  # byte-level tokens carry the blank in front
        ranges.append([len(text[:begin].encode()), len(text[:end].encode())])
    return out["input_ids"], ranges


# ---- models ----

def seed(name):
    torch.manual_seed(zlib.crc32(name.encode()))


def make(case, name, fields):
    seed(name)
    config = case["model"].config_class(**fields, attn_implementation="eager")
    model = case["model"](config).eval().float()
    with torch.no_grad():
        for parameter_name, p in sorted(model.named_parameters()):
            if p.dim() == 2:
                p.normal_(0, 1.2 / p.shape[1] ** 0.5)
            else:
                p.normal_(1.0 if "orm" in parameter_name and parameter_name.endswith("weight") else 0.0, 0.2)
    return model


def compute(case, model, ids):
    """The vector, scores or each token's scores of one text."""
    with torch.no_grad():
        out = model(torch.tensor([ids]))
    if "pooling" not in case:
        return out.logits[0]
    states = out.last_hidden_state[0]
    vector = {"mean_tokens": states.mean(0), "cls_token": states[0], "lasttoken": states[-1]}[case["pooling"]]
    return vector / vector.norm()


def check_teeth(case, name, fields, rows):
    for change in case.get("without", []):
        other = make(case, name, dict(fields, **change))
        moved = max((compute(case, other, ids) - values).abs().max() for ids, values in rows)
        if moved < TEETH:
            sys.exit(f"{name}: {change} moves no number by more than {moved:g}")


def rounded(tensor):
    return [rounded(row) for row in tensor] if tensor.dim() > 1 else [round(float(v), 5) for v in tensor]


def write(case, name, out):
    tokenizer = VOCABULARIES[case["vocabulary"]]()
    fields = dict(case["fields"], vocab_size=len(tokenizer))
    model = make(case, name, fields)
    rows, texts = [], []
    for text in TEXTS:
        ids, ranges = encode(tokenizer, text)
        ids, ranges = ids[:60], ranges[:60]
        values = compute(case, model, ids)
        rows.append((ids, values))
        row = {"text": text, "ids": ids, "ranges": ranges, "values": rounded(values)}
        texts.append(row)
    check_teeth(case, name, fields, rows)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder) / name
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if "pooling" in case:
            (folder / "1_Pooling").mkdir()
            (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_" + case["pooling"]: True}))
        convert_encoder.convert(folder, out / f"{name}.gguf", "f32")
        for kind in case.get("types", []):
            convert_encoder.convert(folder, out / f"{name}.{kind}.gguf", kind)
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)] if "pooling" not in case else []
    doc = {"labels": labels, "texts": texts}
    (out / f"{name}.json").write_text(json.dumps(doc, ensure_ascii=True, indent=None, separators=(",", ":")) + "\n")


def strings(tokenizer, n):
    """Without marks, blanks that the two references take for control characters, and overlong words."""
    rows = []
    for text in random_strings(n):
        rows.append([text, tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]])
    return rows


def gguf_tokenizer(path):
    """The vocabulary that a WordPiece GGUF stores, as Hugging Face spells it."""
    field = gguf.GGUFReader(path).fields["tokenizer.ggml.tokens"]
    words = [bytes(field.parts[i]).decode() for i in field.data]
    start = convert_encoder.WORD_START
    words = [w[1:] if w.startswith(start) else w if w.startswith("[") and w.endswith("]") and len(w) > 2 else "##" + w
             for w in words]
    return hf.BertTokenizerFast(vocab={w: i for i, w in enumerate(words)})


def main():
    if sys.argv[1] == "--strings":
        json.dump(strings(gguf_tokenizer(sys.argv[2]), 4000), sys.stdout)
        return
    out = Path(sys.argv[1])
    out.mkdir(exist_ok=True)
    for name in sys.argv[2:] or CASES:
        write(CASES[name], name, out)
    rows = strings(wordpiece(True), 300)
    (out / "wordpiece.json").write_text("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")


main()
