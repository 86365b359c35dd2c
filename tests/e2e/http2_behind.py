"""Engines behind that speak HTTP/2 over TLS: the real nginx in front of the mock, its streams, resets and GOAWAYs."""
import concurrent.futures
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.behind import Client, ask, behind, chat, upstream  # noqa: E402
from support.mock import Mock, text_of  # noqa: E402
from support.rootstock import PATIENCE, SANITIZED, accepts, free_port, wait_for  # noqa: E402

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
NEVER = {"connect": "5s", "first_byte": "120s", "idle": "120s"}
STREAMS = 12 if SANITIZED else 40
needs_nginx = unittest.skipUnless(NGINX, "nginx is not installed")


class Nginx:
    """HTTP/2 over TLS, or HTTP/1.1 where `alpn` says so, to the mock; what it served is in its log."""

    def __init__(self, mock, http2=True, more=""):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rootstock-nginx-"))
        self.cert, key = self.folder / "cert.pem", self.folder / "key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", self.cert, "-subj",
                        "/CN=nginx", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        self.port, f = free_port(), self.folder
        (f / "nginx.conf").write_text(f"""daemon off; worker_processes 1; pid {f}/pid; error_log {f}/error.log;
events {{ worker_connections 2000; }}
http {{ log_format x '$connection $server_protocol $status $http_x_request_id'; access_log {f}/log x;
  client_body_temp_path {f}; proxy_temp_path {f}; fastcgi_temp_path {f}; uwsgi_temp_path {f}; scgi_temp_path {f};
  client_max_body_size 64m; {more}
  upstream mock {{ server 127.0.0.1:{mock.port}; keepalive 64; }}
  server {{ listen 127.0.0.1:{self.port} ssl {'http2' if http2 else ''};
    ssl_certificate {self.cert}; ssl_certificate_key {key};
    location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
      proxy_request_buffering off; proxy_read_timeout 120s; }} }} }}""", encoding="utf-8")
        self.process = subprocess.Popen([NGINX, "-p", str(f), "-c", str(f / "nginx.conf")], stderr=subprocess.DEVNULL)
        wait_for(lambda: accepts(self.port), 10, "nginx")

    def served(self):
        """(connection, protocol, status) of each request that has ended."""
        lines = (self.folder / "log").read_text(encoding="utf-8").split("\n")
        return [tuple(line.split(" ")[:3]) for line in lines if line]

    def reload(self):
        """New workers; the old ones tell their connections to go away, and end their streams."""
        self.process.send_signal(signal.SIGHUP)

    def stop(self):
        """Ends it at once: connections break."""
        self.process.terminate()
        self.process.wait(timeout=20 * PATIENCE)
        shutil.rmtree(self.folder, ignore_errors=True)


