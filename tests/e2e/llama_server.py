"""A real llama-server behind: chats whole and streamed, tools as given, schemas, log-probabilities, embeddings, adapters and
leaving clients, with answers equal to asking it directly. LLAMA_SERVER names the program; else it is looked for in PATH."""
import http.client
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import ROOT, Server, free_port, wait_for  # noqa: E402

PROGRAM = os.environ.get("LLAMA_SERVER") or shutil.which("llama-server")
MODEL = ROOT / "models" / "demo.gguf"
ADAPTERS = {"french": ROOT / "models/adapters/french/1/adapter.gguf",
            "triage": ROOT / "models/adapters/triage/2/adapter.gguf"}  # in the order of its start
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Weather of a city", "parameters": {
    "type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"],
    "additionalProperties": False}}}
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
PROMPTS = {"french": "Translate to French: good morning", "triage": "I was charged twice for my order"}


class Llama:
    """llama-server on a port of its own."""

    def __init__(self, *options):
        self.port = free_port()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rootstock-llama-"))
        self.log = open(self.folder / "log", "wb")
        command = [PROGRAM, "-m", str(MODEL), "--host", "127.0.0.1", "--port", str(self.port), "-c", "2048", "-np", "2",
                   "-t", "1", "--alias", "there", "--jinja", *options]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=self.folder)
        wait_for(self._ready, 60, "llama-server")

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

    def stop(self):
        """Ends it; its folder goes."""
        self.process.terminate()
        self.process.wait(timeout=30)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def in_front(llama, adapters=False, **more):
    """A gateway before it."""
    upstream = {"provider": "llama-server", "url": f"http://127.0.0.1:{llama.port}/v1", "model": "there", **more}
    config = {"version": "v0.3", "engine": {"models": [{"name": "demo", "upstream": upstream}]}}
    if adapters:
        upstream["lora"] = {"fixed": list(ADAPTERS)}
        config["adapters"] = {"catalog": {"type": "directory", "path": str(ROOT / "models" / "adapters")},
                              "blobs": {"cache": "blobs"}}
    return Server(text=json.dumps(config))


def body(content="Hello there", model="demo", **fields):
    """A greedy chat; the same prompt is never taken from a cache, so that answers do not depend on their order."""
    return {"model": model, "temperature": 0, "max_tokens": 16, "seed": 7, "cache_prompt": False,
            "messages": [{"role": "user", "content": content}], **fields}


def events_of(data):
    """The JSON of a stream's events."""
    blocks = [b[6:] for b in data.decode().split("\n\n") if b.startswith("data: ")]
    return [json.loads(b) for b in blocks if b != "[DONE]"], "[DONE]" in blocks


