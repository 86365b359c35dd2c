"""A server's life: start, a client that leaves, overload, reload, drain."""
import json
import pathlib
import signal
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import Server, Stream, metric, wait_for  # noqa: E402

LONG = {"ignore_eos": True, "max_tokens": 400}


class Life(unittest.TestCase):
    """One server a case: each ends it in its own way."""

    def serve(self, edit=None):
        """A server that the case may stop itself."""
        server = Server(edit=edit)
        self.addCleanup(lambda: server.process.poll() is None and server.stop())
        return server

    def test_it_says_what_to_try_next(self):
        server = self.serve()
        wait_for(lambda: "curl" in server.log_text(), 5, "the line to try")  # it is ready a moment before
        text = server.log_text()
        self.assertIn(f"127.0.0.1:{server.port}", text)

    def test_a_client_that_leaves_stops_its_decode(self):
        server = self.serve()
        streams = [Stream(server, "tell", "demo", **LONG) for _ in range(4)]
        wait_for(lambda: metric(server, "engine_running") == 4, 10, "four running streams")
        left = time.monotonic()
        for stream in streams:
            stream.close()
        wait_for(lambda: metric(server, "engine_running") == 0, 5, "the end of four decodes")
        self.assertGreaterEqual(metric(server, "clients_gone_total"), 4)
        self.assertLess(time.monotonic() - left, 30)
        self.assertTrue(server.chat("What is 1 + 1?")[0])

    def test_a_client_that_leaves_before_its_turn_is_not_served(self):
        server = self.serve(lambda text: text.replace("slots: 16", "slots: 1"))
        running = Stream(server, "tell", "demo", **LONG)
        wait_for(lambda: metric(server, "engine_running") == 1, 10, "a running stream")
        waiting = server.connect()
        body = {"model": "demo", "messages": [{"role": "user", "content": "x"}]}
        waiting.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        wait_for(lambda: metric(server, "engine_waiting") == 1, 10, "a waiting request")
        waiting.close()
        wait_for(lambda: metric(server, "engine_waiting") == 0, 5, "an empty queue")
        running.close()

    def test_a_full_queue_is_429_with_retry_after(self):
        server = self.serve(lambda text: text.replace("slots: 16", "slots: 1").replace("queue: 256", "queue: 1"))
        streams = [Stream(server, "tell", "demo", **LONG)]
        wait_for(lambda: metric(server, "engine_running") == 1, 10, "a running stream")
        waiting = threading.Thread(target=lambda: streams.append(Stream(server, "tell", "demo", **LONG)))
        waiting.start()
        wait_for(lambda: metric(server, "engine_waiting") == 1, 10, "a waiting request")
        body = {"model": "demo", "messages": [{"role": "user", "content": "x"}]}
        status, headers, data = server.request("POST", "/v1/chat/completions", body)
        self.assertEqual((status, json.loads(data)["error"]["type"]), (429, "rate_limit_error"))
        self.assertGreater(int(headers["Retry-After"]), 0)
        streams[0].close()
        waiting.join()
        for stream in streams:
            stream.close()

    def test_sigterm_lets_streams_end_and_refuses_new_requests(self):
        server = self.serve()
        stream = Stream(server, "tell", "demo", **LONG)
        events = stream.events()
        next(events)
        kept = server.connect()
        kept.request("GET", "/health")
        kept.getresponse().read()
        server.process.send_signal(signal.SIGTERM)
        rest = list(events)  # up to [DONE]
        self.assertEqual(rest[-1]["choices"][0]["finish_reason"], "length")
        self.assertEqual(server.process.wait(timeout=60), 0)

    def test_a_reload_changes_the_policy_and_a_bad_file_changes_nothing(self):
        server = self.serve()
        question = {"text": "hello there"}
        before = json.loads(server.request("POST", "/api/v1/eval", question)[2])
        self.assertIn("general", json.dumps(before))
        text = server.config.read_text(encoding="utf-8")
        server.config.write_text(text.replace("name: general", "name: renamed"), encoding="utf-8")
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: b"renamed" in server.request("POST", "/api/v1/eval", question)[2], 10, "the new policy")
        server.config.write_text("routing: [", encoding="utf-8")
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: metric(server, "config_reload_failures_total") == 1, 10, "the refusal")
        self.assertIn(b"renamed", server.request("POST", "/api/v1/eval", question)[2])

    def test_keys_are_asked_for_when_configured(self):
        server = Server(edit=lambda text: text.replace("gateway:\n", "gateway:\n  auth: {keys_env: E2E_KEYS}\n", 1),
                        env={"E2E_KEYS": "secret-one=acme,secret-two"})
        self.addCleanup(server.stop)
        body = {"model": "demo", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
        for header, want in (({}, 401), ({"Authorization": "Bearer wrong"}, 401),
                             ({"Authorization": "Bearer secret-one"}, 200), ({"Authorization": "Bearer secret-two"}, 200)):
            status, _, data = server.request("POST", "/v1/chat/completions", body, header)
            self.assertEqual(status, want, data)
            self.assertNotIn(b"secret", data)
        self.assertNotIn("secret-one", server.log_text())


if __name__ == "__main__":
    tap.main()
