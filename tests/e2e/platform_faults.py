"""What the platform does wrong beneath a server with engines behind, one fault a test.

The numbers are those of the list of faults in the contract. --soak SECONDS: test 43 runs so long, not some seconds.
"""
import concurrent.futures
import email.utils
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.behind import Client, ask, behind, chat, rss, upstream  # noqa: E402
from support.mock import Mock, text_of  # noqa: E402
from support.rootstock import PATIENCE, ROOT, SANITIZED, Redis, metric, wait_for  # noqa: E402
from support.shim import Shim  # noqa: E402

MIB = 1 << 20
NEVER = {"connect": "5s", "first_byte": "120s", "idle": "120s"}
YEAR_S = 365 * 86400
SLOPE = 0.10  # of resident memory, from one half of a soak to the other
SOAK_S = 6

needs_redis = unittest.skipUnless(shutil.which("redis-server"), "redis-server is not installed")
without_sanitizer = unittest.skipIf(SANITIZED, "a sanitizer has an allocator of its own")


class Asking(threading.Thread):
    """Asks without a pause, streamed and not, until it is told to end; failed: what was no success."""

    def __init__(self, server, script="frames=3 gap=2"):
        super().__init__(daemon=True)
        self.server, self.script = server, script
        self.over, self.asked, self.failed, self.slowest = threading.Event(), 0, [], 0
        self.start()

    def run(self):
        while not self.over.is_set():
            start = time.monotonic()
            try:
                reply = ask(self.server, chat(self.script, stream=self.asked % 2 == 0))
                if (reply.status, reply.error, reply.finish) != (200, None, ["stop"]):
                    self.failed.append((reply.status, reply.body[-200:]))
            except (OSError, http.client.HTTPException) as e:
                self.failed.append(repr(e))
            self.asked += 1
            self.slowest = max(self.slowest, time.monotonic() - start)

    def end(self):
        """Stops it and waits."""
        self.over.set()
        self.join(timeout=60 * PATIENCE)


