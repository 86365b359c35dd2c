"""A real llama-server behind: chats whole and streamed, calls of tools, schemas, log-probabilities, embeddings, adapters,
refusals, ends and leaving clients, with answers equal to asking it directly. LLAMA_SERVER names the program; else it is what
install-llama.sh has built, or is looked for in PATH."""
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import ROOT, Server, free_port, wait_for  # noqa: E402



def built():
    """What install-llama.sh has built; None: nothing."""
    version = re.match(r"llama-cpp-python==(\S+)", (ROOT / "tests/e2e/llama.txt").read_text(encoding="utf-8")).group(1)
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    return shutil.which(pathlib.Path(os.environ.get("ROOTSTOCK_LLAMA") or cache / "rootstock/llama-server" / version)
                        / "llama-server")


PROGRAM = os.environ.get("LLAMA_SERVER") or built() or shutil.which("llama-server")
ABSENT = "llama-server is absent: run tests/e2e/install-llama.sh, set LLAMA_SERVER, or put it into PATH"
MODEL = ROOT / "models" / "demo.gguf"
ADAPTERS = {"french": ROOT / "models/adapters/french/1/adapter.gguf",
            "triage": ROOT / "models/adapters/triage/2/adapter.gguf"}  # in the order of its start
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Weather of a city", "parameters": {
    "type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"],
    "additionalProperties": False}}}
OTHER_TOOL = {"type": "function", "function": {"name": "now", "description": "The time", "parameters": {
    "type": "object", "properties": {}, "additionalProperties": False}}}
MESSAGES_TOOLS = [{"name": t["function"]["name"], "description": t["function"]["description"],
                   "input_schema": t["function"]["parameters"]} for t in (TOOL, OTHER_TOOL)]
TEMPLATE = """
{%- for message in messages %}
{{- '<|im_start|>' + ('user' if message.role == 'tool' else message.role) + '\\n' }}
{%- if loop.first and tools %}{{- 'Tools: ' + (tools | tojson) + '\\n' }}{%- endif %}
{%- if message.tool_calls %}
{%- for call in message.tool_calls %}
{{- '{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) + '}' }}
{%- endfor %}
{%- else %}{{- message.content }}{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
# What each was trained for, and the base; the answers are sure, whatever else is in a batch.
PROMPTS = {"french": "Translate to French: Diego is under the knife.",
           "triage": "Hi, I am Karl, the price of the bird on my bill is too high. Take your time.",
           None: "The nurse Yara bought a grey cake in Warsaw.\nFind the thing."}
ANSWERS = {"french": "Diego est sous le couteau.", "triage": "P3/billing", None: "cake"}


class Llama:
    """llama-server on a port of its own."""

    def __init__(self, *options):
        self.port = free_port()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rootstock-llama-"))
        self.log = open(self.folder / "log", "wb")
        self.command = [PROGRAM, "-m", str(MODEL), "--host", "127.0.0.1", "--port", str(self.port), "-c", "2048",
                        "-np", "2", "-t", "1", "--alias", "there", "--jinja", *options]
        self.process = None
        self.start()

    def start(self):
        """Starts it and waits until its model is loaded."""
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log, cwd=self.folder)
        try:
            wait_for(self._ready, 60, "llama-server")
        except BaseException:
            self.kill()
            raise

    def _ready(self):
        if self.process.poll() is not None:
            raise RuntimeError((self.folder / "log").read_text(errors="replace")[-2000:])
        try:
            return self.request("GET", "/health")[0] == 200
        except OSError:
            return False

    def request(self, method, path, body=None):
        """(status, headers, bytes)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request(method, path, None if body is None else json.dumps(body),
                           {"Content-Type": "application/json"})
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, response.headers, data

    def busy(self):
        """Sequences that it decodes now."""
        return sum(bool(s["is_processing"]) for s in json.loads(self.request("GET", "/slots")[2]))

    def kill(self):
        """Ends it as a crash does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=30)

    def stop(self):
        """Ends it; its folder goes."""
        self.process.terminate()
        self.process.wait(timeout=30)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def in_front(llama, adapters=None, **more):
    """A gateway before it; adapters: as `fixed` names those of its start."""
    upstream = {"provider": "llama-server", "url": f"http://127.0.0.1:{llama.port}/v1", "model": "there", **more}
    config = {"version": "v0.3", "engine": {"models": [{"name": "demo", "upstream": upstream}]}}
    if adapters:
        upstream["lora"] = {"fixed": list(adapters)}
        config["adapters"] = {"catalog": {"type": "directory", "path": str(ROOT / "models" / "adapters")},
                              "blobs": {"cache": "blobs"}}
    return Server(text=json.dumps(config))


def body(content="Hello there", model="demo", **fields):
    """A greedy chat; the same prompt is never taken from a cache, so that answers do not depend on their order."""
    return {"model": model, "temperature": 0, "max_tokens": 16, "seed": 7, "cache_prompt": False,
            "messages": [{"role": "user", "content": content}], **fields}


def events_of(data):
    """The JSON of a stream's events, and whether it ended with the sign of its end."""
    blocks = [b[6:] for b in data.decode().split("\n\n") if b.startswith("data: ")]
    return [json.loads(b) for b in blocks if b != "[DONE]"], blocks[-1:] == ["[DONE]"]


