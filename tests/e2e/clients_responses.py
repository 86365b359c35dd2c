"""The stock openai client for Python and OpenAI's Responses API: chains, items, tools, structured output, conversations,
and two gateways that share one Redis. Every body and event is checked against OpenAI's own description."""
import json
import os
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import openai_schema, tap  # noqa: E402
from support.behind import WIRES, behind, upstream  # noqa: E402
from support.mock import Mock, text_of  # noqa: E402
from support.rootstock import ROOT, Redis, Server, wait_for  # noqa: E402

VENV = ROOT / ".venv" / "bin" / "python"
if VENV.exists() and pathlib.Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
    os.execv(str(VENV), [str(VENV), *sys.argv])

try:
    import openai
    import pydantic  # which it needs
except ImportError:
    openai = None

TOOL = {"type": "function", "name": "get_weather", "description": "Weather of a city", "strict": True,
        "parameters": {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"],
                       "additionalProperties": False}}


def client_of(server, key="none"):
    """A client that asks once."""
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key=key, max_retries=0)


@unittest.skipIf(openai is None, "the openai client is not installed; run tests/e2e/install-clients.sh")
class Responses(unittest.TestCase):
    """One gateway that keeps responses in its memory."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.client = client_of(cls.server)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def create(self, **fields):
        """A checked response."""
        answer = self.client.responses.create(**{"model": "demo", "temperature": 0, "max_output_tokens": 16, **fields})
        openai_schema.check("Response", answer)
        return answer

    def raw_stream(self, **fields):
        """The checked events of a stream, as they are on the wire."""
        body = {"model": "demo", "temperature": 0, "max_output_tokens": 16, "stream": True, **fields}
        status, headers, data = self.server.request("POST", "/v1/responses", body)
        self.assertEqual(status, 200, data[:500])
        self.assertTrue(headers["Content-Type"].startswith("text/event-stream"))
        if openai_schema.absent():
            return [json.loads(text) for _, text in openai_schema.read_sse(data)]
        return openai_schema.check_stream(data)

    def test_every_kind_of_name_answers(self):
        for model in ("auto", "demo", "demo:sql", "demo:sql@prod"):
            with self.subTest(model=model):
                answer = self.create(model=model, input="Show all names.")
                self.assertTrue(answer.output_text)
                self.assertIn(answer.status, ("completed", "incomplete"))
                self.assertEqual(answer.usage.total_tokens, answer.usage.input_tokens + answer.usage.output_tokens)

    def test_a_stream_says_what_the_whole_answer_says(self):
        whole = self.create(input="Hello there")
        with self.client.responses.stream(model="demo", temperature=0, max_output_tokens=16, input="Hello there") as s:
            text = "".join(e.delta for e in s if e.type == "response.output_text.delta")
            final = s.get_final_response()
        self.assertEqual(text, whole.output_text)
        self.assertEqual(final.output_text, whole.output_text)
        events = self.raw_stream(input="Hello there")
        kinds = [e["type"] for e in events]
        self.assertEqual(kinds[:4], ["response.created", "response.in_progress", "response.output_item.added",
                                     "response.content_part.added"])
        self.assertEqual(kinds[-4:-1], ["response.output_text.done", "response.content_part.done",
                                        "response.output_item.done"])
        self.assertEqual(kinds[-1], f"response.{events[-1]['response']['status']}")
        self.assertEqual(len({e["response"]["id"] for e in events if "response" in e}), 1)

    def test_a_cut_answer_is_incomplete(self):
        answer = self.create(input="Hello there", max_output_tokens=2)
        self.assertEqual((answer.status, answer.incomplete_details.reason), ("incomplete", "max_output_tokens"))
        self.assertEqual(self.raw_stream(input="Hello there", max_output_tokens=2)[-1]["type"], "response.incomplete")

    def test_a_chain_is_the_same_as_sending_all_turns(self):
        first = self.create(input="Hello there", instructions="Answer in one word.")
        second = self.create(input="And again", previous_response_id=first.id)
        by_hand = self.create(input=[
            {"role": "user", "content": "Hello there"},
            {"role": "assistant", "content": first.output_text},
            {"role": "user", "content": "And again"}])
        self.assertEqual(second.output_text, by_hand.output_text)
        self.assertEqual(second.usage.input_tokens, by_hand.usage.input_tokens)
        self.assertEqual(second.previous_response_id, first.id)
        self.assertIsNone(second.instructions)
        as_items = self.create(input=[{"role": "user", "content": "Hello there"},
                                      *[o.to_dict() for o in first.output], {"role": "user", "content": "And again"}])
        self.assertEqual(as_items.output_text, second.output_text)
        events = self.raw_stream(input="And again", previous_response_id=first.id)
        self.assertEqual(events[-1]["response"]["output"][0]["content"][0]["text"], second.output_text)

    def test_what_is_kept_is_retrieved_listed_and_deleted(self):
        answer = self.create(input=[{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
                                    {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Bye"}],
                             metadata={"topic": "greeting"})
        again = self.client.responses.retrieve(answer.id)
        openai_schema.check("Response", again)
        self.assertEqual(again.to_dict(), answer.to_dict())
        page = self.client.responses.input_items.list(answer.id, limit=2, order="asc")
        openai_schema.check("ResponseItemList", page)
        items = list(page)  # follows the pages
        self.assertEqual([i.content[0].text for i in items], ["Hello", "Hi", "Bye"])
        self.assertEqual([i.content[0].text for i in self.client.responses.input_items.list(answer.id)][0], "Bye")
        self.client.responses.delete(answer.id)
        for call in (self.client.responses.retrieve, self.client.responses.delete,
                     self.client.responses.input_items.list, self.client.responses.cancel):
            with self.assertRaises(openai.NotFoundError) as caught:
                call(answer.id)
            openai_schema.check("ErrorResponse", {"error": caught.exception.body})
        unkept = self.create(input="Hello", store=False)
        with self.assertRaises(openai.NotFoundError):
            self.client.responses.retrieve(unkept.id)

    def test_tools_go_round(self):
        ask = {"tools": [TOOL], "tool_choice": "required", "max_output_tokens": 60}
        answer = self.create(input="What is the weather in Paris?", **ask)
        calls = [o for o in answer.output if o.type == "function_call"]
        self.assertEqual([c.name for c in calls], ["get_weather"] * len(calls))
        self.assertGreater(len(calls), 0)
        self.assertEqual(set(json.loads(calls[0].arguments)), {"city"})
        outputs = [{"type": "function_call_output", "call_id": c.call_id, "output": "Sunny, 20 C"} for c in calls]
        end = self.create(previous_response_id=answer.id, input=outputs, tools=[TOOL], tool_choice="none")
        self.assertTrue(end.output_text)
        by_hand = self.create(input=[{"role": "user", "content": "What is the weather in Paris?"},
                                     *[o.to_dict() for o in answer.output], *outputs], tools=[TOOL], tool_choice="none")
        self.assertEqual(by_hand.output_text, end.output_text)
        items = self.client.responses.input_items.list(end.id)
        openai_schema.check("ResponseItemList", items)
        events = self.raw_stream(input="What is the weather in Paris?", **ask)
        arguments = "".join(e["delta"] for e in events if e["type"] == "response.function_call_arguments.delta")
        self.assertEqual(arguments, "".join(o["arguments"] for o in events[-1]["response"]["output"]
                                            if o["type"] == "function_call"))
        named = self.create(input="Hi", tools=[TOOL], tool_choice={"type": "function", "name": "get_weather"},
                            max_output_tokens=60)
        self.assertEqual(named.output[-1].name, "get_weather")

    def test_a_pydantic_model_comes_back_parsed(self):
        class Pair(pydantic.BaseModel):
            sure: bool
            note: str

        whole = 0
        for seed in range(4):
            try:
                answer = self.client.responses.parse(model="demo", input="Tell me", text_format=Pair, temperature=1.1,
                                                     max_output_tokens=200, extra_body={"seed": seed})
            except pydantic.ValidationError:
                continue  # the small model rambles on; what came so far was cut
            openai_schema.check("Response", self.client.responses.retrieve(answer.id))
            self.assertIsInstance(answer.output_parsed, Pair)
            whole += 1
        self.assertGreater(whole, 0)

    def test_log_probabilities_and_token_counts(self):
        answer = self.create(input="Hello", include=["message.output_text.logprobs"], top_logprobs=2)
        tokens = answer.output[0].content[0].logprobs
        self.assertGreater(len(tokens), 0)
        self.assertTrue(all(len(t.top_logprobs) == 2 and t.logprob <= 0 for t in tokens))
        deltas = [e for e in self.raw_stream(input="Hello", top_logprobs=1) if e["type"].endswith("text.delta")]
        self.assertTrue(all(d["logprobs"] for d in deltas))
        count = self.client.responses.input_tokens.count(model="demo", input="Hello")
        self.assertEqual(count.input_tokens, self.create(input="Hello").usage.input_tokens)

    def test_conversations(self):
        conversation = self.client.conversations.create(
            metadata={"topic": "demo"}, items=[{"type": "message", "role": "user", "content": "Hello there"}])
        one = self.create(input="And you?", conversation=conversation.id)
        self.assertEqual(one.conversation.id, conversation.id)
        two = self.create(input="Bye", conversation=conversation.id)
        items = list(self.client.conversations.items.list(conversation.id, order="asc", limit=2))
        for item in items:
            openai_schema.check("ItemResource", item)
        texts = [i.content[0].text for i in items]
        self.assertEqual(texts, ["Hello there", "And you?", one.output_text, "Bye", two.output_text])
        item = self.client.conversations.items.retrieve(items[0].id, conversation_id=conversation.id)
        self.assertEqual(item.content[0].text, "Hello there")
        self.client.conversations.items.delete(items[0].id, conversation_id=conversation.id)
        added = self.client.conversations.items.create(conversation.id, items=[{"role": "user", "content": "More"}])
        self.assertEqual(added.data[0].content[0].text, "More")
        changed = self.client.conversations.update(conversation.id, metadata={"topic": "other"})
        self.assertEqual(changed.metadata, {"topic": "other"})
        self.assertEqual(self.client.conversations.retrieve(conversation.id).metadata, {"topic": "other"})
        texts = [i.content[0].text for i in self.client.conversations.items.list(conversation.id, order="asc")]
        self.assertEqual(texts[0], "And you?")
        self.assertEqual(texts[-1], "More")
        self.assertTrue(self.client.conversations.delete(conversation.id).deleted)
        with self.assertRaises(openai.NotFoundError):
            self.client.conversations.retrieve(conversation.id)

    def end_of(self, response_id, client=None):
        """What a response in the background ends as."""
        client = client or self.client
        wait_for(lambda: client.responses.retrieve(response_id).status not in ("queued", "in_progress"), 30, response_id)
        answer = client.responses.retrieve(response_id)
        openai_schema.check("Response", answer)
        return answer

    def test_responses_in_the_background(self):
        whole = self.create(input="Hello there")
        begun = self.create(input="Hello there", background=True)
        self.assertEqual((begun.status, begun.background, begun.output), ("queued", True, []))
        ended = self.end_of(begun.id)
        self.assertEqual((ended.status, ended.output_text), (whole.status, whole.output_text))
        self.assertEqual(self.create(input="And again", previous_response_id=begun.id).output_text,
                         self.create(input="And again", previous_response_id=whole.id).output_text)
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.responses.create(model="nope", input="x", background=True)
        self.assertEqual(caught.exception.code, "model_not_found")

    def test_a_stream_in_the_background_outlives_its_client(self):
        fields = {"model": "demo", "input": "Tell me a long story", "max_output_tokens": 200, "temperature": 0}
        with self.client.responses.create(stream=True, background=True, **fields) as stream:
            seen = [event for event, _ in zip(stream, range(8))]
        response_id = seen[0].response.id
        ended = self.end_of(response_id)
        rest = list(self.client.responses.retrieve(response_id, stream=True, starting_after=seen[-1].sequence_number))
        for event in (*seen, *rest):
            openai_schema.check_event(event)
        numbers = [e.sequence_number for e in (*seen, *rest)]
        self.assertEqual(numbers, list(range(len(numbers))))
        text = "".join(e.delta for e in (*seen, *rest) if e.type == "response.output_text.delta")
        self.assertEqual(text, ended.output_text)
        self.assertEqual(rest[-1].response.to_dict(), ended.to_dict())

    def test_what_is_kept_is_told_as_a_stream(self):
        answer = self.create(input="What is the weather?", tools=[TOOL], tool_choice="required", max_output_tokens=60)
        status, _, data = self.server.get(f"/v1/responses/{answer.id}?stream=true")
        self.assertEqual(status, 200)
        events = openai_schema.check_stream(data) if not openai_schema.absent() else []
        for event in events[-1:]:
            self.assertEqual(event["response"]["output"], answer.to_dict()["output"])
        self.assertEqual(list(self.client.responses.retrieve(answer.id, stream=True))[-1].response.id, answer.id)

    def test_a_response_in_the_background_is_cancelled(self):
        begun = self.create(input="Tell me a long story", background=True, temperature=1.5, max_output_tokens=4000,
                            extra_body={"ignore_eos": True})
        ended = self.client.responses.cancel(begun.id)
        openai_schema.check("Response", ended)
        self.assertEqual(ended.status, "cancelled")
        self.assertEqual(self.end_of(begun.id).status, "cancelled")
        with self.assertRaises(openai.BadRequestError):
            self.client.responses.cancel(self.create(input="Hello").id)

    def test_errors_raise_the_right_classes(self):
        for fields, kind, param in (
                ({"model": "nope", "input": "x"}, openai.NotFoundError, None),
                ({"input": "x", "temperature": 9}, openai.BadRequestError, "temperature"),
                ({"input": "x", "tools": [{"type": "web_search"}]}, openai.BadRequestError, "tools[0]"),
                ({"input": "x", "previous_response_id": "resp_nope"}, openai.BadRequestError, "previous_response_id"),
                ({"input": [{"type": "item_reference", "id": "msg_x"}]}, openai.NotFoundError, "input"),
                ({"input": []}, openai.BadRequestError, "input"),
                ({"input": "word " * 50_000}, openai.BadRequestError, None)):
            with self.subTest(fields=str(fields)[:80]):
                with self.assertRaises(kind) as caught:
                    self.client.responses.create(**{"model": "demo", **fields})
                openai_schema.check("ErrorResponse", {"error": caught.exception.body})
                if param:
                    self.assertEqual(caught.exception.param, param)


@unittest.skipIf(openai is None, "the openai client is not installed; run tests/e2e/install-clients.sh")
class Fleet(unittest.TestCase):
    """Two gateways on one Redis: what one has made, the other goes on with."""

    @classmethod
    def setUpClass(cls):
        cls.redis = Redis()
        keys = {"env": {"RESPONSES_KEYS": "one=a,two=a,three=b,four,five"},
                "edit": lambda t: t.replace("gateway:\n", "gateway:\n  auth: {keys_env: RESPONSES_KEYS}\n", 1)}
        cls.servers = [Server(redis=cls.redis, **keys), Server(redis=cls.redis, **keys)]

    @classmethod
    def tearDownClass(cls):
        for server in cls.servers:
            server.stop()
        cls.redis.stop()

    def ask(self, server, key, **fields):
        """A checked response of one of the two."""
        with client_of(self.servers[server], key) as client:
            answer = client.responses.create(**{"model": "demo", "temperature": 0, "max_output_tokens": 12, **fields})
        openai_schema.check("Response", answer)
        return answer

    def test_the_other_gateway_goes_on(self):
        first = self.ask(0, "one", input="Hello there")
        second = self.ask(1, "one", input="And again", previous_response_id=first.id)
        here = self.ask(0, "one", input="And again", previous_response_id=first.id)
        self.assertEqual(second.output_text, here.output_text)
        self.assertEqual(second.usage.input_tokens, here.usage.input_tokens)
        with client_of(self.servers[1], "one") as client:
            self.assertEqual(client.responses.retrieve(first.id).to_dict(), first.to_dict())
            events = list(client.responses.create(model="demo", input="x", stream=True, max_output_tokens=3,
                                                  previous_response_id=first.id))
        with client_of(self.servers[0], "two") as client:  # another key of the same tenant
            self.assertEqual(client.responses.retrieve(events[-1].response.id).id, events[-1].response.id)
            client.responses.delete(first.id)
        with client_of(self.servers[1], "one") as client, self.assertRaises(openai.NotFoundError):
            client.responses.retrieve(first.id)

    def test_nobody_else_has_it(self):
        for owner, others in (("one", ("three", "four")), ("four", ("five", "one"))):
            answer = self.ask(0, owner, input="Hello there")
            for key in others:
                with client_of(self.servers[1], key) as client:
                    for call in (client.responses.retrieve, client.responses.delete):
                        with self.assertRaises(openai.NotFoundError):
                            call(answer.id)
                    with self.assertRaises(openai.BadRequestError):
                        client.responses.create(model="demo", input="x", previous_response_id=answer.id)

    def test_the_background_is_seen_from_both(self):
        begun = self.ask(0, "one", input="Hello there", background=True)
        whole = self.ask(1, "one", input="Hello there")
        with client_of(self.servers[1], "one") as client:
            wait_for(lambda: client.responses.retrieve(begun.id).status == whole.status, 30, "the end")
            self.assertEqual(client.responses.retrieve(begun.id).output_text, whole.output_text)
            events = list(client.responses.retrieve(begun.id, stream=True))
            for event in events:
                openai_schema.check_event(event)
            self.assertEqual(events[-1].response.id, begun.id)
            long = self.ask(0, "one", input="A long story", background=True, temperature=1.5, max_output_tokens=4000,
                            extra_body={"ignore_eos": True})
            self.assertEqual(client.responses.cancel(long.id).status, "cancelled")
            self.assertEqual(client.responses.retrieve(long.id).status, "cancelled")

            def nothing_runs():
                metrics = self.servers[0].get("/metrics")[2].decode()
                return "rootstock_requests_active 1\n" in metrics  # this one
            wait_for(nothing_runs, 20, "the end of what was cancelled elsewhere")
        with client_of(self.servers[0], "one") as client:
            self.assertEqual(client.responses.cancel(long.id).status, "cancelled")
            client.responses.delete(long.id)

    def test_conversations_are_shared(self):
        with client_of(self.servers[0], "one") as here, client_of(self.servers[1], "one") as there:
            conversation = here.conversations.create()
            self.ask(0, "one", input="Hello", conversation=conversation.id)
            self.ask(1, "one", input="Again", conversation=conversation.id)
            there.conversations.items.create(conversation.id, items=[{"role": "user", "content": "More"}])
            texts = [i.content[0].text for i in here.conversations.items.list(conversation.id, order="asc")]
        self.assertEqual([texts[0], texts[2], texts[4]], ["Hello", "Again", "More"])

    def test_without_redis_responses_are_answered_and_brought_later(self):
        kept = self.ask(0, "one", input="Hello there")
        self.redis.stop()
        try:
            answer = self.ask(0, "one", input="Hello there")
            with client_of(self.servers[0], "one") as client:
                self.assertEqual(client.responses.retrieve(answer.id).id, answer.id)  # what is owed is held here
                with self.assertRaises(openai.InternalServerError) as caught:
                    client.responses.retrieve(kept.id)
            self.assertEqual(caught.exception.status_code, 503)
        finally:
            self.redis.start()
        with client_of(self.servers[1], "one") as client:
            def has_come():
                try:
                    return client.responses.retrieve(answer.id).id == answer.id
                except openai.APIStatusError:
                    return False
            wait_for(has_come, 20, "what Redis was owed")


@unittest.skipIf(openai is None, "the openai client is not installed; run tests/e2e/install-clients.sh")
class Behind(unittest.TestCase):
    """Engines behind, each asked in its own wire."""

    @classmethod
    def setUpClass(cls):
        cls.mock = Mock()
        cls.server = behind({name: upstream(cls.mock, name) for name in WIRES})
        cls.client = client_of(cls.server)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()
        cls.mock.stop()

    def both(self, model, script, **fields):
        """The response whole, and as the stream's last event has it."""
        ask = {"model": model, "input": f"mock[{script}]", "tools": [TOOL], **fields}
        whole = self.client.responses.create(**ask)
        openai_schema.check("Response", whole)
        events = list(self.client.responses.create(stream=True, **ask))
        for event in events:
            openai_schema.check_event(event)
        return whole, events[-1].response, events

    def test_each_wire_is_answered_in_ours(self):
        for model in WIRES:
            with self.subTest(model=model):
                whole, streamed, _ = self.both(model, "frames=3")
                self.assertEqual((whole.status, whole.output_text), ("completed", text_of(3)))
                self.assertEqual(streamed.output_text, whole.output_text)
                self.assertEqual(streamed.usage.output_tokens, whole.usage.output_tokens)
                cut, streamed, _ = self.both(model, "frames=3 finish=length")
                self.assertEqual((cut.status, streamed.status), ("incomplete", "incomplete"))

    def test_reasoning_and_calls(self):
        for model in WIRES:
            with self.subTest(model=model):
                whole, streamed, events = self.both(model, "frames=2 think tools")
                for answer in (whole, streamed):
                    self.assertEqual([o.type for o in answer.output],
                                     ["reasoning", "message", "function_call", "function_call"])
                    self.assertEqual(answer.output[0].content[0].text, "hm. ")
                    self.assertEqual([json.loads(o.arguments) for o in answer.output[2:]], [{"city": "Paris"}, {}])
                added = [e.item.type for e in events if e.type == "response.output_item.added"]
                self.assertEqual(added, [o.type for o in streamed.output])

    def test_what_a_provider_signed_goes_back_to_it(self):
        script = "mock[id=signed frames=1 think tools|frames=1]"
        first = self.client.responses.create(model="anthropic", input=script, tools=[TOOL])
        outputs = [{"type": "function_call_output", "call_id": o.call_id, "output": "Sunny"} for o in first.output[2:]]
        for turns in ({"previous_response_id": first.id, "input": outputs},
                      {"input": [{"role": "user", "content": script}, *[o.to_dict() for o in first.output], *outputs],
                       "store": False}):
            turns["input"] = [*turns["input"], {"role": "user", "content": "Go on"}]
            self.client.responses.create(model="anthropic", tools=[TOOL], **turns)
            sent = json.loads(self.mock.request("signed")[1])
            blocks = [b for m in sent["messages"] if isinstance(m["content"], list) for b in m["content"]]
            self.assertIn({"type": "thinking", "thinking": "hm. ", "signature": "c2ln"}, blocks)
            self.assertEqual(sum(b["type"] == "tool_use" for b in blocks), 2)
            self.assertEqual(sum(b["type"] == "tool_result" for b in blocks), 2)

    def test_images_and_files_reach_it(self):
        parts = [{"type": "input_text", "text": "mock[frames=1 id=seen]"},
                 {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0=", "detail": "low"}]
        self.client.responses.create(model="openai", input=[{"role": "user", "content": parts}])
        sent = json.loads(self.mock.request("seen")[1])["messages"][-1]["content"]
        self.assertEqual(sent[1]["image_url"], {"url": "data:image/png;base64,iVBORw0=", "detail": "low"})
        self.client.responses.create(model="anthropic", input=[{"role": "user", "content": parts}])
        sent = json.loads(self.mock.request("seen")[1])["messages"][-1]["content"]
        self.assertIn({"type": "base64", "media_type": "image/png", "data": "iVBORw0="},
                      [b.get("source") for b in sent])

    def test_one_that_has_begun_in_the_background_is_in_progress(self):
        begun = self.client.responses.create(model="openai", input="mock[id=begun hold@frame:2]", background=True)
        wait_for(lambda: self.client.responses.retrieve(begun.id).status == "in_progress", 10, "the begin")
        openai_schema.check("Response", self.client.responses.retrieve(begun.id))
        with self.assertRaises(openai.BadRequestError):
            self.client.responses.create(model="openai", input="x", previous_response_id=begun.id)
        self.mock.release("begun")
        wait_for(lambda: self.client.responses.retrieve(begun.id).status == "completed", 10, "the end")
        self.assertEqual(self.client.responses.retrieve(begun.id).output_text, text_of(4))
        failing = self.client.responses.create(model="openai", input="mock[id=bad hold@request status=400]",
                                               background=True)
        self.mock.release("bad")
        wait_for(lambda: self.client.responses.retrieve(failing.id).status == "failed", 10, "the failure")
        told = [e.type for e in self.client.responses.retrieve(failing.id, stream=True)]
        self.assertEqual(told, ["response.created", "response.in_progress", "error", "response.failed"])

    def test_a_broken_engine_is_told(self):
        for model in WIRES:
            with self.subTest(model=model):
                with self.assertRaises(openai.APIStatusError) as caught:
                    self.client.responses.create(model=model, input="mock[status=500]")
                openai_schema.check("ErrorResponse", {"error": caught.exception.body})
                status, _, data = self.server.request("POST", "/v1/responses", {
                    "model": model, "input": "mock[frames=3 rst@frame:2]", "stream": True})
                self.assertEqual(status, 200)
                if not openai_schema.absent():
                    events = openai_schema.check_stream(data)
                    self.assertEqual([e["type"] for e in events[-2:]], ["error", "response.failed"])
                    self.assertEqual(events[-1]["response"]["status"], "failed")
                    kept = self.client.responses.retrieve(events[-1]["response"]["id"])
                    self.assertEqual(kept.status, "failed")


if __name__ == "__main__":
    tap.main()
