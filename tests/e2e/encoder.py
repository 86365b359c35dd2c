"""An encoder of its own beside the base model: engine.embedding, over HTTP and by `rootstock embed`."""
import base64
import concurrent.futures
import json
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import PATIENCE, PROGRAM, ROOT, Server  # noqa: E402

MODEL = ROOT / "tests" / "golden" / "encoders" / "bert.gguf"
TEXTS = ["hello world", "a second text", "naïve 🦙"]


def edit(text):
    """The demo's configuration with the encoder."""
    return text.replace("engine:\n", f"engine:\n  embedding: {{path: {MODEL}}}\n", 1)


class Encoder(unittest.TestCase):
    """One server for all cases."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(edit=edit)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def ask(self, path, status=200, **body):
        """The answer's JSON; fails on another status."""
        got, _, data = self.server.request("POST", path, body)
        self.assertEqual(got, status, data[:500])
        return json.loads(data)

    def vectors(self, **body):
        """The vectors of one request, in order."""
        return [d["embedding"] for d in self.ask("/v1/embeddings", model="bert", **body)["data"]]

    def test_it_is_listed_and_shown_under_its_file_s_name(self):
        listed = [m["id"] for m in json.loads(self.server.get("/v1/models")[2])["data"]]
        self.assertIn("bert", listed)
        self.assertIn("demo", listed)
        self.assertEqual(json.loads(self.server.get("/v1/models/bert")[2])["id"], "bert")

    def test_http_and_the_command_line_give_the_same_vectors(self):
        ran = subprocess.run([str(PROGRAM), "embed", "-m", str(MODEL)], input="\n".join(TEXTS), capture_output=True,
                             text=True, check=True, timeout=60 * PATIENCE)
        by_command = [json.loads(line) for line in ran.stdout.splitlines()]
        by_http = self.vectors(input=TEXTS)
        packed = [struct.unpack(f"<{len(by_http[0])}f", base64.b64decode(v))
                  for v in self.vectors(input=TEXTS, encoding_format="base64")]
        for one, two, three in zip(by_command, by_http, packed):
            self.assertLess(max(abs(a - b) + abs(a - c) for a, b, c in zip(one, two, three)), 1e-5)

    def test_company_does_not_change_a_vector(self):
        alone = [self.vectors(input=t)[0] for t in TEXTS]
        together = self.vectors(input=TEXTS * 20)
        for i, vector in enumerate(together):
            self.assertLess(max(abs(a - b) for a, b in zip(vector, alone[i % len(TEXTS)])), 1e-5)

    def test_it_writes_no_text_and_takes_no_adapter(self):
        chat = {"messages": [{"role": "user", "content": "hi"}]}
        error = self.ask("/v1/chat/completions", status=400, model="bert", **chat)["error"]
        self.assertIn("encoder", error["message"])
        self.ask("/v1/completions", status=400, model="bert", prompt="hi")
        self.ask("/v1/embeddings", status=404, model="bert:sql", input="hi")

    def test_a_text_beyond_its_context_is_named(self):
        error = self.ask("/v1/embeddings", status=400, model="bert", input=["a", "word " * 500])["error"]
        self.assertEqual((error["code"], error["param"]), ("context_length_exceeded", "input"))
        self.assertIn("input[1]", error["message"])
        blanks = self.vectors(input="a" + " " * 50_000)  # vanish: what counts is tokens, not bytes
        self.assertEqual(blanks, self.vectors(input="a"))

    def test_tokens_are_wordpieces_with_their_ends(self):
        got = self.ask("/tokenize", model="bert", prompt=TEXTS[0], return_token_strs=True)
        self.assertEqual((got["token_strs"][0], got["token_strs"][-1]), ("[CLS]", "[SEP]"))
        self.assertEqual(self.ask("/detokenize", model="bert", tokens=got["tokens"][1:-1]), {"prompt": TEXTS[0]})
        by_ids, by_text = self.vectors(input=got["tokens"]), self.vectors(input=TEXTS[0])
        self.assertLess(max(abs(a - b) for a, b in zip(by_ids[0], by_text[0])), 1e-6)


def edit_policy(text):
    """The same, with a decision that the encoder takes: its vectors mean nothing, but a text is like itself."""
    text = edit(text).replace("routing:\n", "global: {router: {semantics: encoder}}\n\nrouting:\n", 1)
    text = text.replace("  signals:\n", "  signals:\n    embeddings:"
                        " [{name: greets, threshold: 0.99, candidates: [hello world]}]\n", 1)
    return text.replace("  decisions:\n", "  decisions:\n    - {name: greeting, priority: 100000,"
                        " rules: {type: embedding, name: greets}, modelRefs: [{model: demo}]}\n", 1)


class Routing(unittest.TestCase):
    """A policy whose signals are the encoder's."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(edit=edit_policy)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def test_eval_and_requests_wait_for_the_encoder(self):
        body = {"model": "auto", "messages": [{"role": "user", "content": "hello world"}], "max_tokens": 4}
        status, _, data = self.server.request("POST", "/api/v1/eval", body)
        self.assertEqual(status, 200, data[:500])
        self.assertEqual(json.loads(data)["decision_result"]["decision_name"], "greeting")
        for _ in range(3):
            status, headers, data = self.server.request("POST", "/v1/chat/completions", body)
            self.assertEqual(status, 200, data[:500])
            self.assertEqual(headers["x-vsr-selected-decision"], "greeting")
        status, headers, data = self.server.request("POST", "/v1/chat/completions", {**body, "model": "demo"})
        self.assertEqual(status, 200, data[:500])
        self.assertNotIn("x-vsr-selected-decision", headers)

    def test_many_at_once_all_wait_for_it(self):
        body = {"model": "auto", "messages": [{"role": "user", "content": "hello world"}]}
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda _: self.server.request("POST", "/api/v1/eval", body), range(120)))
        for status, _, data in answers:
            self.assertEqual(status, 200, data[:500])
            self.assertEqual(json.loads(data)["decision_result"]["decision_name"], "greeting")

    def test_the_command_line_routes_with_it(self):
        ran = self.server.cli("route", text='{"text": "hello world"}\n')
        routed = json.loads(ran.stdout)
        self.assertEqual(routed["decision"], "greeting")
        self.assertAlmostEqual(routed["signals"]["embedding:greets"], 1, places=4)

    def test_checking_loads_no_encoder_but_names_its_absence(self):
        self.assertEqual(self.server.cli("check").returncode, 0)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "lacking.yaml"
            path.write_text(re.sub(r"  embedding:.*\n", "", self.server.config.read_text(encoding="utf-8")),
                            encoding="utf-8")
            ran = self.server.cli("check", "-c", str(path), check=False, config=False)
        self.assertEqual(ran.returncode, 1)
        self.assertIn("global.router.semantics", ran.stderr)
        self.assertIn("engine.embedding.path", ran.stderr)


if __name__ == "__main__":
    tap.main()
