"""Adapters move while streams decode: nobody fails, nobody changes revision in flight, later requests see the move."""
import json
import pathlib
import shutil
import signal
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import Redis, Server, Stream, heldout  # noqa: E402

STREAMS = 16
ADAPTERS = ("sql", "extract", "french", "triage")


def prompts(name, n):
    """The first n held-out prompts of an adapter's newest revision."""
    revision = "2" if name in ("sql", "triage") else "1"
    return [case["prompt"] for case in heldout(f"{name}.{revision}")[:n]]


class Cases:
    """The cases, for either catalog."""

    server = None

    def revision(self, model):
        """The digest that a model name means now, by a request of one token."""
        _, headers = self.server.chat("hello", model, max_tokens=1)
        return headers["x-rootstock-revision"]

    def alone(self, jobs):
        """The answer of each (model, prompt) when nothing else runs."""
        return {job: self.server.chat(job[1], job[0])[0] for job in jobs}

    def test_streams_in_flight_keep_their_revision_and_later_requests_take_the_new_one(self):
        jobs = [(f"demo:{name}", p) for name in ADAPTERS for p in prompts(name, STREAMS // len(ADAPTERS))]
        before = self.alone(jobs)
        old = self.revision("demo:triage")
        previous = self.revision("demo:triage@prev")
        self.assertNotEqual(old, previous)
        # Long enough to be in flight while the alias moves: the end token may not stop them.
        flying = [Stream(self.server, p, m, ignore_eos=True, max_tokens=96) for m, p in jobs]
        texts = [None] * len(flying)

        def read(i):
            texts[i] = flying[i].text()

        readers = [threading.Thread(target=read, args=(i,)) for i in range(len(flying))]
        for reader in readers:
            reader.start()
        self.server.cli("adapters", "alias", "triage", "prod", "prev")
        self.assertEqual(self.revision("demo:triage"), previous)
        moved = {job: self.server.chat(job[1], job[0])[0] for job in jobs if job[0] == "demo:triage"}
        self.server.cli("adapters", "rollback", "triage")
        self.assertEqual(self.revision("demo:triage"), old)
        for reader in readers:
            reader.join()
        for i, job in enumerate(jobs):
            self.assertEqual(flying[i].status, 200)
            self.assertTrue(texts[i].startswith(before[job]), (job, texts[i], before[job]))
            if job[0] == "demo:triage":
                self.assertEqual(flying[i].headers["x-rootstock-revision"], old)
                self.assertNotEqual(moved[job], before[job])
        self.assertEqual(self.alone(jobs), before)

    def test_a_mixed_batch_answers_as_each_request_alone(self):
        jobs = [(f"demo:{name}", p) for name in ADAPTERS for p in prompts(name, STREAMS)[8:12]]
        jobs.append(("demo", "What is 64 - 61?"))
        before = self.alone(jobs)
        together = {}

        def ask(job):
            together[job] = Stream(self.server, job[1], job[0]).text()

        threads = [threading.Thread(target=ask, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(together, before)

    def test_a_revision_is_addressed_by_its_digest(self):
        digest = self.revision("demo:sql@prev")
        prompt = prompts("sql", 1)[0]
        by_digest, headers = self.server.chat(prompt, f"demo:sql@sha256-{digest[:16]}")
        self.assertEqual(headers["x-rootstock-revision"], digest)
        self.assertEqual(by_digest, self.server.chat(prompt, "demo:sql@prev")[0])
        self.assertNotEqual(by_digest, self.server.chat(prompt, "demo:sql@prod")[0])

    def test_names_that_mean_nothing_are_404_in_the_error_contract(self):
        for model in ("nope", "demo:nope", "demo:sql@nope", "demo:sql@sha256-0123456789abcdef", "nope:sql"):
            body = {"model": model, "messages": [{"role": "user", "content": "x"}]}
            status, _, data = self.server.request("POST", "/v1/chat/completions", body)
            error = json.loads(data)["error"]
            self.assertEqual((status, error["code"]), (404, "model_not_found"), (model, error))
            self.assertEqual(error["type"], "invalid_request_error")

    def test_history_tells_every_move(self):
        self.server.cli("adapters", "alias", "sql", "canary", "prev")
        shown = json.loads(self.server.cli("adapters", "show", "sql", "--json").stdout)
        self.assertIn("canary", json.dumps(shown))
        history = self.server.cli("adapters", "history", "sql").stdout
        self.assertIn("canary", history)

    def test_a_pushed_adapter_serves_the_next_request(self):
        source = self.server.folder / "adapters" / "french" / "1"
        copy = self.server.folder / "pushed"
        if not copy.exists():
            shutil.copytree(source, copy)
        self.server.cli("adapters", "push", "parisian", str(copy), "--base", "demo")
        prompt = prompts("french", 1)[0]
        self.assertEqual(self.server.chat(prompt, "demo:parisian")[0], self.server.chat(prompt, "demo:french")[0])
        listed = json.loads(self.server.get("/v1/models")[2])
        self.assertIn("demo:parisian", [m["id"] for m in listed["data"]])


class DirectoryCatalog(Cases, unittest.TestCase):
    """On the embedded folder."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()


class RedisCatalog(Cases, unittest.TestCase):
    """On a real redis-server."""

    @classmethod
    def setUpClass(cls):
        cls.redis = Redis()
        cls.server = Server(redis=cls.redis)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.redis.stop()

    def test_known_adapters_serve_while_redis_is_gone(self):
        prompt = prompts("extract", 1)[0]
        before, _ = self.server.chat(prompt, "demo:extract")
        self.redis.stop()
        try:
            self.assertEqual(self.server.chat(prompt, "demo:extract")[0], before)
            body = {"model": "demo:unheard_of", "messages": [{"role": "user", "content": "x"}]}
            status, _, data = self.server.request("POST", "/v1/chat/completions", body)
            self.assertEqual((status, json.loads(data)["error"]["code"]), (503, "catalog_unavailable"))
            refused = self.server.cli("adapters", "alias", "extract", "prod", "prev", check=False)
            self.assertEqual(refused.returncode, 1)
        finally:
            self.redis.start()
            self.server.push_all()


class SlowCatalog(unittest.TestCase):
    """A Redis that is stopped while it is asked for an adapter's bytes, so that the load takes as long as wanted."""

    def setUp(self):
        self.redis = Redis()
        self.addCleanup(self.redis.stop)
        self.server = Server(redis=self.redis, edit=lambda text: text.replace("gateway:", "gateway:\n  keep_alive: 100ms")
                             .replace("cold_wait: 10s", "cold_wait: 700ms"))
        self.addCleanup(self.server.stop)
        shutil.rmtree(self.server.folder / "blobs", ignore_errors=True)

    def stream(self, seconds):
        """Every byte of a stream whose adapter's load is held up so long."""
        self.redis.process.send_signal(signal.SIGSTOP)
        timer = threading.Timer(seconds, self.redis.process.send_signal, (signal.SIGCONT,))
        timer.start()
        try:
            body = {"model": "demo:sql", "stream": True, "max_tokens": 4, "messages": [{"role": "user", "content": "x"}]}
            return self.server.request("POST", "/v1/chat/completions", body)
        finally:
            timer.join()

    def test_comments_break_the_silence_of_a_cold_load(self):
        status, _, data = self.stream(0.4)
        self.assertEqual(status, 200)
        self.assertTrue(data.startswith(b": keep-alive\n\n"), data[:200])
        self.assertEqual(data.count(b"data: [DONE]"), 1)
        self.assertIn(b'"role":"assistant"', data)

    def held_up(self, cold, adapter="demo:sql", stream=False):
        """One request with this header while Redis answers nobody: (status, headers, bytes)."""
        self.redis.process.send_signal(signal.SIGSTOP)
        try:
            body = {"model": adapter, "stream": stream, "max_tokens": 2, "messages": [{"role": "user", "content": "x"}]}
            return self.server.request("POST", "/v1/chat/completions", body, {"x-rootstock-cold": cold})
        finally:
            self.redis.process.send_signal(signal.SIGCONT)

    def served_from_memory(self, adapter):
        """Waits until the adapter is resident, without asking for it in a way that would wait."""
        body = {"model": adapter, "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
        for _ in range(200):
            status, headers, data = self.server.request("POST", "/v1/chat/completions", body, {"x-rootstock-cold": "fail"})
            if status == 200:
                return headers["x-rootstock-residency"]
            self.assertEqual((status, json.loads(data)["error"]["code"]), (503, "adapter_loading"))
            time.sleep(0.05)
        return None

    def test_a_request_says_what_it_does_while_its_adapter_is_cold(self):
        status, headers, data = self.held_up("fail")
        self.assertEqual((status, json.loads(data)["error"]["code"]), (503, "adapter_loading"))
        self.assertGreaterEqual(int(headers["Retry-After"]), 1)
        status, headers, data = self.held_up("base", "demo:french")
        self.assertEqual((status, headers["x-rootstock-fallback"]), (200, "base"))
        self.assertNotIn("x-rootstock-adapter", headers)
        self.assertEqual(json.loads(data)["model"], "demo")
        status, headers, data = self.held_up("base", "demo:triage", stream=True)
        self.assertEqual((status, headers["x-rootstock-fallback"]), (200, "base"))
        self.assertIn(b'"model":"demo"', data)
        status, _, data = self.held_up("wait; max-wait=100ms", "demo:extract")
        self.assertEqual((status, json.loads(data)["error"]["code"]), (504, "timeout"))
        for adapter in ("demo:sql", "demo:french", "demo:triage"):  # they were loaded meanwhile
            self.assertEqual(self.served_from_memory(adapter), "hit")
        self.server.chat("x", "demo:extract", max_tokens=1)
        for wrong in ("later", "wait; max-wait", "wait; max-wait=x", "fail; soon=1", ";"):
            status, _, data = self.held_up(wrong)
            error = json.loads(data)["error"]
            self.assertEqual((status, error["param"]), (400, "x-rootstock-cold"), wrong)

    def test_a_route_says_what_its_requests_do_while_the_adapter_is_cold(self):
        text = self.server.config.read_text()
        text = text.replace("lora_name: sql}", "lora_name: sql, on_cold: base}")
        text = text.replace("lora_name: triage}", "lora_name: triage, on_cold: wait, cold_wait: 100ms}")
        self.server.config.write_text(text.replace("cold_wait: 700ms", "cold_wait: 700ms\n    on_cold: fail"))
        self.server.restart()
        shutil.rmtree(self.server.folder / "blobs", ignore_errors=True)
        cases = (("How many employees have salary of exactly 26?", 200),
                 ("Translate to French: the cat sleeps.", 503))
        self.redis.process.send_signal(signal.SIGSTOP)
        try:
            for prompt, expected in cases:
                body = {"model": "auto", "max_tokens": 2, "messages": [{"role": "user", "content": prompt}]}
                status, headers, data = self.server.request("POST", "/v1/chat/completions", body)
                self.assertEqual(status, expected, data)
                self.assertEqual(headers.get("x-rootstock-fallback"), "base" if expected == 200 else None)
            header = {"x-rootstock-cold": "fail"}
            body["messages"][0]["content"] = cases[0][0]
            self.assertEqual(self.server.request("POST", "/v1/chat/completions", body, header)[0], 503)
        finally:
            self.redis.process.send_signal(signal.SIGCONT)

    def test_a_header_names_what_will_be_wanted(self):
        body = {"model": "demo", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
        hints = {"x-rootstock-prefetch": "demo:sql, nobody, , demo:french@prod"}
        self.assertEqual(self.server.request("POST", "/v1/chat/completions", body, hints)[0], 200)
        for adapter in ("demo:sql", "demo:french"):
            for _ in range(200):
                status, headers, _ = self.held_up("fail", adapter)
                if status == 200:
                    break
                time.sleep(0.05)
            self.assertEqual((status, headers["x-rootstock-residency"]), (200, "hit"))

    def test_a_load_that_fails_after_a_comment_is_told_in_the_stream(self):
        status, _, data = self.stream(1.2)
        self.assertEqual(status, 200)
        last = data.strip().split(b"\n")[-1]
        self.assertTrue(last.startswith(b'data: {"error":'), data[-300:])
        self.assertEqual(json.loads(last[6:])["error"]["code"], "timeout")
        self.assertEqual(self.server.get("/ready")[0], 200)


if __name__ == "__main__":
    tap.main()
