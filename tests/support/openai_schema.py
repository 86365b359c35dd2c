"""Checks what Rootstock prints against OpenAI's own description of its API (OpenAPI 3.1, shared/openai-schema.json).

problems("Response", value) lists what does not fit, with places; check() raises; check_event() is for the events of a
Responses stream, which are checked by their type; check_stream() for a whole one.
"""
import json
import os
import pathlib

try:
    import jsonschema
except ImportError:
    jsonschema = None

ROOT = pathlib.Path(os.environ.get("ROOTSTOCK_ROOT", pathlib.Path(__file__).resolve().parents[2]))
FILE = pathlib.Path(os.environ.get("ROOTSTOCK_SHARED", ROOT.parent / "shared")) / "openai-schema.json"
SHOWN = 5  # of the problems of one value

_document = None
_validators = {}


def absent():
    """Why nothing can be checked; None when it can."""
    if jsonschema is None:
        return "python3-jsonschema is not installed"
    return None if FILE.exists() else f"{FILE} is absent"


def upgrade(node):
    """A copy of a schema in which the words of OpenAPI mean what JSON Schema 2020-12 makes of them: `nullable` adds
    null, a `discriminator` is only a hint, and references may lead to `components/schemas`."""
    if isinstance(node, list):
        return [upgrade(n) for n in node]
    if not isinstance(node, dict):
        return node
    new = {k: upgrade(v) for k, v in node.items() if k not in ("nullable", "discriminator", "example", "xml")}
    if isinstance(new.get("$ref"), str):
        new["$ref"] = new["$ref"].replace("#/components/schemas/", "#/$defs/")
    if node.get("nullable"):
        return {"anyOf": [new, {"type": "null"}]}
    return new


def amend(defs):
    """Where the description of legacy completions is stricter than the API itself: the same schema is for the chunks of
    a stream, whose finish_reason is null until the last; the first token of an echo has no probability."""
    choice = defs["CreateCompletionResponse"]["properties"]["choices"]["items"]["properties"]
    choice["finish_reason"] = {"anyOf": [choice["finish_reason"], {"type": "null"}]}
    for alternative in choice["logprobs"].get("anyOf", [choice["logprobs"]]):
        for name in ("token_logprobs", "top_logprobs"):
            if name in alternative.get("properties", {}):
                items = alternative["properties"][name]["items"]
                alternative["properties"][name]["items"] = {"anyOf": [items, {"type": "null"}]}
    return defs


def document():
    """The whole description, once read: {"$defs": …, "responseEvents": …}."""
    global _document
    if _document is None:
        raw = json.loads(FILE.read_text(encoding="utf-8"))
        schemas = raw.get("$defs") or raw["components"]["schemas"]
        _document = {"$defs": amend(upgrade(schemas)), "responseEvents": raw.get("responseEvents", {})}
    return _document


def validator(name):
    """Of one of the named schemas; KeyError where there is none of that name."""
    if name not in _validators:
        defs = document()["$defs"]
        if name not in defs:
            raise KeyError(f"the description has no schema '{name}'")
        _validators[name] = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": defs})
    return _validators[name]


def deepest(error):
    """Of the alternatives that all fail, the one that came nearest, as far down as it goes."""
    while error.context:
        branches = {}
        for inner in error.context:
            branches.setdefault(inner.schema_path[0] if inner.schema_path else 0, []).append(inner)
        # An alternative whose own constants (type, object) do not fit was not meant.
        meant = [b for b in branches.values() if not any(e.validator in ("enum", "const") for e in b)]
        error = max((meant or list(branches.values()))[0], key=lambda e: len(e.absolute_path))
    return error


def problems(name, value):
    """What of a value does not fit the named schema: sentences with places; none when it fits."""
    found = sorted(validator(name).iter_errors(value), key=lambda e: list(map(str, e.absolute_path)))
    texts = []
    for error in found[:SHOWN]:
        inner = deepest(error)
        place = "/".join(map(str, inner.absolute_path)) or "the value"
        texts.append(f"{name}: {place}: {inner.message[:300]}")
    return texts


def plain(value):
    """JSON of what a client library gives (pydantic models print what was sent), of bytes, or of text."""
    if hasattr(value, "to_dict"):
        return value.to_dict(mode="json", use_api_names=True, exclude_unset=True)
    return json.loads(value) if isinstance(value, (str, bytes)) else value


def check(name, value):
    """Raises AssertionError with all that does not fit. Nothing happens where nothing can be checked."""
    if absent():
        return
    found = problems(name, plain(value))
    if found:
        raise AssertionError("\n".join([*found, json.dumps(plain(value))[:2000]]))


def check_event(value):
    """The same for one event of a Responses stream."""
    if absent():
        return
    event = plain(value)
    names = document()["responseEvents"]
    if event.get("type") not in names:
        raise AssertionError(f"the API has no event of the type {event.get('type')!r}")
    check(names[event["type"]], event)


def read_sse(data):
    """The events of a stream's bytes: [(name or None, data text)], comments left out."""
    events = []
    for block in data.decode("utf-8").replace("\r\n", "\n").split("\n\n"):
        name, lines = None, []
        for line in block.split("\n"):
            if line.startswith("event:"):
                name = line[6:].strip()
            elif line.startswith("data:"):
                lines.append(line[5:].removeprefix(" "))
        if lines:
            events.append((name, "\n".join(lines)))
    return events


def check_stream(data):
    """A whole Responses stream in bytes: each event fits, is named by its type, and is numbered. The parsed events."""
    events = []
    for name, text in read_sse(data):
        event = json.loads(text)
        if name != event.get("type"):
            raise AssertionError(f"the event line says {name!r}, the data {event.get('type')!r}")
        check_event(event)
        events.append(event)
    numbers = [e["sequence_number"] for e in events]
    if numbers != list(range(numbers[0] if numbers else 0, len(numbers) + (numbers[0] if numbers else 0))):
        raise AssertionError(f"sequence numbers {numbers}")
    return events
