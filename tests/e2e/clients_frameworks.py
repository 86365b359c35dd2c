"""Vercel's AI SDK and LangChain for Node against a real server. Skipped, with a word, where they are not installed."""
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
WANTED = ("ai", "@ai-sdk/openai", "@langchain/openai", "@langchain/core")
HERE = shutil.which("node") and all((CLIENTS / "node_modules" / name).exists() for name in WANTED)


def front(port):
    """The configuration of a gateway whose engine is the one at that port."""
    url = f"http://127.0.0.1:{port}/v1"
    return f"""version: v0.3
engine:
  models:
    - {{name: demo, upstream: {{provider: openai, url: "{url}"}}}}
    - {{name: sql, upstream: {{provider: openai, url: "{url}", model: "demo:sql"}}}}
adapters: {{catalog: {{type: directory, path: {ROOT / 'models' / 'heldout'}}}}}
"""


@unittest.skipUnless(HERE, "node or its frameworks are not installed; run tests/e2e/install-clients.sh")
class Frameworks(unittest.TestCase):
    """One run of each script on an engine in the process, and one on an engine behind; checked part by part."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.front = Server(text=front(cls.server.port))
        cls.case = heldout("sql.2")[0]
        places = {"here": (cls.server.port, "demo:sql"), "behind": (cls.front.port, "sql")}
        cls.vercel = {k: cls.run_script("vercel.mjs", *v) for k, v in places.items()}
        cls.langchain = {k: cls.run_script("langchain.mjs", *v) for k, v in places.items()}

    @classmethod
    def tearDownClass(cls):
        cls.front.stop()
        cls.server.stop()

    @classmethod
    def run_script(cls, name, port, adapter):
        """What the script printed."""
        ran = subprocess.run(["node", str(CLIENTS / name), f"http://127.0.0.1:{port}/v1", cls.case["prompt"], adapter],
                             capture_output=True, text=True, timeout=120 * PATIENCE, check=False)
        if ran.returncode:
            raise AssertionError(ran.stderr)
        return json.loads(ran.stdout)

    def test_the_ai_sdk_s_texts_and_streams_are_alike_by_chat_and_by_responses(self):
        for place, out in self.vercel.items():
            for kind in ("chat", "responses"):
                with self.subTest(place=place, kind=kind):
                    self.assertEqual(out["text"][kind]["text"], self.case["answer"])
                    self.assertEqual(out["text"][kind], out["stream"][kind])
                    self.assertEqual(out["text"][kind]["finish"], "stop")
                    self.assertGreater(out["text"][kind]["tokens"], 0)

    def test_the_ai_sdk_s_objects_and_tools_follow_their_schemas(self):
        for place, out in self.vercel.items():
            with self.subTest(place=place):
                self.assertIn(out["object"]["size"], ("small", "large"))
                self.assertEqual(out["tool"]["name"], "weather")
                self.assertEqual(out["tool"]["result"], f"sunny in {out['tool']['input']['city']}")
                self.assertEqual(len(set(out["vectors"])), 1)

    def test_the_ai_sdk_takes_steps_and_streams_objects(self):
        for place, out in self.vercel.items():
            for kind in ("chat", "responses"):
                with self.subTest(place=place, kind=kind):
                    for way in ("whole", "stream"):
                        (first, results), (last, none) = out["steps"][kind][way]
                        self.assertEqual((first, last in ("stop", "length"), none), ("tool-calls", True, []))
                        self.assertTrue(all(r.startswith("sunny in ") for r in results) and results)
                    self.assertNotIn("error", out["steps"][kind]["parts"])
                    self.assertLessEqual({"tool-call", "tool-result", "finish-step", "finish"},
                                         set(out["steps"][kind]["parts"]))
                    streamed = out["objects"][kind]
                    self.assertIn(streamed["whole"]["size"], ("small", "large"))
                    self.assertEqual(streamed["partial"], streamed["whole"])
                    self.assertGreater(streamed["tokens"], 0)

    def test_the_ai_sdk_knows_errors_and_aborts(self):
        for place, out in self.vercel.items():
            with self.subTest(place=place):
                self.assertEqual(out["errors"]["unknown"],
                                 {"kind": "AI_APICallError", "status": 404, "retryable": False})
                self.assertEqual(out["pieces"], 1)

    def test_langchain_s_texts_are_alike_whole_streamed_and_by_responses(self):
        for place, out in self.langchain.items():
            with self.subTest(place=place):
                self.assertEqual((out["text"], out["stream"], out["responses"]), (self.case["answer"],) * 3)
                usage = out["usage"]
                self.assertEqual(usage["total_tokens"], usage["input_tokens"] + usage["output_tokens"])
                self.assertEqual(out["streamUsage"]["output_tokens"], usage["output_tokens"])
                self.assertEqual(out["streamFinish"], "stop")

    def test_langchain_s_structures_calls_and_vectors_come_back(self):
        for place, out in self.langchain.items():
            with self.subTest(place=place):
                self.assertIn(out["structured"]["size"], ("small", "large"))
                self.assertIn(out["called"]["size"], ("small", "large"))
                self.assertEqual((out["call"]["name"], out["streamCall"]["name"]), ("weather", "weather"))
                self.assertIsInstance(out["streamCall"]["args"]["city"], str)
                self.assertIsInstance(out["call"]["args"]["city"], str)
                self.assertEqual(out["after"], "string")
                self.assertEqual(len(set(out["vectors"])), 1)
                self.assertEqual(out["errors"]["unknown"]["kind"], "NotFoundError")


if __name__ == "__main__":
    tap.main()