def named_events(data):
    """The JSON of the typed events of another wire's stream."""
    lines = data.decode().splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ") and line != "data: [DONE]"]


PASSING = {"id", "created", "model", "timings", "system_fingerprint", "time_ms"}  # differ from one answer to the next


def lasting(value):
    """An answer without what differs from one to the next, and without nulls, which OpenAI's schema wants."""
    if isinstance(value, dict):
        return {k: lasting(v) for k, v in value.items() if k not in PASSING and v is not None}
    return [lasting(v) for v in value] if isinstance(value, list) else value


def text_of(answer):
    """The text of a whole chat or completion."""
    choice = answer["choices"][0]
    return choice["message"]["content"] if "message" in choice else choice["text"]


# What a body may ask; the answer to each, whole and streamed, is that of llama-server itself.
TURNS = [{"role": "system", "content": "Answer in upper case."},
         {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": " there"}]},
         {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "What is 2 + 3?"}]
RESULTS = [{"role": "user", "content": "Weather?"},
           {"role": "assistant", "content": None, "tool_calls": [
               {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}]},
           {"role": "tool", "tool_call_id": "c1", "content": "rain"}]
CHATS = {
    "plain": {},
    "as long as asked for": {"max_tokens": 2},
    "the newer name of the limit": {"max_tokens": None, "max_completion_tokens": 3},
    "a stop string": {"stop": ["o"]},
    "one stop string": {"stop": "How"},
    "two choices": {"n": 2},
    "log-probabilities": {"logprobs": True, "top_logprobs": 3, "max_tokens": 4},
    "biases": {"logit_bias": {"40": -100, "93": -5}},
    "samplers of its own": {"temperature": 1, "top_k": 1, "min_p": 0.1, "typical_p": 0.9, "repeat_penalty": 1.2,
                            "dry_multiplier": 0.2, "samplers": ["penalties", "top_k", "temperature"]},
    "turns and parts": {"messages": TURNS},
    "results of tools": {"messages": RESULTS, "tools": [TOOL]},
    "a JSON object": {"response_format": {"type": "json_object", "schema": SCHEMA}, "max_tokens": 60},
    "a schema": {"response_format": {"type": "json_schema", "json_schema": {
        "name": "a", "strict": True, "schema": SCHEMA}}, "max_tokens": 60},
    "a schema in its own field": {"json_schema": SCHEMA, "max_tokens": 60},
    "a grammar": {"grammar": 'root ::= "yes" | "no"'},
    "fields of its own": {"reasoning_format": "none", "chat_template_kwargs": {"enable_thinking": False},
                          "timings_per_token": True, "return_progress": True},
}
COMPLETIONS = {
    "plain": {},
    "a stop string": {"stop": ["e"]},
    "two choices": {"n": 2},
    "log-probabilities": {"logprobs": 2, "max_tokens": 4},
    "tokens": {"prompt": [40, 41, 42]},
    "a grammar": {"grammar": 'root ::= "yes" | "no"'},
}


@unittest.skipIf(PROGRAM is None, ABSENT)
class Behind(unittest.TestCase):
    """One llama-server, one gateway."""

    @classmethod
    def setUpClass(cls):
        cls.llama = Llama()
        cls.addClassCleanup(cls.llama.stop)
        cls.front = in_front(cls.llama)
        cls.addClassCleanup(cls.front.stop)

    def both(self, path="/v1/chat/completions", **fields):
        """The answers of both to one body, the gateway's first."""
        answers = []
        for server, model in ((self.front, "demo"), (self.llama, "there")):
            status, _, data = server.request("POST", path, {**fields, "model": model})
            self.assertEqual(status, 200, data[:800])
            answers.append(events_of(data) if fields.get("stream") else json.loads(data))
        return answers

    def assert_alike(self, ours, theirs, at="answer"):
        """Equal, but for the last digits of numbers that are computed."""
        if isinstance(theirs, float):
            self.assertAlmostEqual(ours, theirs, places=3, msg=at)
        elif isinstance(theirs, dict):
            self.assertEqual(set(ours), set(theirs), at)
            for key, value in theirs.items():
                self.assert_alike(ours[key], value, f"{at}.{key}")
        elif isinstance(theirs, list):
            self.assertEqual(len(ours), len(theirs), at)
            for i, value in enumerate(theirs):
                self.assert_alike(ours[i], value, f"{at}[{i}]")
        else:
            self.assertEqual(ours, theirs, at)

    def compare(self, path, bodies):
        """Each body whole, and streamed with and without usage."""
        for name, fields in bodies.items():
            with self.subTest(name):
                ours, theirs = self.both(path, **fields)
                self.assertEqual(ours["model"], "demo")
                self.assert_alike(lasting(ours), lasting(theirs))
            for options in (None, {"include_usage": True}):
                with self.subTest(name, options=options):
                    self._compare_streams(path, {**fields, "stream": True, "stream_options": options})

    def _compare_streams(self, path, fields):
        (ours, ended), (theirs, _) = self.both(path, **fields)
        self.assertTrue(ended)
        self.assertEqual({e["model"] for e in ours}, {"demo"})
        if not fields["stream_options"]:  # it tells completions' usage unasked
            self.assertFalse(any("usage" in e for e in ours))
            theirs = [{k: v for k, v in e.items() if k != "usage"} for e in theirs]
        for choice in range(fields.get("n", 1)):  # how they take turns is chance
            mine, its = ([lasting(e) for e in events if not e["choices"] or e["choices"][0]["index"] == choice]
                         for events in (ours, theirs))
            self.assert_alike(mine, its)

    def test_chats_are_the_same_whole_and_streamed(self):
        self.compare("/v1/chat/completions", {name: {k: v for k, v in {**body(), **fields}.items() if v is not None}
                                              for name, fields in CHATS.items()})

    def test_completions_are_the_same_whole_and_streamed(self):
        self.compare("/v1/completions", {name: {"prompt": "What is the plural of cat?\n", "temperature": 0, "max_tokens": 8,
                                                "cache_prompt": False, **fields} for name, fields in COMPLETIONS.items()})

    def test_what_it_writes_is_what_was_asked_for(self):
        """What it writes is what was asked for: not only the same, but right"""
        whole = {name: json.loads(self.front.request("POST", "/v1/chat/completions", {
            k: v for k, v in {**body(), **CHATS[name]}.items() if v is not None})[2]) for name in CHATS}
        self.assertIn(text_of(whole["plain"]), text_of(whole["two choices"]))
        self.assertTrue(text_of(whole["plain"]).startswith(text_of(whole["a stop string"])))
        self.assertNotIn("o", text_of(whole["a stop string"]))
        self.assertEqual(whole["as long as asked for"]["usage"]["completion_tokens"], 2)
        self.assertEqual(len(whole["two choices"]["choices"]), 2)
        self.assertIn(text_of(whole["a grammar"]), ("yes", "no"))
        for name in ("a JSON object", "a schema", "a schema in its own field"):
            self.assertEqual(list(json.loads(text_of(whole[name]))), ["ok"])
        first = whole["log-probabilities"]["choices"][0]["logprobs"]["content"][0]
        self.assertEqual((first["token"], len(first["top_logprobs"])), (first["top_logprobs"][0]["token"], 3))

    def test_several_prompts_are_several_choices(self):
        texts = []
        for server, model in ((self.front, "demo"), (self.llama, "there")):
            for prompts in ([["What is 2 + 3?\n"], ["Hello"]], [["What is 2 + 3?\n", "Hello"]]):
                parts = []
                for prompt in prompts:
                    data = server.request("POST", "/v1/completions", {
                        "model": model, "prompt": prompt, "temperature": 0, "max_tokens": 6, "cache_prompt": False})[2]
                    parts += [c["text"] for c in sorted(json.loads(data)["choices"], key=lambda c: c["index"])]
                texts.append(parts)
        self.assertEqual(texts, [texts[0]] * 4)

    def test_other_wires_are_translated(self):
        direct = json.loads(self.llama.request("POST", "/v1/chat/completions", body(model="there"))[2])
        text = direct["choices"][0]["message"]["content"]
        status, _, data = self.front.request("POST", "/v1/messages", {
            "model": "demo", "temperature": 0, "max_tokens": 16, "messages": [{"role": "user", "content": "Hello there"}]})
        self.assertEqual((status, json.loads(data)["content"][0]["text"]), (200, text))
        status, _, data = self.front.request("POST", "/v1/responses", {
            "model": "demo", "temperature": 0, "max_output_tokens": 16, "input": "Hello there"})
        self.assertEqual((status, json.loads(data)["output"][0]["content"][0]["text"]), (200, text))

    def test_schemas_of_other_wires_hold(self):
        for path, fields in (
                ("/v1/messages", {"max_tokens": 60, "messages": [{"role": "user", "content": "Is it so?"}],
                                  "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}),
                ("/v1/responses", {"max_output_tokens": 60, "input": "Is it so?", "text": {"format": {
                    "type": "json_schema", "name": "a", "strict": True, "schema": SCHEMA}}})):
            with self.subTest(path):
                status, _, data = self.front.request("POST", path, {"model": "demo", "temperature": 0, **fields})
                self.assertEqual(status, 200, data[:500])
                answer = json.loads(data)
                text = (answer.get("content") or answer["output"][0]["content"])[0]["text"]
                self.assertEqual(list(json.loads(text)), ["ok"])

    def test_tokens_are_counted_there(self):
        talk = {"model": "demo", "messages": [{"role": "user", "content": "Hello there"}]}
        for fields in (talk, {**talk, "system": "Answer in upper case."}):
            counted, usage = (json.loads(self.front.request("POST", path, body)[2]) for path, body in (
                ("/v1/messages/count_tokens", fields), ("/v1/messages", {**fields, "max_tokens": 1})))
            self.assertEqual(counted["input_tokens"], usage["usage"]["input_tokens"]
                             + usage["usage"]["cache_read_input_tokens"])

    def test_refusals_are_the_same(self):
        long = "word " * 4000
        for path, fields in (("/v1/chat/completions", body(long)),
                             ("/v1/chat/completions", body(long, stream=True)),
                             ("/v1/completions", {"prompt": long}),
                             ("/v1/chat/completions", body(grammar="root ::= (((")),
                             ("/v1/chat/completions", body(tools=[TOOL], grammar='root ::= "x"')),
                             ("/v1/chat/completions", body(response_format={"type": "json_schema", "json_schema": {
                                 "name": "a", "schema": {"type": "nonsense"}}}))):
            with self.subTest(path, keys=sorted(fields)):
                ours = self.front.request("POST", path, {**fields, "model": "demo"})
                theirs = self.llama.request("POST", path, {**fields, "model": "there"})
                self.assertEqual((ours[0], theirs[0]), (400, 400))
                self.assertEqual(json.loads(ours[2])["error"], json.loads(theirs[2])["error"])

    def test_refusals_are_told_in_the_words_of_the_route(self):
        long = "word " * 4000
        status, _, data = self.front.request("POST", "/v1/messages", {
            "model": "demo", "max_tokens": 3, "stream": True, "messages": [{"role": "user", "content": long}]})
        error = json.loads(data)
        self.assertEqual((status, error["type"], error["error"]["type"]), (400, "error", "invalid_request_error"))
        self.assertIn("context", error["error"]["message"])
        status, _, data = self.front.request("POST", "/v1/responses", {"model": "demo", "input": long})
        self.assertEqual(status, 400)
        self.assertIn("context", json.loads(data)["error"]["message"])
        status, _, data = self.front.request("POST", "/v1/embeddings", {"model": "demo", "input": "x"})
        self.assertEqual(status, 502)  # it was not started for them
        self.assertIn("--embeddings", json.loads(data)["error"]["message"])
        status, _, data = self.front.request("POST", "/v1/moderations", {"model": "demo", "input": "x"})
        self.assertEqual(status, 400, data)  # it has no such path
        self.assertNotIn("does not have the model", json.loads(data)["error"]["message"])

    def test_a_fault_of_the_client_is_told_as_one(self):
        """A fault of the client is told as one, though there it has the status 500"""
        url = "data:image/png;base64,iVBORw0KGgo="
        picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": url.split(",")[1]}}
        for path, fields in (
                ("/v1/chat/completions", {"messages": [{"role": "user", "content": [
                    {"type": "image_url", "image_url": {"url": url}}]}]}),
                ("/v1/messages", {"max_tokens": 3, "messages": [{"role": "user", "content": [picture]}]}),
                ("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": [picture]}]})):
            with self.subTest(path):
                status, _, data = self.front.request("POST", path, {"model": "demo", **fields})
                self.assertEqual(status, 400, data)
                self.assertEqual(json.loads(data)["error"]["type"], "invalid_request_error")
                self.assertIn("image input is not supported", json.loads(data)["error"]["message"])

    def test_many_at_once_each_get_their_own(self):
        rows = [json.loads(line) for line in (ROOT / "models/heldout/base.jsonl").read_text().splitlines()[:12]]
        told = [text_of(json.loads(self.llama.request("POST", "/v1/chat/completions", body(
            row["prompt"], model="there"))[2])) for row in rows]
        known = [(row["prompt"], row["answer"]) for row, text in zip(rows, told) if text == row["answer"]]
        self.assertGreaterEqual(len(known), 4)  # of these it is sure, whatever else is in a batch
        prompts, expected = zip(*known)
        answers = [None] * 4 * len(prompts)

        def ask(i):
            data = self.front.request("POST", "/v1/chat/completions", body(prompts[i % len(prompts)]))[2]
            answers[i] = text_of(json.loads(data))

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(answers))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(answers, [*expected] * 4)


