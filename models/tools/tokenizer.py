"""The tokenizer: byte-level BPE, digits one by one, three control tokens (llama.cpp's `smollm` pre-tokenizer)."""

import random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import data

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
END_OF_TEXT, IM_START, IM_END = range(3)


def train(path, size, samples=12000):
    """Learns the merges from generated text and writes tokenizer.json."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIALS, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(data.vocabulary_text(random.Random("tokenizer"), samples), trainer)
    tokenizer.save(str(path))
    return load(path)


def load(path):
    """The tokenizer of a tokenizer.json."""
    return Tokenizer.from_file(str(path))
