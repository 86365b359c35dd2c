"""Trains the tokenizer, the base and every adapter from fixed seeds.

    python train.py tokenizer|base|adapters [--only NAME]     into --work (default models/.build)

Every step reads what the step before it wrote; build.sh runs them all.
"""

import argparse
import random
import time
from pathlib import Path

import torch

import data
import tasks_adapters
import tokenizer as tok
from model import Llama, Shape, weighted_loss
from optim import Muon, schedule, set_rate

BASE = {"steps": 1000, "tokens": 6144, "muon": 0.02, "adam": 0.004, "dialogues": 150000}
ADAPTER = {"steps": 320, "more_steps": 160, "tokens": 3072, "adam": 0.004}
LOG_EVERY = 20


def log(text, start):
    """One line with the seconds since start."""
    print(f"{time.time() - start:7.0f}s {text}", flush=True)


def run(model, optimizers, all_batches, steps, label, clip=1.0):
    """The training loop: one batch a step."""
    start, mean = time.time(), None
    for step in range(steps):
        set_rate(optimizers, schedule(step, steps))
        loss = weighted_loss(model, *all_batches[step % len(all_batches)])
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        mean = loss.item() if mean is None else 0.9 * mean + 0.1 * loss.item()
        if step % LOG_EVERY == LOG_EVERY - 1:
            log(f"{label} step {step + 1}/{steps} loss {mean:.4f}", start)


def train_base(work):
    """The base, on the mixture of tasks_base."""
    torch.manual_seed(1)
    tokenizer = tok.load(work / "tokenizer.json")
    rng = random.Random("base")
    encoded = data.encode_all(tokenizer, [data.base_dialogue(rng) for _ in range(BASE["dialogues"])])
    model = Llama(Shape())
    matrices = [linear.weight for _, _, linear in model.linears()]
    rest = [p for p in model.parameters() if not any(p is m for m in matrices)]
    optimizers = [Muon(matrices, BASE["muon"]), torch.optim.AdamW(rest, BASE["adam"], betas=(0.9, 0.95), weight_decay=0.0)]
    run(model, optimizers, data.batches(encoded, BASE["tokens"], 1), BASE["steps"], "base")
    torch.save(model.state_dict(), work / "base.pt")


def load_base(work):
    """The trained base, its matrices rounded to F16 as shipped."""
    model = Llama(Shape())
    model.load_state_dict(torch.load(work / "base.pt"))
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 2:
                p.copy_(p.half().float())
    return model.requires_grad_(False)


def lora_tensors(model):
    """The LoRA pairs by (block, linear)."""
    return {(i, name): (linear.lora_a.detach().clone(), linear.lora_b.detach().clone()) for i, name, linear in model.linears()}


def train_adapter(work, name, revision):
    """One revision of an adapter; a later revision goes on from the one before."""
    _, revisions, rank, alpha, _, _, _ = tasks_adapters.ADAPTERS[name]
    first = revision == revisions[0]
    torch.manual_seed(revision)
    model = load_base(work)
    model.add_lora(rank, alpha)
    if not first:
        before = torch.load(work / f"{name}.{revision - 1}.pt")
        with torch.no_grad():
            for i, linear_name, linear in model.linears():
                linear.lora_a.copy_(before[i, linear_name][0])
                linear.lora_b.copy_(before[i, linear_name][1])
    rng = random.Random(f"{name} {revision}")
    steps = ADAPTER["steps"] if first else ADAPTER["more_steps"]
    tokenizer = tok.load(work / "tokenizer.json")
    encoded = data.encode_all(tokenizer, [data.adapter_dialogue(rng, name, revision) for _ in range(steps * 90)])
    pairs = [p for p in model.parameters() if p.requires_grad]
    run(model, [torch.optim.AdamW(pairs, ADAPTER["adam"], betas=(0.9, 0.98), weight_decay=0.0)],
        data.batches(encoded, ADAPTER["tokens"], revision), steps, f"{name} revision {revision}")
    torch.save(lora_tensors(model), work / f"{name}.{revision}.pt")


def main():
    """Runs one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["tokenizer", "base", "adapters"])
    parser.add_argument("--only", help="train this adapter alone")
    parser.add_argument("--work", type=Path, default=Path(__file__).resolve().parent.parent / ".build")
    args = parser.parse_args()
    torch.set_num_threads(2)
    args.work.mkdir(exist_ok=True)
    if args.step == "tokenizer":
        tok.train(args.work / "tokenizer.json", Shape().vocab_size)
    elif args.step == "base":
        train_base(args.work)
    else:
        for name, entry in tasks_adapters.ADAPTERS.items():
            for revision in entry[1] if args.only in (None, name) else []:
                train_adapter(args.work, name, revision)


if __name__ == "__main__":
    main()
