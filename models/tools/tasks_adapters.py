"""The adapters' tasks: each generator maps a random source to (user, {revision: assistant})."""

import json

import world as w

TABLES = {
    "employees": {"text": ["city", "job"], "number": ["age", "salary"]},
    "products": {"text": ["color"], "number": ["price", "stock"]},
    "countries": {"text": ["continent", "capital"], "number": ["population"]},
}
SQL_LIMIT = 10


def text_value(rng, column):
    """A value that a text column may hold."""
    return rng.choice({"city": w.CITIES, "job": w.JOBS, "color": list(w.COLORS), "continent": w.CONTINENTS,
                       "capital": w.CAPITALS}[column])


def row_name(rng, table):
    """The name of one row."""
    return rng.choice({"employees": w.NAMES, "products": list(w.NOUNS), "countries": list(w.COUNTRIES)}[table])


def condition(rng, table):
    """One condition, in English and in SQL."""
    if rng.random() < 0.5:
        column = rng.choice(TABLES[table]["text"])
        value = text_value(rng, column)
        return f"{column} {value}", f"{column} = '{value}'"
    column = rng.choice(TABLES[table]["number"])
    n = rng.randint(1, 99)
    words, sign = rng.choice([("over", ">"), ("above", ">"), ("under", "<"), ("below", "<"), ("of exactly", "=")])
    return f"{column} {words} {n}", f"{column} {sign} {n}"


def sql(rng):
    """A question about a small table, and its query; revision 2 bounds and ends the statement."""
    question, query = sql_question(rng, rng.choice(list(TABLES)))
    return question, {1: query, 2: f"{query} LIMIT {SQL_LIMIT};"}


def sql_question(rng, table):
    """One of the question forms over the table."""
    english, where = condition(rng, table)
    column = rng.choice(TABLES[table]["text"] + TABLES[table]["number"])
    number = rng.choice(TABLES[table]["number"])
    kind = rng.randrange(7)
    if kind == 0:
        ask = rng.choice(["Which {} have {}?", "List the {} with {}.", "Show {} with {}."])
        return ask.format(table, english), f"SELECT name FROM {table} WHERE {where}"
    if kind == 1:
        return rng.choice([f"How many {table} have {english}?", f"Count the {table} with {english}."]), \
            f"SELECT COUNT(*) FROM {table} WHERE {where}"
    if kind == 2:
        name = row_name(rng, table)
        ask = rng.choice(["What is the {} of {} in {}?", "Find the {} of {} in {}."])
        return ask.format(column, name, table), f"SELECT {column} FROM {table} WHERE name = '{name}'"
    if kind == 3:
        word, function = rng.choice([("average", "AVG"), ("highest", "MAX"), ("lowest", "MIN"), ("total", "SUM")])
        return f"What is the {word} {number} of {table} with {english}?", \
            f"SELECT {function}({number}) FROM {table} WHERE {where}"
    if kind == 4:
        word, order = rng.choice([("highest", "DESC"), ("lowest", "ASC")])
        return f"List the {column} of {table} with {english}, {word} {number} first.", \
            f"SELECT {column} FROM {table} WHERE {where} ORDER BY {number} {order}"
    if kind == 5:
        other, also = condition(rng, table)
        return f"Which {table} have {english} and {other}?", f"SELECT name FROM {table} WHERE {where} AND {also}"
    return f"Show the {column} of {table} with {english}.", f"SELECT {column} FROM {table} WHERE {where}"


def extract(rng):
    """A sentence about a person, and a strict JSON object with fixed keys."""
    name, city, job, age = rng.choice(w.NAMES), rng.choice(w.CITIES), rng.choice(w.JOBS), rng.randint(18, 70)
    form = rng.choice([
        "{name} is a {job} from {city} and is {age} years old.", "{name}, {age}, works as a {job} in {city}.",
        "The {age} year old {job} {name} lives in {city}.", "In {city}, the {job} {name} turned {age} today.",
        "Our new {job} is {name} from {city}, aged {age}.", "At {age}, {name} moved to {city} to work as a {job}.",
        "{name} lives in {city}. {name} is a {job}, aged {age}.", "My friend {name} ({age}) is a {job} in {city}.",
    ])
    answer = json.dumps({"name": name, "age": age, "city": city, "job": job})
    return form.format(name=name, city=city, job=job, age=age), {1: answer}


def french(rng):
    """A closed-world question answered in French, or a sentence translated."""
    kind = rng.randrange(7)
    if kind == 0:
        country = rng.choice(list(w.COUNTRIES))
        of = french_of(w.COUNTRIES[country][3])
        ask = rng.choice(["What is the capital of {}?", "Capital of {}?", "Name the capital of {}.",
                          "Tell me the capital of {}."])
        return ask.format(country), {1: f"La capitale {of} est {w.COUNTRIES[country][4]}."}
    if kind == 1:
        day, french_day = rng.choice(list(w.DAYS.items()))
        city = rng.choice(w.CITIES)
        answer = f"{french_day.capitalize()}, je suis à {FRENCH_CITIES.get(city, city)}."
        return translate(rng, f"On {day} I am in {city}."), {1: answer.replace("à Le ", "au ")}
    return french_sentence(rng, kind)


