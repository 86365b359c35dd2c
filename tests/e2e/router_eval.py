"""The contract of POST /api/v1/eval: its fields by a schema, its logic computed again from what it reports."""
import http.client
import json
import math
import pathlib
import sys
import tempfile
import unittest
import urllib.parse

import jsonschema

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from e2e.probes import RECIPES, Router  # noqa: E402
from support import tap  # noqa: E402
from support.recipes import Suite, load_yaml  # noqa: E402
from support.rootstock import PATIENCE  # noqa: E402

POLICY = """version: v0.3
providers:
  defaults: {default_model: small}
  models: [{name: small}, {name: large}, {name: vision}]
entrypoints: [{model_names: [desk/helper], recipe: desk}]
recipes:
  - name: desk
    routing:
      signals:
        keywords: [{name: refund, keywords: [refund]}]
      decisions: [{name: refund, priority: 1, rules: {type: keyword, name: refund}, modelRefs: [{model: large}]}]
routing:
  signals:
    keywords:
      - {name: code, keywords: [python, function]}
      - {name: urgent, keywords: [urgent, asap]}
    structure:
      - {name: many_questions, feature: {type: count, source: {type: regex, pattern: "[?]"}}, predicate: {gte: 3}}
    context: [{name: long, min_tokens: 1K}]
    conversation:
      - {name: has_tools, feature: {type: exists, source: {type: tool_definition}}}
      - {name: has_images, feature: {type: exists, source: {type: image_content}}}
      - {name: follow_up, feature: {type: count, source: {type: message, role: user}}, predicate: {gte: 2}}
    metadata: [{name: gold, key: plan, predicate: {equals: gold}}]
    events: [{name: outage, event_types: [outage]}]
    role_bindings: [{name: bosses, role: boss, subjects: [{kind: User, name: ann}, {kind: Group, name: board}]}]
  projections:
    scores:
      - name: effort
        method: weighted_sum
        inputs:
          - {type: keyword, name: code, weight: 0.5, value_source: confidence}
          - {type: structure, name: many_questions, weight: 0.25, value_source: raw}
          - {type: keyword, name: urgent, weight: -0.4}
    mappings:
      - name: effort_band
        source: effort
        method: threshold_bands
        calibration: {method: sigmoid_distance, slope: 8}
        outputs: [{name: easy, lt: 0.3}, {name: hard, gte: 0.3}]
  decisions:
    - {name: bosses, priority: 90, rules: {type: authz, name: boss}, modelRefs: [{model: large}]}
    - {name: gold, priority: 80, rules: {type: metadata, name: gold}, modelRefs: [{model: large, use_reasoning: true}]}
    - {name: seen, priority: 70, rules: {type: conversation, name: has_images}, modelRefs: [{model: vision}]}
    - {name: tools, priority: 60, rules: {type: conversation, name: has_tools}, modelRefs: [{model: small}]}
    - name: hard_code
      priority: 50
      rules:
        operator: AND
        conditions:
          - {type: projection, name: hard}
          - operator: OR
            conditions: [{type: keyword, name: code}, {type: structure, name: many_questions}]
          - operator: NOT
            conditions: [{type: keyword, name: urgent}]
      modelRefs: [{model: large}, {model: small}]
      plugins: [{type: system_prompt, configuration: {system_prompt: Be terse.}}, {type: router_replay}]
    - {name: panel, priority: 40, rules: {type: context, name: long}, modelRefs: [{model: small}, {model: large}],
       algorithm: {type: fusion, fusion: {model: large, analysis_models: [small]}}}
    - {name: follow_up, priority: 30, rules: {type: conversation, name: follow_up}, modelRefs: [{model: small}],
       algorithm: {type: confidence}}
"""

STRINGS = {"type": "array", "items": {"type": "string"}}
NUMBERS = {"type": "object", "additionalProperties": {"type": "number"}}
FAMILIES = ("keywords", "embeddings", "domains", "fact_check", "user_feedback", "reask", "preferences", "language",
            "context", "structure", "complexity", "modality", "authz", "jailbreak", "pii", "kb", "conversation",
            "event", "events", "metadata", "classifier", "classifiers", "projection", "projections")
