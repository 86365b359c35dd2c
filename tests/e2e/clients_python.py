"""The stock openai client for Python against a real server. Skipped, with a word, where it is not installed."""
import enum
import json
import os
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import openai_schema, tap  # noqa: E402
from support.rootstock import ROOT, Server, heldout  # noqa: E402

VENV = ROOT / ".venv" / "bin" / "python"
if VENV.exists() and pathlib.Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
    os.execv(str(VENV), [str(VENV), *sys.argv])

try:
    import openai
    import pydantic  # which it needs
except ImportError:
    openai = None
MODELS = ("auto", "demo", "demo:sql", "demo:sql@prod")


@unittest.skipIf(openai is None, "the openai client is not installed; run tests/e2e/install-clients.sh")
class StockClient(unittest.TestCase):
    """Chat and completions, streamed and not, for every kind of model name."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.client = openai.OpenAI(base_url=f"http://127.0.0.1:{cls.server.port}/v1", api_key="none", max_retries=0)
        cls.prompt = heldout("sql.2")[0]["prompt"]
        cls.messages = [{"role": "user", "content": cls.prompt}]

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def test_chat_answers_for_every_kind_of_name(self):
        for model in MODELS:
            with self.subTest(model=model):
                answer = self.client.chat.completions.create(model=model, messages=self.messages, temperature=0)
                self.assertEqual(answer.object, "chat.completion")
                self.assertTrue(answer.choices[0].message.content)
                self.assertEqual(answer.choices[0].message.role, "assistant")
                self.assertIn(answer.choices[0].finish_reason, ("stop", "length"))
                usage = answer.usage
                self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)

    def test_a_chat_stream_says_what_the_whole_answer_says(self):
        for model in MODELS:
            with self.subTest(model=model):
                whole = self.client.chat.completions.create(model=model, messages=self.messages, temperature=0)
                chunks = list(self.client.chat.completions.create(
                    model=model, messages=self.messages, temperature=0, stream=True,
                    stream_options={"include_usage": True}))
                text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
                self.assertEqual(text, whole.choices[0].message.content)
                self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
                self.assertEqual([c.choices[0].finish_reason for c in chunks if c.choices][-1],
                                 whole.choices[0].finish_reason)
                self.assertEqual(chunks[-1].choices, [])
                self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)
                self.assertEqual(len({c.id for c in chunks}), 1)

    def test_completions_stream_what_they_answer(self):
        for model in MODELS:
            with self.subTest(model=model):
                ask = {"model": model, "prompt": self.prompt, "temperature": 0, "max_tokens": 16}
                whole = self.client.completions.create(**ask)
                self.assertEqual(whole.object, "text_completion")
                text = "".join(c.choices[0].text for c in self.client.completions.create(stream=True, **ask) if c.choices)
                self.assertEqual(text, whole.choices[0].text)

    def test_models_are_listed_and_shown(self):
        ids = [m.id for m in self.client.models.list()]
        self.assertIn("demo", ids)
        self.assertIn("demo:sql", ids)
        self.assertEqual(self.client.models.retrieve("demo:sql").id, "demo:sql")
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("nope")

    def test_errors_raise_the_right_classes(self):
        create = self.client.chat.completions.create
        with self.assertRaises(openai.NotFoundError) as caught:
            create(model="nope", messages=self.messages)
        self.assertEqual(caught.exception.code, "model_not_found")
        with self.assertRaises(openai.BadRequestError):
            create(model="demo", messages=[])
        with self.assertRaises(openai.BadRequestError) as caught:
            create(model="demo", messages=self.messages, temperature=9)
        self.assertEqual(caught.exception.param, "temperature")

    def test_several_choices_logprobs_stop_and_bias_are_served(self):
        answer = self.client.chat.completions.create(model="demo", messages=self.messages, n=3, seed=7, temperature=1,
                                                     max_tokens=8, logprobs=True, top_logprobs=4)
        self.assertEqual([c.index for c in answer.choices], [0, 1, 2])
        for choice in answer.choices:
            for token in choice.logprobs.content:
                self.assertLessEqual(token.logprob, 0)
                self.assertEqual(len(token.top_logprobs), 4)
        again = self.client.chat.completions.create(model="demo", messages=self.messages, n=3, seed=7, temperature=1,
                                                    max_tokens=8)
        self.assertEqual([c.message.content for c in again.choices], [c.message.content for c in answer.choices])
        whole = self.client.chat.completions.create(model="demo:sql", messages=self.messages, temperature=0)
        text = whole.choices[0].message.content
        cut = self.client.chat.completions.create(model="demo:sql", messages=self.messages, temperature=0, stop=["FROM"])
        self.assertEqual(cut.choices[0].message.content, text.split("FROM")[0])
        self.assertEqual(cut.choices[0].finish_reason, "stop")

    def test_vectors_are_the_same_in_both_encodings(self):
        texts = ["What is 64 - 61?", "Show countries with capital Helsinki.", "naïve 🦙"]
        create = self.client.embeddings.create  # asks for base64 unless told otherwise
        packed = create(model="demo", input=texts)
        floats = create(model="demo", input=texts, encoding_format="float")
        self.assertEqual([d.index for d in packed.data], [0, 1, 2])
        self.assertEqual((packed.object, packed.model, packed.data[0].object), ("list", "demo", "embedding"))
        self.assertEqual(packed.usage.prompt_tokens, packed.usage.total_tokens)
        for one, other in zip(packed.data, floats.data):
            self.assertLess(max(abs(a - b) for a, b in zip(one.embedding, other.embedding)), 1e-6)
            self.assertAlmostEqual(sum(x * x for x in one.embedding), 1, places=5)
        short = create(model="demo", input=texts[0], dimensions=16).data[0].embedding
        norm = sum(x * x for x in floats.data[0].embedding[:16]) ** 0.5
        self.assertLess(max(abs(a - b / norm) for a, b in zip(short, floats.data[0].embedding)), 1e-6)
        self.assertEqual(len(short), 16)

    def test_token_ids_embed_as_their_text(self):
        texts = ["What is 64 - 61?", "Laura a dix maisons."]
        ids = [json.loads(self.server.request("POST", "/tokenize", {"model": "demo", "prompt": t})[2])["tokens"]
               for t in texts]
        create = self.client.embeddings.create
        want = [d.embedding for d in create(model="demo", input=texts).data]
        for asked, wanted in ((ids, want), (ids[0], want[:1])):
            got = [d.embedding for d in create(model="demo", input=asked).data]
            self.assertLess(max(abs(a - b) for x, y in zip(got, wanted) for a, b in zip(x, y)), 1e-5)

    def test_mistakes_about_vectors_raise_the_right_classes(self):
        create = self.client.embeddings.create
        for fields, param in (({"model": "demo:sql", "input": "a"}, "model"), ({"model": "demo", "input": []}, "input"),
                              ({"model": "demo", "input": ["a", ""]}, "input"),
                              ({"model": "demo", "input": "a", "dimensions": 1 << 20}, "dimensions"),
                              ({"model": "demo", "input": "word " * 50_000}, "input")):
            with self.subTest(fields=str(fields)[:60]):
                with self.assertRaises(openai.BadRequestError) as caught:
                    create(**fields)
                self.assertEqual(caught.exception.param, param)
        with self.assertRaises(openai.NotFoundError):
            create(model="nope", input="a")

    def test_a_pydantic_model_comes_back_parsed(self):
        class Color(enum.Enum):
            RED = "red"
            BLUE = "blue"

        class Part(pydantic.BaseModel):
            name: Color
            count: int

        class Order(pydantic.BaseModel):
            urgent: bool
            parts: list[Part]
            note: str | None

        whole = 0
        for seed in range(6):
            try:
                answer = self.client.chat.completions.parse(model="demo", messages=self.messages, temperature=1.2,
                                                            seed=seed, max_tokens=200, response_format=Order)
            except openai.LengthFinishReasonError:
                continue  # the small model rambles on; what came so far was cut
            self.assertIsInstance(answer.choices[0].message.parsed, Order)
            self.assertEqual(answer.choices[0].finish_reason, "stop")
            whole += 1
        self.assertGreater(whole, 0)

    def test_a_structured_stream_says_what_the_whole_answer_says(self):
        schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}, "b": {"type": "boolean"}},
                  "required": ["a", "b"], "additionalProperties": False}
        form = {"type": "json_schema", "json_schema": {"name": "pair", "schema": schema, "strict": True}}
        ask = {"model": "demo:sql", "messages": self.messages, "temperature": 0, "response_format": form}
        whole = self.client.chat.completions.create(**ask)
        self.assertEqual(set(json.loads(whole.choices[0].message.content)), {"a", "b"})
        text = "".join(c.choices[0].delta.content or "" for c in self.client.chat.completions.create(stream=True, **ask))
        self.assertEqual(text, whole.choices[0].message.content)
        cut = self.client.chat.completions.create(max_tokens=2, **ask).choices[0]
        self.assertEqual(cut.finish_reason, "length")
        self.assertTrue(text.startswith(cut.message.content))

    def test_json_objects_and_other_spellings_are_served(self):
        create = self.client.chat.completions.create
        ask = {"model": "demo", "messages": self.messages, "temperature": 1.3, "max_tokens": 120}
        for seed in range(4):
            choice = create(seed=seed, response_format={"type": "json_object"}, **ask).choices[0]
            if choice.finish_reason == "stop":
                self.assertIsInstance(json.loads(choice.message.content), dict)
        spellings = {
            r"^[a-c]{4}$": {"guided_regex": "[a-c]{4}"},
            r"^(one|two)$": {"guided_choice": ["one", "two"]},
            r"^(yes|no)$": {"structured_outputs": {"choice": ["yes", "no"]}},
            r"^#[0-9]$": {"grammar": 'root ::= "#" [0-9]'},
            r"^(true|false)$": {"guided_json": {"type": "boolean"}},
        }
        for pattern, extra in spellings.items():
            with self.subTest(extra=extra):
                self.assertRegex(create(extra_body=extra, **ask).choices[0].message.content, pattern)

    def test_bad_schemas_raise_bad_request(self):
        create = self.client.chat.completions.create
        for schema in ({"type": "nothing"}, {"$ref": "#/nowhere"}, {"enum": []}):
            form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
            with self.assertRaises(openai.BadRequestError) as caught:
                create(model="demo", messages=self.messages, response_format=form)
            self.assertTrue(caught.exception.param.startswith("response_format"), caught.exception.param)

    def test_the_best_completions_come_first(self):
        ask = {"model": "demo", "prompt": self.prompt, "max_tokens": 8, "temperature": 1.5, "seed": 3, "logprobs": 0}
        every = self.client.completions.create(n=6, **ask)
        best = self.client.completions.create(n=2, best_of=6, **ask)

        def mean(choice):
            return sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)

        whole = [c for c in every.choices if c.finish_reason == "length"]  # an end token counts, but is not shown
        if len(whole) == len(every.choices):
            ranked = sorted(every.choices, key=mean, reverse=True)[:2]
            self.assertEqual([c.text for c in best.choices], [c.text for c in ranked])
        self.assertEqual([c.index for c in best.choices], [0, 1])
        self.assertEqual(best.usage.completion_tokens, every.usage.completion_tokens)
        self.assertEqual(best.usage.prompt_tokens, every.usage.prompt_tokens)

    def test_an_echo_with_logprobs_scores_the_prompt(self):
        ask = {"model": "demo", "prompt": "one two three", "logprobs": 2, "echo": True}
        scored = self.client.completions.create(max_tokens=0, **ask).choices[0]
        self.assertEqual(scored.text, "one two three")
        parts = scored.logprobs
        self.assertIsNone(parts.token_logprobs[0])
        self.assertTrue(all(value <= 0 for value in parts.token_logprobs[1:]))
        for token, offset in zip(parts.tokens, parts.text_offset):
            if not token.startswith("<"):
                self.assertEqual(scored.text[offset:offset + len(token)], token)
        longer = self.client.completions.create(max_tokens=4, temperature=0, **ask).choices[0]
        self.assertTrue(longer.text.startswith("one two three"))
        self.assertEqual(longer.logprobs.token_logprobs[:len(parts.tokens)], parts.token_logprobs)

    def test_a_hundred_choices_are_served(self):
        answer = self.client.completions.create(model="demo", prompt="a", n=100, max_tokens=2, temperature=1)
        self.assertEqual([c.index for c in answer.choices], list(range(100)))

    def checked(self, name, method, path, body=None, status=200):
        """A request whose answer fits that schema; its JSON."""
        got, _, data = self.server.request(method, path, body)
        self.assertEqual(got, status, data[:300])
        openai_schema.check(name, data)
        return json.loads(data)

    def checked_chunks(self, name, path, body):
        """The same of a stream's chunks."""
        status, _, data = self.server.request("POST", path, {**body, "stream": True})
        self.assertEqual(status, 200, data[:300])
        texts = [text for _, text in openai_schema.read_sse(data)]
        self.assertEqual(texts.pop(), "[DONE]")
        self.assertGreater(len(texts), 2)
        for text in texts:
            openai_schema.check(name, text)

    def test_bodies_and_chunks_validate_against_the_published_schema(self):
        tool = {"type": "function", "function": {"name": "pick", "strict": True, "parameters": {
            "type": "object", "properties": {"which": {"enum": ["a", "b"]}}, "required": ["which"],
            "additionalProperties": False}}}
        chat = {"model": "demo:sql", "temperature": 0, "max_tokens": 40, "messages": self.messages}
        for more in ({}, {"n": 2}, {"logprobs": True, "top_logprobs": 2}, {"stream_options": {"include_usage": True}},
                     {"max_tokens": 1}, {"model": "auto"}, {"tools": [tool], "tool_choice": "required"},
                     {"response_format": {"type": "json_object"}, "seed": 1}):
            with self.subTest(more=more):
                if "stream_options" not in more:
                    self.checked("CreateChatCompletionResponse", "POST", "/v1/chat/completions", {**chat, **more})
                self.checked_chunks("CreateChatCompletionStreamResponse", "/v1/chat/completions", {**chat, **more})
        completion = {"model": "demo", "prompt": "a", "max_tokens": 4, "temperature": 0}
        for more in ({}, {"logprobs": 2}, {"n": 2, "best_of": 3}, {"echo": True}, {"echo": True, "logprobs": 1},
                     {"prompt": ["a", "b"]}, {"stop": ["e"]}):
            with self.subTest(more=more):
                self.checked("CreateCompletionResponse", "POST", "/v1/completions", {**completion, **more})
                if "best_of" not in more:
                    self.checked_chunks("CreateCompletionResponse", "/v1/completions", {**completion, **more})
        for asked in ({"input": "a"}, {"input": ["a", "b"]}, {"input": "a", "dimensions": 4}):
            self.checked("CreateEmbeddingResponse", "POST", "/v1/embeddings", {"model": "demo", **asked})
        self.checked("ListModelsResponse", "GET", "/v1/models")
        self.checked("Model", "GET", "/v1/models/demo")
        self.checked("Model", "GET", "/v1/models/demo:sql")

    def test_errors_validate_against_the_published_schema(self):
        for status, path, body in ((404, "/v1/chat/completions", {"model": "nope", "messages": self.messages}),
                                   (400, "/v1/chat/completions", {"model": "demo", "messages": []}),
                                   (400, "/v1/chat/completions", b"{"), (400, "/v1/completions", {"model": "demo"}),
                                   (400, "/v1/embeddings", {"model": "demo", "input": []}),
                                   (404, "/v1/nothing", {}), (405, "/v1/models", {})):
            with self.subTest(path=path, status=status):
                self.checked("ErrorResponse", "POST", path, body, status)
        self.checked("ErrorResponse", "GET", "/v1/models/nope", status=404)


if __name__ == "__main__":
    tap.main()
