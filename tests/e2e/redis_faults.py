"""Redis dies, freezes, is wiped, is filled with wrong types, fails over: known adapters are served throughout.

--long: pauses of 30 s and 200 publishers killed of each kind, instead of short pauses and 20.
"""
import http.client
import json
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import PATIENCE, PROGRAM, Server, free_port, wait_for  # noqa: E402

LONG = "--long" in sys.argv
PAUSE_S = 30 if LONG else 2
KILLS = 200 if LONG else 20
KNOWN = ("sql", "extract", "french", "triage")
RECOVERY_S = 30  # the time is printed; only much more of it fails a test
STORM_COMMANDS = 2000  # of two gateways that find an unchanged Redis again, with some requests for unknown names


needs_redis = unittest.skipUnless(shutil.which("redis-server"), "redis-server is not installed")


class Resp:
    """A connection that speaks the Redis protocol, enough of it."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10 * PATIENCE)
        self.file = self.socket.makefile("rb")

    def close(self):
        """Hangs up."""
        self.file.close()
        self.socket.close()

    def __call__(self, *words):
        parts = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        return self._reply()

    def _reply(self):
        line = self.file.readline().rstrip(b"\r\n")
        if not line:
            raise OSError("no reply")
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            n = int(rest)
            return None if n < 0 else self.file.read(n + 2)[:n]
        if kind == b"*":
            return [self._reply() for _ in range(int(rest))]
        return rest


class DurableRedis:
    """A redis-server that keeps what it acknowledged, however it ends."""

    def __init__(self, *options, port=None):
        self.folder = tempfile.mkdtemp(prefix="rootstock-redis-")
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.options = options
        self.process = None
        self.start()

    def start(self):
        """Starts it with the data it has, and waits until that is loaded."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder, "--save", "",
                   "--appendonly", "yes", "--appendfsync", "always", *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self._answers, 20, "redis-server")

    def _answers(self):
        try:
            return self.do("PING") == b"PONG"
        except (OSError, RuntimeError):
            return False

    def do(self, *words):
        """One command on a connection of its own."""
        connection = Resp(self.port)
        try:
            return connection(*words)
        finally:
            connection.close()

    def leads(self):
        """Whether it is a master; one that is being promoted drops whom it serves."""
        try:
            return self.do("ROLE")[0] == b"master"
        except OSError:
            return False

    def kill(self):
        """Ends it like a crash."""
        self.process.kill()
        self.process.wait()

    def pause(self):
        """It keeps its connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        """It goes on."""
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        """Ends it; its data goes."""
        if self.process.poll() is None:
            self.resume()
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Load:
    """Requests for known adapters, one after the other, until it is left; counts what was not answered with 200."""

    def __init__(self, server):
        self.server = server
        self.served = 0
        self.faults = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        while not self.stopping.is_set():
            name = KNOWN[self.served % len(KNOWN)]
            status, data = ask(self.server, f"demo:{name}")
            if status == 200:
                self.served += 1
            else:
                self.faults.append((name, status, data[:300]))
            time.sleep(0.005)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *unused):
        self.stopping.set()
        self.thread.join()


def ask(server, model):
    """(status, body) of a request of one token."""
    body = {"model": model, "max_tokens": 1, "temperature": 0, "messages": [{"role": "user", "content": "hello"}]}
    status, _, data = server.request("POST", "/v1/chat/completions", body)
    return status, data


def revision(server, model):
    """The digest that a model name is served with, or None where there is no such name."""
    body = {"model": model, "max_tokens": 1, "temperature": 0, "messages": [{"role": "user", "content": "hello"}]}
    status, headers, data = server.request("POST", "/v1/chat/completions", body)
    if status == 404:
        return None
    if status != 200:
        raise AssertionError(f"{model}: {status} {data[:300]!r}")
    return headers["x-rootstock-revision"]


def code_of(data):
    """The error word of an error body."""
    return json.loads(data)["error"]["code"]


def move(server, where):
    """One write over HTTP: (status, headers, body)."""
    return server.request("POST", "/admin/adapters/triage/alias", {"alias": "blue", "revision": where})


@needs_redis
class Faults(unittest.TestCase):
    """One gateway with the demo's adapters, all of them in memory; Redis is as good as new before each case."""

    @classmethod
    def setUpClass(cls):
        cls.redis = DurableRedis()
        cls.server = Server(redis=cls.redis)
        cls.warm(cls.server)

    @classmethod
    def tearDownClass(cls):
        if hasattr(cls, "redis"):
            cls.server.stop()
            cls.redis.close()

    @staticmethod
    def warm(server):
        """Every known adapter is in memory."""
        for name in KNOWN:
            status, data = ask(server, f"demo:{name}")
            if status != 200:
                raise AssertionError(f"{name}: {status} {data[:300]!r}")

    def setUp(self):
        self.recovered(self.server)
        self.warm(self.server)

    def recovered(self, server):
        """Seconds until a write works and an unknown name is a name that does not exist."""
        start = time.monotonic()
        wait_for(lambda: move(server, "prod")[0] == 200 and ask(server, "demo:unheard_of")[0] == 404, RECOVERY_S,
                 "recovery")
        return time.monotonic() - start

    def told(self, what, seconds):
        """The time of a recovery, for the reader."""
        print(f"# {what}: writes and unknown names are right again after {seconds:.2f} s", flush=True)

    def is_cut_off(self, server):
        """Unknown names and writes are told from absent ones and from done ones."""
        status, data = ask(server, "demo:unheard_of")
        self.assertEqual((status, code_of(data)), (503, "catalog_unavailable"), data)
        status, headers, data = move(server, "prev")
        self.assertEqual((status, code_of(data)), (503, "catalog_unavailable"), data)
        self.assertGreaterEqual(int(headers["Retry-After"]), 1)
        refused = server.cli("adapters", "alias", "triage", "blue", "prev", check=False)
        self.assertEqual(refused.returncode, 1, refused.stdout)
        self.assertIn("Redis", refused.stderr)

    def served_throughout(self, load, least=10):
        """No request for a known adapter failed."""
        self.assertEqual(load.faults, [])
        self.assertGreaterEqual(load.served, least)

    def test_killed_and_started_again(self):
        before = {name: revision(self.server, f"demo:{name}") for name in KNOWN}
        with Load(self.server) as load:
            self.redis.kill()
            self.is_cut_off(self.server)
            time.sleep(PAUSE_S)
            self.is_cut_off(self.server)
            self.redis.start()
            self.told("killed", self.recovered(self.server))
        self.served_throughout(load)
        self.assertEqual({name: revision(self.server, f"demo:{name}") for name in KNOWN}, before)

    def test_frozen_and_thawed(self):
        with Load(self.server) as load:
            self.redis.pause()
            try:
                time.sleep(PAUSE_S)
                self.is_cut_off(self.server)
            finally:
                self.redis.resume()
            self.told("frozen", self.recovered(self.server))
        self.served_throughout(load)

    def test_wiped(self):
        before = {name: revision(self.server, f"demo:{name}") for name in KNOWN}
        with Load(self.server) as load:
            self.redis.do("FLUSHALL")
            start = time.monotonic()
            for name in KNOWN:  # the gateway gives back what it knows
                show = ("adapters", "show", name, "--json")
                wait_for(lambda show=show, digest=before[name]: digest in self.server.cli(*show, check=False).stdout,
                         RECOVERY_S, f"{name} in Redis")
            self.told("wiped", time.monotonic() - start + self.recovered(self.server))
        self.served_throughout(load)
        self.assertEqual({name: revision(self.server, f"demo:{name}") for name in KNOWN}, before)

    def test_filled_with_wrong_types(self):
        connection = Resp(self.redis.port)
        with Load(self.server) as load:
            for key in connection("KEYS", "*"):
                wrong = b"string" if connection("TYPE", key) != b"string" else b"list"
                connection("DEL", key)
                connection(*((b"SET", key, b"rubbish") if wrong == b"string" else (b"LPUSH", key, b"rubbish")))
            for _ in range(5):
                status, data = ask(self.server, "demo:unheard_of")
                self.assertIn((status, code_of(data)), ((503, "catalog_unavailable"), (404, "model_not_found")))
                status, headers, data = move(self.server, "prev")
                if status != 200:  # else the key was mended meanwhile
                    self.assertEqual((status, code_of(data)), (503, "catalog_unavailable"), data)
                    self.assertGreaterEqual(int(headers["Retry-After"]), 1)
                done = self.server.cli("adapters", "alias", "triage", "blue", "prev", check=False)
                self.assertIn(done.returncode, (0, 1), done.stderr)
                time.sleep(0.1)
            connection("FLUSHALL")
            self.told("wrong types", self.recovered(self.server))
        connection.close()
        self.served_throughout(load)

    def test_a_gateway_starts_without_redis(self):
        before = {name: revision(self.server, f"demo:{name}") for name in KNOWN}
        self.redis.kill()
        try:
            self.server.restart()
            self.assertEqual({name: revision(self.server, f"demo:{name}") for name in KNOWN}, before)
            self.is_cut_off(self.server)
        finally:
            self.redis.start()
        self.told("started without", self.recovered(self.server))

    def test_no_storm_when_redis_is_back(self):
        other = Server(redis=self.redis)
        try:
            self.warm(other)
            with Load(self.server) as load, Load(other) as second:
                self.redis.kill()
                time.sleep(1)
                self.redis.start()  # its counts begin anew
                self.recovered(self.server)
                self.recovered(other)
                time.sleep(1)
                counts = self.commands()
            self.served_throughout(load)
            self.served_throughout(second)
        finally:
            other.stop()
        total = sum(counts.values())
        most = ", ".join(f"{n} {name}" for name, n in sorted(counts.items(), key=lambda c: -c[1])[:6])
        print(f"# two gateways found Redis again with {total} commands: {most}", flush=True)
        self.assertLess(total, STORM_COMMANDS)

    def commands(self):
        """How often each command was called since Redis started."""
        counts = {}
        for line in self.redis.do("INFO", "commandstats").decode().splitlines():
            name, _, values = line.partition(":")
            if name.startswith("cmdstat_"):
                counts[name.removeprefix("cmdstat_")] = int(values.split("calls=")[1].split(",")[0])
        return counts


