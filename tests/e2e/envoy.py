"""The shipped deploy/envoy.yaml in the real Envoy, before two gateways. Skipped, with a word, where it is not installed."""
import http.client
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import clients_node  # noqa: E402
import clients_python  # noqa: E402  (goes on in the clients' own Python, where that is installed)
from support import tap  # noqa: E402
from support.mock import Mock, text_of  # noqa: E402
from support.rootstock import PATIENCE, ROOT, Server, accepts, free_port, heldout, wait_for  # noqa: E402

ENVOY = shutil.which("envoy", path=f"{ROOT / '.venv' / 'bin'}:{os.environ.get('PATH', '')}")
ABSENT = "Envoy is not installed; run tests/e2e/install-clients.sh"


class Envoy:
    """The shipped file with addresses of this machine, and a certificate for localhost."""

    def __init__(self, *gateways):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rootstock-envoy-"))
        self.cert = self.folder / "tls.crt"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost", "-keyout", str(self.folder / "tls.key"),
                        "-out", str(self.cert)], check=True, capture_output=True)
        self.port, admin = free_port(), free_port()
        text = (ROOT / "deploy" / "envoy.yaml").read_text(encoding="utf-8")
        for name, port in zip(("gateway-1", "gateway-2"), gateways):
            text = text.replace(f"address: {name}, port_value: 8080", f"address: 127.0.0.1, port_value: {port}")
        text = text.replace("0.0.0.0, port_value: 8443", f"127.0.0.1, port_value: {self.port}")
        text = text.replace("port_value: 9901", f"port_value: {admin}").replace("/etc/envoy/tls", str(self.folder))
        config = self.folder / "envoy.yaml"
        config.write_text(text, encoding="utf-8")
        self.log = open(self.folder / "log", "w", encoding="utf-8")
        self.process = subprocess.Popen([ENVOY, "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id"],
                                        stdout=self.log, stderr=self.log)
        wait_for(lambda: accepts(self.port) and self.ask("GET", "/ready")[0] == 200, 30, "Envoy")

    def connect(self):
        """A connection over TLS."""
        context = ssl.create_default_context(cafile=str(self.cert))
        return http.client.HTTPSConnection("localhost", self.port, context=context, timeout=30 * PATIENCE)

    def ask(self, method, path, body=None):
        """(status, headers, bytes)."""
        connection = self.connect()
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None,
                               {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def stream(self, script):
        """A chat stream whose engine does what the script says: (connection, answer)."""
        connection = self.connect()
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": f"mock[{script}]"}]}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        return connection, connection.getresponse()

    def stop(self):
        """Ends it."""
        self.process.terminate()
        self.process.wait(timeout=20 * PATIENCE)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def read_frames(answer, n):
    """The text of the next n events that have any."""
    text = []
    while len(text) < n:
        line = answer.readline()
        if not line:
            raise EOFError("the stream ended early")
        if line.startswith(b"data: {"):
            choices = json.loads(line[6:])["choices"]
            text += [choices[0]["delta"]["content"]] if choices and choices[0]["delta"].get("content") else []
    return "".join(text)


def gateway(port):
    """The configuration of a gateway whose engine is the mock at that port."""
    return f"""version: v0.3
engine:
  models:
    - {{name: m, upstream: {{provider: openai, url: "http://127.0.0.1:{port}/v1"}}}}
adapters: {{catalog: {{type: directory, path: {ROOT / 'models' / 'heldout'}}}}}
"""


@unittest.skipIf(ENVOY is None, ABSENT)
class BehindEnvoy(unittest.TestCase):
    """Two gateways before one mock engine."""

    def setUp(self):
        self.mock = Mock()
        self.gateways = [Server(text=gateway(self.mock.port)) for _ in range(2)]
        self.envoy = Envoy(*(g.port for g in self.gateways))

    def tearDown(self):
        self.envoy.stop()
        for one in self.gateways:
            if one.process.poll() is None:
                one.stop()
        self.mock.stop()

    def test_http_2_is_spoken_and_operators_paths_are_not_served(self):
        url = f"https://localhost:{self.envoy.port}"
        ran = subprocess.run(["curl", "-sS", "--http2", "--cacert", str(self.envoy.cert), "-o", "/dev/null", "-w",
                              "%{http_version} %{http_code}", f"{url}/v1/models"], capture_output=True, text=True,
                             check=True, timeout=30 * PATIENCE)
        self.assertEqual(ran.stdout, "2 200")
        for path in ("/metrics", "/admin/adapters", "/v1/load_lora_adapter"):
            self.assertEqual(self.envoy.ask("GET", path)[0], 404, path)

    def test_a_stream_arrives_chunk_by_chunk(self):
        connection, answer = self.envoy.stream("id=s hold@frame:2")
        self.assertEqual(read_frames(answer, 2), text_of(2))  # the engine holds: no later frame pushes these
        self.mock.release("s")
        rest = answer.read()
        self.assertTrue(rest.endswith(b"data: [DONE]\n\n"), rest[-200:])
        connection.close()

    def test_a_client_that_aborts_is_noticed_by_the_engine(self):
        connection, answer = self.envoy.stream("id=a hold@frame:2")
        read_frames(answer, 2)
        left = time.monotonic()
        connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()
        wait_for(lambda: self.mock.counts()["left"] == 1, 10, "the abort")
        seen = self.mock.tries("a")[0]["left_us"] / 1e6
        print(f"# the engine noticed after {1000 * (seen - left):.1f} ms")

    def test_a_large_body_passes(self):
        body = {"model": "m", "messages": [{"role": "user", "content": "x" * (12 << 20)}]}
        status, _, data = self.envoy.ask("POST", "/v1/chat/completions", body)
        self.assertEqual(status, 200, data[:300])

    def test_a_gateway_killed_under_load_costs_only_its_own_streams(self):
        streams = [self.envoy.stream("id=k frames=6 hold@frame:2") for _ in range(16)]
        for _, answer in streams:
            read_frames(answer, 2)
        self.gateways[0].process.kill()
        self.gateways[0].process.wait()
        time.sleep(0.5)
        self.mock.release("k")
        whole = broken = 0
        for connection, answer in streams:
            try:
                rest = answer.read()
                self.assertTrue(rest.endswith(b"data: [DONE]\n\n"), "an end that looks like one and is none")
                whole += 1
            except (http.client.HTTPException, OSError):
                broken += 1
            connection.close()
        print(f"# {whole} streams ended well, {broken} with an error")
        self.assertEqual(whole + broken, 16)
        self.assertGreater(whole, 0)
        self.assertGreater(broken, 0)
        for _ in range(20):  # what comes now goes to the other
            status, _, data = self.envoy.ask("POST", "/v1/chat/completions", {
                "model": "m", "messages": [{"role": "user", "content": "mock[]"}]})
            self.assertEqual(status, 200, data)

    def test_a_gateway_that_drains_loses_no_request(self):
        connection, answer = self.envoy.stream("id=d hold@frame:1")
        read_frames(answer, 1)
        mine = max(self.gateways, key=lambda g: int(g.get("/metrics")[2].decode().split(
            "\nrootstock_requests_active ")[1].split()[0]))
        mine.process.terminate()
        for _ in range(30):
            self.assertEqual(self.envoy.ask("POST", "/v1/chat/completions", {
                "model": "m", "messages": [{"role": "user", "content": "mock[]"}]})[0] in (200, 503), True)
            time.sleep(0.1)
        self.mock.release("d")
        self.assertTrue(answer.read().endswith(b"data: [DONE]\n\n"))
        connection.close()
        self.assertEqual(mine.process.wait(timeout=30 * PATIENCE), 0)


@unittest.skipIf(ENVOY is None or clients_python.openai is None, ABSENT)
class PythonThroughEnvoy(clients_python.StockClient):
    """The openai client's suite, over TLS through Envoy."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.envoy = Envoy(cls.server.port, cls.server.port)
        cls.client.close()
        cls.client = clients_python.openai.OpenAI(
            base_url=f"https://localhost:{cls.envoy.port}/v1", api_key="none", max_retries=0,
            http_client=clients_python.openai.DefaultHttpxClient(
                verify=ssl.create_default_context(cafile=str(cls.envoy.cert))))

    @classmethod
    def tearDownClass(cls):
        cls.envoy.stop()
        super().tearDownClass()


@unittest.skipIf(ENVOY is None or not clients_node.HERE, ABSENT)
class NodeThroughEnvoy(clients_node.StockClient):
    """The openai client's suite for Node, over TLS through Envoy."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.envoy = Envoy(cls.server.port, cls.server.port)
        cls.case = heldout("sql.2")[0]
        ran = subprocess.run(["node", str(clients_node.CLIENTS / "openai.mjs"), f"https://localhost:{cls.envoy.port}/v1",
                              cls.case["prompt"]], capture_output=True, text=True, timeout=120 * PATIENCE, check=False,
                             env={**os.environ, "NODE_EXTRA_CA_CERTS": str(cls.envoy.cert)})
        if ran.returncode:
            raise AssertionError(ran.stderr)
        cls.out = json.loads(ran.stdout)

    @classmethod
    def tearDownClass(cls):
        cls.envoy.stop()
        super().tearDownClass()


if __name__ == "__main__":
    tap.main()
