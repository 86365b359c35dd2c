"""The stock clients for Python in front of engines behind that answer by a script: what those may say, in the words of
every API that a client speaks."""
import json
import os
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import openai_schema, tap  # noqa: E402
from support.behind import behind, upstream  # noqa: E402
from support.rootstock import ROOT  # noqa: E402
from support.scripted import (Scripted, anthropic_stream, anthropic_whole, openai_stream,  # noqa: E402
                              openai_whole)

VENV = ROOT / ".venv" / "bin" / "python"
if VENV.exists() and pathlib.Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
    os.execv(str(VENV), [str(VENV), *sys.argv])

try:
    import anthropic
    import openai
except ImportError:
    anthropic = openai = None

MESSAGES = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
CHAT_TOOLS = [{"type": "function", "function": {"name": n, "parameters": SCHEMA}} for n in "fg"]
RESPONSES_TOOLS = [{"type": "function", "name": n, "parameters": SCHEMA, "strict": False} for n in "fg"]
ANTHROPIC_TOOLS = [{"name": n, "input_schema": SCHEMA} for n in "fg"]
CARD = "4111 1111 1111 1111"


def by_stream(whole, stream):
    """A reply: this where the request is streamed, else that."""
    return lambda path, request: stream if request.get("stream") else whole


@unittest.skipIf(openai is None, "the clients are not installed; run tests/e2e/install-clients.sh")
class Answers(unittest.TestCase):
    """One gateway; "o" speaks OpenAI's wire behind it, "a" Anthropic's."""

    routing = {}

    @classmethod
    def setUpClass(cls):
        cls.up = Scripted()
        cls.server = behind({"o": upstream(cls.up), "a": upstream(cls.up, "anthropic"), "busy": upstream(cls.up),
                             "official": upstream(cls.up, url=f"{cls.up.url}/api.openai.com/v1")}, **cls.routing)
        url = f"http://127.0.0.1:{cls.server.port}"
        cls.openai = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        cls.anthropic = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.openai.close()
        cls.anthropic.close()
        cls.server.stop()
        cls.up.stop()

    def setUp(self):
        self.up.seen.clear()

    def chat(self, model="o", **more):
        """The checked choice of a whole answer."""
        answer = self.openai.chat.completions.create(model=model, messages=MESSAGES, **more)
        openai_schema.check("CreateChatCompletionResponse", answer)
        return answer.choices[0]

    def chunks(self, model="o", **more):
        """(delta, finish_reason) of the checked chunks of a stream."""
        found = []
        for chunk in self.openai.chat.completions.create(model=model, messages=MESSAGES, stream=True, **more):
            openai_schema.check("CreateChatCompletionStreamResponse", chunk)
            found.append((chunk.choices[0].delta.to_dict(), chunk.choices[0].finish_reason))
        return found

    def response(self, model="o", **more):
        """A checked response."""
        answer = self.openai.responses.create(model=model, input="Hello", **more)
        openai_schema.check("Response", answer)
        return answer

    def events(self, model="o", **more):
        """The checked events of a response's stream."""
        body = {"model": model, "input": "Hello", "stream": True, **more}
        status, _, data = self.server.request("POST", "/v1/responses", body)
        self.assertEqual(status, 200, data)
        if openai_schema.absent():
            return [json.loads(text) for _, text in openai_schema.read_sse(data)]
        return openai_schema.check_stream(data)

    def message(self, model="o", **more):
        """A message."""
        return self.anthropic.messages.create(**{"model": model, "messages": MESSAGES, "max_tokens": 50, **more})

    def message_stream(self, model="o", **more):
        """(types of the events as they are on the wire, the message)."""
        helpers = ("text", "input_json", "thinking", "signature", "citation")
        with self.anthropic.messages.stream(model=model, messages=MESSAGES, max_tokens=50, **more) as stream:
            kinds = [e.type for e in stream if e.type not in helpers]
            return kinds, stream.get_final_message()


