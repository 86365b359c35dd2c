"""The HTTP contract against the real program: errors, framing, headers, streams, as a strange client meets them."""
import json
import pathlib
import socket
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import PATIENCE, Server, Stream  # noqa: E402

CHAT = {"model": "demo", "temperature": 0, "max_tokens": 8, "messages": [{"role": "user", "content": "What is 2 plus 3?"}]}
BODY_LIMIT = 1 << 20


def edit(text):
    """A small body limit and a short keep-alive."""
    return text.replace("gateway:\n", "gateway:\n  limits: {body: 1MiB}\n  keep_alive: 100ms\n", 1)


class Http(unittest.TestCase):
    """One server for all cases."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(edit=edit)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def error(self, method, path, body=None, headers=None):
        """(status, error object, headers); the body must be an OpenAI error."""
        status, sent, data = self.server.request(method, path, body, headers)
        error = json.loads(data)["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        self.assertTrue(error["message"])
        self.assertTrue(sent["x-request-id"])
        self.assertEqual(sent["Content-Type"], "application/json")
        return status, error, sent

    def raw(self, data, more=b""):
        """Bytes out, all bytes back."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=20 * PATIENCE) as s:
            s.sendall(data)
            if more:
                try:
                    s.sendall(more)
                except OSError:
                    pass  # refused meanwhile: the answer is what counts
            parts = []
            while True:
                part = s.recv(65536)
                if not part:
                    return b"".join(parts)
                parts.append(part)

    # ---- errors ----

    def test_bad_bodies_are_400_and_name_the_field(self):
        for body, param, code in (
                (b"", None, None), (b"{", None, None), (b"[]", None, None), (b"\xff", None, None),
                (b'{"model":"demo","model":"x","messages":[]}', None, None),
                (b'{"a":' + b"[" * 500 + b"]" * 500 + b"}", None, None),
                (json.dumps({**CHAT, "messages": []}).encode(), "messages", "empty_array"),
                (json.dumps({**CHAT, "temperature": "x"}).encode(), "temperature", None),
                (json.dumps({**CHAT, "n": 0}).encode(), "n", None),
                (json.dumps({**CHAT, "seed": 2**64}).encode(), "seed", None),
                (json.dumps({**CHAT, "max_tokens": 2**70}).encode(), "max_tokens", None),
                (json.dumps({**CHAT, "tool_choice": "required"}).encode(), "tool_choice", None),
                (json.dumps({**CHAT, "response_format": {"type": "xml"}}).encode(), "response_format", None),
                (json.dumps({**CHAT, "grammar": "root ::= ("}).encode(), "grammar", None),
                (json.dumps({**CHAT, "stop_token_ids": [1 << 19]}).encode(), "stop_token_ids", None),
                (json.dumps({**CHAT, "audio": {"voice": "x"}}).encode(), "audio", "unsupported_parameter"),
        ):
            with self.subTest(body=body[:60]):
                status, error, _ = self.error("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
                self.assertEqual((status, error["type"], error["param"], error["code"]),
                                 (400, "invalid_request_error", param, code))

    def test_unknown_models_and_paths_are_404(self):
        for model in ("nope", "demo:nope", "nope:sql", "demo:sql@nope", "demo:sql@sha256:000000000000"):
            with self.subTest(model=model):
                status, error, _ = self.error("POST", "/v1/chat/completions", {**CHAT, "model": model})
                self.assertEqual((status, error["param"], error["code"]), (404, None, "model_not_found"))
        for path in ("/", "/v1", "/v1/nope", "/v1/models/nope", "/v1/models/demo:nope"):
            with self.subTest(path=path):
                self.assertEqual(self.error("GET", path)[0], 404)

    def test_wrong_methods_are_405_with_allow(self):
        for method, path, allow in (("GET", "/v1/chat/completions", "POST"), ("DELETE", "/v1/models", "GET"),
                                    ("PUT", "/health", "GET"), ("PATCH", "/v1/models/demo", "GET")):
            with self.subTest(method=method, path=path):
                status, _, headers = self.error(method, path)
                self.assertEqual(status, 405)
                self.assertIn(allow, headers["Allow"])

    def test_media_types_other_than_json_are_415(self):
        data = json.dumps(CHAT).encode()
        for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"},
                        {"Content-Type": "application/json; charset=latin1"},
                        {"Content-Type": "application/json", "Content-Encoding": "gzip"}):
            with self.subTest(headers=headers):
                self.assertEqual(self.error("POST", "/v1/chat/completions", data, headers)[0], 415)
        for kind in ("application/json", "Application/JSON; charset=UTF-8"):
            status, _, _ = self.server.request("POST", "/v1/chat/completions", data, {"Content-Type": kind})
            self.assertEqual(status, 200)

    def test_a_big_body_is_413_before_it_is_read_and_readable_after(self):
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n" % (1 << 40)
        for more in (b"\r\n", b"Expect: 100-continue\r\n\r\n"):
            answer = self.raw(head + more)
            self.assertTrue(answer.startswith(b"HTTP/1.1 413"), answer[:100])
            self.assertIn(b"request_too_large", answer)
        status, error, _ = self.error("POST", "/v1/chat/completions", b" " * (BODY_LIMIT * 4),
                                      {"Content-Type": "application/json"})
        self.assertEqual((status, error["code"]), (413, "request_too_large"))
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        answer = self.raw(b"POST /v1/completions HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n", chunk * 40)
        self.assertTrue(answer.startswith(b"HTTP/1.1 413"), answer[:100])

    def test_a_long_head_is_431(self):
        for size in (20_000, 200_000):
            answer = self.raw(b"GET /health HTTP/1.1\r\nHost: t\r\nx: " + b"a" * size + b"\r\nConnection: close\r\n\r\n")
            self.assertTrue(answer.startswith(b"HTTP/1.1 431"), answer[:100])

    def test_ambiguous_framing_is_400_and_closes(self):
        for lines in (b"Content-Length: 2\r\nTransfer-Encoding: chunked", b"Content-Length: 2\r\nContent-Length: 3",
                      b"Content-Length: 2\r\nContent-Length: 2", b"Content-Length: x", b"Content-Length: -1",
                      b"Transfer-Encoding : chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"):
            with self.subTest(lines=lines):
                answer = self.raw(b"POST /v1/completions HTTP/1.1\r\nHost: t\r\n" + lines + b"\r\n\r\n{}" +
                                  b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n")
                self.assertTrue(answer.startswith(b"HTTP/1.1 400"), answer[:100])
                self.assertNotIn(b"200 OK", answer)  # what follows is not taken for a request

    # ---- plumbing ----

    def test_head_is_get_without_a_body(self):
        for path in ("/health", "/ready", "/v1/models", "/v1/models/demo"):
            status, headers, data = self.server.request("HEAD", path)
            self.assertEqual((status, data), (200, b""))
            self.assertEqual(int(headers["Content-Length"]), len(self.server.get(path)[2]))

    def test_preflights_are_answered_except_for_admin(self):
        ask = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST",
               "Access-Control-Request-Headers": "authorization, content-type"}
        status, headers, _ = self.server.request("OPTIONS", "/v1/chat/completions", headers=ask)
        self.assertEqual(status, 204)
        self.assertEqual(headers["Access-Control-Allow-Origin"], "*")
        self.assertIn("POST", headers["Access-Control-Allow-Methods"])
        self.assertIn("authorization", headers["Access-Control-Allow-Headers"])
        _, headers, _ = self.server.request("OPTIONS", "/admin/adapters", headers=ask)
        self.assertNotIn("Access-Control-Allow-Origin", headers)

    def test_pages_of_other_sites_may_read_answers_and_errors(self):
        for path in ("/v1/models", "/v1/models/none", "/nowhere"):
            _, headers, _ = self.server.request("GET", path, headers={"Origin": "https://a.example"})
            self.assertEqual(headers["Access-Control-Allow-Origin"], "*")
            self.assertEqual(headers["Access-Control-Expose-Headers"], "*")
            self.assertNotIn("Access-Control-Allow-Origin", self.server.request("GET", path)[1])

    def test_request_ids_are_kept_or_made(self):
        _, headers, _ = self.server.request("GET", "/health", headers={"x-request-id": "abc-1.2:3_x"})
        self.assertEqual(headers["x-request-id"], "abc-1.2:3_x")
        for bad in ("a b", "x" * 200, "<script>"):
            _, headers, _ = self.server.request("GET", "/health", headers={"x-request-id": bad})
            self.assertTrue(headers["x-request-id"].startswith("req_"))
        made = {self.server.get("/health")[1]["x-request-id"] for _ in range(20)}
        self.assertEqual(len(made), 20)

    def test_answers_have_ids_of_their_own_whatever_the_request_is_called(self):
        ids = set()
        for _ in range(3):
            ask = {**CHAT, "max_tokens": 1}
            _, _, data = self.server.request("POST", "/v1/chat/completions", ask, {"x-request-id": "same"})
            ids.add(json.loads(data)["id"])
        self.assertEqual({len(i) for i in ids}, {len("chatcmpl-") + 24})
        self.assertEqual(len(ids), 3)

    def test_numbers_that_nobody_reads_may_be_of_any_size(self):
        status, _, _ = self.server.request("POST", "/v1/chat/completions", {**CHAT, "max_tokens": 1, "trace": 10**30})
        self.assertEqual(status, 200)

    def test_paths_may_be_absolute_doubled_slashed_or_encoded(self):
        for path in ("/v1/models/", "//v1//models", f"http://127.0.0.1:{self.server.port}/v1/models", "/v1/models?x=1"):
            self.assertEqual(self.server.get(path)[0], 200, path)
        for path in ("/v1/models/demo:sql", "/v1/models/demo%3Asql", "/v1/models/demo:sql@prod",
                     "/v1/models/demo%3asql%40prod", "/v1/models/sql"):
            self.assertEqual(self.server.get(path)[0], 200, path)
        for path in ("/v1/models/%00", "/v1/models/%zz", "/v1/models/%ff"):
            self.assertEqual(self.server.get(path)[0], 400, path)

    def test_one_connection_serves_many_requests_also_after_errors(self):
        connection = self.server.connect()
        for i in range(12):
            body = json.dumps(CHAT if i % 3 else {**CHAT, "model": "nope"})
            kind = "application/json" if i % 4 else "text/plain"
            connection.request("POST", "/v1/chat/completions", body, {"Content-Type": kind})
            response = connection.getresponse()
            self.assertEqual(response.status, 415 if i % 4 == 0 else 404 if i % 3 == 0 else 200)
            response.read()
        connection.close()

    def test_pipelined_requests_are_answered_in_order(self):
        one = b"GET /v1/models/demo HTTP/1.1\r\nHost: t\r\n\r\n"
        body = json.dumps(CHAT).encode()
        two = b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        last = b"GET /nope HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
        answer = self.raw(one + two + one + last)
        places = [answer.index(b'"object":"model"'), answer.index(b'"chat.completion"'), answer.rindex(b'"object":"model"'),
                  answer.index(b"404 Not Found")]
        self.assertEqual(places, sorted(places))

    def test_bodies_in_chunks_and_after_100_continue_are_served(self):
        body = json.dumps(CHAT).encode()
        chunks = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(body[i:i + 7]), body[i:i + 7]) for i in range(0, len(body), 7))
        answer = self.raw(b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nConnection: close\r\n"
                          b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 200"), answer[:200])
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=20) as s:
            s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nConnection: close\r\nExpect: 100-continue\r\n"
                      b"Content-Length: %d\r\n\r\n" % len(body))
            self.assertTrue(s.recv(100).startswith(b"HTTP/1.1 100"))
            s.sendall(body)
            self.assertTrue(s.recv(100).startswith(b"HTTP/1.1 200"))

    def test_an_http_1_0_client_gets_its_stream_to_the_end(self):
        body = json.dumps({**CHAT, "stream": True}).encode()
        answer = self.raw(b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        self.assertNotIn(b"chunked", answer)
        self.assertTrue(answer.endswith(b"data: [DONE]\n\n"), answer[-80:])

    # ---- answers ----

    def test_a_stream_has_the_captured_order_and_one_identity(self):
        for n in (1, 3):
            stream = Stream(self.server, "What is 2 plus 3?", "demo", n=n, max_tokens=8,
                            stream_options={"include_usage": True})
            self.assertEqual(stream.headers["Content-Type"], "text/event-stream; charset=utf-8")
            self.assertEqual(stream.headers["Cache-Control"], "no-cache")
            self.assertEqual(stream.headers["X-Accel-Buffering"], "no")
            events = list(stream.events())
            stream.close()
            self.assertEqual(len({(e["id"], e["created"], e["model"], e["object"]) for e in events}), 1)
            self.assertEqual(events[-1]["choices"], [])
            self.assertGreater(events[-1]["usage"]["completion_tokens"], 0)
            self.assertTrue(all(e["usage"] is None for e in events[:-1]))
            for index in range(n):
                mine = [e["choices"][0] for e in events[:-1] if e["choices"][0]["index"] == index]
                self.assertEqual(mine[0]["delta"], {"role": "assistant", "content": "", "refusal": None})
                self.assertEqual([c["finish_reason"] for c in mine].count(None), len(mine) - 1)
                self.assertEqual(mine[-1]["delta"], {})
                self.assertIn(mine[-1]["finish_reason"], ("stop", "length"))

    def test_answers_carry_their_headers(self):
        _, headers = self.server.chat("What is 2 plus 3?", "demo:sql", max_tokens=2)
        self.assertEqual(headers["x-rootstock-adapter"], "sql")
        self.assertRegex(headers["x-rootstock-revision"], "^[0-9a-f]{64}$")
        self.assertIn(headers["x-rootstock-residency"], ("hit", "disk", "cold"))
        for name in ("x-rootstock-overhead-us", "x-rootstock-queue-us"):
            self.assertGreaterEqual(int(headers[name]), 0)
        _, headers = self.server.chat("hello there", "auto", max_tokens=2)
        self.assertEqual(headers["x-vsr-selected-decision"], "general")
        self.assertEqual(headers["x-vsr-selected-model"], "demo")
        self.assertEqual(headers["x-vsr-selected-recipe"], "default")
        self.assertNotIn("x-vsr-selected-reasoning", headers)

    def test_a_revision_can_be_asked_for_by_its_digest(self):
        _, headers = self.server.chat("x", "demo:sql", max_tokens=1)
        digest = headers["x-rootstock-revision"]
        for name in (f"demo:sql@{digest}", f"demo:sql@{digest[:12]}", f"sql@sha256:{digest[:8]}", f"sql@sha256-{digest[:20]}"):
            _, again = self.server.chat("x", name, max_tokens=1)
            self.assertEqual(again["x-rootstock-revision"], digest)

    def test_completions_take_many_prompts_echo_and_logprobs(self):
        ask = {"model": "demo", "prompt": ["What is 2", "The capital"], "n": 2, "max_tokens": 3, "echo": True, "seed": 1}
        answer = json.loads(self.server.request("POST", "/v1/completions", ask)[2])
        self.assertEqual([c["index"] for c in answer["choices"]], [0, 1, 2, 3])
        self.assertTrue(all(c["text"].startswith(ask["prompt"][i // 2]) for i, c in enumerate(answer["choices"])))
        ask = {"model": "demo", "prompt": "What is 2", "max_tokens": 5, "logprobs": 2, "temperature": 0}
        choice = json.loads(self.server.request("POST", "/v1/completions", ask)[2])["choices"][0]
        shapes = choice["logprobs"]
        self.assertEqual({len(shapes[k]) for k in ("tokens", "token_logprobs", "top_logprobs", "text_offset")},
                         {len(shapes["tokens"])})
        self.assertTrue(all(v <= 0 for v in shapes["token_logprobs"]))
        unbounded = {"model": "demo", "prompt": "What is 2", "extra": 1, "ignore_eos": True}
        answer = json.loads(self.server.request("POST", "/v1/completions", unbounded)[2])
        self.assertEqual(answer["usage"]["completion_tokens"], 16)  # as OpenAI documents it
        nothing = {"model": "demo", "prompt": "What is 2", "max_tokens": 0, "echo": True}
        answer = json.loads(self.server.request("POST", "/v1/completions", nothing)[2])
        self.assertEqual(answer["choices"][0]["text"], "What is 2")
        self.assertEqual(answer["usage"]["completion_tokens"], 0)

    def test_a_prompt_beyond_the_context_is_400(self):
        ask = {**CHAT, "messages": [{"role": "user", "content": "word " * 100_000}]}
        for stream in (False, True):
            status, error, _ = self.error("POST", "/v1/chat/completions", {**ask, "stream": stream})
            self.assertEqual((status, error["code"]), (400, "context_length_exceeded"))

    def test_a_prompt_of_megabytes_holds_nobody_up(self):
        # as much as the body's limit takes: the answer comes without cutting all of it into tokens
        text = "word " * (BODY_LIMIT // 5 - 100)
        for path, ask in (("/v1/chat/completions", {**CHAT, "messages": [{"role": "user", "content": text}]}),
                          ("/v1/completions", {"model": "demo", "prompt": text}),
                          ("/v1/embeddings", {"model": "demo", "input": ["a", text]})):
            status, error, _ = self.error("POST", path, ask)
            self.assertEqual((status, error["code"]), (400, "context_length_exceeded"))

    def test_tokens_are_counted_and_spelt(self):
        def ask(path, **body):
            status, _, data = self.server.request("POST", path, body)
            self.assertEqual(status, 200, data)
            return json.loads(data)

        usage = json.loads(self.server.request("POST", "/v1/chat/completions", CHAT)[2])["usage"]
        counted = ask("/tokenize", model="demo", messages=CHAT["messages"])
        self.assertEqual(counted["count"], usage["prompt_tokens"])
        self.assertEqual(set(counted), {"count", "max_model_len", "tokens", "token_strs"})
        for text in ("What is 2 plus 3?", "naïve 🦙\n  two", "<|im_end|> stays text"):
            whole = ask("/tokenize", model="demo:sql", prompt=text, return_token_strs=True)
            self.assertEqual((whole["count"], len(whole["token_strs"])), (len(whole["tokens"]),) * 2)
            self.assertEqual(ask("/detokenize", model="demo", tokens=whole["tokens"]), {"prompt": text})
            pieces = ask("/tokenize", content=text, with_pieces=True)["tokens"]
            data = b"".join(p["piece"].encode() if isinstance(p["piece"], str) else bytes(p["piece"]) for p in pieces)
            self.assertEqual(data.decode(), text)
            self.assertEqual(ask("/detokenize", tokens=[p["id"] for p in pieces])["content"], text)

    def test_eval_names_the_decision_without_inference(self):
        for body in ({"text": "hello there"}, {"messages": [{"role": "user", "content": "hello there"}]}):
            answer = json.loads(self.server.request("POST", "/api/v1/eval", body)[2])
            self.assertEqual(answer["decision_result"]["decision_name"], "general")
        self.assertEqual(self.error("POST", "/api/v1/eval", {})[0], 400)

    # ---- admin ----

    def test_an_alias_moves_and_rolls_back_by_http(self):
        def revision():
            return self.server.chat("x", "demo:triage", max_tokens=1)[1]["x-rootstock-revision"]

        info = json.loads(self.server.get("/admin/adapters/triage")[2])
        self.assertEqual((info["name"], info["base"]), ("triage", "demo"))
        digests = [r["revision"] for r in info["revisions"]]
        before = revision()
        other = next(d for d in digests if d != before)
        status, _, data = self.server.request("POST", "/admin/adapters/triage/alias", {"alias": "prod", "revision": other})
        self.assertEqual((status, json.loads(data)["revision"]), (200, other))
        self.assertEqual(revision(), other)
        status, error, _ = self.error("POST", "/admin/adapters/triage/alias",
                                      {"alias": "prod", "revision": before, "expected": before})
        self.assertEqual((status, error["code"]), (412, "precondition_failed"))
        status, _, _ = self.server.request("POST", "/admin/adapters/demo:triage/rollback", {})
        self.assertEqual(status, 200)
        self.assertEqual(revision(), before)

    def test_admin_mistakes_are_told(self):
        for path, body, status in (("/admin/adapters/nope/alias", {"alias": "prod", "revision": "1"}, 404),
                                   ("/admin/adapters/sql/alias", {"alias": "prod"}, 400),
                                   ("/admin/adapters/sql/alias", {"alias": "prod", "revision": "1", "forse": 1}, 400),
                                   ("/admin/adapters/nope/rollback", {}, 404)):
            self.assertEqual(self.error("POST", path, body)[0], status, (path, body))
        self.assertEqual(self.error("GET", "/admin/adapters/nope")[0], 404)
        listed = json.loads(self.server.get("/admin/adapters")[2])["data"]
        self.assertIn("sql", [a["name"] for a in listed])

    # ---- bad clients ----

    def test_a_reset_in_the_middle_harms_nobody(self):
        for _ in range(20):
            stream = Stream(self.server, "tell", "demo", ignore_eos=True, max_tokens=300)
            stream.response.read(1)
            stream.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            stream.close()
        deadline = time.monotonic() + 5 * PATIENCE
        while b"rootstock_engine_running 0\n" not in self.server.get("/metrics")[2]:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        self.assertTrue(self.server.chat("What is 2 plus 3?")[0])

    def test_a_head_that_never_ends_holds_only_itself(self):
        with socket.create_connection(("127.0.0.1", self.server.port)) as slow:
            slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost")
            self.assertEqual(self.server.get("/health")[0], 200)
            self.assertTrue(self.server.chat("What is 2 plus 3?")[0])

    def test_no_prompt_reaches_the_log(self):
        self.server.chat("xyzzy-marker-in-a-prompt", max_tokens=1)
        self.error("POST", "/v1/chat/completions", {**CHAT, "model": "xyzzy-marker-in-a-name"})
        log = self.server.log_text()
        self.assertIn("event=request", log)
        self.assertNotIn("xyzzy-marker", log)


if __name__ == "__main__":
    tap.main()
