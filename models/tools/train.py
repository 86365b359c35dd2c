"""Trains the tokenizer, the base and every adapter from fixed seeds.

    python train.py tokenizer|base|broaden|adapters [--only NAME]     into --work (default models/.build)

Every step reads what the step before it wrote; build.sh runs them all.
"""

import argparse
import random
import time
from pathlib import Path

import torch

import data
import tasks_adapters
import tasks_instructed
import tokenizer as tok
from model import Llama, Shape, summed_loss
from optim import Muon, schedule, set_rate

# muon, decay: rate and weight decay of the hidden matrices; adam: rate of the rest; other: loss weight of text that the
# assistant does not write.
BASE = {"steps": 1700, "tokens": 2048, "muon": 0.02, "decay": 0.01, "adam": 0.004, "dialogues": 290000, "other": 0}
BROADEN = {"steps": 420, "tokens": 1536, "muon": 0.006, "decay": 0.1, "adam": 0.0015, "dialogues": 56000, "other": 0.1}
ADAPTER = {"steps": 200, "more_steps": 140, "tokens": 1024, "adam": 0.003}
LOG_EVERY = 20
CLIP = 1.0


def log(text, start):
    """One line with the seconds since start."""
    print(f"{time.time() - start:7.0f}s {text}", flush=True)


def run(model, optimizers, all_steps, steps, label):
    """The training loop: the batches of a step add up to one update."""
    start, mean = time.time(), None
    for step in range(steps):
        set_rate(optimizers, schedule(step, steps))
        batches = all_steps[step % len(all_steps)]
        total = sum(float(b[2].sum()) for b in batches)
        loss = 0.0
        for batch in batches:
            part = summed_loss(model, *batch) / total
            part.backward()
            loss += part.item()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], CLIP)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        mean = loss if mean is None else 0.9 * mean + 0.1 * loss
        if step % LOG_EVERY == LOG_EVERY - 1:
            log(f"{label} step {step + 1}/{steps} loss {mean:.4f}", start)


def fit(model, tokenizer, dialogues, how, label):
    """Trains all of the model on the dialogues."""
    encoded = data.encode_all(tokenizer, dialogues, how["other"])
    matrices = [linear.weight for _, _, linear in model.linears()]
    rest = [p for p in model.parameters() if not any(p is m for m in matrices)]
    optimizers = [Muon(matrices, how["muon"], weight_decay=how["decay"]),
                  torch.optim.AdamW(rest, how["adam"], betas=(0.9, 0.95), weight_decay=0.0)]
    run(model, optimizers, data.steps_of(encoded, how["tokens"], 1), how["steps"], label)


def train_base(work):
    """The first phase: the mixture of tasks_base."""
    torch.manual_seed(1)
    rng = random.Random("base")
    model = Llama(Shape())
    dialogues = [data.base_dialogue(rng) for _ in range(BASE["dialogues"])]
    fit(model, tok.load(work / "tokenizer.json"), dialogues, BASE, "base")
    torch.save(model.state_dict(), work / "first.pt")


def broaden_base(work):
    """The second phase: half of the first one's mixture, half tasks_instructed, and some loss on what users write."""
    torch.manual_seed(2)
    rng = random.Random("broaden")
    model = Llama(Shape())
    model.load_state_dict(torch.load(work / "first.pt"))
    dialogues = [data.broad_dialogue(rng, tasks_instructed.turn) for _ in range(BROADEN["dialogues"])]
    fit(model, tok.load(work / "tokenizer.json"), dialogues, BROADEN, "broaden")
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
    return {(i, name): (x.lora_a.detach().clone(), x.lora_b.detach().clone()) for i, name, x in model.linears()}


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
    dialogues = [data.adapter_dialogue(rng, name, revision) for _ in range(steps * ADAPTER["tokens"] // 8)]
    encoded = data.encode_all(tokenizer, dialogues, 0)
    pairs = [p for p in model.parameters() if p.requires_grad]
    run(model, [torch.optim.AdamW(pairs, ADAPTER["adam"], betas=(0.9, 0.98), weight_decay=0.0)],
        data.steps_of(encoded, ADAPTER["tokens"], revision), steps, f"{name} revision {revision}")
    torch.save(lora_tensors(model), work / f"{name}.{revision}.pt")


def main():
    """Runs one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["tokenizer", "base", "broaden", "adapters"])
    parser.add_argument("--only", help="train this adapter alone")
    parser.add_argument("--work", type=Path, default=Path(__file__).resolve().parent.parent / ".build")
    args = parser.parse_args()
    torch.set_num_threads(2)
    args.work.mkdir(exist_ok=True)
    if args.step == "tokenizer":
        tok.train(args.work / "tokenizer.json", Shape().vocab_size)
    elif args.step == "base":
        train_base(args.work)
    elif args.step == "broaden":
        broaden_base(args.work)
    else:
        for name, entry in tasks_adapters.ADAPTERS.items():
            for revision in entry[1] if args.only in (None, name) else []:
                train_adapter(args.work, name, revision)


if __name__ == "__main__":
    main()
