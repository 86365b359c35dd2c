"""Anthropic's Messages API through everything that the chat API passes: keys, guards, routing, adapters, replay."""
import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import Server, heldout  # noqa: E402

SECRET = "4111 1111 1111 1111"
CARD = {"type": "object", "properties": {"card": {"enum": [SECRET]}}, "required": ["card"],
        "additionalProperties": False}
# Two ways to make the model write it.
WRITES = {
    "text": {"output_config": {"format": {"type": "json_schema", "schema": CARD}}},
    "call": {"tools": [{"name": "pay", "input_schema": CARD}], "tool_choice": {"type": "tool", "name": "pay"}},
}


def ask(server, prompt="hello world", headers=None, path="/v1/messages", **fields):
    """(status, headers, bytes) of a message."""
    body = {"model": "auto", "max_tokens": 100, "temperature": 0, "messages": [{"role": "user", "content": prompt}]}
    return server.request("POST", path, {**body, **fields}, headers=headers)


def guard(action, stage):
    """Changes the demo's configuration: the pii plugin of every decision acts so."""
    return lambda text: text.replace("{action: mask}", f"{{action: {action}, stages: [{stage}]}}")


class Guards(unittest.TestCase):
    """What guards hold back does not leave on this route either."""

    def serve(self, *how):
        """A server whose answers or prompts are guarded so."""
        server = Server(edit=guard(*how))
        self.addCleanup(server.stop)
        return server

    def test_secrets_are_masked_in_text_and_in_arguments(self):
        server = self.serve("mask", "response")
        for kind, fields in WRITES.items():
            for stream in (False, True):
                with self.subTest(kind=kind, stream=stream):
                    status, _, data = ask(server, stream=stream, **fields)
                    self.assertEqual(status, 200, data)
                    self.assertNotIn(SECRET[:6].encode(), data)
                    self.assertIn(b"CREDIT_CARD", data)
                    whole = b'"end_turn"' if kind == "text" else b'"tool_use"'
                    self.assertIn(b"message_stop" if stream else whole, data)

    def test_a_block_is_a_refusal(self):
        server = self.serve("block", "response")
        for kind, fields in WRITES.items():
            for stream in (False, True):
                with self.subTest(kind=kind, stream=stream):
                    status, _, data = ask(server, stream=stream, **fields)
                    self.assertEqual(status, 200, data)
                    self.assertNotIn(SECRET[:6].encode(), data)
                    self.assertIn(b'"stop_reason":"refusal"', data)

    def test_a_blocked_prompt_is_an_error_of_the_dialect(self):
        server = self.serve("block", "prompt")
        for content in (SECRET, [{"type": "text", "text": SECRET}],
                        [{"type": "tool_result", "tool_use_id": "t", "content": "ok"},
                         {"type": "text", "text": SECRET}]):
            status, headers, data = ask(server, content)
            answer = json.loads(data)
            self.assertEqual((status, answer["type"], answer["error"]["type"]), (403, "error", "permission_error"))
            self.assertEqual(answer["request_id"], headers["request-id"])
            self.assertNotIn(b"4111", data)


class Routes(unittest.TestCase):
    """Routing, adapters and records."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def test_the_policy_chooses_and_says_so(self):
        case = heldout("sql.2")[0]
        for stream in (False, True):
            status, headers, data = ask(self.server, case["prompt"], stream=stream)
            self.assertEqual(status, 200)
            self.assertEqual(headers["x-rootstock-adapter"], "sql")
            self.assertEqual(headers["x-vsr-client-protocol"], "anthropic")
            record = json.loads(self.server.get(f"/v1/router_replay/{headers['x-vsr-replay-id']}")[2])
            self.assertEqual(record["decision"], headers["x-vsr-selected-decision"])
            self.assertGreater(record["usage"]["completion_tokens"] if "usage" in record
                               else record["completion_tokens"], 0)
            if not stream:
                self.assertEqual(json.loads(data)["content"][0]["text"], case["answer"])

    def test_an_answer_that_is_begun_goes_on(self):
        case = heldout("sql.2")[0]
        begun, rest = case["answer"].split(" FROM", 1)
        turns = [{"role": "user", "content": case["prompt"]}, {"role": "assistant", "content": begun}]
        answer = json.loads(ask(self.server, model="demo:sql", messages=turns)[2])
        self.assertEqual(answer["content"][0]["text"], " FROM" + rest)

    def test_adapters_are_named_as_on_chat(self):
        status, headers, data = ask(self.server, model="demo:sql@prod")
        self.assertEqual((status, headers["x-rootstock-adapter"]), (200, "sql"))
        self.assertEqual(json.loads(data)["model"], "demo:sql@prod")

    def test_a_conversation_with_a_tool_reads_like_that_of_chat(self):
        tool = {"name": "clock", "description": "The time", "input_schema": {"type": "object", "properties": {}}}
        turns = [{"role": "user", "content": "What time is it?"},
                 {"role": "assistant", "content": [{"type": "text", "text": "I look."},
                                                   {"type": "tool_use", "id": "t1", "name": "clock", "input": {}}]},
                 {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "noon"},
                                              {"type": "text", "text": "Well?"}]}]
        function = {"name": "clock", "description": "The time", "parameters": tool["input_schema"]}
        same = [{"role": "system", "content": "Be brief."}, turns[0],
                {"role": "assistant", "content": "I look.", "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "t1", "content": "noon"}, {"role": "user", "content": "Well?"}]
        counts = []
        for path, body in (
                ("/v1/messages/count_tokens", {"system": "Be brief.", "messages": turns, "tools": [tool]}),
                ("/tokenize", {"messages": same, "tools": [{"type": "function", "function": function}]})):
            text = json.dumps({"model": "demo", **body}, separators=(",", ":"))  # tools are shown as they were sent
            answer = json.loads(self.server.request("POST", path, text, {"Content-Type": "application/json"})[2])
            counts.append(answer.get("input_tokens", answer.get("count")))
        self.assertEqual(*counts)


class Keys(unittest.TestCase):
    """Keys come as this API's clients send them."""

    def test_either_header_is_taken(self):
        server = Server(edit=lambda text: text.replace("gateway:\n", "gateway:\n  auth: {keys_env: E2E_KEYS}\n", 1),
                        env={"E2E_KEYS": "sk-a"})
        self.addCleanup(server.stop)
        for headers, want in (({"x-api-key": "sk-a"}, 200), ({"Authorization": "Bearer sk-a"}, 200),
                              ({"x-api-key": "sk-b"}, 401)):
            status, got, data = ask(server, model="demo", max_tokens=1,
                                    headers={**headers, "anthropic-version": "2023-06-01", "anthropic-beta": "x-1"})
            self.assertEqual(status, want, data)
            if want == 401:
                self.assertEqual(json.loads(data)["error"]["type"], "authentication_error")
                self.assertIn("request-id", got)


if __name__ == "__main__":
    tap.main()
