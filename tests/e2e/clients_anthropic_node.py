"""The stock @anthropic-ai/sdk client for Node against a real server. Skipped, with a word, where it is absent."""
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
HERE = shutil.which("node") and (CLIENTS / "node_modules" / "@anthropic-ai" / "sdk").exists()


@unittest.skipUnless(HERE, "node or its anthropic client is not installed; run tests/e2e/install-clients.sh")
class StockClient(unittest.TestCase):
    """One run of clients/anthropic.mjs, checked part by part."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.case = heldout("sql.2")[0]
        url = f"http://127.0.0.1:{cls.server.port}"
        ran = subprocess.run(["node", str(CLIENTS / "anthropic.mjs"), url, cls.case["prompt"]], capture_output=True,
                             text=True, timeout=120 * PATIENCE, check=False)
        if ran.returncode:
            raise AssertionError(ran.stderr)
        cls.out = json.loads(ran.stdout)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def test_messages_answer_for_every_kind_of_name(self):
        for model in ("auto", "demo:sql", "demo:sql@prod"):
            self.assertEqual(self.out["whole"][model]["text"], self.case["answer"])
        self.assertNotEqual(self.out["whole"]["demo"]["text"], self.case["answer"])

    def test_streams_say_what_whole_answers_say(self):
        self.assertEqual(self.out["stream"], self.out["whole"])

    def test_events_come_in_order(self):
        for model, events in self.out["events"].items():
            with self.subTest(model=model):
                self.assertEqual(events, ["message_start", "content_block_start", "content_block_delta",
                                          "content_block_stop", "message_delta", "message_stop"])

    def test_forced_calls_are_the_same_whole_and_streamed(self):
        for answer in self.out["calls"]:
            self.assertEqual(answer["stop"], "tool_use")
            call = answer["blocks"][-1]
            self.assertEqual((call["type"], call["name"]), ("tool_use", "order"))
            self.assertIn(call["input"]["size"], ("small", "large"))
            self.assertIn(call["input"]["count"], range(10))
        self.assertEqual(*[a["blocks"][-1]["input"] for a in self.out["calls"]])
        self.assertIn(self.out["after"], ("end_turn", "max_tokens", "tool_use"))

    def test_errors_have_the_right_classes(self):
        unknown, empty = self.out["errors"]["unknownModel"], self.out["errors"]["noMessages"]
        self.assertEqual((unknown["kind"], unknown["status"], unknown["type"]),
                         ("NotFoundError", 404, "not_found_error"))
        self.assertEqual((empty["kind"], empty["status"], empty["type"]),
                         ("BadRequestError", 400, "invalid_request_error"))
        self.assertTrue(unknown["request"].startswith("req_"))

    def test_tokens_are_counted(self):
        self.assertGreater(self.out["counted"], 0)

    def test_an_aborted_stream_leaves_the_server_well(self):
        self.assertEqual(self.out["again"], self.out["whole"]["demo"]["text"])

    def test_models_are_listed_by_pages(self):
        self.assertIn("demo:sql", self.out["models"])
        self.assertEqual(len(self.out["models"]), len(set(self.out["models"])))


if __name__ == "__main__":
    tap.main()
