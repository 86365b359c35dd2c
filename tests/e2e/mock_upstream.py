"""The mock upstream does what its scripts say: read by Python's own HTTP, JSON, gzip and CRC."""
import http.client
import json
import pathlib
import socket
import struct
import sys
import time
import unittest
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.mock import Mock, text_of  # noqa: E402
from support.rootstock import PATIENCE, wait_for  # noqa: E402

CHAT = "/v1/chat/completions"
PATHS = {"openai": CHAT, "text": "/v1/completions", "anthropic": "/v1/messages",
         "gemini": "/v1beta/models/g:streamGenerateContent?alt=sse", "bedrock": "/model/x/converse-stream",
         "ollama": "/api/chat"}


def sse(data):
    """(event, data) of each event; LF only."""
    found = []
    for block in data.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "data" in lines:
            found.append((lines.get("event"), lines["data"]))
    return found


def frames(data):
    """(headers, JSON) of each frame of an AWS event stream; checksums are checked."""
    found = []
    while data:
        total, headers, crc = struct.unpack(">III", data[:12])
        if zlib.crc32(data[:8]) != crc or zlib.crc32(data[:total - 4]) != struct.unpack(">I", data[total - 4:total])[0]:
            raise ValueError("checksum")
        names, at = {}, 12
        while at < 12 + headers:
            n = data[at]
            name = data[at + 1:at + 1 + n].decode()
            size = struct.unpack(">H", data[at + 2 + n:at + 4 + n])[0]
            names[name] = data[at + 4 + n:at + 4 + n + size].decode()
            at += 4 + n + size
        found.append((names, json.loads(data[12 + headers:total - 4])))
        data = data[total:]
    return found