SIGNALS = {"type": "object", "additionalProperties": False, "properties": {f: STRINGS for f in FAMILIES}}
UNIT = {"type": "number", "minimum": 0, "maximum": 1}
TRUTH = {"enum": ["true", "false", "unknown"]}
NODE = {
    "type": "object",
    "required": ["node_type", "matched", "truth", "confidence"],
    "properties": {
        "node_type": {"enum": ["leaf", "AND", "OR", "NOT", "fallback"]}, "operator": {"type": "string"},
        "signal_type": {"type": "string"}, "signal_name": {"type": "string"}, "matched": {"type": "boolean"},
        "truth": TRUTH, "confidence": UNIT, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
    },
}
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$defs": {"node": NODE},
    "type": "object",
    "required": ["original_text", "requested_model", "recipe", "decision_result", "eval_trace", "recommended_models",
                 "selection_status", "selection_method", "selection_reason", "routing_decision", "metrics",
                 "signal_confidences", "signal_values", "signal_errors"],
    "properties": {
        "original_text": {"type": "string"}, "requested_model": {"type": "string"}, "recipe": {"type": "string"},
        "recommended_models": STRINGS, "selected_model": {"type": "string"}, "selection_method": {"type": "string"},
        "selection_status": {"enum": ["selected", "planned_final", "fallback", "execution_required", "unavailable",
                                      "failed"]},
        "selection_reason": {"type": "string"}, "routing_decision": {"type": "string"},
        "signal_confidences": NUMBERS, "signal_values": NUMBERS,
        "signal_errors": {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}},
        "metrics": {"type": "object", "minProperties": 20, "additionalProperties": {
            "type": "object", "required": ["execution_time_ms", "confidence"],
            "properties": {"execution_time_ms": {"type": "number", "minimum": 0}, "confidence": UNIT}}},
        "decision_result": {
            "type": "object",
            "required": ["decision_name", "algorithm", "plugins", "used_signals", "matched_signals",
                         "unmatched_signals"],
            "properties": {"decision_name": {"type": "string"}, "algorithm": {"type": "string"}, "plugins": STRINGS,
                           "used_signals": SIGNALS, "matched_signals": SIGNALS, "unmatched_signals": SIGNALS}},
        "eval_trace": {"type": "array", "items": {
            "type": "object", "required": ["decision_name", "matched", "confidence", "root_trace"],
            "properties": {"decision_name": {"type": "string"}, "matched": {"type": "boolean"}, "confidence": UNIT,
                           "root_trace": {"$ref": "#/$defs/node"}}}},
    },
}
CHECK = jsonschema.Draft202012Validator(SCHEMA)


def kleene(node):
    """(truth, confidence) of a node, from those of its leaves."""
    kind = node["node_type"]
    if kind in ("leaf", "fallback"):
        return node["truth"], node["confidence"]
    parts = [kleene(c) for c in node.get("children", [])]
    truths = [t for t, _ in parts]
    if kind == "NOT":
        return {"true": ("false", 0), "false": ("true", 1), "unknown": ("unknown", 0)}[truths[0]]
    settled, other = ("false", "true") if kind == "AND" else ("true", "false")
    truth = settled if settled in truths else "unknown" if "unknown" in truths else other
    if truth != "true":
        return truth, 0
    sure = [c for t, c in parts if t == "true"]
    return truth, (sum(sure) / len(sure) if kind == "AND" else max(sure)) if sure else 0


def winner(trace, by_confidence=False):
    """Whose turn it is among the decisions that matched."""
    matched = [t for t in trace if t["matched"]]
    if any(t["tier"] for t in matched):
        key = lambda t: (t["tier"], -t["confidence"], -t["priority"], t["decision_name"])  # noqa: E731
    elif by_confidence:
        key = lambda t: (-t["confidence"], -t["priority"], t["decision_name"])  # noqa: E731
    else:
        key = lambda t: (-t["priority"], -t["confidence"], t["decision_name"])  # noqa: E731
    return min(matched, key=key)["decision_name"] if matched else ""