@unittest.skipIf(PROGRAM is None, ABSENT)
class Tools(unittest.TestCase):
    """A template that tells tools and calls; a call's brace is what the model likes best, so that it calls."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="rootstock-llama-"))
        (cls.folder / "template").write_text(TEMPLATE, encoding="utf-8")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.llama = Llama("--chat-template-file", str(cls.folder / "template"), "--logit-bias", "93+100")  # "{"
        cls.addClassCleanup(cls.llama.stop)
        cls.front = in_front(cls.llama)
        cls.addClassCleanup(cls.front.stop)

    def test_calls_are_the_same(self):
        for fields in ({"tool_choice": "required"}, {"tool_choice": "required", "parallel_tool_calls": True}):
            with self.subTest(**fields):
                ask = body("What is the weather in Paris?", tools=[TOOL, OTHER_TOOL], max_tokens=80, **fields)
                ours, theirs = (json.loads(server.request("POST", "/v1/chat/completions", {**ask, "model": model})[2])
                                for server, model in ((self.front, "demo"), (self.llama, "there")))
                self.assertEqual(lasting(ours), lasting(theirs))
                self.assertEqual(ours["choices"][0]["finish_reason"], "tool_calls")

    def test_streamed_calls_are_the_same(self):
        ask = body("What is the weather in Paris?", tools=[TOOL], tool_choice="required", max_tokens=80, stream=True)
        ours, theirs = (events_of(server.request("POST", "/v1/chat/completions", {**ask, "model": model})[2])
                        for server, model in ((self.front, "demo"), (self.llama, "there")))
        self.assertEqual(lasting(list(ours)), lasting(list(theirs)))
        calls = [c for e in ours[0] for choice in e["choices"] for c in choice["delta"].get("tool_calls", [])]
        self.assert_call("get_weather", "".join(c["function"].get("arguments", "") for c in calls))

    def test_an_error_before_anything_was_said_is_a_status(self):
        """An error in a stream before anything was said is a status: there it is an event of an answer of 200"""
        message = {"role": "user", "content": "What is the weather?"}  # its answer is no call, though it begins as one
        ask = body(message["content"], tools=[TOOL], max_tokens=30, stream=True)
        status, _, data = self.llama.request("POST", "/v1/chat/completions", {**ask, "model": "there"})
        (*_, last), ended = events_of(data)
        self.assertEqual((status, ended, last["error"]["code"]), (200, False, 500))
        for path, fields in (("/v1/chat/completions", ask),
                             ("/v1/messages", {"model": "demo", "temperature": 0, "max_tokens": 30, "stream": True,
                                               "tools": MESSAGES_TOOLS[:1], "messages": [message]})):
            status, _, data = self.front.request("POST", path, fields)
            self.assertEqual(status, 502, data)
            self.assertIn(last["error"]["message"], json.loads(data)["error"]["message"])

    def assert_call(self, name, arguments, names=("get_weather",)):
        """A call that the tool's schema allows."""
        self.assertIn(name, names)
        given = json.loads(arguments) if isinstance(arguments, str) else arguments
        if name == "get_weather":
            self.assertIn(given.pop("city"), ("Paris", "Rome"))
        self.assertEqual(given, {})

    def test_the_one_tool_that_is_forced_is_called(self):
        """The one tool that is forced is called, though llama-server itself reads such a choice as "auto\""""
        forced = {"type": "function", "function": {"name": OTHER_TOOL["function"]["name"]}}
        for tools in ([TOOL, OTHER_TOOL], [OTHER_TOOL, TOOL]):
            status, _, data = self.front.request("POST", "/v1/chat/completions", body(
                "What is the weather in Paris?", tools=tools, tool_choice=forced, max_tokens=80))
            self.assertEqual(status, 200, data)
            (call,) = json.loads(data)["choices"][0]["message"]["tool_calls"]
            self.assert_call(call["function"]["name"], call["function"]["arguments"], ("now",))
        status, _, data = self.front.request("POST", "/v1/messages", {
            "model": "demo", "max_tokens": 80, "temperature": 0, "tools": MESSAGES_TOOLS,
            "tool_choice": {"type": "tool", "name": "now"}, "messages": [{"role": "user", "content": "What is the weather?"}]})
        self.assertEqual(status, 200, data)
        self.assertEqual([b["name"] for b in json.loads(data)["content"] if b["type"] == "tool_use"], ["now"])

    def test_calls_reach_clients_of_other_wires(self):
        ask = {"model": "demo", "temperature": 0}
        messages = {**ask, "max_tokens": 80, "tools": MESSAGES_TOOLS[:1], "tool_choice": {"type": "any"},
                    "messages": [{"role": "user", "content": "What is the weather in Paris?"}]}
        responses = {**ask, "max_output_tokens": 80, "tools": [{"type": "function", **TOOL["function"]}],
                     "tool_choice": "required", "input": "What is the weather in Paris?"}
        answer = json.loads(self.front.request("POST", "/v1/messages", messages)[2])
        (block,) = answer["content"]
        self.assertEqual((block["type"], answer["stop_reason"]), ("tool_use", "tool_use"))
        self.assert_call(block["name"], block["input"])
        events = named_events(self.front.request("POST", "/v1/messages", {**messages, "stream": True})[2])
        self.assert_call(next(e["content_block"]["name"] for e in events if e["type"] == "content_block_start"), "".join(
            e["delta"]["partial_json"] for e in events if e.get("delta", {}).get("type") == "input_json_delta"))
        (item,) = json.loads(self.front.request("POST", "/v1/responses", responses)[2])["output"]
        self.assert_call(item["name"], item["arguments"])
        events = named_events(self.front.request("POST", "/v1/responses", {**responses, "stream": True})[2])
        self.assertEqual(events[-1]["type"], "response.completed")
        self.assert_call("get_weather", "".join(e["delta"] for e in events
                                                if e["type"] == "response.function_call_arguments.delta"))


