"""A guardrail on the live stream: what the model writes token by token never leaves unmasked.

The model is made to write what the test wants by `echo`: a completion's answer then begins with its prompt, and an
answer passes the stream stage whole. The prompt stage is switched off, so that only the stream is guarded.
"""
import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import ROOT, Server  # noqa: E402

SECRETS = {
    "CREDIT_CARD": "4111 1111 1111 1111",
    "EMAIL_ADDRESS": "ann.lee@example.com",
    "US_SSN": "219-09-9999",
    "IBAN_CODE": "DE89 3704 0044 0532 0130 00",
    "IP_ADDRESS": "192.168.10.77",
    "PHONE_NUMBER": "+1 212-555-0187",
}


def guard(action, stages):
    """Changes the demo's configuration: the pii plugin of every decision acts so."""
    def edit(text):
        return text.replace("{action: mask}", f"{{action: {action}, stages: [{stages}]}}")
    return edit


class StreamStage(unittest.TestCase):
    """Masking and blocking on answers, streamed and whole."""

    def serve(self, action, stages="response"):
        """A server whose answers are guarded so."""
        server = Server(edit=guard(action, stages))
        self.addCleanup(server.stop)
        return server

    def complete(self, server, prompt, **fields):
        """(status, every byte of the body) of an echoed completion routed by the policy."""
        body = {"model": "auto", "prompt": prompt, "echo": True, "max_tokens": 2, "temperature": 0, **fields}
        status, _, data = server.request("POST", "/v1/completions", body)
        return status, data

    def test_every_kind_is_masked_on_the_stream_and_in_whole_answers(self):
        server = self.serve("mask")
        for kind, secret in SECRETS.items():
            for stream in (False, True):
                with self.subTest(kind=kind, stream=stream):
                    status, data = self.complete(server, f"hello world, reach me by {secret} thanks", stream=stream)
                    self.assertEqual(status, 200, data)
                    self.assertNotIn(secret.encode(), data)
                    self.assertNotIn(secret[:6].encode(), data)
                    self.assertIn(kind.encode(), data)
                    self.assertIn(b"hello world", data)

    def test_a_block_ends_the_answer_with_content_filter(self):
        server = self.serve("block")
        for stream in (False, True):
            with self.subTest(stream=stream):
                status, data = self.complete(server, f"hello world, {SECRETS['CREDIT_CARD']}", stream=stream)
                self.assertEqual(status, 200)
                self.assertNotIn(b"4111", data)
                self.assertIn(b"content_filter", data)

    def test_a_blocked_prompt_is_refused_without_repeating_it(self):
        server = self.serve("block", "prompt")
        status, data = self.complete(server, f"hello world, {SECRETS['CREDIT_CARD']}", echo=False)
        error = json.loads(data)["error"]
        self.assertEqual((status, error["code"]), (403, "content_policy_violation"))
        self.assertNotIn(b"4111", data)

    def test_a_prompt_of_token_ids_is_guarded_as_its_text(self):
        server = self.serve("block", "prompt")
        for text, status in (("write to ann.lee@example.com today", 403), ("write to nobody today", 200)):
            done = server.cli("tokenize", "-m", str(ROOT / "models" / "demo.gguf"), text=text, config=False)
            ids = json.loads(done.stdout)
            for prompt in (ids, [[ids[0]], ids]):
                got, data = self.complete(server, prompt, echo=False)
                self.assertEqual(got, status, data)

    def test_clean_text_passes_unchanged(self):
        server = self.serve("mask")
        prompt = "hello world, version 1.2.3 of build 20240131 at 10:45, order 1234567"
        _, data = self.complete(server, prompt)
        self.assertTrue(json.loads(data)["choices"][0]["text"].startswith(prompt))


if __name__ == "__main__":
    tap.main()
