"""Bodies of every API with one field of them made wrong: all are answered or refused in the API's own words, never by a
5xx, and what reaches an engine behind is JSON. `--full`: every field times every value; else every so manyth."""
import copy
import http.client
import itertools
import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import openai_schema, tap  # noqa: E402
from support.behind import behind, upstream  # noqa: E402
from support.rootstock import PATIENCE, SANITIZED, Server  # noqa: E402
from support.scripted import Scripted, anthropic_whole, openai_whole  # noqa: E402

FULL = "--full" in sys.argv
STRIDE = 1 if FULL else 73 if SANITIZED else 23  # a prime: all fields and all values have their turn

OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
CHAT = {
    "model": "demo", "max_tokens": 2,
    "messages": [{"role": "system", "content": "s"}, {"role": "user", "name": "n", "content": [{"type": "text", "text": "t"}]},
                 {"role": "assistant", "content": "c", "refusal": None, "reasoning_content": "r", "tool_calls": [
                     {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                 {"role": "tool", "tool_call_id": "c1", "content": "out"}, {"role": "user", "content": "u"}],
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": OBJECT, "strict": True}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": True, "temperature": 0.5,
    "top_p": 0.5, "n": 1, "stop": ["x"], "seed": 1, "presence_penalty": 0.1, "frequency_penalty": 0.1,
    "logit_bias": {"5": 1}, "logprobs": True, "top_logprobs": 1, "user": "u", "metadata": {"a": "b"}, "stream_options": None,
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": OBJECT}},
    "reasoning_effort": "low", "chat_template_kwargs": {"a": 1}, "modalities": ["text"], "top_k": 3, "min_p": 0.1,
    "repetition_penalty": 1.1, "stop_token_ids": [3], "min_tokens": 1}
MESSAGES = {
    "model": "demo", "max_tokens": 2, "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "t"}]},
                 {"role": "assistant", "content": [{"type": "thinking", "thinking": "x", "signature": "s"},
                                                   {"type": "text", "text": "t"},
                                                   {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}]},
                 {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "is_error": True,
                                               "content": [{"type": "text", "text": "r"}]},
                                              {"type": "text", "text": "more"}]}],
    "tools": [{"name": "f", "description": "d", "input_schema": OBJECT, "cache_control": {"type": "ephemeral"}}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}, "temperature": 0.5, "top_p": 0.5, "top_k": 3,
    "stop_sequences": ["x"], "metadata": {"user_id": "u"}, "thinking": {"type": "enabled", "budget_tokens": 1024},
    "service_tier": "auto", "output_config": {"effort": "low"}}
RESPONSES = {
    "model": "demo", "max_output_tokens": 2, "instructions": "s",
    "input": [{"role": "user", "content": [{"type": "input_text", "text": "t"}]},
              {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "x"}],
               "encrypted_content": "e"},
              {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
               "content": [{"type": "output_text", "text": "x", "annotations": []}]},
              {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
              {"type": "function_call_output", "call_id": "c", "output": "o"}, {"role": "user", "content": "u"}],
    "tools": [{"type": "function", "name": "f", "parameters": OBJECT, "strict": True}],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "parallel_tool_calls": True, "temperature": 0.5, "top_p": 0.5, "metadata": {"a": "b"}, "store": False,
    "text": {"format": {"type": "json_schema", "name": "n", "strict": True, "schema": OBJECT}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"}, "include": ["message.output_text.logprobs"], "top_logprobs": 1,
    "truncation": "disabled", "user": "u", "service_tier": "auto", "background": False, "max_tool_calls": 3,
    "previous_response_id": None, "conversation": None, "stream_options": {"include_obfuscation": False},
    "safety_identifier": "s", "prompt_cache_key": "k"}