def leaves(node):
    """{(type, name): (truth, confidence)} of a tree."""
    if node["node_type"] == "leaf":
        return {(node["signal_type"], node["signal_name"]): (node["truth"], node["confidence"])}
    return {k: v for c in node.get("children", []) for k, v in leaves(c).items()}


class Eval(unittest.TestCase):
    """One router over a policy of every family that needs no model."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="rootstock-eval-")  # pylint: disable=consider-using-with
        config = pathlib.Path(cls.folder.name) / "config.yaml"
        config.write_text(POLICY, encoding="utf-8")
        cls.router = Router(config)
        cls.router.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.router.__exit__()
        cls.folder.cleanup()

    def raw(self, data, path="/api/v1/eval", headers=None):
        """POST of bytes: (status, answer)."""
        place = urllib.parse.urlsplit(self.router.url)
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60 * PATIENCE)
        connection.request("POST", path, data, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, json.loads(content)

    def ask(self, body, headers=None, path="/api/v1/eval?trace=true"):
        """An answer of status 200 that keeps the schema and agrees with itself."""
        status, answer = self.raw(json.dumps(body).encode(), path, headers)
        self.assertEqual(status, 200, answer)
        self.agrees(answer)
        return answer

    def agrees(self, answer):
        """The parts of an answer do not contradict each other, nor the rules of the policy language."""
        CHECK.validate(answer)
        result = answer["decision_result"]
        self.assertEqual(answer["routing_decision"], result["decision_name"])
        for t in answer["eval_trace"]:
            truth, confidence = kleene(t["root_trace"])
            self.assertEqual(t["root_trace"]["truth"], truth, t)
            self.assertAlmostEqual(t["root_trace"]["confidence"], confidence, 6)
            self.assertEqual(t["matched"], truth == "true", t)
        if answer["eval_trace"] and answer["selection_status"] != "failed":
            self.assertEqual(winner(answer["eval_trace"]), result["decision_name"])
        listed = {(f, n) for f, names in result["matched_signals"].items() for n in names}
        absent = {(f, n) for f, names in result["unmatched_signals"].items() for n in names}
        self.assertEqual(listed & absent, set())
        self.assertEqual(len(answer["signal_confidences"]), len(
            {(f.rstrip("s"), n) for f, n in listed}), "one confidence a matched signal")
        for t in answer["eval_trace"]:
            if t["decision_name"] == result["decision_name"]:
                used = {n for names in result["used_signals"].values() for n in names}
                self.assertEqual(used, {name for _, name in leaves(t["root_trace"])})

    # ---- what is asked ----

    def test_forms_of_one_question_have_one_answer(self):
        text = "write a python function"
        forms = [{"text": text}, {"text": text, "model": "auto"}, {"text": text, "model": "MoM"},
                 {"messages": [{"role": "user", "content": text}]},
                 {"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]},
                 {"messages": [{"role": "user", "name": "eve", "content": text}], "max_tokens": 5,
                  "max_completion_tokens": 6, "response_format": {"type": "json_object"}, "metadata": {}}]
        answers = [self.ask(form) for form in forms]
        sizes = [answer["signal_values"].pop("context:long") for answer in answers]
        plain = math.ceil(len("user" + text) / 4) + 4  # a message's own, by the reference's estimate
        named = math.ceil(len("user" + "eve" + text) / 4) + 4 + 6  # and what is reserved for the answer
        self.assertEqual(sizes, [plain] * 5 + [named])
        for answer in answers:
            self.assertEqual(answer["original_text"], text)
            for key in ("decision_result", "eval_trace", "signal_values", "signal_confidences", "selected_model"):
                self.assertEqual(answer[key], answers[0][key])

    def test_each_form_reaches_the_signals_that_read_it(self):
        hello, tool = {"role": "user", "content": "hello"}, {"type": "function", "function": {"name": "look"}}
        call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        image = [{"type": "text", "text": "what is this"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
        rows = [
            ({"text": "hello", "metadata": {"plan": "gold"}}, {}, "gold"),
            ({"text": "hello", "metadata": {"plan": "tin"}}, {}, ""),
            ({"messages": [{"role": "user", "content": image}]}, {}, "seen"),
            ({"messages": [hello], "tools": [tool]}, {}, "tools"),
            ({"messages": [hello], "tools": [{"type": "web_search"}]}, {}, "tools"),
            ({"messages": [hello], "functions": [{"name": "look"}]}, {}, "tools"),
            ({"messages": [hello], "tools": [tool], "tool_choice": "none"}, {}, ""),
            ({"messages": [hello], "functions": [{"name": "look"}], "function_call": "none"}, {}, ""),
            ({"messages": [hello, {"role": "assistant", "content": None, "tool_calls": [call]},
                           {"role": "tool", "tool_call_id": "c", "content": "42"}, hello]}, {}, "follow_up"),
            ({"messages": [hello, {"role": "assistant", "refusal": "no"},
                           {"role": "tool", "content": "late"}, hello]}, {}, "follow_up"),
            ({"text": "hello"}, {"x-authz-user-id": "ann"}, "bosses"),
            ({"text": "hello"}, {"x-authz-user-id": "bob", "x-authz-user-groups": "staff, board"}, "bosses"),
            ({"text": "hello"}, {"x-authz-user-id": "bob"}, ""),
            ({"text": "word " * 1000}, {}, "panel"),
            ({"text": "a refund", "model": "desk/helper"}, {}, "refund"),
        ]
        for body, headers, decision in rows:
            with self.subTest(body=str(body)[:100], headers=headers):
                answer = self.ask(body, headers)
                self.assertEqual(answer["decision_result"]["decision_name"], decision)
        self.assertEqual(self.ask({"text": "x", "model": "desk/helper"})["recipe"], "desk")
        self.assertEqual(self.ask({"text": "x"})["recipe"], "default")

    def test_options_are_honoured(self):
        plain = self.ask({"text": "python"}, path="/api/v1/eval")
        self.assertEqual(plain["eval_trace"], [])
        for body, path in (({"text": "python", "options": {"trace": True}}, "/api/v1/eval"),
                           ({"text": "python"}, "/api/v1/eval?trace=true")):
            self.assertEqual(len(self.ask(body, path=path)["eval_trace"]), 7)
        every = self.ask({"text": "an outage"})["decision_result"]
        self.assertEqual((every["matched_signals"]["events"], every["matched_signals"]["event"]), (["outage"],) * 2)
        some = self.ask({"text": "an outage", "options": {"evaluate_all_signals": False}})["decision_result"]
        self.assertNotIn("events", some["matched_signals"])
        more = self.ask({"text": "python?", "options": {"include_explanation": True, "return_probabilities": True,
                                                        "confidence_threshold": 0.5}})
        self.assertEqual(more["explanation"]["winner"], "hard_code")
        self.assertIs(more["confident"], True)
        self.assertIsInstance(more["probabilities"], dict)

    # ---- what is answered ----

    def test_a_score_is_the_weighted_sum_of_what_was_measured(self):
        for text in ("python", "python ? ? ?", "urgent python", "? ? ?", "urgent asap ? ?", "nothing"):
            with self.subTest(text=text):
                answer = self.ask({"text": text})
                code = answer["signal_confidences"].get("keyword:code", 0)
                urgent = "keyword:urgent" in answer["signal_confidences"]
                score = 0.5 * code + 0.25 * text.count("?") - 0.4 * urgent
                self.assertEqual(answer["signal_values"]["structure:many_questions"], text.count("?"))
                band = "hard" if score >= 0.3 else "easy"
                self.assertEqual(answer["decision_result"]["matched_signals"]["projection"], [band])
                self.assertAlmostEqual(answer["signal_confidences"][f"projection:{band}"],
                                       1 / (1 + math.exp(-8 * abs(score - 0.3))), 6)

    def test_what_is_unknown_is_an_error_with_its_reason(self):
        answer = self.ask({"text": "hello"})
        self.assertEqual(list(answer["signal_errors"]), ["authz:boss"])
        self.assertIn("x-authz-user-id", answer["signal_errors"]["authz:boss"])
        self.assertNotIn("authz:boss", answer["signal_confidences"])
        self.assertEqual(self.ask({"text": "hello"}, {"x-authz-user-id": "bob"})["signal_errors"], {})

    def test_selection_says_what_is_decided_before_anything_runs(self):
        rows = [({"text": "python"}, "selected", "static", "large", ["large", "small"]),
                ({"text": "word " * 1000}, "planned_final", "fusion", "large", ["small", "large"]),
                ({"messages": [{"role": "user", "content": "a"}] * 2}, "execution_required", "confidence", None,
                 ["small"]),
                ({"text": "hello"}, "fallback", "default", "small", ["small"])]
        for body, status, method, model, recommended in rows:
            with self.subTest(status=status):
                answer = self.ask(body)
                self.assertEqual((answer["selection_status"], answer["selection_method"]), (status, method))
                self.assertEqual((answer.get("selected_model"), answer["recommended_models"]), (model, recommended))
        plugins = self.ask({"text": "python"})["decision_result"]["plugins"]
        self.assertEqual(plugins, ["system_prompt", "router_replay"])

    def test_errors_name_the_place(self):
        rows = [(b"{", ""), (b"[]", ""), (b"{}", "text"), (b'{"text": 7}', "text"),
                (b'{"text": "a", "model": 7}', "model"), (b'{"text": "a", "model": "nobody"}', "model"),
                (b'{"messages": {}}', "messages"), (b'{"messages": []}', "messages"),
                (b'{"messages": ["a"]}', "messages[0]"), (b'{"messages": [{"content": "a"}]}', "messages[0].role"),
                (b'{"messages": [{"role": "user", "content": 7}]}', "messages[0].content"),
                (b'{"text": "a", "tools": 7}', "tools"), (b'{"text": "a", "tools": [7]}', "tools"),
                (b'{"text": "a", "metadata": []}', "metadata"), (b'{"text": "a", "options": []}', "options"),
                (b'{"text": "a", "options": {"trace": "yes"}}', "options.trace"),
                (b'{"text": "a", "options": {"confidence_threshold": 2}}', "options.confidence_threshold"),
                (b'{"text": "a", "max_tokens": -1}', "max_tokens"), (b'{"text": "\xff\xfe"}', ""),
                (b'{"text": "a", "text": "b"}', ""), (b"[" * 100000, "")]
        for data, place in rows:
            with self.subTest(data=data[:60]):
                status, answer = self.raw(data)
                self.assertEqual(status, 400, answer)
                self.assertEqual(answer["error"]["param"] or "", place, answer)
                self.assertTrue(answer["error"]["message"])

    def test_large_and_odd_texts_are_answered(self):
        texts = {"1 MB of words": "word " * 200_000, "1 MB of one word": "x" * 1_000_000,
                 "1 MB of questions": "?" * 1_000_000, "a null byte": "a\0b", "half a pair": "\ud83d",
                 "every plane": "".join(map(chr, range(0x20, 0xd800, 37))), "nothing": ""}
        for name, text in texts.items():
            with self.subTest(name):
                status, answer = self.raw(json.dumps({"text": text}).encode())
                if name in ("a null byte", "half a pair"):  # no text that programs agree about
                    self.assertEqual(status, 400, answer)
                    continue
                self.assertEqual(status, 200, str(answer)[:300])
                CHECK.validate(answer)
                self.assertEqual(answer["original_text"], text)

    @unittest.skipUnless(RECIPES.is_dir(), "no third-party recipes")
    def test_answers_over_third_party_recipes_agree_with_themselves(self):
        folder = RECIPES / "multi-objective"
        suite, config = Suite(folder), load_yaml(folder / "config.yaml")
        strategies = {r["name"]: r["routing"].get("strategy") for r in config["recipes"]}
        self.assertNotIn("confidence", strategies.values())
        with Router(folder / "config.yaml") as router:
            for probe in suite.probes[::4]:
                status, answer = router.eval(probe.request())
                self.assertEqual(status, 200)
                with self.subTest(probe=probe.id):
                    self.agrees(answer)


if __name__ == "__main__":
    tap.main()