@needs_redis
class KilledPublishers(unittest.TestCase):
    """`rootstock adapters push` ends at any moment: what it published is there in whole, or not at all."""

    kind = "publishers"

    @classmethod
    def setUpClass(cls):
        cls.redis = DurableRedis()
        cls.server = Server(redis=cls.redis)

    @classmethod
    def tearDownClass(cls):
        if hasattr(cls, "redis"):
            cls.server.stop()
            cls.redis.close()

    def push(self, name, source):
        """Starts a publisher."""
        command = [str(PROGRAM), "adapters", "push", name, str(source), "--base", "demo", "--alias", "prod", "-c",
                   str(self.server.config)]
        return subprocess.Popen(command, env=self.server.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def shown(self, name):
        """(digests of the revisions, digest of prod) by the catalog; None: no such adapter."""
        done = self.server.cli("adapters", "show", f"demo:{name}", "--json", check=False)
        if done.returncode != 0:
            return None
        info = json.loads(done.stdout)
        digests = [r["digest"] for r in info["revisions"]]
        return digests, info["aliases"].get("prod")

    def test_nothing_is_lost_or_half_shown(self):
        dice = random.Random(7)
        sources = sorted(p for p in (self.server.folder / "adapters").glob("*/*") if p.is_dir())
        start = time.monotonic()
        self.assertEqual(self.push("first", sources[0]).wait(), 0)
        whole_s = time.monotonic() - start
        known = {"first": self.shown("first")}
        digest = known["first"][1]
        done = cut = 0
        for i in range(KILLS):
            name = dice.choice(sorted(known)) if i % 2 else f"new{i}"
            source = dice.choice(sources)
            publisher = self.push(name, source)
            time.sleep(dice.uniform(0, 1.2 * whole_s))
            publisher.kill()
            publisher.wait()
            before, after = known.get(name), self.shown(name)
            if after is not None:
                digests, prod = after
                self.assertIn(prod, digests)
                wait_for(lambda: revision(self.server, f"demo:{name}") == prod, 5, f"{name} at {prod}")
                for old in before[0] if before else ():
                    self.assertIn(old, digests)
                self.assertLessEqual(len(digests), len(before[0]) + 1 if before else 1)
                known[name] = after
            else:
                self.assertIsNone(before, name)
                self.assertIsNone(revision(self.server, f"demo:{name}"))
            done, cut = (done + 1, cut) if after != before else (done, cut + 1)
        for name, was in known.items():
            self.assertEqual(self.shown(name), was)
        for i in range(0, KILLS, 2):  # what was cut off can be done again
            self.assertEqual(self.push(f"new{i}", sources[0]).wait(), 0)
            self.assertEqual(self.shown(f"new{i}")[1], digest)
        print(f"# {KILLS} {self.kind} killed within {1.2 * whole_s:.2f} s of their start: {done} had published, "
              f"{cut} not", flush=True)


class Upload:
    """A publication by a gateway, over HTTP; it can be killed as a process can."""

    def __init__(self, gateway, name, source):
        self.gateway = gateway
        self.status = None
        mark = "a-boundary-of-no-file"
        parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode()
                 for k, v in (("base", "demo"), ("alias", "prod"))]
        for path in sorted(p for p in source.iterdir() if p.is_file()):
            parts.append(f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'
                         .encode() + path.read_bytes() + b"\r\n")
        self.body = b"".join(parts) + f"--{mark}--\r\n".encode()
        self.thread = threading.Thread(target=self._run, args=(f"/admin/adapters/{name}", mark))
        self.thread.start()

    def _run(self, path, mark):
        try:
            self.status = self.gateway.request("POST", path, self.body,
                                               {"Content-Type": f"multipart/form-data; boundary={mark}"})[0]
        except (OSError, http.client.HTTPException):
            self.status = None  # it was killed

    def kill(self):
        """Ends the gateway like a crash."""
        self.gateway.process.kill()
        self.gateway.process.wait()

    def wait(self):
        """0 once it has published; a killed gateway is started again."""
        self.thread.join()
        if self.gateway.process.poll() is not None:
            self.gateway.start()
        return 0 if self.status == 200 else 1