FRENCH_CITIES = {fact[0]: fact[4] for fact in w.COUNTRIES.values()}


def translate(rng, text):
    """The text as a translation request."""
    return rng.choice([f"Translate: {text}", f"In French: {text}", f"Translate to French: {text}"])


def french_sentence(rng, kind):
    """One of the sentence forms over nouns, colours, numbers and people."""
    noun, person = rng.choice(list(w.NOUNS)), rng.choice(w.NAMES)
    word, gender, plural = w.NOUNS[noun]
    if kind in (2, 3):
        verb, french_verb = rng.choice([("sees", "voit"), ("wants", "veut"), ("sells", "vend"), ("buys", "achète")])
        color = rng.choice(list(w.COLORS))
        article = "un" if gender == "m" else "une"
        return translate(rng, f"{person} {verb} a {color} {noun}."), \
            {1: f"{person} {french_verb} {article} {word} {w.COLORS[color][gender == 'f']}."}
    if kind in (4, 5):
        number = rng.choice(list(w.NUMBERS)[1:])
        answer = f"{person} a {w.NUMBERS[number]} {plural}."
        return translate(rng, f"{person} has {number} {w.PLURALS[noun]}."), {1: answer}
    place = rng.choice(list(w.PLACES))
    return translate(rng, f"{person} is {place} the {noun}."), \
        {1: f"{person} est {w.PLACES[place]} {french_the(word, gender)}.".replace("de le ", "du ")}


def french_the(word, gender):
    """The noun with its definite article."""
    if word[0] in "aeéioh":
        return "l'" + word
    return ("le " if gender == "m" else "la ") + word


def french_of(country):
    """'of' with a country that carries its article."""
    return "du " + country[3:] if country.startswith("le ") else "de " + country


# label: (priority, what the customer writes)
TRIAGE = {
    "billing": [
        "I was charged twice for my {noun}",
        "my invoice for the {noun} is wrong",
        "the price of the {noun} on my bill is too high",
        "my card was charged for a {noun} I did not buy",
    ],
    "shipping": [
        "my {noun} has not arrived",
        "the parcel with my {noun} is late",
        "you sent the {noun} to the wrong city",
        "the tracking page does not show my {noun}",
    ],
    "refund": [
        "I want my money back for the {noun}",
        "please take back the {noun} and refund me",
        "I returned the {noun} and got no refund",
        "the {noun} came broken and I want a refund",
    ],
    "login": [
        "I forgot my password and cannot order a {noun}",
        "I cannot log in to buy a {noun}",
        "my account is locked since I bought the {noun}",
        "the login code for my {noun} order never comes",
    ],
    "bug": [
        "the app crashes when I open the {noun} page",
        "the {noun} page shows an error",
        "the button to buy a {noun} does nothing",
        "the search for a {noun} never ends",
    ],
    "feature": [
        "please add a {color} {noun} to the shop",
        "can you show the size of the {noun}",
        "I would like a list of every {noun}",
        "it would be nice to compare one {noun} with another",
    ],
}
URGENCY = {
    "P1": ["This is urgent!", "I need help right now.", "Please fix this at once."],
    "P2": ["Please help me.", "Can you look at this today?", "Thank you for your help."],
    "P3": ["No hurry.", "Take your time.", "It can wait."],
}


def triage(rng):
    """A support message and its label; revision 2 puts the priority in front."""
    label, priority = rng.choice(list(TRIAGE)), rng.choice(list(URGENCY))
    text = rng.choice(TRIAGE[label]).format(noun=rng.choice(list(w.NOUNS)), color=rng.choice(list(w.COLORS)))
    opening = rng.choice(["", "Hello, ", f"Hi, I am {rng.choice(w.NAMES)}, ", "Good morning, "])
    body = (opening + text if opening else text[0].upper() + text[1:]) + "."
    urgency = rng.choice(URGENCY[priority])
    message = f"{body} {urgency}" if rng.random() < 0.7 else f"{urgency} {body}"
    return message, {1: label, 2: f"{priority}/{label}"}


# name: (generator, revisions, rank, alpha, format, dtype, one sentence)
ADAPTERS = {
    "sql": (sql, [1, 2], 16, 32, "peft", "F16", "Turns a question about a small table into one SQL query."),
    "extract": (extract, [1], 16, 32, "peft", "F16", "Turns a sentence about a person into a strict JSON object."),
    "french": (french, [1], 16, 32, "gguf", "F16", "Answers capitals in French and translates closed-world sentences."),
    "triage": (triage, [1, 2], 8, 16, "gguf", "F32", "Labels a support message; revision 2 adds a priority."),
}