@needs_nginx
class Http2(unittest.TestCase):
    """One mock; an nginx and a server a case."""

    @classmethod
    def setUpClass(cls):
        cls.mock = Mock()

    @classmethod
    def tearDownClass(cls):
        cls.mock.stop()

    def setUp(self):
        self.mock.ask("POST", "/_mock/reset", b"")

    def serve(self, nginx=None, gateway=None, **more):
        """A server whose model m is behind an nginx."""
        self.nginx = nginx or Nginx(self.mock)
        self.addCleanup(self.nginx.stop)
        how = {"url": f"https://127.0.0.1:{self.nginx.port}/v1", "http2": True, "tls": {"ca": str(self.nginx.cert)},
               "timeouts": NEVER, **more}
        self.server = behind({"m": upstream(self.mock, **how)}, gateway, engine={"upstream": {"threads": 1}})
        self.addCleanup(self.stop, self.server)
        return self.server

    def stop(self, server):
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)

    def all(self, jobs, script, stream=True, **fields):
        """Replies of so many requests at once."""
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(lambda i: ask(self.server, chat(script, stream=stream, **fields)), range(jobs)))

    def assert_answered(self, reply, frames=4):
        self.assertEqual((reply.status, reply.error, reply.finish, reply.text), (200, None, ["stop"], text_of(frames)))

    def test_it_is_spoken_where_it_is_asked_for_and_offered(self):
        for http2, offered, protocol in ((True, True, "HTTP/2.0"), (False, True, "HTTP/1.1"), (True, False, "HTTP/1.1")):
            with self.subTest(http2=http2, offered=offered):
                server = self.serve(Nginx(self.mock, http2=offered), http2=http2)
                for stream in (True, False):
                    self.assert_answered(ask(server, chat("", stream=stream)))
                wait_for(lambda: len(self.nginx.served()) >= 2, 10, "its log")
                self.assertEqual({p for _, p, _ in self.nginx.served()}, {protocol})

    def test_many_streams_share_a_connection_and_keep_apart(self):
        self.serve()
        self.assert_answered(ask(self.server, chat("")))
        replies = self.all(STREAMS, "frames=60 gap=5 size=700")
        for reply in replies:
            self.assertEqual((reply.status, reply.error, reply.text), (200, None, text_of(60, 700)))
        wait_for(lambda: len(self.nginx.served()) == STREAMS + 1, 10, "its log")
        connections = {c for c, _, _ in self.nginx.served()}
        print(f"# {STREAMS} streams over {len(connections)} connections")
        self.assertLessEqual(len(connections), 2)
        for reply in self.all(STREAMS, "", stream=False):
            self.assert_answered(reply)

    def test_chunks_come_as_they_are_sent(self):
        self.serve()
        stream = Client(self.server, chat("id=c hold@frame:2"))
        stream.read_until(b"t1 ")
        self.assertNotIn(b"[DONE]", stream.seen)
        self.mock.release("c")
        self.assertIn(b"data: [DONE]", stream.rest())
        stream.leave()

    def test_a_client_that_leaves_ends_its_stream_and_no_other(self):
        self.serve()
        stays = Client(self.server, chat("id=stays frames=400 gap=10"))
        stays.read_until(b"t1 ")
        for i in range(5):
            leaves = Client(self.server, chat(f"id=leaves{i} hold@frame:2"))
            leaves.read_until(b"t1 ")
            leaves.leave()
            wait_for(lambda i=i: self.mock.tries(f"leaves{i}")[0]["left_us"], 10, "the end behind")
        data = stays.rest()
        self.assertIn(b"t399 ", data)
        self.assertIn(b"data: [DONE]", data)
        stays.leave()
        wait_for(lambda: len(self.nginx.served()) == 6, 10, "its log")
        self.assertEqual(len({c for c, _, _ in self.nginx.served()}), 1)

    def test_a_client_that_reads_slowly_holds_back_its_own_stream_only(self):
        self.serve()
        slow = Client(self.server, chat("id=slow frames=4000 size=16384"), receive=1 << 16)
        slow.read_until(b"t1 ")
        for _ in range(10):
            self.assert_answered(ask(self.server, chat("")))
        sent = self.mock.counts()["bytes"]
        time.sleep(0.5)
        self.assertLess(self.mock.counts()["bytes"] - sent, 4 << 20)
        self.assertLess(self.mock.counts()["bytes"], 48 << 20)  # of 65 MB; curl tells servers a window of 32 MB for each stream
        self.assertFalse(self.mock.tries("slow")[0]["left_us"])
        tail, n = b"", 0
        while part := slow.socket.recv(1 << 20):
            tail, n = (tail + part)[-40000:], n + len(part)
        self.assertGreater(n, 60 << 20)
        self.assertIn(b"t3999 ", tail)
        self.assertIn(b"data: [DONE]", tail)
        slow.leave()

    def test_a_large_body_goes_whole(self):
        self.serve(gateway={"limits": {"body": "16MiB"}})
        words = "word " * (1 << 21)
        reply = ask(self.server, {"model": "m", "stream": False, "messages": [
            {"role": "user", "content": "mock[id=large]"}, {"role": "user", "content": words}]})
        self.assert_answered(reply)
        self.assertIn(words.encode(), self.mock.request("large")[1])

    def test_a_stream_that_is_reset_before_it_answers_is_asked_again(self):
        self.serve()
        self.assert_answered(ask(self.server, chat("")))
        reply = ask(self.server, chat("id=reset rst@request|"))
        self.assert_answered(reply)
        self.assertEqual(len(self.mock.tries("reset")), 2)

    def test_a_stream_that_is_reset_in_the_middle_is_an_error_and_not_repeated(self):
        self.serve()
        # With traffic: nginx tells no reset while all other streams of the connection stand still.
        other = Client(self.server, chat("id=other frames=300 gap=10"))
        other.read_until(b"t1 ")
        reply = ask(self.server, chat("id=middle frames=9 rst@frame:3"))
        self.assertEqual((reply.status, reply.done, reply.text), (200, False, text_of(3)))
        self.assertTrue(reply.error)
        self.assertEqual(len(self.mock.tries("middle")), 1)
        self.assertEqual(ask(self.server, chat("id=whole rst@mid", stream=False)).status, 502)
        self.assertIn(b"data: [DONE]", other.rest())  # on the same connection, and not hurt
        other.leave()

    def test_connections_that_are_to_go_away_lose_nothing(self):
        self.serve(Nginx(self.mock, more="keepalive_requests 5;"))
        asked = 0
        for _ in range(4 if SANITIZED else 12):
            for reply in self.all(8, "frames=6 gap=2"):
                self.assert_answered(reply, 6)
                asked += 1
        wait_for(lambda: len(self.nginx.served()) >= asked, 10, "its log")
        connections = {c for c, _, _ in self.nginx.served()}
        print(f"# {asked} requests over {len(connections)} connections of 5")
        self.assertGreaterEqual(len(connections), asked // 8)

    def test_a_server_that_is_replaced_under_load_loses_nothing(self):
        self.serve()
        long = Client(self.server, chat("id=long hold@frame:2"))
        long.read_until(b"t1 ")
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            asking = [pool.submit(lambda: [ask(self.server, chat("frames=5 gap=5")) for _ in range(10 if SANITIZED else 40)])
                      for _ in range(6)]
            for _ in range(3 if SANITIZED else 6):
                time.sleep(0.15)
                self.nginx.reload()
            for replies in asking:
                for reply in replies.result():
                    self.assert_answered(reply, 5)
        self.mock.release("long")
        self.assertIn(b"data: [DONE]", long.rest())  # where it began
        long.leave()

    def test_a_connection_that_breaks_fails_its_streams_and_the_next_is_served(self):
        self.serve()
        streams = [Client(self.server, chat(f"id=b{i} hold@frame:2")) for i in range(4)]
        for stream in streams:
            stream.read_until(b"t1 ")
        master = self.nginx.process.pid
        workers = pathlib.Path(f"/proc/{master}/task/{master}/children").read_text(encoding="ascii").split()
        self.assertEqual(len(workers), 1)
        self.nginx.process.kill()
        os.kill(int(workers[0]), signal.SIGKILL)
        for stream in streams:
            self.assertIn(b'"error"', stream.rest())
            stream.leave()
        self.assertEqual(ask(self.server, chat("")).status, 502)
        self.nginx.process.wait()
        self.nginx.process = subprocess.Popen([NGINX, "-p", str(self.nginx.folder), "-c", str(self.nginx.folder / "nginx.conf")],
                                              stderr=subprocess.DEVNULL)
        wait_for(lambda: accepts(self.nginx.port), 10, "nginx again")
        self.assert_answered(ask(self.server, chat("")))


if __name__ == "__main__":
    tap.main()