class Faults(unittest.TestCase):
    """One mock; a server a case, that the case may end in its own way."""

    @classmethod
    def setUpClass(cls):
        cls.mock = Mock()

    @classmethod
    def tearDownClass(cls):
        cls.mock.stop()

    def serve(self, gateway=None, env=None, models=None, **more):
        """A server whose model m waits for ever."""
        server = behind({"m": upstream(self.mock, timeouts=NEVER), **(models or {})}, gateway, env, **more)
        self.addCleanup(self.stop, server)
        return server

    def stop(self, server):
        """What a case left running."""
        if server.process.poll() is None:
            server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)

    def assert_well(self, server, model="m"):
        """It serves."""
        reply = ask(server, chat("", model))
        self.assertEqual((reply.status, reply.text, reply.done), (200, text_of(4), True))

    # ---- 33: Redis ----

    @needs_redis
    def test_33_whatever_redis_does_requests_go_on(self):
        redis = Redis()
        self.addCleanup(lambda: redis.process.poll() is None and redis.stop())
        server = self.serve(adapters={"catalog": {"type": "redis", "url": redis.url}})
        self.assert_well(server)
        asking = [Asking(server) for _ in range(2)]
        redis.process.send_signal(signal.SIGSTOP)  # slow: it answers nothing
        time.sleep(1.5)
        redis.process.send_signal(signal.SIGCONT)
        for _ in range(3):  # flapping
            redis.stop()
            time.sleep(0.2)
            redis.start()
            time.sleep(0.2)
        for words in (("SET", "rootstock:adapters", "x"), ("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")):
            subprocess.run(["redis-cli", "-p", str(redis.port), *words], check=True, capture_output=True)
            time.sleep(0.3)
        redis.stop()
        time.sleep(0.5)
        for one in asking:
            one.end()
            self.assertEqual(one.failed, [])
            self.assertGreater(one.asked, 20 / PATIENCE)
        print(f"# Redis away: {sum(a.asked for a in asking)} requests, the slowest {max(a.slowest for a in asking) * 1000:.0f} ms")
        self.assertLess(max(a.slowest for a in asking), 1 * PATIENCE)  # nobody waited for Redis

    # ---- 34: the disk ----

    def test_34_a_full_disk_stops_nothing_and_is_told(self):
        shim = Shim()
        self.addCleanup(shim.close)
        server = self.serve(env=shim.env)
        with open("/dev/full", "w", encoding="utf-8") as full:
            self.log_into(server, full)
            shim.set("disk_full", 1)
            for _ in range(20):
                self.assert_well(server)
            self.assertGreater(metric(server, "log_lines_lost_total"), 0)  # the alarm
            shim.set("disk_full", 0)
            self.assert_well(server)
            self.end(server)

    def log_into(self, server, stderr):
        """The same server anew, with its log elsewhere."""
        self.end(server)
        server.log = stderr
        server.start()

    def end(self, server, status=0):
        """SIGTERM and the exit status, of a server whose log is elsewhere."""
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.process.wait(timeout=60 * PATIENCE), status)

    # ---- 35, 36: signals ----

    def streams(self, server, n, script):
        """n streams that have begun."""
        streams = [Client(server, chat(script)) for _ in range(n)]
        for stream in streams:
            stream.read_until(b"t0 ")
        return streams

    def test_35_sigterm_refuses_the_new_and_ends_all_streams_well(self):
        n = 100 if SANITIZED else 1000
        server = self.serve()
        streams = self.streams(server, n, "id=drain hold@frame:1")
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: not ready(server), 10, "no more readiness")
        self.mock.release("drain")
        for stream in streams:
            data = stream.rest()
            self.assertIn(b"data: [DONE]", data)
            self.assertIn(b'"finish_reason":"stop"', data.replace(b": ", b":"))
            stream.leave()
        self.assertEqual(server.process.wait(timeout=60 * PATIENCE), 0)

    def test_35_the_deadline_ends_what_does_not_end_and_tells_it(self):
        server = self.serve({"drain": "300ms"})
        streams = self.streams(server, 20, "id=late hold@frame:1")
        server.process.send_signal(signal.SIGTERM)
        for stream in streams:
            data = stream.rest()
            self.assertNotIn(b"data: [DONE]\n\ndata", data)
            self.assertNotIn(b'"finish_reason":"stop"', data.replace(b": ", b":"))
            self.assertIn(b'"error"', data)
        self.assertEqual(server.process.wait(timeout=60 * PATIENCE), 0)
        wait_for(lambda: all(t["left_us"] for t in self.mock.tries("late")), 5, "the end behind")

    def test_35_a_second_sigterm_forces_the_end(self):
        server = self.serve({"drain": "1h"})
        stream = self.streams(server, 1, "id=force hold@frame:1")[0]
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: not ready(server), 10, "no more readiness")
        self.assertIsNone(server.process.poll())
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(timeout=30 * PATIENCE)
        stream.leave()

    def test_36_reloads_under_load_lose_nothing(self):
        server = self.serve()
        good = server.config.read_text(encoding="utf-8")
        asking = [Asking(server, "frames=5 gap=5") for _ in range(3)]
        n = 20 if SANITIZED else 200
        for i in range(n):
            server.config.write_text("routing: [" if i % 10 == 5 else good, encoding="utf-8")
            before = metric(server, "config_reloads_total") + metric(server, "config_reload_failures_total")
            server.process.send_signal(signal.SIGHUP)
            wait_for(lambda b=before: metric(server, "config_reloads_total") + metric(
                server, "config_reload_failures_total") > b, 10, "a reload")
        for one in asking:
            one.end()
            self.assertEqual(one.failed, [])
        print(f"# {n} reloads, {sum(a.asked for a in asking)} requests")
        self.assertEqual(metric(server, "config_reload_failures_total"), n // 10)
        self.assert_well(server)

    def test_36_a_model_that_is_taken_away_while_it_streams_ends_its_stream(self):
        server = self.serve(models={"n": upstream(self.mock, timeouts=NEVER)})
        stream = Client(server, chat("id=removed hold@frame:2", "n"))
        stream.read_until(b"t1 ")
        config = json.loads(server.config.read_text(encoding="utf-8"))
        config["engine"]["models"].pop()
        server.config.write_text(json.dumps(config), encoding="utf-8")
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: metric(server, "config_reloads_total") == 1, 10, "the reload")
        self.mock.release("removed")
        self.assertIn(b"data: [DONE]", stream.rest())
        stream.leave()
        self.assert_well(server)

    # ---- 37 to 40: beneath us ----

    def test_37_a_clock_that_jumps_changes_no_answer(self):
        shim = Shim()
        self.addCleanup(shim.close)
        server = self.serve(env=shim.env)
        stream = Client(server, chat("id=clock hold@frame:2"))
        stream.read_until(b"t1 ")
        asking = Asking(server)
        for shift in (YEAR_S, -YEAR_S, 0, 3600, -3600, 10 * YEAR_S):
            shim.set("clock_shift_s", shift)
            self.assert_well(server)
            date = email.utils.parsedate_to_datetime(ask(server, chat("")).headers["Date"]).timestamp()
            self.assertLess(abs(date - time.time() - shift), 60 * PATIENCE)  # the shim is at work
        self.mock.release("clock")
        self.assertIn(b"data: [DONE]", stream.rest())
        stream.leave()
        asking.end()
        self.assertEqual(asking.failed, [])

    def test_21_a_name_that_moves_is_followed(self):
        shim, other = Shim(), Mock(address="127.0.0.2", port=self.mock.port)
        self.addCleanup(shim.close)
        self.addCleanup(other.stop)
        moving = upstream(self.mock, url=f"http://changing.test:{self.mock.port}/v1", timeouts=NEVER)
        server = self.serve(env=shim.env, models={"moving": moving}, engine={"upstream": {"max_age": "1s"}})
        self.assertEqual(ask(server, chat("", "moving")).status, 502)  # no such name yet
        shim.set("address", b"127.0.0.1")
        wait_for(lambda: ask(server, chat("", "moving")).status == 200, 10, "the name to be found")
        stream = Client(server, chat("id=moves hold@frame:2", "moving"))
        stream.read_until(b"t1 ")
        shim.set("address", b"127.0.0.2")
        wait_for(lambda: ask(server, chat("", "moving")).status == 200 and other.counts()["requests"], 30, "its new address")
        time.sleep(11.5)  # longer than a pooled connection lives here, and than any thread keeps a name
        for _ in range(5):
            self.assertEqual(ask(server, chat("id=moved", "moving")).text, text_of(4))
        self.assertEqual((len(self.mock.tries("moved")), len(other.tries("moved"))), (0, 5))
        self.mock.release("moves")
        self.assertIn(b"data: [DONE]", stream.rest())  # where it began
        stream.leave()

    @without_sanitizer
    def test_38_refused_memory_fails_requests_and_nothing_else(self):
        shim = Shim(memory=True)
        self.addCleanup(shim.close)
        server = self.serve(env=shim.env)
        for _ in range(20):
            self.assert_well(server)
        statuses = {}
        for every in (997, 499, 199, 97, 31, 7, 2, 1):
            shim.set("malloc_every", every)
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                for status in pool.map(lambda i: quiet(server, chat("frames=2", stream=i % 2 == 0)), range(60)):
                    statuses[status] = statuses.get(status, 0) + 1
            shim.set("malloc_every", 0)
            self.assertIsNone(server.process.poll(), f"it ended when each {every}th allocation was refused:\n" +
                              server.log_text()[-2000:])
            wait_for(lambda: quiet(server, chat("")) == 200, 10, "an answer with memory again")
        print(f"# {shim.get('malloc_refused')} allocations refused; statuses {dict(sorted(statuses.items()))}")
        self.assertGreater(shim.get("malloc_refused"), 100)
        self.assertLessEqual(set(statuses), {0, 200, 500, 502, 503})
        for _ in range(20):
            self.assert_well(server)
        wait_for(lambda: self.mock.counts()["active"] == 0, 10, "the end of all calls")

    def test_39_a_killed_server_comes_back_on_its_port(self):
        server = self.serve()
        streams = self.streams(server, 5, "id=killed hold@frame:1")
        for _ in range(3):
            server.process.kill()
            server.process.wait()
            wait_for(lambda: all(t["left_us"] for t in self.mock.tries("killed")), 5, "the end behind")
            server.start()  # as a supervisor would; the port is free at once
            self.assert_well(server)
        for stream in streams:
            self.assertNotIn(b"[DONE]", self.what_came(stream))

    def what_came(self, stream):
        """All that a stream brought before it broke."""
        try:
            return stream.rest()
        except OSError:
            return stream.seen

    def test_40_a_log_that_nobody_reads_stalls_nothing(self):
        server = self.serve()
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        read, write = os.pipe()
        with ours, theirs, os.fdopen(read), os.fdopen(write, "w") as pipe:
            for log in (theirs, pipe):
                self.log_into(server, log)
                wait_for(lambda: quiet(server, chat("frames=1")) == 200 and metric(server, "log_lines_lost_total") > 20, 60,
                         "lines that nobody takes")
                self.assert_well(server)
                self.end(server)
                server.start()
            self.end(server)

    # ---- 41 to 43: in the long run ----

    def test_41_metrics_stay_bounded_whatever_is_asked(self):
        server = self.serve()

        def ask_odd(i):
            name = f"odd-{i * 7919:08x}"
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20 * PATIENCE)
            connection.request("POST", "/v1/chat/completions", json.dumps(chat("", name)),
                               {"Content-Type": "application/json", "x-request-id": name, "x-tenant-id": name,
                                "User-Agent": name, "x-session-id": name})
            connection.getresponse().read()
            connection.request("GET", f"/v1/{name}?{name}")
            connection.getresponse().read()
            connection.request("POST", "/v1/chat/completions", json.dumps(chat("", user=name, metadata={"session": name})),
                               {"Content-Type": "application/json", "x-session-id": name})
            connection.getresponse().read()
            connection.close()

        n = 200 if SANITIZED else 2000
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(ask_odd, range(n // 2)))
            size = len(server.get("/metrics")[2])
            list(pool.map(ask_odd, range(n // 2, n)))
        page = server.get("/metrics")[2]
        self.assertNotIn(b"odd-", page)
        self.assertLess(len(page), 256 * 1024)
        self.assertLess(len(page) - size, 4096)  # only the numbers grew

    def test_42_all_that_reads_foreign_bytes_is_fuzzed(self):
        sources = {p.stem: p.read_text(encoding="utf-8") for p in (ROOT / "tests" / "fuzz").glob("*.c")}
        listed = (ROOT / "tests" / "fuzz" / "meson.build").read_text(encoding="utf-8")
        for target, what in (("upstream_answer", "answers of engines behind, event streams among them"),
                             ("upstream_request", "requests to them"), ("splice", "spliced JSON"), ("request", "HTTP bodies"),
                             ("messages", "Anthropic's bodies"), ("json_view", "JSON")):
            with self.subTest(what=what):
                self.assertIn(target, sources)
                self.assertIn(f"'{target}':", listed)

    def test_43_a_soak_with_a_little_of_everything_holds_its_memory(self):
        server = self.serve(models={"quick": upstream(self.mock)})
        faults = ("rst@request", "rst@head", "rst@frame:1", "fin@mid:1", "fin@frame:2", "error=1", "bare error=0", "status=500 kind=html",
                  "status=429 retry-after=3600", "finish=none nodone", "stall@frame:1", "piece=1", "gzip", "text=utf8",
                  "eol=mixed comments bom", "nulls strange finish=twice", "kind=garbage", "nohttp", "stale", "head=400000")
        over = time.monotonic() + (soak_seconds() or SOAK_S * (3 if SANITIZED else 1))
        counts, lock = {"asked": 0, "wrong": []}, threading.Lock()

        def one(seed):
            rng = random.Random(seed)
            while time.monotonic() < over:
                what, stream = rng.random(), rng.random() < 0.7
                try:
                    if what < 0.2:
                        reply = ask(server, chat(rng.choice(faults), "quick", stream))
                        wrong = not (reply.error or reply.finish)
                    elif what < 0.25:
                        client = Client(server, chat("frames=100 gap=10"))
                        client.read_until(b"t1 ")
                        client.leave()
                        wrong = False
                    else:
                        reply = ask(server, chat("frames=3", "m", stream))
                        wrong = (reply.status, reply.text, reply.finish) != (200, text_of(3), ["stop"])
                except Exception as e:  # told below
                    wrong, reply = True, e
                with lock:
                    counts["asked"] += 1
                    if wrong:
                        counts["wrong"].append(vars(reply) if not isinstance(reply, Exception) else repr(reply))

        threads = [threading.Thread(target=one, args=(i,)) for i in range(4)]
        sizes = []
        for t in threads:
            t.start()
        while any(t.is_alive() for t in threads):
            time.sleep(0.25)
            sizes.append(rss(server.process))
        for t in threads:
            t.join()
        half = len(sizes) // 2
        first, last = (sorted(part)[len(part) // 2] for part in (sizes[half // 2:half], sizes[half:]))
        print(f"# soak: {counts['asked']} requests, resident {first / MIB:.1f} MiB then {last / MIB:.1f} MiB")
        self.assertEqual(counts["wrong"][:3], [])
        self.assertLess(last, first * (1 + SLOPE) + 2 * MIB)
        wait_for(lambda: self.mock.counts()["active"] == 0, 10, "the end of all calls")
        wait_for(lambda: metric(server, "requests_active") == 1, 10, "the end of all requests but this")


def soak_seconds():
    """Of --soak."""
    return float(sys.argv[sys.argv.index("--soak") + 1]) if "--soak" in sys.argv else 0


def ready(server):
    """Whether it says so."""
    try:
        return server.get("/ready")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def quiet(server, body):
    """The status of one request; 0: none came, or no whole one."""
    try:
        reply = ask(server, body)
        return reply.status
    except (OSError, http.client.HTTPException, ValueError):
        return 0


if __name__ == "__main__":
    tap.main()
