"""Random JSON schemas, each with a maker of instances: members in the schema's order, numbers without exponents.

Every keyword that is honoured occurs. A schema may have no instance that its maker finds (make returns None then).
"""
import random
import string

# Patterns with texts that match them somewhere.
PATTERNS = [
    (r"^[a-z]{2,5}$", ["ab", "hello"]),
    (r"^\d{3}-\d{4}$", ["123-4567"]),
    (r"^(foo|bar)+[0-9]*$", ["foo", "barfoo12"]),
    (r"ab+c", ["abc", "xx abbbc yy"]),
    (r"^[^\"\\]*\"$", ['say "', '"']),
    (r"^\\[\t\n]x?$", ["\\\t", "\\\nx"]),
    (r"[\u00e0-\u00ff]+$", ["d\u00e9j\u00e0"]),
    (r"^(?=.*[A-Z])(?=.*\d)[A-Za-z\d]{3,6}$", ["aB1", "Z9zzzz"]),
    (r"^(?!no)[a-z]{2,4}$", ["yes", "nah"]),
    (r"\bcat\b", ["cat", "a cat!"]),
    (r"^\S+@\S+\.\w{2,}$", ["a@b.de"]),
    (r"^$|^x{1,3}?$", ["", "xx"]),
    (r"^a.c$", ["abc", "a\u20acc"]),
]
FORMATS = {
    "date": ["2024-02-29", "1999-12-31"],
    "time": ["23:59:59Z", "01:02:03.5+01:00"],
    "date-time": ["2020-02-29T01:02:03Z", "1985-04-12T23:20:50.52-08:00"],
    "duration": ["P1Y2M3D", "PT5M", "P3W", "P1DT12H"],
    "email": ["a.b@example.com"],
    "hostname": ["example.com", "a-b.c"],
    "ipv4": ["192.168.0.1", "255.255.255.255"],
    "ipv6": ["::1", "2001:db8::8a2e:370:7334", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4"],
    "uuid": ["123e4567-e89b-12d3-a456-426614174000"],
    "uri": ["http://example.com/a?b=c#d", "urn:isbn:123", "mailto:a@b.c", "http://[::1]:80/"],
    "uri-reference": ["/a/b", "../x", "http://example.com", "", "#f", "?q"],
    "uri-template": ["/a/{b}/{+c,d*}", "x"],
    "json-pointer": ["", "/a/b~0c", "/\u00e9"],
    "relative-json-pointer": ["0", "1/a", "2#"],
}
WORDS = ["id", "name", "kind", "na\u00efve", "a b", 'q"q', "x", "y1", "list", "\\"]
LITERALS = ["a", "b\n", 'say "hi"', "\u65e5\u672c", "\U0001f600", "", 0, 1, -7, 12.5, True, False, None, [1, "x"], {"k": [None]}, {}, []]


class Maker:
    """One run's random choices."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.old = seed % 6 == 5  # draft 7
        self.defs = {}
        self.makers = {}

    def text(self, low=0, high=8):
        letters = string.ascii_letters + ' "\\/\n\t{}[]:,\u00e9\u65e5\U0001f600\u007f'
        return "".join(self.r.choice(letters) for _ in range(self.r.randint(low, high)))

    def any_value(self, depth=0):
        pick = self.r.randrange(8 if depth < 2 else 6)
        if pick == 6:
            return [self.any_value(depth + 1) for _ in range(self.r.randint(0, 3))]
        if pick == 7:
            return {self.text(0, 4): self.any_value(depth + 1) for _ in range(self.r.randint(0, 3))}
        return [None, True, False, self.r.randint(-999, 999), self.r.randint(-999, 999) + 0.5, self.text()][pick]

    # Each returns (schema, make).

    def integer(self):
        schema = {"type": "integer"}
        low, high = sorted(self.r.choice([self.r.randint(-200, 200), self.r.randint(-10**12, 10**12), 0]) for _ in range(2))
        if self.r.random() < 0.6:
            schema["minimum" if self.r.random() < 0.7 else "exclusiveMinimum"] = low
        else:
            low = high - 1000
        if self.r.random() < 0.6:
            schema["maximum" if self.r.random() < 0.7 else "exclusiveMaximum"] = high
        else:
            high = low + 1000
        step = 1
        if self.r.random() < 0.3:
            step = schema["multipleOf"] = self.r.choice([1, 2, 3, 5, 7, 10, 12, 100, 150])
        return schema, lambda: self.r.randint(low, high) // step * step

    def number(self):
        schema = {"type": "number"}
        digits = self.r.choice([0, 1, 2, 3])
        low, high = sorted(round(self.r.uniform(-50, 50), digits) for _ in range(2))
        if self.r.random() < 0.6:
            schema["minimum" if self.r.random() < 0.6 else "exclusiveMinimum"] = low
        if self.r.random() < 0.6:
            schema["maximum" if self.r.random() < 0.6 else "exclusiveMaximum"] = high
        if self.r.random() < 0.2:
            schema["multipleOf"] = self.r.choice([0.5, 0.25, 0.1, 0.01, 1, 2.5, 10])

        def make():
            step = schema.get("multipleOf")
            if step:
                value = round(round(self.r.uniform(low, high) / step) * step, 4)
            else:
                value = round(self.r.uniform(low, high), self.r.randint(0, 4))
            return int(value) if value == int(value) else value

        return schema, make

    def string(self):
        kind = self.r.randrange(5)
        if kind == 0:
            return {"type": "string"}, self.text
        if kind == 1:
            low = self.r.randint(0, 4)
            high = low + self.r.randint(0, 6)
            return {"type": "string", "minLength": low, "maxLength": high}, lambda: self.text(low, high)
        if kind == 2:
            name = self.r.choice(list(FORMATS))
            return {"type": "string", "format": name}, lambda: self.r.choice(FORMATS[name])
        pattern, texts = self.r.choice(PATTERNS)
        schema = {"type": "string", "pattern": pattern}
        if kind == 4:
            schema["maxLength"] = self.r.randint(3, 20)
            if self.r.random() < 0.5:
                schema["minLength"] = self.r.randint(0, 3)
        return schema, lambda: self.r.choice(texts)

    def enum(self):
        values = self.r.sample(LITERALS, self.r.randint(1, 6))
        if self.r.random() < 0.3:
            return {"const": values[0]}, lambda: values[0]
        schema = {"enum": values}
        if self.r.random() < 0.2:
            schema["not"] = {"enum": values[1:]}
            return schema, lambda: values[0]
        return schema, lambda: self.r.choice(values)

    def simple(self):
        return self.r.choice([
            lambda: ({"type": "null"}, lambda: None),
            lambda: ({"type": "boolean"}, lambda: self.r.random() < 0.5),
            self.integer, self.number, self.string, self.enum, self.integer, self.string,
            lambda: ({"type": ["string", "null"], "maxLength": 9}, lambda: self.r.choice([None, self.text()])),
            lambda: (self.r.choice([True, {}, {"description": "any"}]), self.any_value),
        ])()

    def array(self, depth):
        item, make = self.node(depth + 1)
        low = self.r.randint(0, 2)
        high = low + self.r.randint(0, 3)
        kind = self.r.randrange(7)
        if kind <= 2:
            schema = {"type": "array", "items": item}
            if kind:
                schema["minItems"] = low
            if kind == 2:
                schema["maxItems"] = high
            return schema, lambda: [make() for _ in range(self.r.randint(low, high))]
        if kind == 3:
            first, make_first = self.node(depth + 1)
            rest = self.r.choice([False, item])
            prefix = [first, {"type": "boolean"}]
            schema = {"type": "array", "items": prefix, "additionalItems": rest} if self.old else {
                "type": "array", "prefixItems": prefix, "items": rest}
            return schema, lambda: [make_first(), True][:self.r.randint(0, 2)]
        if kind == 4:
            values = [v for v in self.r.sample(LITERALS, self.r.randint(2, 5)) if not isinstance(v, (list, dict, bool))]
            values = values or [None]
            schema = {"type": "array", "items": {"enum": values}, "uniqueItems": True, "maxItems": 4}
            return schema, lambda: self.r.sample(values, self.r.randint(0, min(4, len(values))))
        if kind == 5:
            schema = {"type": "array", "items": {"type": ["integer", "string"]}, "contains": {"type": "string", "maxLength": 2}}
            if self.r.random() < 0.5 and not self.old:
                schema["minContains"] = 2
                schema["maxContains"] = 3
                schema["items"] = {"type": ["boolean", "string"], "maxLength": 2}
                return schema, lambda: ["x", True, "yy"]
            if self.r.random() < 0.5:
                schema["maxItems"] = 3
            return schema, lambda: self.r.sample([1, "long text", "x"], 3)
        return {"type": "array", "items": item, "maxItems": 1}, lambda: [make()][:self.r.randint(0, 1)]

    def object(self, depth):
        names = self.r.sample(WORDS, self.r.randint(0, 4))
        parts = {name: self.node(depth + 1) for name in names}
        schema = {"type": "object", "properties": {name: part[0] for name, part in parts.items()}}
        schema["required"] = [name for name in names if self.r.random() < 0.5]
        more, make_more = True, self.any_value
        kind = self.r.randrange(8)
        if kind in (1, 2, 3):
            schema["additionalProperties"] = False
            more = False
        elif kind == 4:
            schema["additionalProperties"], make_more = self.simple()
        elif kind == 5:
            schema["patternProperties"] = {"^p_": {"type": "integer"}, "_s$": {"type": "integer", "minimum": 0}}
            schema["additionalProperties"] = False
            more = False
        elif kind == 6 and not schema["required"]:
            schema["propertyNames"] = {"pattern": "^[a-z_]{1,4}$"}
        elif kind == 7 and len(names) > 1:
            schema["dependencies" if self.old else "dependentRequired"] = {names[0]: [names[-1]]}
        if self.r.random() < 0.2:
            schema["maxProperties"] = self.r.randint(len(schema["required"]), 4)
        if self.r.random() < 0.2:
            schema["minProperties"] = 1

        def make():
            value = {n: parts[n][1]() for n in names if n in schema["required"] or self.r.random() < 0.5}
            if kind == 5 and self.r.random() < 0.6:
                value[self.r.choice(["p_", "p_a", "p_s", "a_s"])] = self.r.randint(0, 9)
            if more and self.r.random() < 0.4:
                name = self.text(0, 3) if kind != 6 else "zz"
                if name not in names:
                    value[name] = make_more()
            return value

        return schema, make

    def combined(self, depth):
        kind = self.r.randrange(8)
        if kind == 0:
            parts = [self.node(depth + 1) for _ in range(self.r.randint(1, 3))]
            return {"anyOf": [p[0] for p in parts]}, lambda: self.r.choice(parts)[1]()
        if kind == 1:
            parts = [self.integer(), ({"type": "boolean"}, lambda: True), self.string()]
            return {"oneOf": [p[0] for p in parts]}, lambda: self.r.choice(parts)[1]()
        if kind == 2:
            def branch(name):
                part, make = self.simple()
                return ({"type": "object", "properties": {"kind": {"const": name}, "v": part}, "required": ["kind", "v"],
                         "additionalProperties": False}, lambda: {"kind": name, "v": make()})
            parts = [branch(n) for n in ("circle", "square", "line")[:self.r.randint(2, 3)]]
            return {"oneOf": [p[0] for p in parts]}, lambda: self.r.choice(parts)[1]()
        if kind == 3:
            a, make_a = self.simple()
            b, make_b = self.simple()
            schema = {"type": "object", "properties": {"a": a}, "required": ["a"],
                      "allOf": [{"properties": {"b": b}, "required": ["b"]}, {"minProperties": 1}]}
            return schema, lambda: {"a": make_a(), "b": make_b()}
        if kind == 4:
            low = self.r.randint(0, 50)
            return ({"allOf": [{"type": "number", "minimum": low}, {"type": "integer", "maximum": low + 30}]},
                    lambda: self.r.randint(low, low + 30))
        if kind == 5:
            then, make = self.simple()
            schema = {"type": "object", "properties": {"on": {"enum": ["yes", "no", 3]}, "what": True}, "required": ["on"],
                      "if": {"properties": {"on": {"const": "yes"}}, "required": ["on"]},
                      "then": {"properties": {"what": then}, "required": ["what"]},
                      "else": {"properties": {"what": False}}, "additionalProperties": False}
            return schema, lambda: {"on": "yes", "what": make()} if self.r.random() < 0.5 else {"on": self.r.choice(["no", 3])}
        if kind == 6:
            return ({"type": ["integer", "string", "boolean"], "not": self.r.choice([{"type": "string"}, {"const": 3},
                     {"enum": ["a", 1, True]}, {"minimum": 5}])}, lambda: self.r.choice([2, 3, True, "a", "b", 9]))
        return self.reference()

    def reference(self):
        name = self.r.choice(["list", "tree", "leaf", "a/b~"])
        if name not in self.defs:
            if name == "list":
                self.defs[name] = {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"anyOf": [
                    {"$ref": "#/$defs/list"}, {"type": "null"}]}}, "required": ["v", "next"], "additionalProperties": False}
                self.makers[name] = lambda d=0: {"v": d, "next": None if d > 1 else self.makers["list"](d + 1)}
            elif name == "tree":
                self.defs[name] = {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 3}
                self.makers[name] = lambda: [[], [[]]][:self.r.randint(0, 2)]
            else:
                self.defs[name], self.makers[name] = self.simple()
        pointer = name.replace("~", "~0").replace("/", "~1")
        return {"$ref": f"#/$defs/{pointer}"}, lambda: self.makers[name]()

    def node(self, depth=0):
        roll = self.r.random()
        if depth > 2 or roll < 0.3:
            return self.simple()
        if roll < 0.6:
            return self.object(depth)
        if roll < 0.8:
            return self.array(depth)
        return self.combined(depth)


def schema(seed):
    """(schema, make): the schema of this seed, and a function of no arguments that makes an instance."""
    maker = Maker(seed)
    root, make = maker.node()
    if root is True:
        root = {}
    if maker.defs:
        root = {"$defs": maker.defs, "allOf": [root]}
    if maker.old:
        root = {"$schema": "http://json-schema.org/draft-07/schema#", **(root if "$defs" in root else {"allOf": [root]})}
    return root, make


def mutate(value, maker):
    """The instance with one part changed, taken away or added."""
    r = maker.r
    if isinstance(value, list) and value and r.random() < 0.7:
        value = list(value)
        at = r.randrange(len(value))
        action = r.randrange(3)
        if action == 0:
            del value[at]
        elif action == 1:
            value.append(maker.any_value(1))
        else:
            value[at] = mutate(value[at], maker)
        return value
    if isinstance(value, dict) and value and r.random() < 0.8:
        value = dict(value)
        at = r.choice(list(value))
        action = r.randrange(3)
        if action == 0:
            del value[at]
        elif action == 1:
            value[at] = mutate(value[at], maker)
        else:
            value.setdefault("zz" + maker.text(0, 2), maker.any_value(1))
        return value
    if isinstance(value, bool) or value is None:
        return maker.any_value(1)
    if isinstance(value, int):
        return r.choice([value + 1, value - 1, -value, value * 10, maker.any_value(1)])
    if isinstance(value, str):
        return r.choice([value + "x", value[:-1], value.upper(), maker.text(), maker.any_value(1)])
    return maker.any_value(1)
