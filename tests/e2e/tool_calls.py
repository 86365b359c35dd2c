"""Tool calls and guarded arguments through the stock openai client for Python, on the demo model."""
import json
import os
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import ROOT, Server  # noqa: E402

VENV = ROOT / ".venv" / "bin" / "python"
if VENV.exists() and pathlib.Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
    os.execv(str(VENV), [str(VENV), *sys.argv])

try:
    import openai
    import jsonschema
except ImportError:
    openai = None

HOT = 1.5  # a temperature at which the demo model alone writes nonsense
ROUNDS = 6
SECRET = "ann.lee@example.com"


def function(name, properties, **more):
    """A function tool whose parameters are all required."""
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": name, "parameters": schema, **more}}


WEATHER = function("get_weather", {
    "city": {"type": "string", "maxLength": 12},
    "unit": {"enum": ["celsius", "fahrenheit"]},
    "days": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 9}, "maxItems": 3},
})
CLOCK = function("clock", {})
MAIL = function("mail", {"to": {"enum": [f"to {SECRET}"]}})
TOOLS = [WEATHER, CLOCK]
SCHEMAS = {t["function"]["name"]: t["function"]["parameters"] for t in (WEATHER, CLOCK, MAIL)}
MESSAGES = [{"role": "user", "content": "weather please"}]


