"""Selection at run time: latencies, residency, outcomes and conversations change who answers, in the real program."""
import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import Server  # noqa: E402

ROUTING = """
providers:
  defaults: {default_model: demo}
entrypoints:
%(entrypoints)s
recipes:
%(recipes)s
routing: {modelCards: [{name: demo}]}
global:
  router:
    learning:
      enabled: true
      adaptation: {enabled: false}
      protection: {enabled: true}
      state_store: {backend: file, path: %(path)s}
"""
ALL = ("sql", "french", "triage")
DECISIONS = {
    "fast": ("{type: latency_aware, latency_aware: {ttft_percentile: 50}}", ("sql", "french"), "{mode: bypass}"),
    "rated": ("{type: elo}", ("sql", "french"), "{mode: bypass}"),
    "near": ("{type: adapter_affinity, adapter_affinity: {content: 0, prefix: 0}}", ALL, "{mode: bypass}"),
    "alike": ("{type: router_dc, router_dc: {min_similarity: 0}}", ALL, "{mode: bypass}"),
    "drawn": ("{type: weighted}", ALL, "{mode: apply}"),
    "free": ("{type: weighted}", ALL, "{mode: bypass}"),
    "kept": ("{type: session_aware}", ALL, "{mode: bypass}"),
}


def policy(text):
    """The demo's engine and catalog, with one entrypoint a decision."""
    engine = text[:text.index("\nproviders:")]
    path = text[text.index("cache: ") + 7:].split("\n", 1)[0].strip() + ".outcomes"
    entrypoints = "".join(f"  - {{model_names: [{name}], recipe: {name}}}\n" for name in DECISIONS)
    recipes = ""
    for name, (algorithm, adapters, adaptations) in DECISIONS.items():
        refs = ", ".join(f"{{model: demo, lora_name: {a}}}" for a in adapters)
        recipes += (f"  - name: {name}\n    routing:\n      decisions:\n        - name: {name}\n"
                    f"          modelRefs: [{refs}]\n          algorithm: {algorithm}\n"
                    f"          adaptations: {adaptations}\n")
    return engine + ROUTING % {"entrypoints": entrypoints, "recipes": recipes, "path": path}


