"""A gateway whose engine is another gateway: what the first answers must be what the second would have said itself."""
import json
import pathlib
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import ROOT, Server, free_port  # noqa: E402

SEQUENCE = ROOT / "tests" / "golden" / "encoders" / "bert-sequence.gguf"
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello, how are you? 🦙 \\ \"x\""}]
TOOLS = [{"type": "function", "function": {
    "name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}},
                                      "required": ["city"]}}}]
MADE = {"id", "created", "created_at", "completed_at", "request_id", "system_fingerprint"}


def front(port):
    """The configuration of the gateway in front of one at that port."""
    return f"""version: v0.3
engine:
  models:
    - {{name: demo, upstream: {{provider: openai, url: "http://127.0.0.1:{port}/v1"}}}}
    - {{name: sql, upstream: {{provider: openai, url: "http://127.0.0.1:{port}/v1", model: "demo:sql"}}}}
    - {{name: claude, upstream: {{provider: anthropic, url: "http://127.0.0.1:{port}", model: demo}}}}
    - {{name: bert-sequence, upstream: {{provider: openai, url: "http://127.0.0.1:{port}/v1"}}}}
    - {{name: nobody, upstream: {{provider: openai, url: "http://127.0.0.1:{free_port()}/v1", retry: {{max: 1}}}}}}
adapters: {{catalog: {{type: directory, path: ADAPTERS}}}}
"""


def same(value):
    """Without what is made anew for each answer."""
    if isinstance(value, dict):
        return {k: same(v) for k, v in value.items() if k not in MADE}
    return [same(v) for v in value] if isinstance(value, list) else value


def events(data):
    """The JSON of each event of a stream, and whether it ended with [DONE]."""
    found = [line[6:] for line in data.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(e) for e in found if e != "[DONE]"], bool(found) and found[-1] == "[DONE]"