BODIES = {
    "/v1/chat/completions": CHAT, "/v1/messages": MESSAGES, "/v1/responses": RESPONSES,
    "/v1/completions": {"model": "demo", "prompt": "p", "max_tokens": 2, "echo": False, "suffix": None, "best_of": 1,
                        "n": 1, "logprobs": 1, "stop": ["x"], "temperature": 0.5, "logit_bias": {"5": 1}, "seed": 1},
    "/v1/embeddings": {"model": "demo", "input": ["a", "b"], "encoding_format": "float", "dimensions": 4, "user": "u"},
    "/v1/moderations": {"model": "demo", "input": ["a", {"type": "text", "text": "x"}]},
    "/v1/rerank": {"model": "demo", "query": "q", "documents": ["a", {"text": "b"}], "top_n": 1, "return_documents": True},
    "/v1/score": {"model": "demo", "text_1": "a", "text_2": ["b"]},
    "/v1/messages/count_tokens": {k: MESSAGES[k] for k in ("model", "messages", "system", "tools")},
    "/v1/conversations": {"metadata": {"a": "b"}, "items": [{"type": "message", "role": "user", "content": "x"}]},
    "/tokenize": {"model": "demo", "prompt": "x", "add_special_tokens": True},
    "/detokenize": {"model": "demo", "tokens": [1, 2]},
    "/api/v1/eval": {"text": "x", "messages": [{"role": "user", "content": "x"}], "options": {"trace": True}},
}
VALUES = (None, "", 0, -1, 1, 1.5, 1e308, -1e308, 2 ** 63, 2 ** 64, True, False, [], {}, [[]], [None], [{}], [1], ["a"],
          {"a": None}, {"type": None}, {"type": "text"}, {"type": "object", "properties": {"a": {"$ref": "#"}}}, "\x01",
          "x" * 300, "é" * 5000, [[["x"]]], {"type": "function"}, {"role": "user"}, {"type": "json_schema"})
GONE = object()  # the field is left out


def places(value, at=()):
    """Where all the parts of it are."""
    if at:
        yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*at, key))


def with_part(body, at, value):
    """A copy with another value there."""
    body = part = copy.deepcopy(body)
    for key in at[:-1]:
        part = part[key]
    if value is GONE:
        del part[at[-1]]
    else:
        part[at[-1]] = value
    return body


def wrong(body):
    """All that are wrong in one field: (place, body)."""
    for at, value in itertools.product(places(body), (*VALUES, GONE)):
        if at != ("model",):
            yield at, with_part(body, at, value)


class Bodies(unittest.TestCase):
    """What comes of them."""

    def ask_all(self, server, model, paths=tuple(BODIES), **more):
        """Sends those whose turn it is."""
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60 * PATIENCE)
        self.addCleanup(connection.close)
        for path in paths:
            body = {**BODIES[path], **({"model": model} if "model" in BODIES[path] else {})}
            for at, odd in itertools.islice(wrong(body), len(path) % STRIDE, None, STRIDE):
                with self.subTest(path=path, at=at, model=model):
                    connection.request("POST", path, json.dumps({**odd, **more}), {"Content-Type": "application/json"})
                    response = connection.getresponse()
                    self.check(path, response, response.read(), at)

    def check(self, path, response, data, at):
        """An answer in JSON, or a refusal as the API has it."""
        self.assertLess(response.status, 500, (path, at, data[:500]))
        if response.headers.get_content_type() == "text/event-stream":
            self.assertNotIn(b"upstream_error", data)
            return
        said = json.loads(data)
        if response.status == 200:
            return
        self.assertTrue(said["error"]["message"], (path, at))
        if path.startswith("/v1/messages"):
            self.assertEqual((said["type"], bool(said["request_id"])), ("error", True))
        else:
            openai_schema.check("ErrorResponse", said)

    def test_they_are_answered_or_refused_here(self):
        server = Server()
        self.addCleanup(server.stop)
        self.ask_all(server, "demo")

    def test_they_are_answered_or_refused_behind_and_reach_it_as_json(self):
        up = Scripted()  # which reads JSON alone
        self.addCleanup(up.stop)

        def reply(path, request):
            if path.endswith("/embeddings"):
                texts = request["input"] if isinstance(request["input"], list) else [request["input"]]
                data = [{"object": "embedding", "index": i, "embedding": [1.0]} for i in range(len(texts))]
                return 200, {}, {"object": "list", "model": "m", "data": data,
                                 "usage": {"prompt_tokens": 1, "total_tokens": 1}}
            if path.endswith(("/rerank", "/score", "/count_tokens", "/moderations")):
                return 404, {}, {"error": {"message": "no such path"}}
            if path.endswith("/messages"):
                return anthropic_whole({"type": "text", "text": "x"})
            if path.endswith("/chat/completions"):
                return openai_whole({"content": "x"})
            return 200, {}, {"id": "x", "object": "text_completion", "created": 1, "model": "m", "choices": [
                {"index": 0, "text": "t", "finish_reason": "stop", "logprobs": None}]}
        up.reply = reply
        server = behind({"o": upstream(up), "a": upstream(up, "anthropic")})
        self.addCleanup(server.stop)
        for model in "oa":
            self.ask_all(server, model)
        self.assertGreater(len(up.seen), 20)

    def test_they_are_answered_or_refused_as_streams(self):
        server = Server()
        self.addCleanup(server.stop)
        paths = ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions")
        self.ask_all(server, "demo", paths, stream=True)


if __name__ == "__main__":
    sys.argv = [a for a in sys.argv if a != "--full"]
    tap.main()
