"""Sentences from patterns: {a|b|} is a choice, which may hold others."""


def expand(pattern, random):
    """One sentence of the pattern."""
    out, at = [], 0
    while at < len(pattern):
        if pattern[at] != "{":
            out.append(pattern[at])
            at += 1
            continue
        depth, begin, choices = 1, at + 1, []
        at += 1
        while depth:
            if pattern[at] == "{":
                depth += 1
            elif pattern[at] == "}":
                depth -= 1
            if depth == 0 or depth == 1 and pattern[at] == "|":
                choices.append(pattern[begin:at])
                begin = at + 1
            at += 1
        out.append(expand(random.choice(choices), random))
    return "".join(out)


def sentences(patterns, each, random):
    """Up to `each` different sentences of every pattern, white space tidied."""
    for pattern in patterns:
        seen = {" ".join(expand(pattern, random).split()) for _ in range(each * 3)}
        yield from sorted(seen, key=lambda text: random.random())[:each]
