"""The stock anthropic client for Python against a real server. Skipped, with a word, where it is not installed."""
import json
import os
import pathlib
import sys
import unittest
from typing import Literal

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import ROOT, Server, heldout, metric, wait_for  # noqa: E402

VENV = ROOT / ".venv" / "bin" / "python"
if VENV.exists() and pathlib.Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
    os.execv(str(VENV), [str(VENV), *sys.argv])

try:
    import anthropic
    import pydantic
    from pydantic import TypeAdapter
    from anthropic.types import Message, MessageTokensCount, ModelInfo, RawMessageStreamEvent
except ImportError:
    anthropic = None

MODELS = ("auto", "demo", "demo:sql", "demo:sql@prod")
VERSION = {"anthropic-version": "2023-06-01"}
ORDER = {
    "name": "order",
    "description": "Orders a thing.",
    "input_schema": {
        "type": "object",
        "properties": {"size": {"enum": ["small", "large"]}, "count": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["size", "count"],
    },
}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def undeclared(value):
    """Members that the client's models do not know, anywhere inside."""
    if isinstance(value, list):
        return [name for item in value for name in undeclared(item)]
    if not hasattr(value, "model_extra"):
        return []
    return list(value.model_extra or {}) + [n for f in type(value).model_fields for n in undeclared(getattr(value, f))]


def events(text):
    """(event, data) of a whole event stream."""
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        if lines:
            yield lines["event"], json.loads(lines["data"])


@unittest.skipIf(anthropic is None, "the anthropic client is not installed; run tests/e2e/install-clients.sh")
class StockClient(unittest.TestCase):
    """Messages, streamed and not, tools, counting, errors, models."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.client = anthropic.Anthropic(base_url=f"http://127.0.0.1:{cls.server.port}", api_key="none", max_retries=0)
        cls.case = heldout("sql.2")[0]
        cls.messages = [{"role": "user", "content": cls.case["prompt"]}]

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def ask(self, model="demo:sql", temperature=0, extra_body=None, **more):
        """One message, greedily; the client itself has no temperature any more, its API has."""
        return self.client.messages.create(
            **{"model": model, "messages": self.messages, "max_tokens": 64, **more},
            extra_body={"temperature": temperature, **(extra_body or {})})

    def test_messages_answer_for_every_kind_of_name(self):
        for model in MODELS:
            with self.subTest(model=model):
                answer = self.ask(model)
                self.assertEqual((answer.type, answer.role), ("message", "assistant"))
                self.assertEqual(answer.content[0].type, "text")
                self.assertEqual(answer.content[0].text == self.case["answer"], model != "demo")
                self.assertIn(answer.stop_reason, ("end_turn", "max_tokens"))
                self.assertGreater(answer.usage.input_tokens + answer.usage.cache_read_input_tokens, 0)
                self.assertGreater(answer.usage.output_tokens, 0)

    def test_a_stream_says_what_the_whole_answer_says(self):
        for model in MODELS:
            with self.subTest(model=model):
                whole = self.ask(model)
                with self.client.messages.stream(model=model, messages=self.messages, max_tokens=64,
                                                 extra_body={"temperature": 0}) as stream:
                    text = "".join(stream.text_stream)
                    final = stream.get_final_message()
                self.assertEqual(text, whole.content[0].text)
                self.assertEqual(final.content[0].text, text)
                self.assertEqual(final.stop_reason, whole.stop_reason)
                self.assertEqual(final.usage.output_tokens, whole.usage.output_tokens)
                self.assertTrue(final.id.startswith("msg_"))

    def test_system_prompts_may_be_text_or_blocks(self):
        plain = self.ask(system="Answer briefly.")
        blocks = self.ask(system=[{"type": "text", "text": "Answer briefly.", "cache_control": {"type": "ephemeral"}}])
        self.assertEqual(plain.content[0].text, blocks.content[0].text)

    def test_stop_sequences_are_named(self):
        text = self.case["answer"]
        answer = self.ask(stop_sequences=["nowhere", "FROM"])
        self.assertEqual(answer.content[0].text, text.split("FROM")[0])
        self.assertEqual((answer.stop_reason, answer.stop_sequence), ("stop_sequence", "FROM"))
        cut = self.ask(max_tokens=3)
        self.assertEqual((cut.stop_reason, cut.stop_sequence, cut.usage.output_tokens), ("max_tokens", None, 3))

    def test_a_forced_call_makes_the_round_trip(self):
        asked = {"tools": [ORDER, SEARCH], "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
                 "temperature": 1, "max_tokens": 200, "model": "demo"}
        answer = self.ask(**asked)
        self.assertEqual(answer.stop_reason, "tool_use")
        (call,) = [b for b in answer.content if b.type == "tool_use"]
        self.assertEqual(call.name, "order")
        self.assertIn(call.input["size"], ("small", "large"))
        self.assertIn(call.input["count"], range(10))
        result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "done"}]}
        turn = [*self.messages, {"role": "assistant", "content": answer.content},
                {"role": "user", "content": [result, {"type": "text", "text": "Thanks."}]}]
        after = self.ask("demo", messages=turn, tools=[ORDER])
        self.assertIn(after.stop_reason, ("end_turn", "max_tokens", "tool_use"))

    def test_a_streamed_call_accumulates(self):
        with self.client.messages.stream(model="demo", messages=self.messages, max_tokens=200, tools=[ORDER],
                                         tool_choice={"type": "tool", "name": "order"}) as stream:
            final = stream.get_final_message()
        self.assertEqual(final.stop_reason, "tool_use")
        (call,) = [b for b in final.content if b.type == "tool_use"]
        self.assertIn(call.input["size"], ("small", "large"))

    def test_a_full_context_is_told_from_a_full_budget(self):
        long = self.ask("demo", messages=[{"role": "user", "content": "word " * 990}], max_tokens=1000, temperature=1)
        self.assertIn(long.stop_reason, ("model_context_window_exceeded", "end_turn"))
        if long.stop_reason != "end_turn":
            used = long.usage
            self.assertEqual(used.input_tokens + used.cache_read_input_tokens + used.output_tokens, 1024)

    def test_the_clients_helpers_work(self):
        class Order(pydantic.BaseModel):
            """What is to come out."""
            size: Literal["small", "large"]
            count: int

        parsed = self.client.messages.parse(model="demo", max_tokens=200, messages=self.messages, output_format=Order)
        self.assertIn(parsed.parsed_output.size, ("small", "large"))
        beta = self.client.beta.messages.create(model="demo:sql", max_tokens=64, messages=self.messages,
                                                betas=["something-2099-01-01"], extra_body={"temperature": 0})
        self.assertEqual(beta.content[0].text, self.case["answer"])

    def test_structured_output_is_held(self):
        schema = {**ORDER["input_schema"], "additionalProperties": False}
        answer = self.ask("demo", temperature=1, max_tokens=200,
                          output_config={"format": {"type": "json_schema", "schema": schema}})
        self.assertIn(json.loads(answer.content[0].text)["size"], ("small", "large"))

    def test_tokens_are_counted_as_they_are_used(self):
        ask = {"model": "demo:sql", "messages": self.messages, "system": "Answer briefly."}
        counted = self.client.messages.count_tokens(**ask).input_tokens
        usage = self.ask(**ask).usage
        self.assertEqual(counted, usage.input_tokens + usage.cache_read_input_tokens)
        with_tools = self.client.messages.count_tokens(tools=[ORDER], **ask).input_tokens
        self.assertGreater(with_tools, counted)

    def test_errors_raise_the_right_classes(self):
        cases = (
            (anthropic.NotFoundError, "not_found_error", {"model": "claude-unheard-of"}),
            (anthropic.NotFoundError, "not_found_error", {"model": "demo:nope"}),
            (anthropic.BadRequestError, "invalid_request_error", {"messages": []}),
            (anthropic.BadRequestError, "invalid_request_error", {"temperature": 1.5}),
            (anthropic.BadRequestError, "invalid_request_error", {"messages": [{"role": "user", "content": [
                {"type": "image", "source": {"type": "url", "url": "https://localhost/x.png"}}]}]}),
        )
        for kind, word, more in cases:
            with self.subTest(more=more), self.assertRaises(kind) as caught:
                self.ask(**more)
            self.assertEqual(caught.exception.body["error"]["type"], word)
            self.assertTrue(caught.exception.request_id.startswith("req_"))
            self.assertEqual(caught.exception.body["request_id"], caught.exception.request_id)

    def test_models_are_listed_by_pages(self):
        ids = [m.id for m in self.client.models.list(limit=2)]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertIn("demo", ids)
        self.assertIn("demo:sql", ids)
        self.assertEqual([m.id for m in self.client.models.list(limit=100)], ids)
        before = self.client.models.list(before_id=ids[-1], limit=2)
        self.assertEqual([m.id for m in before.data], ids[-3:-1])
        self.assertTrue(before.has_more)
        self.assertEqual(self.client.models.list(before_id=ids[1]).data[0].id, ids[0])
        self.assertEqual(self.client.models.retrieve("demo:sql").id, "demo:sql")
        with self.assertRaises(anthropic.NotFoundError):
            self.client.models.retrieve("nope")

    def test_a_client_that_leaves_stops_the_decode(self):
        with self.client.messages.stream(model="demo", messages=self.messages, max_tokens=2000,
                                         extra_body={"temperature": 1}) as stream:
            next(iter(stream.text_stream))
        wait_for(lambda: metric(self.server, "requests_active") <= 1, 5, "the end of the decode")
        self.assertTrue(self.ask().content)

    def test_beta_headers_and_unknown_fields_pass(self):
        answer = self.ask(extra_headers={"anthropic-beta": "something-2099-01-01"},
                          extra_body={"context_management": {"edits": []}, "something": [1]})
        self.assertEqual(answer.content[0].text, self.case["answer"])


BEHIND = """version: v0.3
engine:
  models:
    - name: native
      upstream: {{provider: anthropic, url: "http://127.0.0.1:{port}", model: "demo:sql"}}
    - name: plain
      upstream: {{provider: anthropic, url: "http://127.0.0.1:{port}", model: demo}}
    - name: other
      upstream: {{provider: openai, url: "http://127.0.0.1:{port}/v1", model: "demo:sql"}}
    - name: other-plain
      upstream: {{provider: openai, url: "http://127.0.0.1:{port}/v1", model: demo}}
"""


@unittest.skipIf(anthropic is None, "the anthropic client is not installed; run tests/e2e/install-clients.sh")
class Behind(unittest.TestCase):
    """The same where the engine is behind: one that speaks Anthropic's API itself, and one that speaks OpenAI's."""

    @classmethod
    def setUpClass(cls):
        cls.engine = Server()
        cls.server = Server(text=BEHIND.format(port=cls.engine.port))
        cls.client = anthropic.Anthropic(base_url=f"http://127.0.0.1:{cls.server.port}", api_key="none", max_retries=0)
        cls.case = heldout("sql.2")[0]
        cls.messages = [{"role": "user", "content": cls.case["prompt"]}]

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()
        cls.engine.stop()

    def ask(self, model, **more):
        """One message, greedily."""
        return self.client.messages.create(
            **{"model": model, "messages": self.messages, "max_tokens": 64, "extra_body": {"temperature": 0}, **more})

    def test_whole_and_streamed_answers_are_those_of_the_engine(self):
        for model in ("native", "other"):
            with self.subTest(model=model):
                whole = self.ask(model)
                self.assertEqual((whole.content[0].text, whole.stop_reason), (self.case["answer"], "end_turn"))
                self.assertEqual(whole.model, model)
                with self.client.messages.stream(model=model, messages=self.messages, max_tokens=64,
                                                 extra_body={"temperature": 0}) as stream:
                    final = stream.get_final_message()
                self.assertEqual((final.content[0].text, final.model), (self.case["answer"], model))
                self.assertEqual(final.usage.output_tokens, whole.usage.output_tokens)
                self.assertEqual(final.usage.input_tokens + final.usage.cache_read_input_tokens,
                                 whole.usage.input_tokens + whole.usage.cache_read_input_tokens)

    def test_answers_hold_to_the_clients_models(self):
        for model in ("native", "other"):
            body = {"model": model, "max_tokens": 64, "messages": self.messages}
            status, _, text = self.server.request("POST", "/v1/messages", body, headers=VERSION)
            self.assertEqual(status, 200, text)
            self.assertEqual(undeclared(TypeAdapter(Message).validate_json(text, strict=True)), [])
            text = self.server.request("POST", "/v1/messages", {**body, "stream": True}, headers=VERSION)[2].decode()
            for name, data in events(text):
                self.assertEqual(data["type"], name)
                if name != "ping":
                    event = TypeAdapter(RawMessageStreamEvent).validate_json(json.dumps(data), strict=True)
                    self.assertEqual(undeclared(event), [])

    def test_calls_make_the_round_trip(self):
        for model in ("plain", "other-plain"):
            with self.subTest(model=model):
                answer = self.ask(model, tools=[ORDER], tool_choice={"type": "any"}, max_tokens=200)
                self.assertEqual(answer.stop_reason, "tool_use")
                call = answer.content[-1]
                self.assertIn(call.input["size"], ("small", "large"))
                with self.client.messages.stream(model=model, messages=self.messages, max_tokens=200, tools=[ORDER],
                                                 tool_choice={"type": "any"}, extra_body={"temperature": 0}) as stream:
                    self.assertEqual(stream.get_final_message().content[-1].input, call.input)
                turn = [*self.messages, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": call.id, "content": "done", "is_error": True}]}]
                self.assertTrue(self.ask(model, messages=turn, tools=[ORDER]).stop_reason)

    def test_stop_sequences_are_named_where_the_engine_tells(self):
        answer = self.ask("native", stop_sequences=["FROM"])
        self.assertEqual((answer.stop_reason, answer.stop_sequence), ("stop_sequence", "FROM"))
        self.assertEqual(self.ask("other", stop_sequences=["FROM"]).content[0].text,
                         self.case["answer"].split("FROM")[0])

    def test_what_the_engine_refuses_is_refused(self):
        for model in ("native", "other"):
            with self.subTest(model=model), self.assertRaises(anthropic.BadRequestError) as caught:
                self.ask(model, messages=[{"role": "user", "content": "word " * 3000}])
            self.assertEqual(caught.exception.body["error"]["type"], "invalid_request_error")

    def test_tokens_are_counted_there_or_estimated(self):
        ask = {"messages": self.messages, "system": "Answer briefly."}
        usage = self.ask("native", system=ask["system"]).usage
        self.assertEqual(self.client.messages.count_tokens(model="native", **ask).input_tokens,
                         usage.input_tokens + usage.cache_read_input_tokens)
        self.assertGreater(self.client.messages.count_tokens(model="other", **ask).input_tokens, 0)

    def test_a_client_that_leaves_stops_the_engine(self):
        for model in ("plain", "other-plain"):
            with self.client.messages.stream(model=model, messages=self.messages, max_tokens=900) as stream:
                next(iter(stream.text_stream))
            wait_for(lambda: metric(self.engine, "requests_active") <= 1, 5, "the end of the decode")


@unittest.skipIf(anthropic is None, "the anthropic client is not installed; run tests/e2e/install-clients.sh")
class Schemas(unittest.TestCase):
    """What is answered, by the client's own models, strictly: nothing missing, nothing that they do not know."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.body = {"model": "demo", "max_tokens": 64, "messages": [{"role": "user", "content": "What is 3 + 4?"}]}

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def check(self, model, text):
        """The text as that model; strict JSON."""
        value = TypeAdapter(model).validate_json(text, strict=True)
        self.assertEqual(undeclared(value), [])
        return value

    def fetch(self, path, body=None):
        """The body of a good answer."""
        status, _, text = self.server.request("POST" if body else "GET", path, body, headers=VERSION)
        self.assertEqual(status, 200, text)
        return text

    def test_messages(self):
        forced = {"tools": [ORDER], "tool_choice": {"type": "any"}}
        for more in ({}, {"max_tokens": 0}, {"max_tokens": 1}, {"stop_sequences": ["e", "a", "o", "i", " "]}, forced):
            with self.subTest(more=more):
                self.check(Message, self.fetch("/v1/messages", {**self.body, **more}))

    def test_events(self):
        forced = {"tools": [ORDER], "tool_choice": {"type": "any"}}
        for more in ({}, {"max_tokens": 1}, forced):
            with self.subTest(more=more):
                text = self.fetch("/v1/messages", {**self.body, **more, "stream": True}).decode()
                names = []
                for name, data in events(text):
                    names.append(name)
                    self.assertEqual(data["type"], name)
                    if name != "ping":
                        self.check(RawMessageStreamEvent, json.dumps(data))
                self.assertEqual((names[0], names[-2], names[-1]), ("message_start", "message_delta", "message_stop"))

    def test_counts(self):
        ask = {k: v for k, v in self.body.items() if k != "max_tokens"}
        self.check(MessageTokensCount, self.fetch("/v1/messages/count_tokens", ask))

    def test_models(self):
        for item in json.loads(self.fetch("/v1/models"))["data"]:
            self.check(ModelInfo, json.dumps(item))
        self.check(ModelInfo, self.fetch("/v1/models/demo"))


if __name__ == "__main__":
    tap.main()