@unittest.skipIf(openai is None, "the openai client is not installed; run tests/e2e/install-clients.sh")
class ToolCalls(unittest.TestCase):
    """Forced and free calls, whole and streamed."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.client = openai.OpenAI(base_url=f"http://127.0.0.1:{cls.server.port}/v1", api_key="none", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def ask(self, **fields):
        """A chat completion of the demo model, at a high temperature."""
        fields = {"model": "demo", "messages": MESSAGES, "tools": TOOLS, "temperature": HOT, **fields}
        return self.client.chat.completions.create(**fields)

    def check(self, calls):
        """Every call has an id, a known function and arguments of its schema."""
        self.assertTrue(calls)
        self.assertEqual(len({c.id for c in calls}), len(calls))
        for c in calls:
            self.assertEqual(c.type, "function")
            jsonschema.validate(json.loads(c.function.arguments), SCHEMAS[c.function.name])

    def test_a_named_function_is_called_once(self):
        for seed in range(ROUNDS):
            choice = self.ask(seed=seed, tool_choice={"type": "function", "function": {"name": "get_weather"}}).choices[0]
            self.check(choice.message.tool_calls)
            self.assertEqual([c.function.name for c in choice.message.tool_calls], ["get_weather"])
            self.assertEqual(choice.finish_reason, "stop")  # what was asked for, as OpenAI has it
            self.assertIsNone(choice.message.content)

    def test_required_calls_at_least_one(self):
        for seed in range(ROUNDS):
            choice = self.ask(seed=seed, tool_choice="required", parallel_tool_calls=bool(seed % 2)).choices[0]
            if choice.finish_reason == "length":
                continue  # random calls go on and on
            self.check(choice.message.tool_calls)
            self.assertEqual(choice.finish_reason, "tool_calls")
            if not seed % 2:
                self.assertEqual(len(choice.message.tool_calls), 1)

    def test_a_forced_call_that_is_cut_leaves_no_marks_in_the_text(self):
        for most in (1, 4, 12, 24):
            with self.subTest(most=most):
                fields = {"model": "demo", "messages": MESSAGES, "tools": TOOLS, "temperature": 0, "max_tokens": most,
                          "tool_choice": "required"}
                choice = self.client.chat.completions.create(**fields).choices[0]
                self.assertEqual((choice.finish_reason, choice.message.content or ""), ("length", ""))
                chunks = list(self.client.chat.completions.create(stream=True, **fields))
                self.assertEqual("".join(c.choices[0].delta.content or "" for c in chunks), "")

    def test_names_that_would_end_a_call_are_refused(self):
        for name in ("", 'a"b', "a\nb", "</tool_call>", "x" * 200):
            with self.subTest(name=name), self.assertRaises(openai.BadRequestError) as caught:
                self.ask(tools=[{"type": "function", "function": {"name": name}}], tool_choice="required")
            self.assertEqual(caught.exception.param, "tools[0].function.name")
        tool = {"type": "function", "function": {"name": "ns.get-it/2", "parameters": {"type": "object", "properties": {}}}}
        choice = self.ask(tools=[tool], tool_choice="required", parallel_tool_calls=False).choices[0]
        self.assertEqual(choice.message.tool_calls[0].function.name, "ns.get-it/2")

    def test_a_stream_adds_up_to_the_whole_answer(self):
        fields = {"model": "demo", "messages": MESSAGES, "tools": TOOLS, "temperature": HOT, "seed": 3,
                  "tool_choice": "required", "parallel_tool_calls": False}
        whole = self.client.chat.completions.create(**fields).choices[0]
        chunks = list(self.client.chat.completions.create(stream=True, **fields))
        deltas = [d for c in chunks for d in c.choices[0].delta.tool_calls or []]
        self.assertEqual([bool(d.id) for d in deltas], [True] + [False] * (len(deltas) - 1))
        self.assertEqual("".join(d.function.arguments or "" for d in deltas),
                         whole.message.tool_calls[0].function.arguments)
        self.assertEqual(chunks[-1].choices[0].finish_reason, whole.finish_reason)
        if whole.message.tool_calls[0].function.name == "get_weather":
            self.assertGreater(len(deltas), 3)  # they leave as they arrive
        with self.client.chat.completions.stream(**fields) as stream:
            final = stream.get_final_completion().choices[0]
        self.check(final.message.tool_calls)
        self.assertEqual(final.message.tool_calls[0].function.arguments,
                         whole.message.tool_calls[0].function.arguments)

    def test_several_choices_call_each_for_itself(self):
        answer = self.ask(seed=1, n=3, tool_choice={"type": "function", "function": {"name": "clock"}})
        for choice in answer.choices:
            self.check(choice.message.tool_calls)
            self.assertEqual(choice.message.tool_calls[0].function.arguments, "{}")
        self.assertEqual(len({c.message.tool_calls[0].id for c in answer.choices}), 3)

    def test_results_go_back_and_text_stays_free(self):
        first = self.ask(seed=2, tool_choice={"type": "function", "function": {"name": "clock"}}).choices[0].message
        turns = MESSAGES + [first.model_dump(exclude_none=True),
                            {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "12:00"}]
        second = self.ask(messages=turns, temperature=0, max_tokens=8).choices[0]
        self.assertIn(second.finish_reason, ("stop", "length", "tool_calls"))
        none = self.ask(messages=turns, tool_choice="none", max_tokens=8).choices[0]
        self.assertIsNone(none.message.tool_calls)

    def test_tools_are_told_to_a_model_whose_template_knows_none(self):
        with_tools = self.ask(max_tokens=1).usage.prompt_tokens
        without = self.ask(max_tokens=1, tool_choice="none").usage.prompt_tokens
        self.assertGreater(with_tools, without + 50)

    def test_what_cannot_be_honoured_is_named(self):
        bad = function("f", {"a": {"type": "array", "uniqueItems": True}})
        for fields, param in (({"tools": [bad], "tool_choice": "required"}, "tools[0].function.parameters"),
                              ({"tool_choice": {"type": "function", "function": {"name": "rm"}}}, "tool_choice")):
            with self.assertRaises(openai.BadRequestError) as caught:
                self.ask(**fields)
            self.assertTrue(caught.exception.param.startswith(param), caught.exception.param)


@unittest.skipIf(openai is None, "the openai client is not installed; run tests/e2e/install-clients.sh")
class GuardedCalls(unittest.TestCase):
    """What a guard does to text it does to arguments."""

    def call(self, action, stream):
        """Every byte of an answer that must hold the secret in its arguments."""
        def edit(text):
            return text.replace("{action: mask}", f"{{action: {action}, stages: [response]}}")
        server = Server(edit=edit)
        self.addCleanup(server.stop)
        body = {"model": "auto", "messages": MESSAGES, "tools": [MAIL], "stream": stream,
                "tool_choice": {"type": "function", "function": {"name": "mail"}}}
        status, _, data = server.request("POST", "/v1/chat/completions", body)
        self.assertEqual(status, 200, data)
        return data

    def test_arguments_are_masked(self):
        for stream in (False, True):
            with self.subTest(stream=stream):
                data = self.call("mask", stream)
                self.assertNotIn(b"example.com", data)
                self.assertIn(b"EMAIL_ADDRESS", data)
                self.assertIn(b"mail", data)

    def test_arguments_are_blocked(self):
        for stream in (False, True):
            with self.subTest(stream=stream):
                data = self.call("block", stream)
                self.assertNotIn(b"example.com", data)
                self.assertIn(b"content_filter", data)


if __name__ == "__main__":
    tap.main()
