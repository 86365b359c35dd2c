#!/usr/bin/env python3
"""Random JSON schemas: what the constraint lets a model write validates, and what validates may be written.

ROOTSTOCK_SCHEMAS says how many (100), ROOTSTOCK_SEED the first of them (1).

The oracle is the `jsonschema` package. Random tokens are drawn from the masks by tests/support/schema_probe.c; then the
demo model writes at temperature 1.5.
"""
import decimal
import json
import os
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import formats, random_schemas, tap  # noqa: E402
from support.rootstock import PROGRAM, ROOT  # noqa: E402

try:
    import jsonschema
except ImportError:
    jsonschema = None

PROBE = pathlib.Path(os.environ["ROOTSTOCK_BUILD"]) / "tests/support/schema_probe" if "ROOTSTOCK_BUILD" in os.environ else None
MODEL = ROOT / "models/demo.gguf"
COUNT = int(os.environ.get("ROOTSTOCK_SCHEMAS", "100"))
FIRST = int(os.environ.get("ROOTSTOCK_SEED", "1"))


class Probe:
    """The program that follows schemas, a job a line."""

    def __enter__(self):
        self.run = subprocess.Popen([PROBE, MODEL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_):
        self.run.stdin.close()
        self.run.wait(60)
        self.run.stdout.close()

    def ask(self, schema, **job):
        text = schema if isinstance(schema, str) else json.dumps(schema)
        self.run.stdin.write(json.dumps({"schema": text, **job}) + "\n")
        self.run.stdin.flush()
        line = self.run.stdout.readline()
        if not line:
            raise AssertionError(f"the probe died (status {self.run.poll()}) over {text}")
        return json.loads(line)


def exact(text):
    """JSON with decimal fractions as they are written; a member named twice is an error."""

    def members(pairs):
        if len({k for k, _ in pairs}) != len(pairs):
            raise ValueError("a member named twice")
        return dict(pairs)

    return json.loads(text, parse_float=decimal.Decimal, object_pairs_hook=members)


def validator(schema):
    """Of the draft that the schema names, numbers as decimals."""
    kind = jsonschema.Draft7Validator if "draft-07" in schema.get("$schema", "") else jsonschema.Draft202012Validator
    return kind(exact(json.dumps(schema)), format_checker=formats.checker(jsonschema))


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def repeats_names(text):
    """Whether a text names a member twice: only where the schema does not name it."""
    try:
        exact(text)
        return False
    except ValueError:
        return True


@unittest.skipIf(jsonschema is None, "needs python3-jsonschema")
class Schemas(unittest.TestCase):
    def test_random_tokens_of_random_schemas_validate(self):
        """random tokens of random schemas amount to values that validate"""
        count = dict.fromkeys(("schemas", "refused", "finished", "validated", "unfinished", "repeated names"), 0)
        wrong = []
        with Probe() as probe:
            for seed in range(FIRST, FIRST + COUNT):
                schema, _ = random_schemas.schema(seed)
                answer = probe.ask(schema, strict=seed % 3 == 0, samples=3, seed=seed, tokens=300)
                count["schemas"] += 1
                if "error" in answer:
                    count["refused"] += 1
                    self.assertTrue(answer["error"], schema)
                    continue
                check = validator(schema)
                for sample in answer["samples"]:
                    if not sample["finished"]:
                        count["unfinished"] += 1
                        continue
                    count["finished"] += 1
                    value = json.loads(sample["text"], parse_float=decimal.Decimal)
                    count["repeated names"] += repeats_names(sample["text"])
                    if check.is_valid(value):
                        count["validated"] += 1
                    else:
                        wrong.append((seed, json.dumps(schema), sample["text"], next(check.iter_errors(value)).message))
        print("# " + ", ".join(f"{v} {k}" for k, v in count.items()), flush=True)
        self.assertEqual(wrong[:5], [])
        self.assertGreater(count["finished"], count["schemas"])

    def test_the_model_at_temperature_writes_values_that_validate(self):
        """the demo model at temperature 1.5 writes values that validate"""
        count = dict.fromkeys(("schemas", "refused", "finished", "validated", "unfinished"), 0)
        schemas = {seed: random_schemas.schema(seed)[0] for seed in range(FIRST, FIRST + COUNT)}
        jobs = [{"prompt": "Answer in JSON: ", "seed": seed, "temperature": 1.5, "n": 200, "response_format": {
            "type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": seed % 3 == 0}}}
            for seed, schema in schemas.items()]
        run = subprocess.run([PROGRAM, "generate", "-m", MODEL, "--json"], capture_output=True, text=True,
                             input="".join(json.dumps(job) + "\n" for job in jobs))
        answers = [json.loads(line) for line in run.stdout.splitlines()]
        self.assertEqual(len(answers), len(jobs), run.stderr)
        wrong = []
        for (seed, schema), answer in zip(schemas.items(), answers):
            count["schemas"] += 1
            if answer.get("finish_reason") not in ("stop", "length"):
                count["refused"] += 1
                continue
            if answer["finish_reason"] == "length":
                count["unfinished"] += 1
                continue
            count["finished"] += 1
            check = validator(schema)
            try:
                valid = check.is_valid(json.loads(answer["text"], parse_float=decimal.Decimal))
            except ValueError:
                valid = False
            count["validated"] += valid
            if not valid:
                wrong.append((seed, json.dumps(schema), answer["text"]))
        print("# " + ", ".join(f"{v} {k}" for k, v in count.items()), flush=True)
        self.assertEqual(wrong[:5], [])
        self.assertGreater(count["finished"], count["schemas"] // 2)

    def test_values_are_taken_exactly_where_they_validate(self):
        """made and mutated values are taken exactly where they validate"""
        count = {"valid": 0, "invalid": 0}
        wrong = []
        with Probe() as probe:
            for seed in range(FIRST, FIRST + COUNT):
                schema, make = random_schemas.schema(seed)
                maker = random_schemas.Maker(seed)
                values = [make() for _ in range(6)]
                values += [random_schemas.mutate(v, maker) for v in values for _ in range(3)]
                texts = [compact(v) for v in values]
                answer = probe.ask(schema, texts=texts)
                if "error" in answer:
                    continue
                check = validator(schema)
                for text, taken in zip(texts, answer["accepts"]):
                    formats.UNDECIDED.clear()
                    valid = check.is_valid(exact(text))
                    if valid and not taken and formats.UNDECIDED:
                        continue
                    count["valid" if valid else "invalid"] += 1
                    if valid != taken:
                        wrong.append((seed, json.dumps(schema), text, "valid" if valid else "invalid"))
        print("# " + ", ".join(f"{v} {k}" for k, v in count.items()), flush=True)
        self.assertEqual(wrong[:5], [])


if __name__ == "__main__":
    tap.main()