class KilledGateways(KilledPublishers):
    """A gateway ends at any moment of a publication, and another gateway looks."""

    kind = "gateways"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.publisher = Server(redis=cls.redis)

    @classmethod
    def tearDownClass(cls):
        if hasattr(cls, "publisher"):
            cls.publisher.stop()
        super().tearDownClass()

    def push(self, name, source):
        """Starts a publication."""
        return Upload(self.publisher, name, source)


@needs_redis
class Failover(unittest.TestCase):
    """A gateway that asks a Sentinel for its Redis."""

    @classmethod
    def setUpClass(cls):
        cls.master = DurableRedis()
        cls.replica = DurableRedis("--replicaof", "127.0.0.1", str(cls.master.port))
        cls.folder = tempfile.mkdtemp(prefix="rootstock-sentinel-")
        cls.port = free_port()
        config = pathlib.Path(cls.folder) / "sentinel.conf"
        config.write_text(f"port {cls.port}\nbind 127.0.0.1\ndir {cls.folder}\n"
                          f"sentinel monitor main 127.0.0.1 {cls.master.port} 1\n"
                          "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n",
                          encoding="utf-8")
        cls.sentinel = subprocess.Popen(["redis-server", str(config), "--sentinel"], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        wait_for(cls.linked, 30, "the replica and its Sentinel")
        cls.url = f"redis+sentinel://127.0.0.1:{cls.port}/main"
        cls.server = Server(redis=cls)

    @classmethod
    def linked(cls):
        """The replica has all, and the Sentinel knows it."""
        try:
            told = Resp(cls.port)
            try:
                return b"slaves=1" in told("INFO", "sentinel") and \
                    b"master_link_status:up" in cls.replica.do("INFO", "replication")
            finally:
                told.close()
        except OSError:
            return False

    @classmethod
    def tearDownClass(cls):
        if hasattr(cls, "server"):
            cls.server.stop()
        if hasattr(cls, "sentinel"):
            cls.sentinel.kill()
            cls.sentinel.wait()
            shutil.rmtree(cls.folder, ignore_errors=True)
            cls.replica.close()
            cls.master.close()

    def test_known_adapters_are_served_while_the_master_changes(self):
        Faults.warm(self.server)
        before = {name: revision(self.server, f"demo:{name}") for name in KNOWN}
        self.assertEqual(self.master.do("WAIT", 1, 5000), 1)
        with Load(self.server) as load:
            start = time.monotonic()
            self.master.kill()
            wait_for(self.replica.leads, 60, "a new master")
            changed = time.monotonic()
            wait_for(lambda: move(self.server, "prod")[0] == 200 and ask(self.server, "demo:unheard_of")[0] == 404,
                     RECOVERY_S, "recovery")
            print(f"# failed over: the Sentinel took {changed - start:.2f} s, writes are right "
                  f"{time.monotonic() - changed:.2f} s later", flush=True)
        self.assertEqual(load.faults, [])
        self.assertEqual({name: revision(self.server, f"demo:{name}") for name in KNOWN}, before)


def cluster_port():
    """A free port whose bus port, 10000 beyond, is a port and free too."""
    while True:
        port = free_port()
        if port + 10000 > 65535:
            continue
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port + 10000))
                return port
            except OSError:
                continue


