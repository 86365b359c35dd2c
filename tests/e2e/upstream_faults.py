"""What engines behind do wrong, one fault a test, and what a client is told of each.

The numbers are those of the list of faults in the contract; client_faults and platform_faults have the others.
"""
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.behind import ask, behind, chat, upstream  # noqa: E402
from support.mock import Mock, text_of  # noqa: E402
from support.rootstock import PATIENCE, SANITIZED, free_port, metric, wait_for  # noqa: E402

STREAMS = (("openai", "m"), ("anthropic", "a"), ("gemini", "g"), ("bedrock", "b"))
NEVER = {"connect": "5s", "first_byte": "60s", "idle": "60s"}  # no deadline that matters


class BlackHole:
    """An address whose SYNs are not answered: its queue of connections is full."""

    def __enter__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.port = self.listener.getsockname()[1]
        self.waiting = []
        for _ in range(8):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", self.port))
            self.waiting.append(s)
        time.sleep(0.05)
        return self

    def __exit__(self, *_):
        for s in (*self.waiting, self.listener):
            s.close()


def certificate(folder, name, *more):
    """A self-signed certificate of the host `name`: (certificate, key)."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-subj",
                    "/CN=mock", "-addext", f"subjectAltName={name}", *more], check=True, capture_output=True)
    return cert, key


def expired(folder):
    """One whose time is over."""
    config = folder / "ca.cnf"
    (folder / "index").write_text("")
    (folder / "serial").write_text("01")
    config.write_text(f"[ca]\ndefault_ca = c\n[c]\ndatabase = {folder}/index\nserial = {folder}/serial\n"
                      f"new_certs_dir = {folder}\ndefault_md = sha256\npolicy = p\nx509_extensions = e\n"
                      "[p]\ncommonName = supplied\n[e]\nsubjectAltName = IP:127.0.0.1\n")
    key, request, cert = folder / "old.key", folder / "old.csr", folder / "old.pem"
    subprocess.run(["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj",
                    "/CN=mock"], check=True, capture_output=True)
    subprocess.run(["openssl", "ca", "-batch", "-selfsign", "-config", config, "-keyfile", key, "-in", request, "-out",
                    cert, "-startdate", "20200101000000Z", "-enddate", "20210101000000Z", "-notext"],
                   check=True, capture_output=True)
    return cert, key


class Faults(unittest.TestCase):
    """One server, one mock, many models for all cases."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="rootstock-faults-"))
        good = certificate(cls.folder, "IP:127.0.0.1")
        other = certificate(cls.folder, "DNS:elsewhere.example")
        old = expired(cls.folder)
        cls.mock = Mock(good, other, old)
        cls.trap = Mock()  # where nothing should come
        cls.fresh = Mock()  # to which no connection is kept: none of its requests is answered well
        cls.closed = free_port()
        cls.hole = BlackHole().__enter__()
        url = cls.mock.url
        pair = [{"name": "first", "url": url + "/first/v1", "priority": 0},
                {"name": "second", "url": url + "/second/v1", "priority": 1}]
        dead = {"name": "dead", "url": f"http://127.0.0.1:{cls.closed}/v1", "priority": 0}
        black = {"name": "black", "url": f"http://127.0.0.1:{cls.hole.port}/v1", "priority": 0}

        def tls(n, cert, **more):
            return upstream(cls.mock, url=f"https://127.0.0.1:{cls.mock.ports[n]}/v1", tls={"ca": str(cert), **more})

        cls.server = behind({
            **{name: upstream(cls.mock, provider) for provider, name in STREAMS},
            "slow": upstream(cls.mock, timeouts=NEVER),
            "second": upstream(cls.mock, endpoints=pair),
            **{f"busy-{n}": upstream(cls.mock) for n in range(8)},  # left alone afterwards
            "busy-pair": upstream(cls.mock, endpoints=pair),
            "fresh": upstream(cls.fresh),
            "fresh-then": upstream(cls.mock, endpoints=[{"url": cls.fresh.url + "/v1", "priority": 0}, pair[1]]),
            "refused": upstream(cls.mock, url=dead["url"]),
            "refused-then": upstream(cls.mock, endpoints=[dead, pair[1]]),
            "black": upstream(cls.mock, url=black["url"]),
            "black-then": upstream(cls.mock, endpoints=[black, pair[1]]),
            "total": upstream(cls.mock, timeouts={**NEVER, "total": "2s" if SANITIZED else "1s"}),
            "nowhere": upstream(cls.mock, url="http://no-such-host.invalid/v1"),
            "nowhere-then": upstream(cls.mock, endpoints=[{"url": "http://no-such-host.invalid/v1"}, pair[1]]),
            "tls": tls(1, good[0]),
            "tls-other": tls(2, other[0]),
            "tls-old": tls(3, old[0]),
            "tls-stranger": upstream(cls.mock, url=f"https://127.0.0.1:{cls.mock.ports[1]}/v1"),
            "tls-any": tls(3, old[0], verify=False),
        })
        cls.number = 0

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.mock.stop()
        cls.trap.stop()
        cls.fresh.stop()
        cls.hole.__exit__()
        shutil.rmtree(cls.folder, ignore_errors=True)

    def setUp(self):
        Faults.number += 1
        self.name = f"f{Faults.number}"

    def ask(self, script, model="m", stream=True, **fields):
        """One request, with this case's id."""
        return ask(self.server, chat(f"id={self.name} {script}", model, stream, **fields))

    def tries(self):
        """How often the mock was asked in this case."""
        return len(self.mock.tries(self.name))

    def assert_answered(self, reply, frames=4, text=None):
        """A success, complete in every respect."""
        self.assertEqual((reply.status, reply.error), (200, None))
        self.assertEqual(reply.text, text or text_of(frames))
        self.assertEqual(reply.finish, ["stop"])
        self.assertTrue(reply.whole)
        if reply.events:
            self.assertTrue(reply.done)

    def assert_refused(self, reply, *statuses):
        """A failure before anything was told: an error with a status."""
        self.assertIn(reply.status, statuses, reply.body[:300])
        self.assertEqual(set(reply.json["error"]), {"message", "type", "param", "code"})
        self.assertTrue(reply.json["error"]["message"])
        self.assert_silent(reply)

    def assert_broken(self, reply, text):
        """A failure after some text: an error in the stream, no end faked."""
        self.assertEqual(reply.status, 200)
        self.assertEqual(reply.text, text)
        self.assertTrue(reply.error and reply.error["message"], reply.body[-300:])
        self.assertFalse(reply.finish)
        self.assertFalse(reply.done)
        self.assert_silent(reply)

    def assert_failed(self, reply, text=""):
        """Either of both: nothing was told before, so both are right."""
        if reply.status == 200:
            self.assert_broken(reply, text)
        else:
            self.assert_refused(reply, 500, 502, 503, 504)

    def assert_silent(self, reply):
        """No secret in what the client sees or the log says."""
        self.assertNotIn(b"mock-secret", reply.body)
        self.assertNotIn("mock-secret", self.server.log_text())

    # ---- 1, 2: nobody there ----

    def test_01_refused_connections_fall_back_or_are_502(self):
        for stream in (True, False):
            self.assert_answered(self.ask("", "refused-then", stream))
            self.assert_refused(self.ask("", "refused", stream), 502)

    def test_01_a_black_hole_falls_back_or_is_504(self):
        self.assert_answered(self.ask("", "black-then"))
        self.assert_refused(self.ask("", "black"), 504, 502)

    def test_02_a_reset_before_the_head_is_tried_again_once(self):
        self.assert_answered(self.ask("rst@request|frames=4"))
        for stream in (True, False):
            self.name = f"reset-{stream}"
            self.assert_refused(self.ask("rst@request", "fresh", stream), 502)
            self.assertEqual(len(self.fresh.tries(self.name)), 2)  # and not more often

    def test_02_a_reset_before_the_head_goes_to_the_next_endpoint(self):
        self.fresh.usual("rst@request")
        self.addCleanup(self.fresh.usual, "")
        for stream in (True, False):
            before = self.fresh.counts()["requests"]
            body = {"model": "fresh-then", "stream": stream, "messages": [{"role": "user", "content": "Hello"}]}
            self.assert_answered(ask(self.server, body))
            self.assertEqual(self.fresh.counts()["requests"], before + 1)

    # ---- 3 to 6: streams that end early ----

    def test_03_a_reset_after_the_head_is_an_error(self):
        for provider, model in STREAMS:
            with self.subTest(provider=provider):
                self.assert_failed(self.ask("rst@head", model))
                self.assert_failed(self.ask("rst@midhead", model))

    def test_04_a_reset_after_some_text_is_an_error_event_and_never_tried_again(self):
        for provider, model in STREAMS:
            with self.subTest(provider=provider):
                self.name = f"reset-{provider}"
                self.assert_broken(self.ask("rst@mid:2 gap=20", model), text_of(2))
                self.assertEqual(self.tries(), 1)

    def test_05_a_body_without_its_end_is_an_error(self):
        for provider, model in STREAMS:
            with self.subTest(provider=provider):
                self.assert_broken(self.ask("fin@frame:2", model), text_of(2))
                self.assert_broken(self.ask("fin@mid:2", model), text_of(2))
                self.assert_refused(self.ask("lie=100", model, stream=False), 502)
                self.assert_refused(self.ask("fin@mid framing=chunked", model, stream=False), 502)

    def test_06_an_end_without_a_finish_reason_is_an_error(self):
        for provider, model in STREAMS:
            with self.subTest(provider=provider):
                self.assert_broken(self.ask("finish=none nodone", model), text_of(4))

    # ---- 7, 8: errors within a stream ----

    def test_07_an_error_as_the_first_event_falls_back_or_has_a_status(self):
        self.assert_answered(self.ask("bare error=0|frames=4", "second"))
        self.assertEqual(self.tries(), 2)
        for provider, model in STREAMS:
            with self.subTest(provider=provider):
                self.assert_refused(self.ask("bare error=0", model), 429, 500, 502, 503, 529)

    def test_08_an_error_after_text_is_an_error_event(self):
        for provider, model in STREAMS:
            with self.subTest(provider=provider):
                self.name = f"error-{provider}"
                reply = self.ask("error=2 gap=20", model)
                self.assert_broken(reply, text_of(2))
                self.assertEqual(self.tries(), 1)

    # ---- 9, 10: refusals ----

    def test_09_a_short_retry_after_is_waited_for(self):
        start = time.monotonic()
        self.assert_answered(self.ask("status=429 retry-after=1|frames=4", "busy-0"))
        self.assertGreaterEqual(time.monotonic() - start, 0.9)
        self.assertEqual(self.tries(), 2)

    def test_09_a_long_retry_after_is_told_in_seconds(self):
        date = time.strftime("%a,_%d_%b_%Y_%H:%M:%S_GMT", time.gmtime(time.time() + 3600))
        for model, value in (("busy-1", "3600"), ("busy-2", date)):
            self.name = f"after-{model}"
            reply = self.ask(f"status=429 retry-after={value}|frames=4", model)
            self.assert_refused(reply, 429)
            self.assertEqual(self.tries(), 1)
            self.assertGreater(int(reply.headers["Retry-After"]), 3000)  # whole seconds, never a date
            self.assertEqual(reply.json["error"]["type"], "rate_limit_error")
            if value.isdigit():
                self.assertEqual(reply.headers["Retry-After"], value)

    def test_09_a_garbled_retry_after_is_passed_over(self):
        for i, value in enumerate(("garbage", "-5", "99999999999999999999999", "1.5.2")):
            reply = self.ask(f"status=429 retry-after={value}", f"busy-{3 + i}", stream=False)
            self.assert_refused(reply, 429)
            self.assertGreater(int(reply.headers.get("Retry-After", "1")), 0)
            self.assertLess(int(reply.headers.get("Retry-After", "1")), 1 << 31)

    def test_09_who_is_busy_is_passed_over_for_another(self):
        start = time.monotonic()
        self.assert_answered(self.ask("status=429 retry-after=3600|frames=4", "busy-pair"))
        self.assertLess(time.monotonic() - start, 5 * PATIENCE)

    def test_10_a_page_of_html_with_500_is_tried_elsewhere_and_never_shown_as_such(self):
        self.assert_answered(self.ask("status=500 kind=html|frames=4", "second"))
        for provider, model in STREAMS:
            for status in (500, 503):
                with self.subTest(provider=provider, status=status):
                    reply = self.ask(f"status={status} kind=html", model, stream=False)
                    self.assert_refused(reply, 500, 502, 503)
                    self.assertNotIn(b"<html>", reply.body)
        for kind in ("html", "garbage", "empty"):
            with self.subTest(kind=kind):
                self.assert_refused(self.ask(f"kind={kind}", stream=False), 502)
                self.assert_failed(self.ask(f"kind={kind}"))

    # ---- 11, 12: slow ones ----

    def test_11_silence_before_the_head_is_504(self):
        self.assert_refused(self.ask("stall@request"), 504)
        self.assert_refused(self.ask("stall@request", stream=False), 504)

    def test_11_silence_after_the_head_is_a_time_out(self):
        reply = self.ask("stall@head")
        self.assert_failed(reply)
        if reply.status != 200:
            self.assertEqual(reply.status, 504)

    def test_11_silence_within_a_frame_is_an_error_event(self):
        for provider, model in STREAMS:
            with self.subTest(provider=provider):
                self.assert_broken(self.ask("stall@mid:2", model), text_of(2))

    def test_11_the_first_of_two_that_is_silent_gives_way(self):
        self.assert_answered(self.ask("stall@request|frames=4", "second"))

    def test_12_a_byte_at_a_time_is_an_answer_too(self):
        for provider, model in STREAMS:
            with self.subTest(provider=provider):
                self.assert_answered(self.ask("piece=1 pace=1 frames=2", model), 2)

    def test_12_a_byte_each_100_ms_ends_at_the_total_deadline(self):
        start = time.monotonic()
        self.assert_failed(self.ask("piece=1 pace=100", "total"))
        self.assert_refused(self.ask("piece=1 pace=100", "total", stream=False), 504)
        self.assertLess(time.monotonic() - start, 10 * PATIENCE)

    # ---- 13 to 18: how events are written ----

    def test_13_a_cut_at_any_byte_changes_nothing(self):
        want = "".join(f"t{i} é漢😀 " for i in range(2))
        step = 7 if SANITIZED else 1
        for provider, model in STREAMS:
            length = 2600 if provider == "anthropic" else 1500
            with ThreadPoolExecutor(8) as pool, self.subTest(provider=provider):
                replies = pool.map(lambda at, m=model: ask(self.server, chat(
                    f"frames=2 text=unicode eol=crlf split={at}", m)), range(1, length, step))
                for reply in replies:
                    self.assert_answered(reply, text=want)

    def test_14_a_line_of_10_mb_comes_through(self):
        for provider, model in STREAMS:
            with self.subTest(provider=provider):
                reply = self.ask("frames=1 big=10000000", model)
                self.assert_answered(reply, text="t0 " + "y" * 10000000)

    def test_14_a_line_beyond_all_bounds_is_an_error(self):
        self.assert_failed(self.ask("frames=1 big=40000000"), text_of(1))
        self.assert_answered(self.ask(""))

    def test_15_all_line_ends_marks_comments_and_broken_lines_are_read(self):
        for provider, model in STREAMS[:3]:
            for script in ("eol=crlf", "eol=cr", "eol=lf", "eol=mixed", "bom", "comments", "lines", "bom eol=mixed comments lines",
                           "eol=cr piece=1", "lines comments eol=crlf piece=2"):
                with self.subTest(provider=provider, script=script):
                    self.assert_answered(self.ask(script, model))

    def test_16_odd_events_are_put_right(self):
        for script in ("nulls", "finish=twice", "usage=always", "strange", "nulls finish=twice usage=always strange"):
            with self.subTest(script=script):
                reply = self.ask(script)
                self.assert_answered(reply)
                self.assertIsNone(reply.usage)  # nobody asked for it
                reply = self.ask(script, stream_options={"include_usage": True})
                self.assert_answered(reply)
                self.assertEqual(reply.usage["prompt_tokens"], 7)
                self.assertEqual(reply.usage["completion_tokens"], 4)
        for provider, model in STREAMS[1:]:
            with self.subTest(provider=provider):
                self.assert_answered(self.ask("finish=twice strange", model))

    def test_16_a_finish_reason_that_nobody_knows_is_one_that_clients_do(self):
        for provider, model in STREAMS:
            for stream in (True, False):
                with self.subTest(provider=provider, stream=stream):
                    reply = self.ask("finish=weird", model, stream)
                    self.assertEqual((reply.status, reply.text), (200, text_of(4)))
                    self.assertIn(reply.finish[-1], ("stop", "length", "content_filter", "tool_calls"))

    def test_17_invalid_text_reaches_no_client(self):
        for provider, model in STREAMS:
            for stream in (True, False):
                with self.subTest(provider=provider, stream=stream):
                    for script in ("text=utf8", "text=surrogate"):
                        reply = self.ask(script, model, stream)  # a Reply is decoded strictly
                        if provider == "bedrock":  # whose frames and JSON are never wrong but on purpose
                            self.assert_failed(reply)
                            continue
                        self.assertEqual((reply.status, reply.finish), (200, ["stop"]))
                        self.assertIn("t3 �" if script == "text=utf8" else "t3 ", reply.text)

    def test_18_a_stream_in_gzip_is_unpacked(self):
        for provider, model in STREAMS:
            for stream in (True, False):
                with self.subTest(provider=provider, stream=stream):
                    reply = self.ask("gzip gap=5", model, stream)
                    self.assert_answered(reply)
                    self.assertNotIn("gzip", reply.headers.get("Content-Encoding", ""))

    # ---- 19 to 23: connections ----

    def test_19_a_kept_connection_that_closes_as_it_is_used_harms_no_request(self):
        for i in range(20):
            self.assert_answered(self.ask("stale", stream=i % 2 == 0))
        self.name += "fin"
        for i in range(20):
            self.assert_answered(self.ask("fin@after", stream=i % 2 == 0))
        self.assertEqual(self.tries(), 20)  # each was asked for once

    def test_20_a_certificate_must_be_right(self):
        self.assert_answered(self.ask("", "tls"))
        self.assert_answered(self.ask("", "tls-any"))
        for model in ("tls-other", "tls-old", "tls-stranger"):
            with self.subTest(model=model):
                before = self.mock.counts()["requests"]
                reply = self.ask("", model)
                self.assert_refused(reply, 502)
                self.assertRegex(reply.json["error"]["message"].lower(), "certificate|tls|ssl")
                self.assertEqual(self.mock.counts()["requests"], before)  # and no key was shown

    def test_21_a_name_that_is_not_found_falls_back_or_is_502(self):
        self.assert_answered(self.ask("", "nowhere-then"))
        self.assert_refused(self.ask("", "nowhere"), 502, 504)

    def test_22_damaged_frames_of_an_event_stream_are_errors(self):
        self.assert_broken(self.ask("frame=crc", "b"), text_of(1))
        self.assert_broken(self.ask("frame=truncated", "b"), text_of(1))
        reply = self.ask("error=2", "b")
        self.assert_broken(reply, text_of(2))
        self.assertIn("the mock says no", reply.error["message"])
        self.assert_answered(self.ask("", "b"))

    def test_23_redirects_are_not_followed(self):
        for status in (301, 302, 307, 308):
            for model in ("m", "a"):
                reply = self.ask(f"status={status} location={self.trap.url}/v1/chat/completions", model, stream=False)
                self.assert_refused(reply, 502, 503)
        self.assertEqual(self.trap.counts()["requests"], 0)

    # ---- and what no list has ----

    def test_other_protocols_and_endless_heads_are_502(self):
        for script in ("nohttp", "head=400000"):
            with self.subTest(script=script):
                self.assert_refused(self.ask(script), 502)
        self.assert_answered(self.ask("hint"))  # 103 before the answer

    def test_many_faults_at_once_leave_nothing_behind(self):
        scripts = ("rst@request", "rst@frame:1", "fin@mid:1", "error=1", "status=500", "", "piece=3", "gzip", "kind=html",
                   "finish=none nodone")
        rounds = 4 if SANITIZED else 20
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, self.server, chat(scripts[i % len(scripts)], STREAMS[i % 4][1], i % 3 > 0))
                     for i in range(rounds * len(scripts))]
        for one in asked:
            reply = one.result()
            self.assertTrue(reply.error or reply.finish)
        wait_for(lambda: self.mock.counts()["active"] == 0, 5, "the end of all calls")
        wait_for(lambda: metric(self.server, "requests_active") == 1, 5, "the end of all requests but this")


if __name__ == "__main__":
    tap.main()
