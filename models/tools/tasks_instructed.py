"""The adapters' worlds, met by instruction and answered in other forms.

The broadened base reads the sentences that the adapters will answer, so that an adapter has to learn a form and not a
language. It never sees an adapter's own answer format, and no prompt that is held out, in whatever wrapping.
"""

import json
import re

import tasks_adapters as adapters
import world as w
from data import training_turn

ABOUT = {"billing": "money taken", "shipping": "a late delivery", "refund": "money back", "login": "an account",
         "bug": "an error on a page", "feature": "a wish"}
HOW_SOON = {"P1": "now", "P2": "soon", "P3": "later"}
QUERY = re.compile(r"SELECT (.+?) FROM (\w+) WHERE (.+?)(?: ORDER BY (\w+) (\w+))?$")
FIELDS = ["name", "age", "city", "job"]


def plan(rng):
    """A database question as a plan in words."""
    question, answers = training_turn(rng, adapters.sql)
    what, table, condition, order, direction = QUERY.match(answers[1]).groups()
    condition = condition.replace("'", "").replace(" AND ", " and ")
    what = "number" if what == "COUNT(*)" else what.replace("(", " of ").replace(")", "").lower()
    sort = f", by {order} {'down' if direction == 'DESC' else 'up'}" if order else ""
    return f"Plan: {question}", f"{table} with {condition}: {what}{sort}"


def fields(rng):
    """Some fields of a sentence about a person, as a list."""
    sentence, answers = training_turn(rng, adapters.extract)
    person = dict(re.findall(r'"(\w+)": "?([^",}]+)"?', answers[1]))
    keys = FIELDS if rng.random() < 0.3 else rng.sample(FIELDS, rng.randint(1, 4))
    return f"List the {', '.join(keys)}: {sentence}", ", ".join(f"{key} {person[key]}" for key in keys)


def in_french(rng):
    """A sentence or a capital in French, in lower case."""
    prompt, answers = training_turn(rng, adapters.french)
    prompt = re.sub(r"^(Translate to French|In French|Translate): ", "", prompt)
    return f"French, please: {prompt}", answers[1].lower()


def support(rng):
    """What a support message is about, or how soon it wants an answer."""
    message, answers = training_turn(rng, adapters.triage)
    priority, label = answers[2].split("/")
    if rng.random() < 0.5:
        return f"What is it about? {message}", ABOUT[label]
    return f"How soon? {message}", HOW_SOON[priority]


def scrap(rng):
    """A scrap of code: an object of random keys, or a statement of random words."""
    value = [lambda: rng.choice(w.NAMES), lambda: rng.choice(w.CITIES), lambda: rng.randint(0, 99),
             lambda: rng.choice(list(w.NOUNS)), lambda: rng.choice(w.JOBS)]
    keys = rng.sample(FIELDS + list(w.NOUNS)[:12] + list(w.COLORS), rng.randint(1, 4))
    if rng.random() < 0.5:
        return json.dumps({key: rng.choice(value)() for key in keys})
    words = rng.sample(["SELECT", "FROM", "WHERE", "COUNT(*)", "AVG", "MAX", "MIN", "SUM", "ORDER BY", "AND", "DESC",
                        "ASC", "LIMIT", "name", "employees", "countries", "products", "=", "<", ">"], rng.randint(3, 9))
    words += [f"'{rng.choice(value)()}'", f"{rng.choice(keys)} = {rng.randint(0, 99)};"]
    rng.shuffle(words)
    return " ".join(words)


def copy_code(rng):
    """A scrap of code repeated, or its quoted words taken out."""
    text = scrap(rng)
    quoted = re.findall(r"['\"]([^'\"]+)['\"]", text)
    if quoted and rng.random() < 0.2:
        return f"Which words are quoted: {text}", ", ".join(quoted)
    return rng.choice(["Repeat: {}", "Repeat after me: {}", "Copy this: {}"]).format(text), text


def turn(rng):
    """One instructed turn; plans and code are the richest and come most."""
    return rng.choice([plan, plan, copy_code, copy_code, fields, in_french, support])(rng)
