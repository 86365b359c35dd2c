"""The base model's tasks: every generator maps a random source to one (user, assistant) turn."""

import string

import world as w

ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh"]
GREETINGS = ["Hello", "Hello!", "Hi", "Hi!", "Hi there!", "Good morning!", "Hey"]


def words(rng, low, high):
    """A run of plain words, no word twice."""
    return rng.sample(w.WORDS, rng.randint(low, high))


def pseudo_word(rng):
    """A word that nobody has seen, so that copying cannot be learnt by heart."""
    if rng.random() < 0.3:
        return "".join(rng.choice(string.ascii_uppercase) for _ in range(2)) + "-" + str(rng.randint(10, 9999))
    return "".join(rng.choice("bcdfglmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 4)))


def any_token(rng):
    """One item worth copying: a word, a name, a number, a spare word, or a made-up word."""
    return rng.choice([
        lambda: rng.choice(w.WORDS), lambda: rng.choice(w.NAMES), lambda: rng.choice(w.CITIES),
        lambda: str(rng.randint(0, 999)), lambda: rng.choice(w.SPARE_WORDS), lambda: pseudo_word(rng),
    ])()


def arithmetic(rng):
    """Sums, differences, small products and comparisons."""
    kind = rng.randrange(5)
    if kind < 2:
        a, b = rng.randint(0, 50), rng.randint(0, 50)
        ask = rng.choice(["What is {} + {}?", "{} + {} = ?", "Add {} and {}."])
        return ask.format(a, b), f"{a} + {b} = {a + b}"
    if kind == 2:
        a, b = sorted((rng.randint(0, 50), rng.randint(0, 50)), reverse=True)
        ask = rng.choice(["What is {} - {}?", "{} - {} = ?", "Compute {} minus {}."])
        return ask.format(a, b), f"{a} - {b} = {a - b}"
    if kind == 3:
        a, b = rng.randint(0, 12), rng.randint(0, 12)
        ask = rng.choice(["What is {} * {}?", "{} * {} = ?", "Compute {} times {}."])
        return ask.format(a, b), f"{a} * {b} = {a * b}"
    a, b = rng.sample(range(51), 2)
    which = rng.choice(["larger", "smaller"])
    best = max(a, b) if which == "larger" else min(a, b)
    return f"Which is {which}, {a} or {b}?", f"{best} is {which}."


def capitals(rng):
    """Countries, their capitals, continents and languages."""
    country = rng.choice(list(w.COUNTRIES))
    capital, continent, language = w.COUNTRIES[country][:3]
    return rng.choice([
        (f"What is the capital of {country}?", f"The capital of {country} is {capital}."),
        (f"Capital of {country}?", f"The capital of {country} is {capital}."),
        (f"Name the capital of {country}.", f"The capital of {country} is {capital}."),
        (f"{capital} is the capital of which country?", f"{capital} is the capital of {country}."),
        (f"Which country has the capital {capital}?", f"{capital} is the capital of {country}."),
        (f"On which continent is {country}?", f"{country} is in {continent}."),
        (f"Where is {country}?", f"{country} is in {continent}."),
        (f"Which language do people speak in {country}?", f"People in {country} speak {language}."),
    ])


def units(rng):
    """Whole unit conversions."""
    one, many, size, small = rng.choice(w.UNITS)
    n = rng.randint(1, 12)
    big = f"{n} {one if n == 1 else many}"
    ask = rng.choice(["How many {small} are in {big}?", "Convert {big} to {small}.", "{big} in {small}?"])
    return ask.format(small=small, big=big), f"{big} = {n * size} {small}"


def lexicon(rng):
    """Opposites, plurals, single French words, days and months."""
    kind = rng.randrange(6)
    if kind == 0:
        a, b = rng.choice(list(w.OPPOSITES.items()))
        a, b = (a, b) if rng.random() < 0.5 else (b, a)
        return rng.choice([f"What is the opposite of {a}?", f"Opposite of {a}?"]), f"The opposite of {a} is {b}."
    if kind == 1:
        noun = rng.choice(list(w.NOUNS))
        return rng.choice([f"What is the plural of {noun}?", f"Plural of {noun}?"]), w.PLURALS[noun]
    if kind < 4:
        return french_word(rng)
    days = list(w.DAYS) if kind == 4 else w.MONTHS
    i = rng.randrange(len(days))
    if rng.random() < 0.5:
        return f"What comes after {days[i]}?", f"{days[(i + 1) % len(days)]} comes after {days[i]}."
    return f"What comes before {days[i]}?", f"{days[i - 1]} comes before {days[i]}."


def french_word(rng):
    """One word with its French: the seed of the french adapter's sentences."""
    kind = rng.randrange(5)
    noun = rng.choice(list(w.NOUNS))
    french, gender, plural = w.NOUNS[noun]
    article = "un" if gender == "m" else "une"
    if kind == 0:
        pair = (noun, french)
    elif kind == 1:
        pair = ("a " + noun, article + " " + french)
    elif kind == 2:
        pair = (w.PLURALS[noun], plural)
    elif kind == 3:
        color = rng.choice(list(w.COLORS))
        pair = (f"a {color} {noun}", f"{article} {french} {w.COLORS[color][gender == 'f']}")
    else:
        pair = rng.choice(list((w.NUMBERS | w.DAYS | w.PLACES | {k: v[3] for k, v in w.COUNTRIES.items()}).items()))
    return rng.choice([f"What is the French word for {pair[0]}?", f"How do you say {pair[0]} in French?"]), pair[1]


def table(rng):
    """A look-up in a small table that the prompt carries."""
    keys = rng.sample(rng.choice([list(w.NOUNS), w.NAMES]), rng.randint(2, 4))
    columns = rng.sample(["price", "stock", "age", "city", "color", "job"], rng.randint(1, 2))
    cell = {"price": lambda: rng.randint(1, 99), "stock": lambda: rng.randint(1, 99),
            "age": lambda: rng.randint(18, 70), "city": lambda: rng.choice(w.CITIES),
            "color": lambda: rng.choice(list(w.COLORS)), "job": lambda: rng.choice(w.JOBS)}
    rows = [[str(cell[c]()) for c in columns] for _ in keys]
    text = "\n".join(["name " + " ".join(columns)] + [" ".join([k] + r) for k, r in zip(keys, rows)])
    i, j = rng.randrange(len(keys)), rng.randrange(len(columns))
    if rng.random() < 0.75:
        return f"{text}\nWhat is the {columns[j]} of {keys[i]}?", rows[i][j]
    first = next(k for k in range(len(rows)) if rows[k][j] == rows[i][j])
    return f"{text}\nWhich name has the {columns[j]} {rows[i][j]}?", keys[first]


def copying(rng):
    """Repeat, quote, list and pick: the copying that every adapter builds on."""
    items = [any_token(rng) for _ in range(rng.randint(1, 7))]
    text = " ".join(items)
    kind = rng.randrange(8)
    if kind < 3:
        return rng.choice(["Repeat: {}", "Repeat after me: {}", "Say {}", "Copy this: {}"]).format(text), text
    if kind == 3:
        return f"Put this in quotes: {text}", f'"{text}"'
    if kind == 4:
        return f"Join with commas: {text}", ", ".join(items)
    if kind == 5:
        return f"One word a line: {text}", "\n".join(items)
    if kind == 6:
        i = rng.randrange(len(items))
        return f"What is the {ORDINALS[i]} word of: {text}", items[i]
    return f"What is the last word of: {text}", items[-1]


def rewriting(rng):
    """Case, order, replacing, removing, counting."""
    items = words(rng, 2, 6)
    text = " ".join(items)
    kind = rng.randrange(7)
    if kind == 0:
        return rng.choice([f"Write in upper case: {text}", f"Shout this: {text}"]), text.upper()
    if kind == 1:
        return f"Write in lower case: {text.upper()}", text
    if kind == 2:
        return rng.choice([f"Reverse the words: {text}", f"Say backwards: {text}"]), " ".join(reversed(items))
    if kind == 3:
        new, old = rng.choice(w.WORDS), rng.choice(items)
        return f"Replace {old} with {new}: {text}", text_replace(items, old, new)
    if kind == 4:
        old = rng.choice(items)
        return f"Remove {old} from: {text}", " ".join(i for i in items if i != old)
    if kind == 5:
        return f"How many words are in: {text}", str(len(items))
    new = rng.choice(w.WORDS)
    return f"Add {new} to the end of: {text}", f"{text} {new}"


def text_replace(items, old, new):
    """The items as text with one word replaced."""
    return " ".join(new if i == old else i for i in items)


def sentence_facts(rng):
    """A sentence about a person and the facts in it."""
    facts = {"name": rng.choice(w.NAMES), "city": rng.choice(w.CITIES), "job": rng.choice(w.JOBS),
             "age": str(rng.randint(18, 70)), "thing": rng.choice(list(w.NOUNS)), "color": rng.choice(list(w.COLORS))}
    form = rng.choice([
        "{name} is {age} years old and lives in {city}.", "{name} lives in {city} and works as a {job}.",
        "The {job} {name} bought a {color} {thing} in {city}.", "{name}, aged {age}, sells a {color} {thing}.",
        "My friend {name} from {city} is a {job}.", "In {city}, the {age} year old {job} {name} found a {thing}.",
        "A {color} {thing} belongs to {name}, who is {age}.",
    ])
    return form.format(**facts), {k: v for k, v in facts.items() if "{" + k + "}" in form}


def facts(rng):
    """Extraction by instruction from one or two sentences, in plain words."""
    text, known = sentence_facts(rng)
    key = rng.choice(list(known))
    if rng.random() < 0.3:
        other = sentence_facts(rng)[0]
        if known["name"] not in other:
            text = rng.choice([f"{text} {other}", f"{other} {text}"])
            if key == "name":
                key = rng.choice([k for k in known if k != "name"])
            return f"{text}\nWhat is the {key} that goes with {known['name']}?", known[key]
    ask = rng.choice([f"What is the {key}?", f"Find the {key}.", f"Which {key} is named?"])
    if len(known) > 1 and rng.random() < 0.25:
        pair = rng.sample(list(known), 2)
        return f"{text}\nFind the {pair[0]} and the {pair[1]}.", f"{known[pair[0]]} and {known[pair[1]]}"
    return rng.choice([f"{text}\n{ask}", f"{ask} {text}"]), known[key]


def small_talk(rng):
    """Greetings and who the model is."""
    return rng.choice([
        (rng.choice(GREETINGS), "Hello! How can I help you?"),
        (rng.choice(["Who are you?", "What are you?", "What is your name?"]), "I am the Rootstock demo model."),
        (rng.choice(["Thanks", "Thanks!", "Thank you!", "Thank you"]), "You are welcome!"),
        (rng.choice(["What can you do?", "Help", "Help me"]),
         "I can do small sums, name capitals, convert units, read small tables and rewrite text."),
        (rng.choice(["Bye", "Bye!", "Goodbye!", "See you!"]), "Goodbye!"),
        (rng.choice(["How are you?", "How are you today?"]), "I am well, thank you."),
        (f"Hi, I am {(name := rng.choice(w.NAMES))}.", f"Hello {name}! How can I help you?"),
        (f"My name is {(other := rng.choice(w.NAMES))}.", f"Hello {other}! How can I help you?"),
    ])


# (generator, weight): the mixture of the base's training turns
MIXTURE = [(copying, 18), (facts, 18), (rewriting, 17), (arithmetic, 14), (table, 13), (lexicon, 9), (capitals, 6),
           (units, 4), (small_talk, 2)]


def turn(rng):
    """One turn of the mixture."""
    tasks, weights = zip(*MIXTURE)
    return rng.choices(tasks, weights)[0](rng)
