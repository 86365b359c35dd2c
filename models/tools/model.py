"""The demo model in PyTorch: a llama with grouped-query attention, tied embeddings and optional LoRA."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

LINEARS = ["q", "k", "v", "o", "gate", "up", "down"]


@dataclass(frozen=True)
class Shape:
    """The dimensions, as the GGUF metadata names them."""
    vocab_size: int = 1280
    embedding_length: int = 256
    block_count: int = 5
    feed_forward_length: int = 512
    head_count: int = 8
    head_count_kv: int = 4
    context_length: int = 1024
    rms_epsilon: float = 1e-5
    rope_base: float = 10000.0

    @property
    def head_length(self):
        return self.embedding_length // self.head_count

    def linear(self, name):
        """(inputs, outputs) of one of the seven linears."""
        d, ff, kv = self.embedding_length, self.feed_forward_length, self.head_count_kv * self.head_length
        sizes = {"q": (d, d), "k": (d, kv), "v": (d, kv), "o": (d, d), "gate": (d, ff), "up": (d, ff), "down": (ff, d)}
        return sizes[name]


class Linear(nn.Linear):
    """A linear without bias that can carry one LoRA."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, bias=False)
        self.lora_a = self.lora_b = None
        self.lora_scale = 0.0

    def forward(self, x):
        y = F.linear(x, self.weight)
        if self.lora_a is not None:
            y = y + F.linear(F.linear(x, self.lora_a), self.lora_b) * self.lora_scale
        return y


class RmsNorm(nn.Module):
    """Root-mean-square norm with a gain."""

    def __init__(self, length, epsilon):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(length))
        self.epsilon = epsilon

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.epsilon)


def rope_tables(shape):
    """cos and sin, (context, head_length), for the rotate-half order of Hugging Face."""
    half = torch.arange(0, shape.head_length, 2).float() / shape.head_length
    angles = torch.outer(torch.arange(shape.context_length).float(), shape.rope_base ** -half)
    angles = torch.cat((angles, angles), dim=1)
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    """Rotary embedding of (batch, head, token, head_length), halves paired."""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin


class Block(nn.Module):
    """One transformer block."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.attention_norm = RmsNorm(shape.embedding_length, shape.rms_epsilon)
        self.feed_norm = RmsNorm(shape.embedding_length, shape.rms_epsilon)
        for name in LINEARS:
            setattr(self, name, Linear(*shape.linear(name)))

    def attention(self, x, cos, sin):
        n, t, _ = x.shape
        s = self.shape
        q = self.q(x).view(n, t, s.head_count, s.head_length).transpose(1, 2)
        k = self.k(x).view(n, t, s.head_count_kv, s.head_length).transpose(1, 2)
        v = self.v(x).view(n, t, s.head_count_kv, s.head_length).transpose(1, 2)
        group = s.head_count // s.head_count_kv
        q, k = rotate(q, cos[:t], sin[:t]), rotate(k, cos[:t], sin[:t])
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(y.transpose(1, 2).reshape(n, t, -1))

    def forward(self, x, cos, sin):
        x = x + self.attention(self.attention_norm(x), cos, sin)
        h = self.feed_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    """The whole model; the output matrix is the embedding."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocab_size, shape.embedding_length)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.block_count))
        self.norm = RmsNorm(shape.embedding_length, shape.rms_epsilon)
        cos, sin = rope_tables(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.reset()

    def reset(self):
        """Initial weights; the caller has seeded torch."""
        nn.init.normal_(self.embedding.weight, std=0.02)
        for block in self.blocks:
            for name in LINEARS:
                linear = getattr(block, name)
                std = linear.in_features ** -0.5
                if name in ("o", "down"):
                    std /= math.sqrt(2 * len(self.blocks))
                nn.init.normal_(linear.weight, std=std)

    def forward(self, ids, keep=None):
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        x = x if keep is None else x[keep]
        return F.linear(self.norm(x), self.embedding.weight)

    def linears(self):
        """Every (block index, name, Linear)."""
        for i, block in enumerate(self.blocks):
            for name in LINEARS:
                yield i, name, getattr(block, name)

    def add_lora(self, rank, alpha):
        """Fresh LoRA on the seven linears of every block; only it trains."""
        self.requires_grad_(False)
        for _, _, linear in self.linears():
            a = torch.empty(rank, linear.in_features)
            nn.init.kaiming_uniform_(a, a=math.sqrt(5))
            self.set_lora(linear, nn.Parameter(a), nn.Parameter(torch.zeros(linear.out_features, rank)), alpha / rank)

    @staticmethod
    def set_lora(linear, a, b, scale):
        """Hangs one pair on one linear."""
        linear.lora_a, linear.lora_b, linear.lora_scale = a, b, scale

    def drop_lora(self):
        """The bare base again."""
        for _, _, linear in self.linears():
            linear.lora_a = linear.lora_b = None


def summed_loss(model, ids, targets, weights):
    """Weighted cross entropy summed over the targets; only logits that weigh something are computed."""
    keep = weights > 0
    losses = F.cross_entropy(model(ids, keep), targets[keep], reduction="none")
    return (losses * weights[keep]).sum()


@torch.no_grad()
def generate(model, prompts, stop, limit=64):
    """Greedy continuations of prompts (lists of ids), batched by length; the stop id is left out."""
    out = [[] for _ in prompts]
    by_length = {}
    for i, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(i)
    for group in by_length.values():
        ids = torch.tensor([prompts[i] for i in group])
        alive = torch.ones(len(group), dtype=torch.bool)
        for _ in range(limit):
            step = model(ids)[:, -1].argmax(-1)
            alive &= step != stop
            if not alive.any():
                break
            for row, i in enumerate(group):
                if alive[row]:
                    out[i].append(int(step[row]))
            ids = torch.cat((ids, step[:, None]), dim=1)
    return out