class Unguarded(Answers):
    """Nobody looks at what is said."""

    def test_a_refusal_is_told_apart_from_an_answer(self):
        self.up.reply = by_stream(openai_whole({"content": None, "refusal": "I cannot"}),
                                  openai_stream({"refusal": "I "}, {"refusal": "cannot"}))
        choice = self.chat()
        self.assertEqual((choice.message.refusal, choice.message.content, choice.finish_reason), ("I cannot", None, "stop"))
        self.assertEqual([d["refusal"] for d, _ in self.chunks() if d.get("refusal")], ["I ", "cannot"])
        answer = self.response()
        self.assertEqual((answer.status, answer.incomplete_details), ("completed", None))
        self.assertEqual(answer.output[0].content[0].to_dict(), {"type": "refusal", "refusal": "I cannot"})
        told = ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
                "response.refusal.delta", "response.refusal.delta", "response.refusal.done", "response.content_part.done",
                "response.output_item.done", "response.completed"]
        self.assertEqual([e["type"] for e in self.events()], told)
        with self.openai.responses.stream(model="o", input="Hello") as stream:
            self.assertEqual(stream.get_final_response().output[0].content[0].refusal, "I cannot")
        again = list(self.openai.responses.retrieve(answer.id, stream=True))
        self.assertEqual([e.type for e in again], told[:4] + told[5:])
        self.assertEqual(again[-1].response.output[0].content[0].refusal, "I cannot")
        self.assertEqual((self.message().stop_reason, self.message().content[0].text), ("refusal", "I cannot"))
        kinds, final = self.message_stream()
        self.assertEqual((kinds[-1], final.stop_reason, final.content[0].text), ("message_stop", "refusal", "I cannot"))

    def test_a_refusal_is_the_next_turns_history(self):
        self.up.reply = openai_whole({"content": None, "refusal": "I cannot"})
        first = self.response()
        self.response(previous_response_id=first.id)
        sent = self.up.seen[-1][1]["messages"]
        self.assertEqual([m["role"] for m in sent], ["user", "assistant", "user"])
        self.assertIn("I cannot", json.dumps(sent[1]))

    def test_what_an_engine_left_out_of_a_whole_answer_is_there(self):
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "own": [1.50]}
        self.up.reply = openai_whole({"tool_calls": [call], "reasoning": "hm"}, "tool_calls", extra={"x": 1})
        choice = self.chat(tools=CHAT_TOOLS)
        self.assertEqual(choice.to_dict(), {
            "index": 0, "finish_reason": "tool_calls", "logprobs": None, "extra": {"x": 1},
            "message": {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call], "reasoning": "hm"}})
        given = openai_whole({"content": "x", "refusal": None}, logprobs=None)
        self.up.reply = (200, {"Content-Type": "application/json"}, json.dumps(given[2], indent=1).encode())
        status, _, body = self.server.request("POST", "/v1/chat/completions", {"model": "o", "messages": MESSAGES})
        self.assertEqual(status, 200)  # whoever says all of it is not written anew
        self.assertEqual(body.decode(), json.dumps(given[2], indent=1).replace('"there"', '"o"'))
        self.up.reply = (200, {}, {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "there",
                                   "choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]})
        openai_schema.check("CreateCompletionResponse", self.openai.completions.create(model="o", prompt="Hello"))

    def test_calls_come_whole_and_in_pieces_with_empty_arguments_too(self):
        first = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
        second = {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}}
        begun = [{"index": 0, **first, "function": {"name": "f", "arguments": ""}}]
        more = [[{"index": 0, "function": {"arguments": piece}}] for piece in ('{"a"', ":1}")]
        pieces = [{"tool_calls": c} for c in (begun, *more, [{"index": 1, **second}])]
        self.up.reply = by_stream(openai_whole({"content": None, "tool_calls": [first, second]}, "tool_calls"),
                                  openai_stream(*pieces, finish="tool_calls"))
        want = [("f", {"a": 1}), ("g", {})]
        for output in (self.response(tools=RESPONSES_TOOLS).to_dict()["output"],
                       self.events(tools=RESPONSES_TOOLS)[-1]["response"]["output"]):
            self.assertEqual([(o["name"], json.loads(o["arguments"])) for o in output], want)
        for answer in (self.message(tools=ANTHROPIC_TOOLS), self.message_stream(tools=ANTHROPIC_TOOLS)[1]):
            self.assertEqual([(b.name, b.input) for b in answer.content], want)
            self.assertEqual(answer.stop_reason, "tool_use")
        with self.openai.chat.completions.stream(model="o", messages=MESSAGES, tools=CHAT_TOOLS) as stream:
            calls = stream.get_final_completion().choices[0].message.tool_calls
        self.assertEqual([c.function.name for c in calls], ["f", "g"])

    def test_refusals_of_the_engine_raise_the_right_classes(self):
        rows = (  # status behind, what the client of its own wire gets, what that of the other wire gets
            (400, "BadRequestError", "BadRequestError"), (401, "InternalServerError", "InternalServerError"),
            (413, "APIStatusError", "APIStatusError"), (422, "UnprocessableEntityError", "BadRequestError"),
            (429, "RateLimitError", "RateLimitError"), (500, "InternalServerError", "InternalServerError"),
            (503, "InternalServerError", "InternalServerError"), (504, "InternalServerError", "InternalServerError"))
        for status, same, other in rows:
            for model in "oa":
                said = {"message": f"status {status}", "type": "some_error", "param": None, "code": None}
                self.up.reply = (status, {}, {"type": "error", "error": said})
                wants = (same, other) if model == "o" else (other, same)
                asks = ((openai, lambda m=model: self.chat(m)), (anthropic, lambda m=model: self.message(m)))
                for (module, ask), want in zip(asks, wants):
                    with self.subTest(status=status, behind=model, client=module.__name__):
                        with self.assertRaises(getattr(module, want)) as caught:
                            ask()
                        error = caught.exception.body
                        self.assertIsInstance(error.get("error", error)["message"], str)
                        if module is openai:
                            openai_schema.check("ErrorResponse", {"error": error})

    def test_what_a_response_asks_for_reaches_openai_s_chat(self):
        self.up.reply = openai_whole({"content": "{}"})
        form = {"type": "json_schema", "name": "pair", "schema": {**SCHEMA, "additionalProperties": False}, "strict": True}
        asked = {"service_tier": "flex", "safety_identifier": "s", "prompt_cache_key": "p", "user": "u"}
        for model, known in (("official", True), ("o", False)):  # others may refuse what they do not know
            self.response(model, max_output_tokens=77, text={"format": form, "verbosity": "low"}, **asked,
                          reasoning={"effort": "low"}, tools=RESPONSES_TOOLS, parallel_tool_calls=False)
            sent = self.up.seen[-1][1]
            self.assertEqual(sent["response_format"]["json_schema"], {k: form[k] for k in ("name", "schema", "strict")})
            self.assertEqual(sent["max_completion_tokens" if known else "max_tokens"], 77)
            self.assertEqual((sent["reasoning_effort"], sent["parallel_tool_calls"]), ("low", False))
            for name, value in {**asked, "verbosity": "low"}.items():
                self.assertEqual(sent.get(name), value if known or name == "user" else None)

    def test_an_engine_s_name_is_told_as_the_client_s_and_no_other_word_is(self):
        error = {"message": "the model there is elsewhere, over there", "type": "x", "param": None, "code": None}
        self.up.reply = (400, {}, {"error": error})
        with self.assertRaises(openai.BadRequestError) as caught:
            self.chat()
        self.assertIn("the model o is elsewhere, over o", caught.exception.body["message"])

    def test_texts_are_ranked_by_vectors_of_any_length(self):
        vectors = {"q": [3.0, 0.0], "near": [40.0, 1.0], "far": [0.0, 900.0], "none": [0.0, 0.0]}
        def reply(path, request):
            if not path.endswith("/embeddings"):
                return 404, {}, {"error": {"message": f"Invalid URL (POST {path})", "type": "invalid_request_error"}}
            data = [{"object": "embedding", "index": i, "embedding": vectors[t]} for i, t in enumerate(request["input"])]
            return 200, {}, {"object": "list", "model": "there", "data": data,
                             "usage": {"prompt_tokens": 1, "total_tokens": 1}}
        self.up.reply = reply
        body = {"model": "o", "query": "q", "documents": ["far", "near", "q", "none"]}
        status, _, data = self.server.request("POST", "/v1/rerank", body)
        self.assertEqual(status, 200, data)
        ranked = [(r["index"], r["relevance_score"]) for r in json.loads(data)["results"]]
        self.assertEqual([i for i, _ in ranked], [2, 1, 0, 3])
        self.assertEqual([s for _, s in ranked if s in (0, 1)], [1, 0, 0])
        self.assertAlmostEqual(ranked[1][1], 40 / 1601 ** 0.5)

    def test_headers_say_which_api_is_spoken_on_either_side(self):
        self.up.reply = lambda path, request: (anthropic_whole({"type": "text", "text": "x"}) if "messages" in path
                                               else openai_whole({"content": "x"}))
        for model, behind_speaks in (("o", "openai"), ("a", "anthropic")):
            for client, speaks in ((self.openai.chat.completions, "openai"), (self.anthropic.messages, "anthropic")):
                answer = client.with_raw_response.create(model=model, messages=MESSAGES, max_tokens=5)
                self.assertEqual((answer.headers["x-vsr-client-protocol"], answer.headers["x-vsr-upstream-protocol"]),
                                 (speaks, behind_speaks))

    def test_prompts_are_counted_with_their_images(self):
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
        def count(content):
            ask = {"model": "o", "messages": [{"role": "user", "content": content}]}
            return self.anthropic.messages.count_tokens(**ask).input_tokens
        self.assertGreater(count("Hello"), 0)
        self.assertGreater(count([image, {"type": "text", "text": "Hello"}]), count("Hello") + 1000)

    def test_vectors_are_asked_for_again_and_told_when_to_come_back(self):
        fine = {"object": "list", "model": "there", "data": [{"object": "embedding", "index": 0, "embedding": [1.0, 0.0]}],
                "usage": {"prompt_tokens": 1, "total_tokens": 1}}
        replies = [(500, {}, {"error": {"message": "broken", "type": "x", "param": None, "code": None}}), (200, {}, fine)]
        self.up.reply = lambda path, request: replies.pop(0)
        self.assertEqual(self.openai.embeddings.create(model="busy", input="x", encoding_format="float").data[0].embedding,
                         [1.0, 0.0])
        self.assertEqual(len(self.up.seen), 2)
        self.up.reply = (429, {"Retry-After": "30"}, {"error": {"message": "slow down", "type": "x", "param": None,
                                                               "code": None}})
        for want in (openai.RateLimitError, openai.InternalServerError):  # the second one is not even asked
            with self.assertRaises(want) as caught:
                self.openai.embeddings.create(model="busy", input="x")
            self.assertTrue(0 < int(caught.exception.response.headers["retry-after"]) <= 30)


def guarded():
    """Everything goes to "o" or "a", as the prompt says; what personal data an answer holds ends it. "ask-nobody" is
    answered by the policy itself."""
    guard = {"type": "pii", "configuration": {"action": "block", "stages": ["response"]}}
    canned = {"type": "fast_response", "configuration": {"message": "Nobody was asked."}}
    rows = (("o", "o", guard), ("a", "a", guard), ("nobody", "o", canned))
    return {"routing": {
        "signals": {"keywords": [{"name": n, "operator": "OR", "keywords": [f"ask-{n}"]} for n, _, _ in rows]},
        "decisions": [{"name": n, "priority": 10, "rules": {"operator": "AND", "conditions": [
            {"type": "keyword", "name": n}]}, "modelRefs": [{"model": m}], "plugins": [p]} for n, m, p in rows]}}


class Guarded(Answers):
    """A guard on what engines behind say: it is cut in the words of the client's API, whoever said it."""

    routing = guarded()

    def say(self, text):
        """The engines behind say this, in small pieces where it is streamed."""
        pieces = [text[i:i + 5] for i in range(0, len(text), 5)]
        own = {"o": by_stream(openai_whole({"content": text}), openai_stream(*({"content": p} for p in pieces))),
               "a": by_stream(anthropic_whole({"type": "text", "text": text}),
                              anthropic_stream({"type": "text", "text": ""},
                                               *({"type": "text_delta", "text": p} for p in pieces)))}
        self.up.reply = lambda path, request: own["a" if path.endswith("/messages") else "o"](path, request)

    def test_a_cut_answer_ends_as_each_api_has_it(self):
        self.say(f"hello world, {CARD} and more")
        for model in "oa":
            with self.subTest(behind=model):
                ask = [{"role": "user", "content": f"ask-{model} something"}]
                whole = self.openai.chat.completions.create(model="auto", messages=ask)
                openai_schema.check("CreateChatCompletionResponse", whole)
                self.assertEqual((whole.choices[0].finish_reason, whole.choices[0].message.content),
                                 ("content_filter", "hello world, "))
                chunks = list(self.openai.chat.completions.create(model="auto", messages=ask, stream=True))
                self.assertEqual("".join(c.choices[0].delta.content or "" for c in chunks), "hello world, ")
                self.assertEqual(chunks[-1].choices[0].finish_reason, "content_filter")
                answer = self.openai.responses.create(model="auto", input=ask)
                openai_schema.check("Response", answer)
                self.assertEqual((answer.status, answer.incomplete_details.reason, answer.output_text),
                                 ("incomplete", "content_filter", "hello world, "))
                self.assertEqual([e["type"] for e in self.events("auto", input=ask)][-4:],
                                 ["response.output_text.done", "response.content_part.done",
                                  "response.output_item.done", "response.incomplete"])
                message = self.message("auto", messages=ask)
                self.assertEqual((message.stop_reason, message.content[0].text), ("refusal", "hello world, "))
                with self.anthropic.messages.stream(model="auto", messages=ask, max_tokens=50) as stream:
                    kinds = [e.type for e in stream]
                    final = stream.get_final_message()
                self.assertEqual(kinds[-3:], ["content_block_stop", "message_delta", "message_stop"])
                self.assertEqual((final.stop_reason, final.content[0].text), ("refusal", "hello world, "))

    def test_a_refusal_stays_one_behind_a_guard(self):
        self.up.reply = by_stream(openai_whole({"content": None, "refusal": "I cannot"}),
                                  openai_stream({"refusal": "I "}, {"refusal": "cannot"}))
        ask = [{"role": "user", "content": "ask-o something"}]
        choice = self.openai.chat.completions.create(model="auto", messages=ask).choices[0]
        self.assertEqual((choice.message.refusal, choice.message.content, choice.finish_reason), ("I cannot", None, "stop"))
        chunks = list(self.openai.chat.completions.create(model="auto", messages=ask, stream=True))
        self.assertEqual("".join(c.choices[0].delta.refusal or "" for c in chunks), "I cannot")
        self.assertEqual(chunks[-1].choices[0].finish_reason, "stop")

    def test_what_the_policy_answers_itself_is_an_answer_in_each_api(self):
        said, ask = "Nobody was asked.", [{"role": "user", "content": "ask-nobody something"}]
        whole = self.openai.chat.completions.create(model="auto", messages=ask)
        openai_schema.check("CreateChatCompletionResponse", whole)
        self.assertEqual((whole.choices[0].message.content, whole.choices[0].finish_reason), (said, "stop"))
        with self.openai.chat.completions.stream(model="auto", messages=ask) as stream:
            self.assertEqual(stream.get_final_completion().choices[0].message.content, said)
        with self.openai.responses.stream(model="auto", input=ask) as stream:
            self.assertEqual(stream.get_final_response().output_text, said)
        self.assertEqual(self.events("auto", input=ask)[-1]["response"]["status"], "completed")
        message = self.message("auto", messages=ask)
        self.assertEqual((message.content[0].text, message.stop_reason), (said, "end_turn"))
        with self.anthropic.messages.stream(model="auto", messages=ask, max_tokens=50) as stream:
            self.assertEqual(stream.get_final_message().content[0].text, said)
        self.assertEqual(self.openai.completions.create(model="auto", prompt="ask-nobody").choices[0].text, said)
        self.assertEqual(self.up.seen, [])

    def test_a_guarded_refusal_does_not_show_what_it_may_not(self):
        self.up.reply = openai_whole({"content": None, "refusal": f"Not with {CARD} there"})
        answer = self.openai.responses.create(model="auto", input="ask-o something")
        self.assertEqual((answer.status, answer.output[0].content[0].refusal), ("incomplete", "Not with "))


del Answers  # it has no cases of its own

if __name__ == "__main__":
    tap.main()