@needs_redis
class Cluster(unittest.TestCase):
    """A gateway whose catalog lies on the three masters of a Cluster."""

    @classmethod
    def setUpClass(cls):
        cls.nodes = [DurableRedis("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
                                  "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no",
                                  port=cluster_port()) for _ in range(3)]
        places = [f"127.0.0.1:{node.port}" for node in cls.nodes]
        subprocess.run(["redis-cli", "--cluster", "create", *places, "--cluster-yes"], check=True,
                       timeout=60 * PATIENCE, stdout=subprocess.DEVNULL)
        wait_for(cls.whole, 30, "the Cluster")
        cls.url = "redis+cluster://" + ",".join(places[:2])
        cls.server = Server(redis=cls)

    @classmethod
    def tearDownClass(cls):
        if hasattr(cls, "server"):
            cls.server.stop()
        for node in getattr(cls, "nodes", ()):
            node.close()

    @classmethod
    def whole(cls):
        """Every node sees all slots served."""
        return all(b"cluster_state:ok" in node.do("CLUSTER", "INFO") for node in cls.nodes)

    def test_changes_arrive_and_known_adapters_outlive_a_node(self):
        Faults.warm(self.server)
        self.assertGreater(min(node.do("DBSIZE") for node in self.nodes), 0)
        old, new = revision(self.server, "demo:sql@prev"), revision(self.server, "demo:sql")
        self.assertNotEqual(old, new)
        self.server.cli("adapters", "alias", "sql", "prod", "prev")
        self.assertEqual(revision(self.server, "demo:sql"), old)
        self.server.cli("adapters", "rollback", "sql")
        self.assertEqual(revision(self.server, "demo:sql"), new)
        with Load(self.server) as load:
            for node in self.nodes:
                node.kill()
                time.sleep(0.5)
                self.assertEqual(revision(self.server, "demo:sql"), new)
                node.start()
                wait_for(self.whole, 30, "the Cluster")
                start = time.monotonic()
                wait_for(lambda: move(self.server, "prod")[0] == 200 and ask(self.server, "demo:unheard_of")[0] == 404,
                         RECOVERY_S, "recovery")
                print(f"# a node of three was gone: writes are right again after {time.monotonic() - start:.2f} s",
                      flush=True)
        self.assertEqual(load.faults, [])