@unittest.skipIf(PROGRAM is None, "llama-server is absent: set LLAMA_SERVER, or put it into PATH")
class Behind(unittest.TestCase):
    """One llama-server, one gateway."""

    @classmethod
    def setUpClass(cls):
        cls.llama = Llama()
        cls.front = in_front(cls.llama)

    @classmethod
    def tearDownClass(cls):
        cls.front.stop()
        cls.llama.stop()

    def both(self, path="/v1/chat/completions", **fields):
        """The answers of both to one body, the gateway's first."""
        answers = []
        for server, model in ((self.front, "demo"), (self.llama, "there")):
            status, _, data = server.request("POST", path, {**fields, "model": model})
            self.assertEqual(status, 200, data[:800])
            answers.append(json.loads(data))
        return answers

    def test_a_whole_answer_is_the_same(self):
        ours, theirs = self.both(**body())
        self.assertEqual(ours["choices"], theirs["choices"])
        self.assertTrue(ours["choices"][0]["message"]["content"])
        self.assertEqual(ours["model"], "demo")
        for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
            self.assertEqual(ours["usage"][name], theirs["usage"][name])

    def test_a_stream_is_the_same_and_counts_where_it_is_asked_to(self):
        texts = []
        for server, model in ((self.front, "demo"), (self.llama, "there")):
            for options in ({}, {"stream_options": {"include_usage": True}}):
                status, _, data = server.request("POST", "/v1/chat/completions", body(model=model, stream=True, **options))
                self.assertEqual(status, 200)
                events, done = events_of(data)
                self.assertTrue(done)
                texts.append("".join(c["delta"].get("content") or "" for e in events for c in e["choices"]))
                if server is self.front:
                    self.assertEqual({e["model"] for e in events}, {"demo"})
                    self.assertEqual(bool(options), any(e.get("usage") for e in events))
        self.assertEqual(len(set(texts)), 1, texts)
        self.assertTrue(texts[0])

    def test_completions_are_the_same(self):
        ours, theirs = self.both("/v1/completions", prompt="Once upon a time", temperature=0, max_tokens=12,
                                 cache_prompt=False)
        self.assertEqual(ours["choices"][0]["text"], theirs["choices"][0]["text"])

    def test_log_probabilities_are_the_same(self):
        ours, theirs = self.both(**body(logprobs=True, top_logprobs=3, max_tokens=4))
        for mine, its in zip(ours["choices"][0]["logprobs"]["content"], theirs["choices"][0]["logprobs"]["content"],
                             strict=True):
            self.assertEqual((mine["token"], len(mine["top_logprobs"])), (its["token"], len(its["top_logprobs"])))
            self.assertAlmostEqual(mine["logprob"], its["logprob"], places=3)

    def test_a_schema_holds(self):
        ours, theirs = self.both(**body("Is it so?", max_tokens=60, response_format={
            "type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": SCHEMA}}))
        self.assertEqual(ours["choices"][0]["message"]["content"], theirs["choices"][0]["message"]["content"])
        self.assertEqual(set(json.loads(ours["choices"][0]["message"]["content"])), {"ok"})

    def test_tools_reach_it(self):
        """Tools reach it: what it makes of them, which is its template's matter, is told as it is"""
        for choice in ("auto", "required", "none"):
            with self.subTest(choice=choice):
                ours, theirs = self.both(**body("What is the weather in Paris?", tools=[TOOL], tool_choice=choice))
                self.assertEqual(ours["choices"], theirs["choices"])
                self.assertEqual(ours["usage"]["prompt_tokens"], theirs["usage"]["prompt_tokens"])

    def test_other_wires_are_translated(self):
        direct = json.loads(self.llama.request("POST", "/v1/chat/completions", body(model="there"))[2])
        text = direct["choices"][0]["message"]["content"]
        status, _, data = self.front.request("POST", "/v1/messages", {
            "model": "demo", "temperature": 0, "max_tokens": 16, "messages": [{"role": "user", "content": "Hello there"}]})
        self.assertEqual((status, json.loads(data)["content"][0]["text"]), (200, text))
        status, _, data = self.front.request("POST", "/v1/responses", {
            "model": "demo", "temperature": 0, "max_output_tokens": 16, "input": "Hello there"})
        self.assertEqual((status, json.loads(data)["output"][0]["content"][0]["text"]), (200, text))

    def test_refusals_keep_their_status(self):
        long = body("word " * 4000)
        ours = self.front.request("POST", "/v1/chat/completions", long)
        theirs = self.llama.request("POST", "/v1/chat/completions", {**long, "model": "there"})
        self.assertEqual((ours[0], theirs[0]), (400, 400))
        mine, its = (json.loads(a[2])["error"]["message"] for a in (ours, theirs))
        self.assertEqual(mine, its)

    def test_a_client_that_leaves_ends_the_work_there(self):
        wait_for(lambda: self.llama.busy() == 0, 30, "idle slots")
        with socket.create_connection(("127.0.0.1", self.front.port)) as s:
            data = json.dumps(body(stream=True, max_tokens=1900, ignore_eos=True)).encode()
            s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                      b"Content-Length: %d\r\n\r\n%b" % (len(data), data))
            self.assertIn(b"200 OK", s.recv(65536))
        wait_for(lambda: self.llama.busy() == 0, 30, "the end of the work")


@unittest.skipIf(PROGRAM is None, "llama-server is absent: set LLAMA_SERVER, or put it into PATH")
class Others(unittest.TestCase):
    """Servers that were started in other ways."""

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
            finally:
                front.stop()
        finally:
            llama.stop()

    def test_adapters_are_those_of_its_start_and_the_base_has_none(self):
        llama = Llama(*(o for path in ADAPTERS.values() for o in ("--lora", str(path))))
        try:
            front = in_front(llama, adapters=True)
            try:
                self._compare(llama, front)
            finally:
                front.stop()
        finally:
            llama.stop()

    def _compare(self, llama, front):
        texts = {}
        for _ in range(2):  # what one request asked for is not left to the next
            for at, name in enumerate((*ADAPTERS, None)):
                content = PROMPTS.get(name, PROMPTS["french"])
                scales = [{"id": i, "scale": float(i == at)} for i in range(len(ADAPTERS))]
                answers = [server.request("POST", "/v1/chat/completions", ask) for server, ask in (
                    (front, body(content, model=f"demo:{name}" if name else "demo")),
                    (llama, body(content, model="there", lora=scales)))]
                self.assertEqual([a[0] for a in answers], [200, 200], answers[0][2][:500])
                mine, its = (json.loads(a[2])["choices"][0]["message"]["content"] for a in answers)
                self.assertEqual(mine, its, name)
                self.assertEqual(texts.setdefault(name, mine), mine)
        self.assertNotEqual(texts["french"], texts[None])


if __name__ == "__main__":
    tap.main()