class SecondGateway(unittest.TestCase):
    """Two servers for all cases."""

    @classmethod
    def setUpClass(cls):
        cls.behind = Server(edit=lambda t: t.replace(
            "engine:\n", f"engine:\n  embedding: {{path: {SEQUENCE}}}\n", 1))
        folder = cls.behind.folder / "no-adapters"
        folder.mkdir()
        cls.front = Server(text=front(cls.behind.port).replace("ADAPTERS", str(folder)))

    @classmethod
    def tearDownClass(cls):
        cls.front.stop()
        cls.behind.stop()

    def both(self, path, body, headers=None, model=None):
        """(status, JSON) of the gateway in front and of the one behind."""
        got = []
        for server, name in ((self.front, body["model"]), (self.behind, model or body["model"])):
            status, _, data = server.request("POST", path, {**body, "model": name}, headers)
            got.append((status, json.loads(data)))
        return got

    def alike(self, path, body, headers=None, model=None):
        """Both answers are the same but for what is made anew; returns the one in front."""
        (status, one), (status2, two) = self.both(path, body, headers, model)
        self.assertEqual(status, status2, one)
        if "model" in one:
            self.assertEqual(one["model"], body["model"])
            two["model"] = one["model"]
        usage = [x.pop("usage", {}) for x in (one, two)]
        self.assertEqual(same(one), same(two))
        if usage[0] and "cache_read_input_tokens" not in usage[0]:  # what of the prompt was cached differs
            self.assertEqual(*[u.get("total_tokens") for u in usage])
        return one

    def test_chat_answers_are_those_of_the_engine_behind(self):
        for more in ({}, {"n": 2, "seed": 1, "temperature": 1}, {"logprobs": True, "top_logprobs": 2},
                     {"tools": TOOLS, "tool_choice": "required"}, {"stop": ["how"]}, {"max_tokens": 2},
                     {"response_format": {"type": "json_schema", "json_schema": {
                         "name": "x", "schema": {"type": "object", "properties": {"a": {"type": "boolean"}},
                                                 "required": ["a"], "additionalProperties": False}}}}):
            with self.subTest(more=more):
                self.alike("/v1/chat/completions",
                           {"model": "demo", "messages": ASKED, "temperature": 0, "max_tokens": 24, **more})

    def test_streams_are_those_of_the_engine_behind(self):
        for more in ({}, {"stream_options": {"include_usage": True}}, {"n": 2, "seed": 1},
                     {"tools": TOOLS, "tool_choice": "required"}):
            with self.subTest(more=more):
                body = {"model": "demo", "messages": ASKED, "temperature": 0, "max_tokens": 24, "stream": True, **more}
                got = [events(s.request("POST", "/v1/chat/completions", body)[2]) for s in (self.front, self.behind)]
                self.assertTrue(got[0][1])
                asked_usage = "stream_options" in more
                self.assertEqual(any(e.get("usage") for e in got[0][0]), asked_usage)
                for chunk in got[0][0]:
                    self.assertEqual(chunk["model"], "demo")
                for answer in got:
                    for chunk in answer[0]:
                        chunk.pop("usage", None)
                by_choice = [sorted((json.dumps(same(c), sort_keys=True) for c in a[0])) for a in got]
                self.assertEqual(*by_choice)

    def test_completions_of_several_prompts_are_one_answer(self):
        self.alike("/v1/completions", {"model": "demo", "prompt": ["Hello", "World"], "n": 2,
                                       "temperature": 0, "max_tokens": 6, "logprobs": 2})

    def test_an_adapter_of_the_engine_behind_is_a_model_in_front(self):
        self.alike("/v1/chat/completions", {"model": "sql", "messages": ASKED, "temperature": 0, "max_tokens": 16},
                   model="demo:sql")

    def test_anthropic_s_dialect_reaches_either_kind_of_engine(self):
        head = {"anthropic-version": "2023-06-01"}
        body = {"messages": ASKED[1:], "system": "Be brief.", "max_tokens": 16, "temperature": 0}
        for name in ("demo", "claude"):
            with self.subTest(name=name):
                self.alike("/v1/messages", {"model": name, **body}, head, model="demo")
        self.alike("/v1/messages/count_tokens",
                   {"model": "claude", "messages": ASKED[1:], "system": "Be brief."}, head, model="demo")

    def test_openai_s_chat_reaches_an_anthropic_engine(self):
        one, two = (self.front.request("POST", "/v1/chat/completions", {
            "model": name, "messages": ASKED, "temperature": 0, "max_tokens": 16})[2] for name in ("claude", "demo"))
        self.assertEqual(*[json.loads(x)["choices"][0]["message"]["content"] for x in (one, two)])

    def test_responses_are_answered_by_the_engine_behind(self):
        one, two = self.both("/v1/responses", {"model": "demo", "input": "Hello", "temperature": 0,
                                               "max_output_tokens": 16})
        self.assertEqual(one[1]["output"][0]["content"], two[1]["output"][0]["content"])

    def test_embeddings_scores_and_rankings_pass_through(self):
        self.alike("/v1/embeddings", {"model": "demo", "input": ["a", "b"], "encoding_format": "base64"})
        self.alike("/v1/rerank", {"model": "demo", "query": "x", "documents": ["x", {"text": "y"}], "top_n": 1})
        self.alike("/v1/score", {"model": "demo", "text_1": "x", "text_2": ["x", "y"]})
        self.alike("/v1/moderations", {"model": "bert-sequence", "input": ["a text", "another"]})

    def test_scores_are_cosines_and_rankings_their_order(self):
        texts = ["hello", "world", "a longer text"]
        vectors = [d["embedding"] for d in json.loads(self.behind.request("POST", "/v1/embeddings", {
            "model": "demo", "input": ["query", *texts]})[2])["data"]]
        want = [sum(x * y for x, y in zip(vectors[0], v)) for v in vectors[1:]]
        scores = json.loads(self.behind.request("POST", "/v1/score", {
            "model": "demo", "text_1": "query", "text_2": texts})[2])["data"]
        for item in scores:
            self.assertAlmostEqual(item["score"], want[item["index"]], places=5)
        ranked = json.loads(self.behind.request("POST", "/v1/rerank", {
            "model": "demo", "query": "query", "documents": texts})[2])["results"]
        self.assertEqual([r["index"] for r in ranked], sorted(range(3), key=lambda i: -want[i]))

    def test_moderation_scores_follow_the_classifier_s_labels(self):
        got = json.loads(self.behind.request("POST", "/v1/moderations", {"model": "bert-sequence", "input": "x"})[2])
        result = got["results"][0]
        applied = [k for k, v in result["category_applied_input_types"].items() if v]
        self.assertTrue(applied)
        self.assertEqual(result["flagged"], any(result["category_scores"][k] >= 0.5 for k in applied))
        self.assertEqual(result["categories"].keys(), result["category_scores"].keys())

    def test_refusals_and_absence_have_their_status(self):
        status, _, data = self.front.request("POST", "/v1/chat/completions", {
            "model": "demo", "messages": [{"role": "user", "content": "x" * 200000}]})
        self.assertEqual((status, json.loads(data)["error"]["code"]), (400, "context_length_exceeded"))
        status, _, data = self.front.request("POST", "/v1/chat/completions", {"model": "nobody", "messages": ASKED})
        self.assertEqual((status, json.loads(data)["error"]["code"]), (502, "upstream_error"))
        status, _, data = self.front.request("POST", "/v1/moderations", {"model": "demo", "input": "x"})
        self.assertEqual(status, 400, data)

    def test_many_at_once_are_each_answered_as_alone(self):
        prompts = [f"Count to {i}" for i in range(24)]

        def ask(server, prompt):
            return json.loads(server.request("POST", "/v1/chat/completions", {
                "model": "demo", "messages": [{"role": "user", "content": prompt}], "temperature": 0,
                "max_tokens": 8})[2])["choices"][0]["message"]["content"]

        got = [None] * len(prompts)

        def run(i):
            got[i] = ask(self.front, prompts[i])

        threads = [threading.Thread(target=run, args=(i,)) for i in range(len(prompts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(got, [ask(self.behind, p) for p in prompts])


if __name__ == "__main__":
    tap.main()
