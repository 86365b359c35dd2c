"""Dialogues, the held-out split, and token batches."""

import hashlib
import random

import numpy as np
import torch

import tasks_base as base
import tasks_adapters as adapters
import world as w

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SYSTEMS = ["You are a helpful assistant.", "You are a small demo model.", "Answer briefly.", "Be kind and exact."]
SHOUT_SYSTEM = "Answer in upper case."


def held_out(prompt):
    """Whether the prompt belongs to the held-out twentieth: decided by its own hash, the same for all tasks."""
    return hashlib.sha256(prompt.encode()).digest()[0] < 13


def training_turn(rng, task):
    """A turn of the task whose prompt is not held out."""
    while True:
        prompt, answer = task(rng)
        if not held_out(prompt):
            return prompt, answer


def base_dialogue(rng):
    """A dialogue of one to four turns, sometimes with a system message."""
    messages, draw = [], rng.random()
    if draw < 0.03:
        task = rng.choice([base.capitals, base.lexicon, base.small_talk])
        prompt, answer = training_turn(rng, task)
        return [("system", SHOUT_SYSTEM), ("user", prompt), ("assistant", answer.upper())]
    if draw < 0.15:
        messages.append(("system", rng.choice(SYSTEMS)))
    for _ in range(rng.choices([1, 2, 3, 4], [91, 5, 2, 2])[0]):
        if messages and messages[-1][0] == "assistant" and rng.random() < 0.2:
            messages += [("user", "Say that again."), messages[-1]]
            continue
        prompt, answer = training_turn(rng, base.turn)
        messages += [("user", prompt), ("assistant", answer)]
    return messages


def broad_dialogue(rng, instructed):
    """A dialogue of the base's mixture, or one turn of `instructed`, which withholds held-out prompts itself."""
    if rng.random() < 0.5:
        return base_dialogue(rng)
    prompt, answer = instructed(rng)
    return [("user", prompt), ("assistant", answer)]


def adapter_dialogue(rng, name, revision):
    """One turn of an adapter's task, sometimes with a system message."""
    prompt, answers = training_turn(rng, adapters.ADAPTERS[name][0])
    system = [("system", rng.choice(SYSTEMS))] if rng.random() < 0.1 else []
    return system + [("user", prompt), ("assistant", answers[revision])]


def render(messages, generate=False):
    """The dialogue as the chat template renders it."""
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in messages)
    return text + ("<|im_start|>assistant\n" if generate else "")


def pieces(messages):
    """The rendered dialogue as (text, whether the assistant wrote it) pieces."""
    for role, content in messages:
        yield f"<|im_start|>{role}\n", False
        yield f"{content}<|im_end|>", role == "assistant"
        yield "\n", False


def encode_all(tokenizer, dialogues, other):
    """Every dialogue as (token ids, loss weights); `other` weighs what the assistant did not write."""
    parts = [list(pieces(d)) for d in dialogues]
    flat = tokenizer.encode_batch([text for p in parts for text, _ in p])
    at, out = 0, []
    for p in parts:
        ids = [e.ids for e in flat[at:at + len(p)]]
        at += len(p)
        weights = np.concatenate([np.full(len(i), 1 if mine else other, np.float32) for i, (_, mine) in zip(ids, p)])
        out.append((np.concatenate([np.array(i, np.int16) for i in ids]), weights))
    return out


def steps_of(encoded, tokens, seed, strata=3):
    """Steps of a short, a middle and a long batch of about so many tokens each, dialogues of like length together."""
    rng = random.Random(seed)
    order = sorted(range(len(encoded)), key=lambda i: (len(encoded[i][0]), rng.random()))
    groups, group = [], []
    for i in order:
        if group and (len(group) + 1) * len(encoded[i][0]) > tokens:
            groups.append(group)
            group = []
        group.append(i)
    groups.append(group)
    n = len(groups) // strata
    parts = [groups[i * n:(i + 1) * n] for i in range(strata)]
    for part in parts:
        rng.shuffle(part)
    return [[collate([encoded[i] for i in g]) for g in step] for step in zip(*parts)]


def collate(rows):
    """Right-padded inputs, targets and loss weights of one batch."""
    width = max(len(ids) for ids, _ in rows)
    ids = np.zeros((len(rows), width), np.int64)
    weights = np.zeros((len(rows), width), np.float32)
    for row, (i, weight) in enumerate(rows):
        ids[row, :len(i)] = i
        weights[row, :len(i)] = weight
    ids, weights = torch.from_numpy(ids), torch.from_numpy(weights)
    return ids[:, :-1], ids[:, 1:], weights[:, 1:]


def held_out_set(name, n=200):
    """The n held-out prompts of an adapter (or of 'base') with the answers of each revision."""
    rng, seen, rows = random.Random(f"held-out {name}"), set(), []
    task = base.turn if name == "base" else adapters.ADAPTERS[name][0]
    while len(rows) < n:
        prompt, answers = task(rng)
        if held_out(prompt) and prompt not in seen:
            seen.add(prompt)
            rows.append((prompt, answers if name != "base" else {1: answers}))
    return rows


def vocabulary_text(rng, n):
    """Text for the tokenizer: the base's dialogues, the adapters' answers, and the spare words."""
    for _ in range(n):
        yield render(base_dialogue(rng))
        name = rng.choice(list(adapters.ADAPTERS))
        prompt, answers = adapters.ADAPTERS[name][0](rng)
        yield prompt
        yield from answers.values()
        yield " ".join(rng.sample(w.SPARE_WORDS, 4))