@needs_redis
@unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
class Guarded(unittest.TestCase):
    """A Redis that speaks TLS alone, asks for a certificate, and knows a user who may touch one namespace."""

    def test_a_gateway_logs_in_over_tls(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="rootstock-tls-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

        def openssl(*words):
            subprocess.run(["openssl", *words], cwd=folder, check=True, timeout=60 * PATIENCE, capture_output=True)

        openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
        (folder / "names").write_text("subjectAltName=DNS:localhost\n", encoding="utf-8")
        for who in ("server", "client"):
            openssl("req", *key, "-keyout", f"{who}.key", "-out", f"{who}.csr", "-subj", f"/CN={who}")
            openssl("x509", "-req", "-in", f"{who}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                    "-days", "2", "-extfile", "names", "-out", f"{who}.pem")
        (folder / "password").write_text("s3cret:/@\n", encoding="utf-8")
        tls_port = free_port()
        redis = DurableRedis("--tls-port", str(tls_port), "--tls-cert-file", str(folder / "server.pem"),
                             "--tls-key-file", str(folder / "server.key"), "--tls-ca-cert-file", str(folder / "ca.pem"))
        self.addCleanup(redis.close)
        redis.do("ACL", "SETUSER", "gateway", "on", ">s3cret:/@", "~rootstock:*", "+@all", "-@admin", "-@dangerous",
                 "+info")
        redis.url = f"rediss://localhost:{tls_port}/0"
        login = (f"catalog:\n    user: gateway\n    password_file: {folder}/password\n"
                 f"    tls: {{ca: {folder}/ca.pem, cert: {folder}/client.pem, key: {folder}/client.key}}\n")
        server = Server(redis=redis, edit=lambda text: text.replace("catalog:\n", login))
        self.addCleanup(server.stop)
        Faults.warm(server)
        self.assertEqual(move(server, "prod")[0], 200)
        self.assertNotIn("s3cret", server.log_text())
        redis.do("ACL", "SETUSER", "gateway", "-@scripting")
        status, headers, data = move(server, "prev")
        self.assertEqual((status, code_of(data)), (503, "catalog_unavailable"), data)
        self.assertIn(b"NOPERM", data)
        self.assertIn("Retry-After", headers)
        Faults.warm(server)


if __name__ == "__main__":
    tap.main()
