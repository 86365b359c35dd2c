"""The stock openai client for Node against a real server. Skipped, with a word, where it is not installed."""
import json
import pathlib
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import PATIENCE, ROOT, Server, heldout  # noqa: E402

CLIENTS = ROOT / "tests" / "e2e" / "clients"
HERE = shutil.which("node") and (CLIENTS / "node_modules" / "openai").exists()


@unittest.skipUnless(HERE, "node or its openai client is not installed; run tests/e2e/install-clients.sh")
class StockClient(unittest.TestCase):
    """One run of clients/openai.mjs, checked part by part."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.case = heldout("sql.2")[0]
        url = f"http://127.0.0.1:{cls.server.port}/v1"
        ran = subprocess.run(["node", str(CLIENTS / "openai.mjs"), url, cls.case["prompt"]], capture_output=True,
                             text=True, timeout=120 * PATIENCE, check=False)
        if ran.returncode:
            raise AssertionError(ran.stderr)
        cls.out = json.loads(ran.stdout)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def test_chat_answers_for_every_kind_of_name(self):
        for model in ("auto", "demo:sql", "demo:sql@prod"):
            self.assertEqual(self.out["chat"][model], self.case["answer"])
        self.assertNotEqual(self.out["chat"]["demo"], self.case["answer"])

    def test_streams_say_what_whole_answers_say(self):
        for model, text in self.out["chat"].items():
            self.assertEqual(self.out["stream"][model], {"text": text, "finish": "stop"})
        self.assertEqual(self.out["completionStream"], self.out["completion"])

    def test_vectors_are_the_same_in_both_encodings(self):
        vectors = self.out["vectors"]
        self.assertEqual(len(vectors["packed"]), 2)
        self.assertEqual([len(v) for v in vectors["packed"]], [len(v) for v in vectors["floats"]])
        for packed, floats in zip(vectors["packed"], vectors["floats"]):
            self.assertLess(max(abs(a - b) for a, b in zip(packed, floats)), 1e-6)
            self.assertAlmostEqual(sum(x * x for x in packed), 1, places=5)

    def test_responses_chain_and_are_kept(self):
        got = self.out["responses"]
        first, second, followed, settled = got["texts"]
        self.assertTrue(first and second)
        self.assertEqual((followed, settled), (second, first))
        self.assertEqual(got["items"], [self.case["prompt"], first, "And again"])
        self.assertEqual(got["gone"], "NotFoundError")

    def test_errors_have_the_right_classes(self):
        unknown, empty = self.out["errors"]["unknownModel"], self.out["errors"]["noMessages"]
        self.assertEqual((unknown["kind"], unknown["status"], unknown["code"]),
                         ("NotFoundError", 404, "model_not_found"))
        self.assertEqual((empty["kind"], empty["status"]), ("BadRequestError", 400))

    def test_structured_output_is_parsed(self):
        thing = self.out["structured"]
        self.assertEqual(set(thing), {"size", "count"})
        self.assertIn(thing["size"], ("small", "large"))
        self.assertIn(thing["count"], range(10))
        self.assertEqual(self.out["parsed"], thing)

    def test_forced_calls_are_the_same_whole_and_streamed(self):
        whole, streamed = self.out["calls"]
        for answer in (whole, streamed):
            self.assertEqual(answer["finish"], "tool_calls")
            self.assertFalse(answer["content"])
            (call,) = answer["calls"]
            self.assertEqual((call["type"], call["name"]), ("function", "order"))
            self.assertTrue(call["id"].startswith("call_"))
            arguments = json.loads(call["args"])
            self.assertIn(arguments["size"], ("small", "large"))
            self.assertIn(arguments["count"], range(10))
        self.assertEqual(whole["calls"][0]["args"], streamed["calls"][0]["args"])

    def test_an_aborted_stream_leaves_the_server_well(self):
        self.assertEqual(self.out["after"], self.out["chat"]["demo"])

    def test_models_are_listed(self):
        self.assertIn("demo:sql", self.out["models"])


if __name__ == "__main__":
    tap.main()
