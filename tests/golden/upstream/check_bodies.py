#!/usr/bin/env python3
"""Holds what the cases of bedrock/, gemini/ and vertex/ expect to be sent, and what they let be answered, to Amazon's
and Google's own descriptions of their APIs.

    check_bodies.py

Needs botocore and google-api-python-client (PyPI), which bring the descriptions. Prints what they do not know; exit
status 1 when there is something.
"""
import base64
import importlib.util
import json
import pathlib
import sys

import botocore.session
from botocore.validate import ParamValidator

HERE = pathlib.Path(__file__).parent
UNKNOWN_ON_PURPOSE = {"SOMETHING_NEW"}  # a finish reason of a later version


def sections(path):
    """Name → (options, text) of a case."""
    found, name = {}, None
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.startswith("=== "):
            name, _, options = line[4:].strip().partition(" ")
            found[name] = [options, ""]
        elif name:
            found[name][1] += line
    return found


def decoded(value, shape, faults):
    """A document as botocore has it: bytes are base64 on the wire."""
    if shape.type_name == "blob":
        return base64.b64decode(value)
    if shape.type_name == "list":
        return [decoded(v, shape.member, faults) for v in value]
    if shape.type_name != "structure" or getattr(shape, "is_document_type", False):
        return value
    faults += [f"{shape.name}.{k}" for k in value if k not in shape.members]
    return {k: decoded(v, shape.members[k], faults) for k, v in value.items() if k in shape.members}


def amazon():
    """Faults of the bodies of Converse."""
    shape = botocore.session.get_session().get_service_model("bedrock-runtime").operation_model("Converse").input_shape
    for path in sorted((HERE / "bedrock").glob("*.case")):
        head, _, body = sections(path).get("call", ["", ""])[1].partition("\n\n")
        if "/converse" not in head.partition("\n")[0]:
            continue
        faults = []
        document = decoded(json.loads(body), shape, faults)
        report = ParamValidator().validate({**document, "modelId": "x"}, shape)
        yield from (f"{path.name}: {f}" for f in faults + report.generate_report().splitlines())


class Google:
    """The description of Vertex AI, whose generateContent is that of Gemini."""

    def __init__(self):
        package = pathlib.Path(importlib.util.find_spec("googleapiclient").origin).parent
        file = package / "discovery_cache" / "documents" / "aiplatform.v1.json"
        self.schemas = json.loads(file.read_text(encoding="utf-8"))["schemas"]

    def members(self, value, name, at):
        """Faults of an object."""
        known = self.schemas[name]["properties"]
        for key, v in value.items():
            if key in known:
                yield from self.value(v, known[key], f"{at}.{key}")
            else:
                yield f"{at}.{key} is not of {name}"

    def value(self, value, kind, at):
        """Faults of a value."""
        if "$ref" in kind:
            yield from self.members(value, kind["$ref"], at)
        elif kind.get("type") == "array":
            for i, v in enumerate(value):
                yield from self.value(v, kind["items"], f"{at}[{i}]")
        elif "enum" in kind and value not in kind["enum"] and value not in UNKNOWN_ON_PURPOSE:
            yield f"{at} is {value}"

    def faults(self):
        """Of bodies and answers."""
        prefix = "GoogleCloudAiplatformV1GenerateContent"
        for path in sorted([*(HERE / "gemini").glob("*.case"), HERE / "vertex" / "google.case"]):
            parts = sections(path)
            body = parts.get("call", ["", ""])[1].partition("\n\n")[2]
            if body:
                yield from self.members(json.loads(body), prefix + "Request", f"{path.name}: sent")
            options, answer = parts.get("answer", ["400", ""])
            if options[:1] == "4":
                continue
            chunks = [line[5:] for line in answer.splitlines() if line.startswith("data:")] or [answer]
            for chunk in map(json.loads, chunks):
                for one in chunk if isinstance(chunk, list) else [chunk]:
                    if "error" not in one:
                        yield from self.members(one, prefix + "Response", f"{path.name}: answered")


def main():
    faults = [*amazon(), *Google().faults()]
    print("\n".join(faults) or "all of it is known to Amazon's and Google's descriptions")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
