"""What clients do wrong in front of engines behind, one fault a test, and that it harms nobody else.

The numbers are those of the list of faults in the contract. --full: 10,000 idle streams instead of fewer.
"""
import gzip
import http.client
import json
import pathlib
import re
import resource
import selectors
import socket
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.behind import Client, ask, behind, chat, rss, upstream  # noqa: E402
from support.mock import Mock, text_of  # noqa: E402
from support.rootstock import PATIENCE, SANITIZED, metric, wait_for  # noqa: E402

FULL = "--full" in sys.argv
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
NEVER = {"connect": "5s", "first_byte": "120s", "idle": "120s"}
MIB = 1 << 20
MUCH = (512 if SANITIZED else 64) * MIB  # resident memory; a sanitizer keeps what was freed for a while
LEAVE_TRIES = 5  # the best of them counts: the machine is shared
LEAVE_US = 100_000 * PATIENCE
SPARE_FILES = 400  # of a process, beside its streams


def serve(mock, gateway=None, env=None):
    """A server whose model m waits for ever, and whose model two has two endpoints."""
    pair = [{"url": mock.url + "/first/v1", "priority": 0}, {"url": mock.url + "/second/v1", "priority": 1}]
    return behind({"m": upstream(mock, timeouts=NEVER), "two": upstream(mock, endpoints=pair, timeouts=NEVER)}, gateway, env)