class Selection(unittest.TestCase):
    """One server for all cases: each has decisions of its own."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(edit=policy)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def ask(self, model, content="hello", headers=None, messages=None, **fields):
        """Who answered, and the request's id."""
        body = {"model": model, "temperature": 0, "max_tokens": 4,
                "messages": messages or [{"role": "user", "content": content}], **fields}
        status, got, data = self.server.request("POST", "/v1/chat/completions", body, headers)
        self.assertEqual(status, 200, data)
        return got["x-rootstock-adapter"], got["x-request-id"]

    def tell(self, **outcome):
        """Posts an outcome: (status, answer)."""
        status, _, data = self.server.request("POST", "/v1/router/outcomes", outcome)
        return status, json.loads(data)

    def known(self, decision, adapter):
        """What GET says of a candidate."""
        status, _, data = self.server.get("/v1/router/outcomes")
        self.assertEqual(status, 200)
        return [x for x in json.loads(data)["data"] if x["decision"] == decision and x["adapter"] == adapter]

    def test_latency_aware_takes_who_was_faster(self):
        for i in range(6):  # a thousand tokens before the first one of the answer, against a few
            self.ask("demo:sql", f"{i} " + "many words to read " * 140)
            self.ask("demo:french", f"{i}")
        self.assertEqual(self.ask("fast")[0], "french")

    def test_elo_follows_comparisons_and_verdicts(self):
        status, told = self.tell(decision="rated", preferred="demo:french", other="demo:sql")
        self.assertEqual((status, told["updated"]), (200, 2))
        self.assertEqual(self.ask("rated")[0], "french")
        self.assertGreater(self.known("rated", "french")[0]["rating"], 1500)
        for _ in range(60):  # a verdict moves a tenth of a comparison
            adapter, request = self.ask("rated")
            if adapter == "sql":
                break
            self.assertEqual(self.tell(request_id=request, verdict="underpowered")[1]["updated"], 1)
        self.assertEqual(self.ask("rated")[0], "sql")
        self.assertGreaterEqual(self.known("rated", "french")[0]["underpowered"], 1)
        self.server.restart()
        self.assertGreater(self.known("rated", "french")[0]["underpowered"], 0.9)
        self.assertEqual(self.ask("rated")[0], "sql")

    def test_one_request_has_one_verdict(self):
        _, request = self.ask("free")
        self.assertEqual(self.tell(replay_id=request, verdict="good_fit", target="model", source="user")[1]["updated"], 1)
        status, told = self.tell(replay_id=request, verdict="failed")
        self.assertEqual((status, told["duplicate"], told["updated"]), (200, True, 0))
        self.assertEqual(self.tell(replay_id=self.ask("free")[1], verdict="failed", target="policy")[1]["updated"], 0)

    def test_bad_outcomes_are_refused_by_name(self):
        _, request = self.ask("free")
        rows = [
            ({}, 400, "request_id"),
            ({"request_id": request}, 400, "verdict"),
            ({"request_id": request, "verdict": "great"}, 400, "verdict"),
            ({"request_id": request, "verdict": "failed", "target": "planet"}, 400, "target"),
            ({"request_id": request, "verdict": "failed", "source": "nobody"}, 400, "source"),
            ({"request_id": request, "model": "demo", "verdict": "failed"}, 400, "request_id"),
            ({"request_id": "nobody", "verdict": "failed"}, 404, "request_id"),
            ({"request_id": 7, "verdict": "failed"}, 400, "request_id"),
            ({"request_id": request, "verdict": "failed", "score": 2}, 400, "score"),
            ({"request_id": request, "verdict": "failed", "metadata": {"a": 1}}, 400, "metadata"),
            ({"request_id": request, "verdict": "failed", "verdikt": "x"}, 400, "verdikt"),
            ({"model": "nobody", "verdict": "failed"}, 400, "model"),
            ({"model": "demo", "decision": "none", "verdict": "failed"}, 400, "decision"),
            ({"preferred": "demo:sql"}, 400, "preferred"),
            ({"preferred": "demo:sql", "other": "demo:sql"}, 400, "other"),
            ({"preferred": "demo:sql", "other": "demo", "verdict": "failed"}, 400, "preferred"),
            ({"model": "m" * 300, "verdict": "failed"}, 400, "model"),
        ]
        for body, want, param in rows:
            status, answer = self.tell(**body)
            self.assertEqual((status, answer["error"]["param"]), (want, param), (body, answer))
        self.assertEqual(self.server.request("DELETE", "/v1/router/outcomes")[0], 405)

    def test_the_resident_adapter_answers_where_content_does_not_tell(self):
        self.ask("demo:french")
        adapter, _ = self.ask("near")
        _, headers, _ = self.server.request("POST", "/v1/chat/completions", {
            "model": "near", "max_tokens": 2, "messages": [{"role": "user", "content": "hello"}]})
        self.assertEqual(headers["x-rootstock-residency"], "hit")
        self.assertIn(adapter, ("sql", "french"))  # in memory since an earlier case, or since now

    def test_the_catalog_s_words_choose_an_adapter(self):
        self.assertEqual(self.ask("alike", "Translate into French: the house is small")[0], "french")
        self.assertEqual(self.ask("alike", "Write an SQL query over the table employees")[0], "sql")

    def test_a_conversation_keeps_who_answered(self):
        drawn = {self.ask("free", f"{i}")[0] for i in range(40)}
        self.assertGreater(len(drawn), 1)  # all alike by chance: 3^-39
        for name in ("x-conversation-id", "x-session-id", "x-claude-code-session-id"):
            held = {self.ask("drawn", f"{i}", {name: f"one {name}"})[0] for i in range(12)}
            self.assertEqual(len(held), 1, name)
        held = {self.ask("drawn", f"{i}", metadata={"user_id": "u1"})[0] for i in range(12)}
        self.assertEqual(len(held), 1)
        others = {self.ask("drawn", "x", {"x-conversation-id": f"c{i}"})[0] for i in range(40)}
        self.assertGreater(len(others), 1)

    def test_a_conversation_without_a_name_is_told_by_its_beginning(self):
        begin = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a beginning of its own"}]
        first, _ = self.ask("drawn", messages=begin)
        turns = list(begin)
        for i in range(12):
            turns += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": f"more {i}"}]
            self.assertEqual(self.ask("drawn", messages=turns)[0], first)

    def test_a_weak_model_is_left_by_its_conversation(self):
        headers = {"x-conversation-id": "weak"}
        first, request = self.ask("drawn", headers=headers)
        for _ in range(8):  # elsewhere it did well: one verdict is no reason to leave it
            self.tell(decision="drawn", model="demo", adapter=first, verdict="good_fit")
        self.tell(request_id=request, verdict="underpowered")
        held, request = self.ask("drawn", headers=headers)
        self.assertEqual(held, first)
        self.tell(request_id=request, verdict="underpowered")
        self.assertNotEqual(self.ask("drawn", headers=headers)[0], first)

    def test_a_selector_is_trained_from_measured_answers_and_asked(self):
        rows = [(f"Write an SQL query that counts {w} in a table", 1, 0) for w in ("orders", "users", "cats", "cars")]
        rows += [(f"Write a short poem about {w}", 0, 1) for w in ("rain", "love", "trees", "the sea")]
        measured = self.server.folder / "measured.jsonl"
        lines = []
        for text, sql, french in rows:
            lines.append({"text": text, "model": "demo:sql", "score": sql, "latency": 0.2})
            lines.append({"text": text, "model": "demo:french", "score": french, "latency": 0.4})
        measured.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        for kind in ("knn", "kmeans", "svm", "mlp"):
            selector = self.server.folder / f"{kind}.select"
            done = self.server.cli("selection", "train", "--kind", kind, "--clusters", "2", "--epochs", "60", "-o",
                                   str(selector), str(measured), config=False)
            self.assertIn(f"{kind} over 2 models", done.stdout)
            config = self.server.folder / f"{kind}.yaml"
            config.write_text(json.dumps({
                "providers": {"defaults": {"default_model": "demo"}, "models": [{"name": "demo"}]},
                "routing": {"decisions": [{"name": "d", "algorithm": {"type": kind}, "modelRefs": [
                    {"model": "demo"}, {"model": "demo", "lora_name": "sql"},
                    {"model": "demo", "lora_name": "french"}]}]},
                "global": {"router": {"model_selection": {"ml": {kind: {"pretrained_path": selector.name}}}}}}),
                encoding="utf-8")
            asked = '{"text": "an SQL query over a table of dogs"}\n{"text": "a poem about rain in autumn"}\n'
            routed = self.server.cli("route", "-c", str(config), config=False, text=asked).stdout.splitlines()
            self.assertEqual([json.loads(r)["adapter"] for r in routed], ["sql", "french"], kind)
        table = self.server.cli("selection", "evaluate", "--folds", "2", str(measured), config=False).stdout
        for row in ("random", "always", "length rule", "knn", "kmeans", "svm rbf", "svm linear", "mlp", "oracle"):
            self.assertIn(f"\n{row}", table)
        bad = self.server.folder / "bad.jsonl"
        for text, what in (('{"text": 1}', "text"), ('{"text": "x"}', "names no model"), ("[]", "no JSON object"),
                           ('{"text": "x", "model": "m", "score": 7}', "score"), ("", "texts")):
            bad.write_text(text, encoding="utf-8")
            refused = self.server.cli("selection", "evaluate", str(bad), config=False, check=False)
            self.assertEqual(refused.returncode, 1)
            self.assertIn(what, refused.stderr)

    def test_session_aware_keeps_the_first(self):
        for i in range(5):
            self.assertEqual(self.ask("kept", f"{i}", {"x-session-id": "k"})[0], "sql")


if __name__ == "__main__":
    tap.main()