class Behaviour(unittest.TestCase):
    """One mock for all cases."""

    @classmethod
    def setUpClass(cls):
        cls.mock = Mock()

    @classmethod
    def tearDownClass(cls):
        cls.mock.stop()

    def post(self, script, path=CHAT, stream=True, **fields):
        """(status, headers, body, whole)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.mock.port, timeout=10 * PATIENCE)
        body = {"stream": stream, "messages": [{"role": "user", "content": f"mock[{script}]"}], **fields}
        try:
            connection.request("POST", path, json.dumps(body))
            response = connection.getresponse()
            try:
                return response.status, response.headers, response.read(), True
            except http.client.IncompleteRead as e:
                return response.status, response.headers, e.partial, False
        finally:
            connection.close()

    def texts(self, data, at=lambda e: e["choices"][0]["delta"].get("content") or ""):
        """All text of a stream of chunks."""
        return "".join(at(json.loads(d)) for _, d in sse(data) if d != "[DONE]")

    def test_without_a_script_four_frames_come_in_each_wire(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.mock.port, timeout=10)
        for path in PATHS.values():  # on one connection
            for stream in (True, False):
                connection.request("POST", path, json.dumps({"stream": stream}))
                data = connection.getresponse().read()
                self.assertEqual([data.count(f"t{i} ".encode()) for i in range(5)], [1, 1, 1, 1, 0] if stream else
                                 [data.count(b"t0 ")] * 4 + [0])
        connection.close()

    def test_openai_streams_have_the_captured_order(self):
        events = sse(self.post("think tools", n=2, stream_options={"include_usage": True})[2])
        self.assertEqual(events[-1], (None, "[DONE]"))
        chunks = [json.loads(d) for _, d in events[:-1]]
        self.assertEqual(chunks[0]["choices"][0]["delta"], {"role": "assistant", "content": "", "refusal": None})
        self.assertEqual(chunks[-1]["choices"], [])
        self.assertEqual(chunks[-1]["usage"]["completion_tokens"], 8)
        for index in range(2):
            mine = [c["choices"][0] for c in chunks[:-1] if c["choices"][0]["index"] == index]
            self.assertEqual("".join(c["delta"].get("content") or "" for c in mine), text_of(4))
            self.assertEqual([c["finish_reason"] for c in mine if c["finish_reason"]], ["tool_calls"])
            calls = [t for c in mine for t in c["delta"].get("tool_calls", ())]
            self.assertEqual("".join(t["function"]["arguments"] for t in calls if t["index"] == 0), '{"city":"Paris"}')

    def test_anthropic_streams_name_their_events(self):
        events = sse(self.post("tools", PATHS["anthropic"])[2])
        for name, data in events:
            self.assertEqual(json.loads(data)["type"], name)
        self.assertEqual(events[0][0], "message_start")
        self.assertEqual(events[-1][0], "message_stop")
        self.assertEqual(self.post("error=1", PATHS["anthropic"])[2].count(b"event: error\n"), 1)

    def test_gemini_streams_end_lines_with_crlf_and_come_as_an_array_too(self):
        data = self.post("", PATHS["gemini"])[2]
        self.assertEqual(data.count(b"\n"), data.count(b"\r\n"))
        parts = json.loads(self.post("", "/v1beta/models/g:streamGenerateContent")[2])
        self.assertEqual("".join(p["candidates"][0]["content"]["parts"][0]["text"] for p in parts), text_of(4))
        self.assertEqual(parts[-1]["candidates"][0]["finishReason"], "STOP")

    def test_bedrock_frames_have_right_checksums_unless_told_otherwise(self):
        found = frames(self.post("tools", PATHS["bedrock"])[2])
        self.assertEqual(found[0][0][":event-type"], "messageStart")
        self.assertEqual(found[-1][0][":event-type"], "metadata")
        kind, body = frames(self.post("error=1", PATHS["bedrock"])[2])[-1]
        self.assertEqual((kind[":message-type"], kind[":exception-type"]), ("exception", "throttlingException"))
        self.assertEqual(body["message"], "the mock says no")
        with self.assertRaises(ValueError):
            frames(self.post("frame=crc", PATHS["bedrock"])[2])
        with self.assertRaises((ValueError, struct.error)):
            frames(self.post("frame=truncated", PATHS["bedrock"])[2])

    def test_embeddings_are_as_many_as_the_inputs(self):
        for given, n in (("a,[b", 1), (["a,", 'b"]', "c"], 3), ([[1, 2], [3]], 2), ([], 1)):
            data = json.loads(self.post("", "/v1/embeddings", stream=False, input=given)[2])["data"]
            self.assertEqual([d["index"] for d in data], list(range(n)), given)

    def test_answers_end_where_they_are_told_to(self):
        for script, text, whole in (("fin@frame:2", text_of(2), False), ("rst@frame:2", text_of(2), None),
                                    ("fin@end", text_of(4), False), ("fin@done", text_of(4), False),
                                    ("finish=none nodone", text_of(4), True), ("fin@after", text_of(4), True)):
            with self.subTest(script=script):
                try:
                    _, _, data, ended = self.post(script + " gap=30")
                except ConnectionResetError:
                    self.assertIsNone(whole)
                    continue
                self.assertEqual((self.texts(data), ended), (text, whole))
        for script in ("rst@request", "fin@request", "rst@midhead", "nohttp"):
            with self.subTest(script=script), self.assertRaises((OSError, http.client.HTTPException)):
                if self.post(script)[0] != 200:
                    raise OSError

    def test_bodies_lie_about_their_length(self):
        self.assertFalse(self.post("lie=10", stream=False)[3])
        self.assertTrue(self.post("framing=close", stream=False)[3])
        self.assertEqual(self.texts(self.post("framing=length")[2]), text_of(4))

    def test_bodies_are_cut_and_paced(self):
        start = time.monotonic()
        self.assertEqual(self.texts(self.post("piece=40 pace=5 frames=2")[2]), text_of(2))
        self.assertGreater(time.monotonic() - start, 0.05)
        start = time.monotonic()
        self.assertEqual(self.texts(self.post("gap=20 frames=11")[2]), text_of(11))
        self.assertGreater(time.monotonic() - start, 0.199)
        start = time.monotonic()
        self.post("first=100 delay=100")
        self.assertGreater(time.monotonic() - start, 0.199)
        for at in (1, 100, 500):
            self.assertEqual(self.texts(self.post(f"split={at}")[2]), text_of(4))

    def test_bodies_are_coded_and_damaged(self):
        _, headers, data, _ = self.post("gzip frames=50")
        self.assertEqual(headers["Content-Encoding"], "gzip")
        self.assertEqual(self.texts(zlib.decompress(data, 31)), text_of(50))
        self.assertIn(b"t1 \xff\xc3 ", self.post("text=utf8")[2])
        self.assertIn(b"\\ud800", self.post("text=surrogate")[2])
        self.assertIn("t1 é漢😀", self.post("text=unicode")[2].decode())
        self.assertEqual(len(self.texts(self.post("big=1000000")[2])), 1000000 + len(text_of(4)))
        self.assertEqual(self.texts(self.post("size=100 frames=3")[2]), text_of(3, 100))
        self.assertTrue(self.post("bom")[2].startswith(b"\xef\xbb\xbfdata"))
        self.assertNotIn(b"\n", self.post("eol=cr")[2])
        self.assertIn(b": comment", self.post("comments")[2])
        self.assertIn(b"data: {\ndata: ", self.post("lines")[2])
        self.assertEqual(self.post("finish=twice")[2].count(b'"stop"'), 2)
        self.assertIn(b'"usage":null', self.post("nulls")[2])

    def test_refusals_are_of_the_wire(self):
        status, headers, data, _ = self.post("status=429 retry-after=7 header=x-a:b_c")
        self.assertEqual((status, headers["Retry-After"], headers["x-a"]), (429, "7", "b c"))
        self.assertIn("message", json.loads(data)["error"])
        self.assertEqual(json.loads(self.post("status=529", "/v1/messages")[2])["type"], "error")
        self.assertIn(b"<html>", self.post("status=500 kind=html")[2])
        self.assertEqual(self.post("status=307 location=http://x/")[1]["Location"], "http://x/")
        self.assertEqual(self.post("no-such-word")[0], 418)

    def test_tries_of_an_id_are_told_apart_and_kept(self):
        self.assertEqual(self.post("id=k status=503|id=k status=500|frames=1")[0], 503)
        self.assertEqual(self.post("id=k status=503|id=k status=500|frames=1")[0], 500)
        for _ in range(2):
            self.assertEqual(self.texts(self.post("id=k status=503|id=k status=500|frames=1")[2]), text_of(1))
        tries = self.mock.tries("k")
        self.assertEqual(len(tries), 4)
        self.assertEqual(sorted(t["request_us"] for t in tries), [t["request_us"] for t in tries])
        self.assertLess(abs(tries[-1]["end_us"] / 1e6 - time.monotonic()), 5 * PATIENCE)
        head, body = self.mock.request("k")
        self.assertIn("POST " + CHAT, head)
        self.assertEqual(json.loads(body)["messages"][0]["content"], "mock[id=k status=503|id=k status=500|frames=1]")

    def test_it_holds_until_it_is_released(self):
        with socket.create_connection(("127.0.0.1", self.mock.port), timeout=10 * PATIENCE) as s:
            body = b'{"stream":true,"x":"mock[id=h hold@frame:2]"}'
            s.sendall(b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (CHAT.encode(), len(body), body))
            seen = b""
            while b"t1 " not in seen:
                seen += s.recv(65536)
            s.settimeout(0.1)
            with self.assertRaises(TimeoutError):
                s.recv(1)
            s.settimeout(10 * PATIENCE)
            self.mock.release("h")
            while b"0\r\n\r\n" not in seen:
                seen += s.recv(65536)
            self.assertIn(b"[DONE]", seen)

    def test_it_sees_who_leaves_and_who_does_not_read(self):
        s = socket.create_connection(("127.0.0.1", self.mock.port))
        body = b'{"stream":true,"x":"mock[id=l frames=10000 size=10000]"}'
        s.sendall(b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (CHAT.encode(), len(body), body))
        wait_for(lambda: self.mock.counts()["blocked"] > 0, 5, "a blocked stream")
        self.assertLess(self.mock.tries("l")[0]["bytes"], 50 << 20)
        left = time.monotonic_ns() // 1000
        s.close()
        wait_for(lambda: self.mock.tries("l")[0]["left_us"], 5, "the end")
        self.assertGreaterEqual(self.mock.tries("l")[0]["left_us"], left)

    def test_a_stale_connection_closes_on_its_next_request(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.mock.port, timeout=10)
        connection.request("POST", CHAT, '{"x":"mock[stale]"}')
        self.assertEqual(connection.getresponse().read()[:1], b"{")
        with self.assertRaises((OSError, http.client.HTTPException)):
            connection.request("POST", CHAT, "{}")
            connection.getresponse()
        connection.close()

    def test_chunked_requests_and_pipelined_ones_are_read(self):
        with socket.create_connection(("127.0.0.1", self.mock.port), timeout=10 * PATIENCE) as s:
            one = (b"POST %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"s\r\n9\r\ntream\":1}\r\n0\r\n\r\n"
                   % CHAT.encode())
            s.sendall(one + one + b"POST %s HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % CHAT.encode())
            seen = b""
            while part := s.recv(65536):
                seen += part
            self.assertEqual(seen.count(b"HTTP/1.1 200 OK"), 3)


if __name__ == "__main__":
    tap.main()