class Faults(unittest.TestCase):
    """One server, one mock for most cases."""

    @classmethod
    def setUpClass(cls):
        cls.mock = Mock()
        cls.server = serve(cls.mock)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.mock.stop()

    def tearDown(self):
        wait_for(lambda: metric(self.server, "requests_active") == 1, 10, "the end of all requests but this")

    def raw(self, *parts, server=None, timeout=20):
        """Bytes out, all bytes back."""
        with socket.create_connection(("127.0.0.1", (server or self.server).port), timeout=timeout * PATIENCE) as s:
            try:
                for part in parts:
                    s.sendall(part)
            except OSError:
                pass  # refused meanwhile: the answer is what counts
            seen = b""
            try:
                while part := s.recv(1 << 16):
                    seen += part
            except (ConnectionResetError, TimeoutError):
                pass
            return seen

    def asked(self):
        """How often the engine behind was asked so far."""
        return self.mock.counts()["requests"]

    def assert_well(self, server=None):
        """Others are served."""
        reply = ask(server or self.server, chat(""))
        self.assertEqual((reply.status, reply.text, reply.done), (200, text_of(4), True))

    def assert_left(self, name, left_us):
        """The engine behind saw the client leave: how late, in us."""
        wait_for(lambda: self.mock.tries(name)[-1]["left_us"], 10, f"the end of {name} behind")
        return self.mock.tries(name)[-1]["left_us"] - left_us

    def assert_leaves_soon(self, what, leave):
        """leave(number) → how late the other side heard of it; the best try is within 100 ms."""
        late = []
        for i in range(LEAVE_TRIES):
            late.append(leave(i))
            if min(late) <= LEAVE_US:
                break
        print(f"# {what}: closed behind after {min(late) / 1000:.1f} ms")
        self.assertLessEqual(min(late), LEAVE_US)

    # ---- 24: slow ones ----

    def test_24_heads_and_bodies_that_drip_hold_only_themselves(self):
        before, slow = self.asked(), []
        for i in range(100):
            s = socket.create_connection(("127.0.0.1", self.server.port))
            s.sendall(CHAT if i % 2 else CHAT + b"Content-Length: 100000\r\n\r\n{")
            slow.append(s)
        size = rss(self.server.process)
        for _ in range(5):
            for i, s in enumerate(slow):
                s.sendall(b"x: y\r\n" if i % 2 else b" ")
            self.assert_well()
        self.assertLess(rss(self.server.process) - size, MUCH)
        self.assertEqual(self.asked() - before, 5)  # none of theirs
        for s in slow:
            reset(s)

    def drip(self, server, start, drop, gap=0.05, seconds=30):
        """All that comes back while bytes are sent one after the other without an end."""
        with socket.create_connection(("127.0.0.1", server.port)) as s:
            s.sendall(start)
            s.settimeout(gap)
            seen, until = b"", time.monotonic() + seconds * PATIENCE
            while time.monotonic() < until:
                try:
                    s.sendall(drop)
                    part = s.recv(65536)
                    if not part:
                        return seen
                    seen += part
                except TimeoutError:
                    pass
                except OSError:
                    return seen
        return self.fail("it was never cut")

    def assert_408(self, seen):
        self.assertTrue(seen.startswith(b"HTTP/1.1 408 Request Timeout\r\n"), seen)
        head, body = seen.split(b"\r\n\r\n")
        self.assertIn(b"Content-Length: %d" % len(body), head)
        return json.loads(body)["error"]

    def test_24_a_head_that_never_ends_is_408(self):
        server = serve(self.mock, {"limits": {"head_time": "400ms"}})
        self.addCleanup(server.stop)
        for start in (b"P", CHAT):
            error = self.assert_408(self.drip(server, start, b"x" if start == b"P" else b"x: y\r\n"))
            self.assertIn("head_time", error["message"])
        body = json.dumps(chat("", stream=False)).encode()
        request = CHAT + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        for behind_it in (b"", CHAT):  # a second one on its connection; the first half of it came with the first
            seen = self.drip(server, request + behind_it, b"x: y\r\n" if behind_it else b"P")
            self.assertTrue(seen.startswith(b"HTTP/1.1 200"), seen)
            self.assert_408(seen[seen.rindex(b"HTTP/1.1"):])
        self.assert_well(server)

    def test_24_only_heads_that_have_begun_are_hurried(self):
        server = serve(self.mock, {"limits": {"head_time": "300ms"}})
        self.addCleanup(server.stop)
        body = json.dumps(chat("id=hurry hold@frame:2")).encode()
        request = CHAT + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        with socket.create_connection(("127.0.0.1", server.port)) as s:
            s.settimeout(20 * PATIENCE)
            for _ in range(2):  # nothing was sent yet; then between two requests
                time.sleep(1.5)
                s.sendall(request)
                seen = b""
                while b"t1 " not in seen:
                    seen += s.recv(65536)
                time.sleep(1)  # an answer takes what it takes
                self.mock.release("hurry")
                while b"data: [DONE]" not in seen:
                    seen += s.recv(65536)
                while not seen.endswith(b"0\r\n\r\n"):
                    seen += s.recv(65536)
                self.assertEqual(seen.count(b"HTTP/1.1"), 1)
        slow = self.raw(CHAT, b"Content-Length: 2\r\nConnection: close\r\n", b"\r\n{}", server=server)
        self.assertTrue(slow.startswith(b"HTTP/1.1 400"), slow)  # a body without a model

    def test_24_a_body_that_drips_is_408_in_its_routes_words(self):
        server = serve(self.mock, {"limits": {"body_time": "400ms", "body_rate": 0}})
        self.addCleanup(server.stop)
        before = self.asked()
        for wire in (CHAT, CHAT.replace(b"chat/completions", b"messages")):
            for framing, drop in ((b"Content-Length: 100000\r\n\r\n{", b" "), (b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n")):
                seen = self.drip(server, wire + framing, drop)
                error = self.assert_408(seen)
                self.assertIn("too slowly", error["message"])
                self.assertEqual("code" in error, b"messages" not in wire)
        self.assertEqual(self.asked(), before)
        self.assert_well(server)

    def test_24_a_body_that_keeps_its_rate_may_take_longer(self):
        server = serve(self.mock, {"limits": {"body_time": "600ms", "body_rate": "1KiB"}})
        self.addCleanup(server.stop)
        body = chat("", stream=False)
        body["messages"].append({"role": "user", "content": "word " * 4000})
        data = json.dumps(body).encode()
        with socket.create_connection(("127.0.0.1", server.port)) as s:
            s.sendall(CHAT + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(data))
            for at in range(0, len(data), 2000):
                s.sendall(data[at:at + 2000])
                time.sleep(0.15)
            s.settimeout(20 * PATIENCE)
            self.assertTrue(s.recv(65536).startswith(b"HTTP/1.1 200"))

    def test_24_a_slow_reader_slows_the_engine_behind_and_loses_nothing(self):
        frames, size = 15000, 4000  # far more than all buffers together
        self.assert_well()
        before = rss(self.server.process)
        client = Client(self.server, chat(f"id=slow frames={frames} size={size}"))
        client.read_until(b"t3 ")
        wait_for(lambda: self.mock.counts()["blocked"] > 0, 20, "the engine behind to be blocked")
        sent = -1
        while sent != (sent := self.mock.tries("slow")[0]["bytes"]):
            time.sleep(0.3)
        self.assertLess(sent, frames * size / 2)  # it stands still, unfinished
        grown = rss(self.server.process) - before
        print(f"# unread: {sent / MIB:.1f} MiB sent behind, {grown / MIB:.1f} MiB grown here")
        self.assertLess(grown, MUCH)
        self.assert_well()
        data = unchunked(client.rest())
        client.leave()
        numbers = [int(n) for n in re.findall(rb'"content":"t(\d+) ', data)]
        self.assertEqual(numbers, list(range(frames)))
        self.assertIn(b"data: [DONE]", data)

    # ---- 25: those who leave ----

    def test_25_leaving_before_the_first_byte_closes_behind(self):
        def leave(i):
            client = Client(self.server, chat(f"id=early{i} hold@request"))
            wait_for(lambda: self.mock.tries(f"early{i}"), 10, "the request behind")
            return self.assert_left(f"early{i}", client.leave())

        self.assert_leaves_soon("before the first byte", leave)

    def test_25_leaving_a_whole_answer_closes_behind(self):
        def leave(i):
            client = Client(self.server, chat(f"id=whole{i} hold@mid", stream=False))
            wait_for(lambda: self.mock.tries(f"whole{i}"), 10, "the request behind")
            return self.assert_left(f"whole{i}", client.leave())

        self.assert_leaves_soon("in a whole answer", leave)

    def test_25_leaving_in_the_middle_closes_behind(self):
        def leave(i):
            client = Client(self.server, chat(f"id=mid{i} hold@frame:2"))
            client.read_until(b"t1 ")
            return self.assert_left(f"mid{i}", client.leave())

        self.assert_leaves_soon("in the middle", leave)

    def test_25_leaving_during_a_fallback_closes_behind_and_ends_the_trying(self):
        def leave(i):
            client = Client(self.server, chat(f"id=back{i} rst@request|hold@request", "two"))
            wait_for(lambda: len(self.mock.tries(f"back{i}")) == 2, 10, "the second try")
            late = self.assert_left(f"back{i}", client.leave())
            time.sleep(0.2)
            self.assertEqual(len(self.mock.tries(f"back{i}")), 2)
            return late

        self.assert_leaves_soon("during a fallback", leave)

    def test_25_a_half_closed_client_counts_as_gone(self):
        client = Client(self.server, chat("id=half hold@frame:2"))
        client.read_until(b"t1 ")
        client.socket.shutdown(socket.SHUT_WR)
        self.assert_left("half", time.monotonic_ns() // 1000)
        client.leave()

    def test_25_leaving_is_no_fault_of_the_engine_behind(self):
        for i in range(20):
            client = Client(self.server, chat(f"id=many{i} hold@frame:1"))
            client.read_until(b"t0 ")
            client.leave()
        self.assert_well()

    # ---- 26: bodies ----

    def test_26_a_body_of_100_mb_is_413(self):
        before, size = self.asked(), rss(self.server.process)
        for head in (b"Content-Length: 104857600\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"):
            chunk = b"100000\r\n" + b" " * MIB + b"\r\n" if b"chunked" in head else b" " * MIB
            answer = self.raw(CHAT + head, *[chunk] * 100)
            self.assertIn(b"HTTP/1.1 413", answer[:40])
            self.assertIn(b"request_too_large", answer)
        self.assertEqual(self.asked(), before)
        self.assertLess(rss(self.server.process) - size, MUCH)

    def test_26_a_body_that_is_shorter_than_it_says_is_never_passed_on(self):
        before = self.asked()
        for lie in (1, 1000):
            body = json.dumps(chat("")).encode()
            with socket.create_connection(("127.0.0.1", self.server.port)) as s:
                s.sendall(CHAT + b"Content-Length: %d\r\n\r\n%s" % (len(body) + lie, body))
                s.shutdown(socket.SHUT_WR)
                s.settimeout(20 * PATIENCE)
                self.assertEqual(s.recv(65536), b"")  # closed: the rest cannot come any more
        wait_for(lambda: metric(self.server, "requests_active") == 1, 10, "the end of both")
        self.assert_well()
        self.assertEqual(self.asked(), before + 1)

    def test_26_a_body_that_pauses_too_long_is_408(self):
        server = serve(self.mock, {"limits": {"body_idle": "300ms"}})
        self.addCleanup(server.stop)
        for wire in (CHAT, CHAT.replace(b"chat/completions", b"messages")):
            seen = self.raw(wire + b"Content-Length: 1000\r\n\r\n{", server=server)
            self.assertTrue(seen.startswith(b"HTTP/1.1 408 Request Timeout\r\n"), seen)
            head, body = seen.split(b"\r\n\r\n")
            self.assertIn("error", json.loads(body))
            self.assertIn(b"Content-Length: %d" % len(body), head)
        self.assert_well(server)

    def test_26_half_bodies_do_not_hold_up_the_end(self):
        server = serve(self.mock, {"drain": "500ms"})
        self.addCleanup(lambda: server.process.poll() is None and server.stop())
        half = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
        for i, s in enumerate(half):
            s.sendall(CHAT + (b"Content-Length: 1000\r\n\r\n{" if i % 2 else b"Transfer-Encoding: chunked\r\n\r\n9\r\n{"))
        wait_for(lambda: metric(server, "requests_active") == 21, 10, "20 uploads")
        server.stop(expect=0)
        for s in half:
            self.assertIn(b" 503 ", s.recv(65536))
            s.close()

    def test_26_what_comes_after_a_body_is_no_part_of_it(self):
        body = json.dumps(chat("", stream=False)).encode()
        answer = self.raw(CHAT + b"Content-Length: %d\r\nConnection: close\r\n\r\n%s{\"x\":1}" % (len(body), body))
        self.assertIn(b"HTTP/1.1 200", answer)
        self.assertEqual(answer.count(b"HTTP/1.1"), 1)

    def test_26_chunks_of_a_byte_and_packed_bodies_are_bounded(self):
        body = json.dumps(chat("", stream=False)).encode()
        drops = b"".join(b"1\r\n%c\r\n" % c for c in body) + b"0\r\n\r\n"
        self.assertIn(b"HTTP/1.1 200", self.raw(CHAT + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + drops))
        before = self.asked()
        for head in (b"-1\r\n", b"zz\r\n", b"1" * 5000 + b"\r\n"):
            answer = self.raw(CHAT + b"Transfer-Encoding: chunked\r\n\r\n" + head + b"x\r\n0\r\n\r\n")
            self.assertRegex(answer[:40], b"HTTP/1.1 4(00|13)")
        with socket.create_connection(("127.0.0.1", self.server.port)) as s:
            s.sendall(CHAT + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx")
            reset(s)
        bomb = gzip.compress(b" " * (64 * MIB))
        answer = self.raw(CHAT + b"Content-Encoding: gzip\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
                          % (len(bomb), bomb))
        self.assertRegex(answer[:40], b"HTTP/1.1 4(13|15)")
        self.assertEqual(self.asked(), before)

    def test_26_a_prompt_of_10_mb_comes_through_unchanged(self):
        text = "é" * 5_000_000
        body = {"model": "m", "stream": False, "messages": [{"role": "user", "content": "mock[id=big] " + text}], "odd": {"a": [1.0]}}
        reply = ask(self.server, body)
        self.assertEqual((reply.status, reply.text), (200, text_of(4)))
        sent = json.loads(self.mock.request("big")[1])
        self.assertEqual(sent["messages"], body["messages"])
        self.assertEqual(sent["odd"], body["odd"])

    # ---- 27: JSON ----

    def test_27_bad_json_is_400_and_asks_nobody(self):
        before = self.asked()
        good = json.dumps(chat(""))
        for body in (b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"{}}", good.encode()[:-1], b"nul", b"\xef\xbb\xbf{",
                     good.replace('"m"', '"m", "model": "two"').encode(), good.replace("true", "NaN").encode(),
                     good.replace("mock[]", "a\\u0000b").replace("{", "{\"x\":\x00", 1).encode(),
                     good.replace("mock[]", "\x01").encode(), good.replace("mock[]", "\\x").encode(),
                     b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"," + good.encode()[1:],
                     good.replace("true", "true,\"n\":1e999").encode(), good.replace("true", "true,\"n\":" + "9" * 400).encode()):
            with self.subTest(body=body[:60]):
                answer = self.raw(CHAT + b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                self.assertIn(b"HTTP/1.1 400", answer[:40])
                self.assertIn(b'"invalid_request_error"', answer)
        self.assertEqual(self.asked(), before)

    def test_27_a_million_keys_are_read_in_bounded_time_or_refused(self):
        keys = ",".join(f'"k{i}":{i}' for i in range(1_000_000))
        body = ("{" + keys + "," + json.dumps(chat("", stream=False))[1:]).encode()
        size = rss(self.server.process)
        answer = self.raw(CHAT + b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body), timeout=60)
        self.assertRegex(answer[:40], b"HTTP/1.1 (200|400|413)")
        self.assertLess(rss(self.server.process) - size, 512 * MIB)
        self.assert_well()

    def test_27_numbers_and_texts_at_their_bounds_come_through(self):
        body = chat("id=bounds", stream=False, seed=2**53 + 1, logit_bias={"1": -100}, metadata={"k": "\u001f\ud83d\ude00"})
        data = json.dumps(body)
        reply = ask(self.server, body)
        self.assertEqual(reply.status, 200, reply.body[:300])
        sent = self.mock.request("bounds")[1].decode()
        self.assertEqual(json.loads(sent)["seed"], 2**53 + 1)
        self.assertEqual(json.loads(sent)["metadata"], json.loads(data)["metadata"])

    # ---- 28, 29: HTTP ----

    def test_28_bad_heads_are_refused_and_ask_nobody(self):
        before = self.asked()
        body = json.dumps(chat("")).encode()
        length = b"Content-Length: %d\r\n" % len(body)
        for lines, status in ((b"x: " + b"a" * 100_000 + b"\r\n" + length, b"431"),
                              (b"".join(b"x%d: y\r\n" % i for i in range(20_000)) + length, b"431"),
                              (length + b"Transfer-Encoding: chunked\r\n", b"400"),
                              (length + b"Content-Length: 5\r\n", b"400"),
                              (b"Transfer-Encoding: identity, chunked\r\n", b"400")):
            with self.subTest(lines=lines[:40]):
                answer = self.raw(CHAT + lines + b"\r\n" + body)
                self.assertIn(b"HTTP/1.1 " + status, answer[:40])
                self.assertNotIn(b"200 OK", answer)
        for lines in (b"x: a\r\n  folded\r\n" + length, length + b" x: y\r\n"):  # refused, or read as one header
            answer = self.raw(CHAT + b"Connection: close\r\n" + lines + b"\r\n" + body)
            self.assertRegex(answer[:40], b"HTTP/1.1 (200|400)")
        self.assertLessEqual(self.asked() - before, 2)

    def test_28_pipelined_requests_are_answered_in_order(self):
        parts = []
        for i in range(10):
            body = json.dumps(chat(f"frames=1 big={i + 1} first={(10 - i) * 5}", stream=i % 2 == 0)).encode()
            more = b"Connection: close\r\n" if i == 9 else b""
            parts.append(CHAT + more + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        answer = self.raw(b"".join(parts))
        self.assertEqual(answer.count(b"HTTP/1.1 200"), 10)
        self.assertEqual([len(y) for y in re.findall(rb'(?:t0 |content":")(y+)"', answer)], list(range(1, 11)))

    def test_29_a_client_that_expects_100_gets_it_or_a_refusal(self):
        body = json.dumps(chat("", stream=False)).encode()
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=20 * PATIENCE) as s:
            s.sendall(CHAT + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
            self.assertTrue(s.recv(100).startswith(b"HTTP/1.1 100"))
            s.sendall(body)
            self.assertTrue(s.recv(100).startswith(b"HTTP/1.1 200"))
        answer = self.raw(CHAT + b"Expect: 100-continue\r\nContent-Length: 999999999\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 413"), answer[:40])
        head = self.mock.request("big")[0] if self.mock.tries("big") else ""
        self.assertNotIn("xpect", head)  # and none is sent behind

    # ---- 30 to 32: many ----

    def test_30_many_idle_streams_and_new_requests_beside_them(self):
        files = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))
        room = (files[1] - SPARE_FILES) // 2 if files[1] != resource.RLIM_INFINITY else 10_000
        n = min(10_000 if FULL else 300 if SANITIZED else 2000, room)
        body = json.dumps(chat("id=idle hold@frame:1")).encode()
        request = CHAT + b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        before, streams, waiting = rss(self.server.process), [], selectors.DefaultSelector()
        for start in range(0, n, 100):
            batch = [socket.create_connection(("127.0.0.1", self.server.port)) for _ in range(min(100, n - start))]
            for s in batch:
                s.sendall(request)
            streams += batch
        for s in streams:
            waiting.register(s, selectors.EVENT_READ, bytearray())
        begun = 0
        deadline = time.monotonic() + 60 * PATIENCE
        while begun < n and time.monotonic() < deadline:
            for key, _ in waiting.select(1):
                key.data.extend(key.fileobj.recv(65536))
                if b"t0 " in key.data:
                    begun += 1
                    waiting.unregister(key.fileobj)
        self.assertEqual(begun, n)
        grown = rss(self.server.process) - before
        asked, start = 300 if SANITIZED else 1000, time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20 * PATIENCE)
        for _ in range(asked):
            connection.request("POST", "/v1/chat/completions", json.dumps(chat("", stream=False)),
                               {"Content-Type": "application/json"})
            self.assertIn(b"t0 t1 t2 t3 ", connection.getresponse().read())
        connection.close()
        print(f"# {n} idle streams: {grown / n / 1024:.1f} KiB each; {asked / (time.monotonic() - start):.0f} requests/s beside them")
        self.assertEqual(self.mock.counts()["active"], n)
        self.mock.release("idle")
        for s in streams:
            s.settimeout(30 * PATIENCE)
            data = b""
            while part := s.recv(65536):
                data += part
            self.assertIn(b"[DONE]", data)
            s.close()

    def serve_with_descriptors(self, more):
        """A gateway that may open so many more than it has."""
        server = serve(self.mock, {"http_threads": 2})
        self.addCleanup(server.stop)
        self.assert_well(server)
        most = len(list(pathlib.Path(f"/proc/{server.process.pid}/fd").iterdir())) + more
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (most, most))
        return server

    def test_31_without_descriptors_others_wait_or_are_refused_and_come_back(self):
        server = self.serve_with_descriptors(40)
        held, statuses = [], set()
        for i in range(60):
            client = Client(server, chat(f"id=files{i} hold@frame:1"))
            client.socket.settimeout(0.3)
            held.append(client)
        for client in held:
            try:
                head = client.socket.recv(4096)
                statuses.add(head[9:12] or b"closed")
            except TimeoutError:
                statuses.add(b"waits")
            except ConnectionResetError:
                statuses.add(b"closed")
        print(f"# without descriptors: {sorted(s.decode() for s in statuses)}")
        self.assertLessEqual(statuses, {b"200", b"500", b"502", b"503", b"waits", b"closed"})
        busy = cpu(server.process.pid)
        time.sleep(1)
        self.assertLess(cpu(server.process.pid) - busy, 0.5 * PATIENCE)  # nobody spins on accept
        for client in held:
            client.leave()
        wait_for(lambda: ask_quietly(server) == 200, 10, "an answer")
        for _ in range(10):
            self.assert_well(server)

    def test_31_who_waits_for_a_descriptor_is_served_when_another_leaves(self):
        server, held = self.serve_with_descriptors(20), []
        for _ in range(40):
            held.append(socket.create_connection(("127.0.0.1", server.port), timeout=0.5 * PATIENCE))
            self.addCleanup(held[-1].close)
            held[-1].sendall(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n")
            try:
                self.assertTrue(held[-1].recv(4096).startswith(b"HTTP/1.1 200"))
            except TimeoutError:
                break
        self.assertGreater(len(held), 10)
        late = held.pop()
        self.assertLess(len(held), 40)  # one had to wait
        late.settimeout(10 * PATIENCE)
        for i in range(3):  # and nobody else says anything
            held[i].close()
        self.assertTrue(late.recv(4096).startswith(b"HTTP/1.1 200"))

    def test_31_more_connections_than_there_is_room_for_wait_for_theirs(self):
        server = serve(self.mock, {"http_threads": 2, "limits": {"streams": 8}})
        self.addCleanup(server.stop)
        room, held = 8 + 2 * 64, []  # limits.streams, and 64 of each thread to refuse on

        def asks(at):
            try:
                at.sendall(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n")
                return at.recv(4096).startswith(b"HTTP/1.1 200")
            except TimeoutError:
                return False

        def connects(timeout):
            held.append(socket.create_connection(("127.0.0.1", server.port), timeout=timeout))
            self.addCleanup(held[-1].close)
            return held[-1]

        for i in range(room):
            self.assertTrue(asks(connects(10 * PATIENCE)), f"connection {i} of {room}")
        late = connects(0.5)
        self.assertFalse(asks(late))
        held[0].close()
        late.settimeout(10 * PATIENCE)
        self.assertTrue(late.recv(4096).startswith(b"HTTP/1.1 200"))
        for at in held[1:]:  # nobody lost its place
            at.settimeout(10 * PATIENCE)
            self.assertTrue(asks(at))

    def test_32_random_keys_are_401_and_take_no_memory(self):
        server = serve(self.mock, {"auth": {"keys_env": "E2E_KEYS"}}, {"E2E_KEYS": "right=acme"})
        self.addCleanup(server.stop)
        body = json.dumps(chat("", stream=False))
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20 * PATIENCE)
        before, n = self.asked(), 1500 if SANITIZED else 10_000

        def flood(keys):
            for i in keys:
                connection.request("POST", "/v1/chat/completions", body,
                                   {"Content-Type": "application/json", "Authorization": f"Bearer sk-{i * 7919:032x}"})
                response = connection.getresponse()
                response.read()
                self.assertEqual(response.status, 401)

        flood(range(n // 4))
        size = rss(server.process)
        flood(range(n // 4, n))
        self.assertLess(rss(server.process) - size, 4 * MIB * PATIENCE)
        self.assertEqual(self.asked(), before)
        reply = ask(server, chat("id=key"), {"Authorization": "Bearer right"})
        self.assertEqual(reply.status, 200)
        head = self.mock.request("key")[0]
        self.assertIn("sk-mock-secret", head)
        self.assertNotIn("right", head)  # the client's own key stays here
        connection.close()


def unchunked(answer):
    """The body of an answer in chunks."""
    rest, pieces = memoryview(answer)[answer.index(b"\r\n\r\n") + 4:], []
    while size := int(bytes(rest[:bytes(rest[:20]).index(b"\r\n")]), 16):
        start = bytes(rest[:20]).index(b"\r\n") + 2
        pieces.append(rest[start:start + size])
        rest = rest[start + size + 2:]
    return b"".join(pieces)


def reset(s):
    """Closes with a reset, which is noticed at once wherever the other side is."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    s.close()


def ask_quietly(server):
    """The status of one request; 0: none came."""
    try:
        return ask(server, chat("")).status
    except (OSError, http.client.HTTPException):
        return 0


def cpu(pid):
    """Seconds of processor time that a process used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


if __name__ == "__main__":
    if FULL:
        sys.argv.remove("--full")
    tap.main()