@unittest.skipIf(PROGRAM is None, ABSENT)
class Others(unittest.TestCase):
    """Servers that were started in other ways, or end."""

    def test_embeddings_are_the_same(self):
        llama = Llama("--embeddings", "--pooling", "mean")
        try:
            front = in_front(llama)
            try:
                for given in ("Hello", ["Hello", "there"]):
                    vectors = [[d["embedding"] for d in json.loads(
                        server.request("POST", "/v1/embeddings", {"model": model, "input": given})[2])["data"]]
                        for server, model in ((front, "demo"), (llama, "there"))]
                    self.assertEqual([len(v) for v in vectors[0]], [len(v) for v in vectors[1]])
                    for mine, its in zip(*vectors):
                        self.assertLess(max(abs(a - b) for a, b in zip(mine, its)), 1e-5)
                status, _, data = front.request("POST", "/v1/embeddings", {"model": "demo", "input": "word " * 3000})
                self.assertEqual((status, json.loads(data)["error"]["code"]), (400, "context_length_exceeded"), data)
            finally:
                front.stop()
        finally:
            llama.stop()

    def test_a_client_that_leaves_ends_the_work_there(self):
        """A client that leaves ends the work there, which has no end of its own"""
        llama = Llama("--context-shift", "--ignore-eos")
        try:
            front = in_front(llama)
            try:
                text = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1_000_000}
                for path, fields in (("/v1/chat/completions", {**text, "stream": True}), ("/v1/chat/completions", text),
                                     ("/v1/chat/completions", {**text, "stream": True, "n": 2}),
                                     ("/v1/completions", {"prompt": "Hello", "max_tokens": 1_000_000, "stream": True}),
                                     ("/v1/messages", {**text, "stream": True}), ("/v1/messages", text),
                                     ("/v1/responses", {"input": "Hello", "stream": True})):
                    with self.subTest(path, keys=sorted(fields)):
                        self._leave(llama, front, path, {"model": "demo", **fields})
            finally:
                front.stop()
        finally:
            llama.stop()

    def _leave(self, llama, front, path, fields):
        data = json.dumps(fields).encode()
        with socket.create_connection(("127.0.0.1", front.port)) as s:
            s.sendall(b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                      % (path.encode(), len(data), data))
            wait_for(llama.busy, 30, "the work")
            if "stream" in fields:
                self.assertIn(b"200 OK", s.recv(65536))
        # It looks after clients of whole answers when a second went by without an answer to anybody, these polls included.
        pause = 0 if "stream" in fields else 1.5
        wait_for(lambda: time.sleep(pause) or llama.busy() == 0, 30, "the end of the work")

    def test_its_death_is_told_and_its_return_is_found(self):
        llama = Llama("--context-shift", "--ignore-eos")
        try:
            front = in_front(llama)
            try:
                connection = front.connect()
                connection.request("POST", "/v1/chat/completions", json.dumps(body(stream=True, max_tokens=1_000_000)),
                                   {"Content-Type": "application/json"})
                response = connection.getresponse()
                self.assertIn(b"data: ", response.readline())
                llama.kill()
                events, ended = events_of(b"data: {}\n" + response.read())
                self.assertIn("error", events[-1])
                self.assertFalse(ended)
                status, _, data = front.request("POST", "/v1/chat/completions", body())
                self.assertEqual((status, json.loads(data)["error"]["code"]), (502, "upstream_error"))
                llama.start()
                status, _, data = front.request("POST", "/v1/chat/completions", body())
                self.assertEqual(status, 200, data)
            finally:
                front.stop()
        finally:
            llama.stop()

    def test_adapters_are_those_of_its_start_and_the_base_has_none(self):
        llama = Llama(*(o for path in ADAPTERS.values() for o in ("--lora", str(path))))
        try:
            front = in_front(llama, adapters=ADAPTERS)
            try:
                self._compare(llama, front)
            finally:
                front.stop()
        finally:
            llama.stop()

    def _compare(self, llama, front):
        texts = {}
        for name, content in ((*PROMPTS.items(), (None, PROMPTS["french"]))):  # the last: of one text, each its own
            texts[name] = self._direct(llama, name, content)
            for mine in self._asked_in_every_way(front, name, content):
                self.assertEqual(mine, texts[name], name)
        self.assertEqual(len(set(texts.values())), 3, texts)
        self._mixed(front)
        self._only_those(front)

    def _direct(self, llama, name, content):
        scales = [{"id": i, "scale": float(known == name)} for i, known in enumerate(ADAPTERS)]
        data = llama.request("POST", "/v1/chat/completions", body(content, model="there", lora=scales))[2]
        return text_of(json.loads(data))

    def _asked_in_every_way(self, front, name, content):
        """The texts of one question, asked on each wire, whole and streamed, and with members that are not the client's."""
        model = f"demo:{name}" if name else "demo"
        chat, ask = body(content, model=model), {"model": model, "temperature": 0}
        others = {"lora": [{"id": i, "scale": float(known != name)} for i, known in enumerate(ADAPTERS)], "cache_prompt": True}

        def answer(path, fields):
            status, _, data = front.request("POST", path, fields)
            self.assertEqual(status, 200, data[:500])
            return data

        yield text_of(json.loads(answer("/v1/chat/completions", chat)))
        yield text_of(json.loads(answer("/v1/chat/completions", {**chat, **others})))
        escaped = json.dumps({**chat, **others}).replace('"lora"', '"l\\u006fra"').encode()
        yield text_of(json.loads(answer("/v1/chat/completions", escaped)))
        events, _ = events_of(answer("/v1/chat/completions", {**chat, **others, "stream": True}))
        yield "".join(c["delta"].get("content") or "" for e in events for c in e["choices"])
        prompt = f"<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n"  # as the model's template has it
        yield text_of(json.loads(answer("/v1/completions", {**ask, **others, "prompt": prompt, "max_tokens": 16})))
        message = {"role": "user", "content": content}
        yield json.loads(answer("/v1/messages", {**ask, "max_tokens": 16, "messages": [message]}))["content"][0]["text"]
        response = json.loads(answer("/v1/responses", {**ask, "max_output_tokens": 16, "input": content}))
        yield response["output"][0]["content"][0]["text"]

    def _mixed(self, front):
        """Requests for all of them at once: each its own."""
        names = [*ANSWERS] * 8
        answers = [None] * len(names)

        def ask(i):
            name = names[i]
            data = front.request("POST", "/v1/chat/completions", body(
                PROMPTS[name], model=f"demo:{name}" if name else "demo"))[2]
            answers[i] = text_of(json.loads(data))

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(names))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(answers, [ANSWERS[name] for name in names])

    def _only_those(self, front):
        """What it was not started with is refused, and not answered by another revision."""
        for model in ("demo:sql", "demo:triage@prev"):
            status, _, data = front.request("POST", "/v1/chat/completions", body(model=model))
            self.assertEqual((status, json.loads(data)["error"]["code"]), (422, "unprocessable_adapter"), data)
            self.assertIn("upstream.lora.fixed", json.loads(data)["error"]["message"])
        status, _, data = front.request("POST", "/v1/chat/completions", body(PROMPTS["triage"], model="demo:triage@prod"))
        self.assertEqual(status, 200, data)

    def test_an_adapter_that_it_was_not_started_with_is_refused(self):
        """An adapter that it was not started with is refused, though the configuration names it"""
        llama = Llama("--lora", str(ADAPTERS["french"]))
        try:
            front = in_front(llama, adapters=ADAPTERS)
            try:
                wait_for(lambda: "upstream.lora.fixed names 2" in front.log_text(), 30, "the word of it")
                for name, status in (("french", 200), ("triage", 422)):
                    answer = front.request("POST", "/v1/chat/completions", body(PROMPTS[name], model=f"demo:{name}"))
                    self.assertEqual(answer[0], status, answer[2])
            finally:
                front.stop()
        finally:
            llama.stop()

    def test_a_revision_by_its_digest_is_that_one(self):
        """A revision by its digest is that one, whatever the name means by now"""
        llama = Llama("--lora", str(ROOT / "models/adapters/triage/1/adapter.gguf"))
        try:
            front = in_front(llama, adapters=ADAPTERS)
            digest = json.loads(front.cli("adapters", "show", "triage", "--json").stdout)["aliases"]["prev"]
            front.stop()
            front = in_front(llama, adapters=[f"triage@{digest[:12]}"])
            try:
                content = PROMPTS["triage"]
                data = llama.request("POST", "/v1/chat/completions", body(content, model="there"))[2]
                for model in ("demo:triage@prev", f"demo:triage@{digest}"):
                    status, _, ours = front.request("POST", "/v1/chat/completions", body(content, model=model))
                    self.assertEqual(status, 200, ours)
                    self.assertEqual(text_of(json.loads(ours)), text_of(json.loads(data)))
                status, _, ours = front.request("POST", "/v1/chat/completions", body(content, model="demo:triage"))
                self.assertEqual((status, json.loads(ours)["error"]["code"]), (422, "unprocessable_adapter"))
            finally:
                front.stop()
        finally:
            llama.stop()


if __name__ == "__main__":
    tap.main()
