"""Blob stores against services of others: an S3 mock from PyPI, nginx; and our own test server against a stock S3 client.

What is not installed is skipped, with a word (pip install 'moto[server]'; apt-get install nginx).
"""
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import ROOT  # noqa: E402

PROGRAM = pathlib.Path(os.environ.get("ROOTSTOCK_BUILD", ROOT / "build")) / "tests/unit/adapters/test_adapters_blob_stores"
ACCESS, SECRET, REGION = "AKTEST", "the/secret+key", "eu-test-1"


def python_with(module):
    """A Python that has the module, or None."""
    for python in (ROOT / ".venv/bin/python", shutil.which("python3")):
        if python and pathlib.Path(python).exists():
            if subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0:
                return str(python)
    return None


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"nothing listens on port {port}")


def run_program(**variables):
    """The stores' unit tests, with the peer in their environment; its case must have run and passed."""
    out = subprocess.run([str(PROGRAM)], env={**os.environ, **variables}, capture_output=True, text=True, timeout=300,
                         check=False).stdout
    lines = [line for line in out.splitlines() if "the_stores_of_others_serve_too" in line]
    return lines[0] if lines and "SKIP" not in lines[0] else f"not ok: {out}"


class Peers(unittest.TestCase):
    """Each store with a server that is not ours."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="rootstock-peer-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def start(self, *command, **options):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, **options)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)

    @unittest.skipIf(python_with("moto.server") is None, "moto is not installed")
    def test_a_mock_of_s3_from_pypi_is_a_store(self):
        port = free_port()
        self.start(python_with("moto.server"), "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port))
        wait_for(port)
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/a-bucket", method="PUT")).close()
        result = run_program(TEST_PEER_BUCKET="s3://a-bucket/some/prefix", TEST_PEER_ENDPOINT=f"http://127.0.0.1:{port}")
        self.assertTrue(result.startswith("ok"), result)

    @unittest.skipIf(shutil.which("nginx") is None and not os.path.exists("/usr/sbin/nginx"), "nginx is not installed")
    def test_nginx_serves_what_a_folder_holds(self):
        port = free_port()
        os.mkdir(self.folder + "/blobs")
        os.chmod(self.folder, 0o755)
        config = pathlib.Path(self.folder) / "nginx.conf"
        config.write_text(f"daemon off; pid {self.folder}/pid; error_log {self.folder}/error.log; events {{}}\n"
                          f"http {{ access_log off; client_body_temp_path {self.folder}/a; proxy_temp_path {self.folder}/b;"
                          f" fastcgi_temp_path {self.folder}/c; uwsgi_temp_path {self.folder}/d; scgi_temp_path {self.folder}/e;"
                          f" server {{ listen 127.0.0.1:{port}; root {self.folder}; }} }}\n", encoding="utf-8")
        self.start(shutil.which("nginx") or "/usr/sbin/nginx", "-p", self.folder, "-c", str(config))
        wait_for(port)
        result = run_program(TEST_PEER_FOLDER=f"file://{self.folder}/blobs", TEST_PEER_WEB=f"http://127.0.0.1:{port}/blobs")
        self.assertTrue(result.startswith("ok"), result)

    @unittest.skipIf(python_with("boto3") is None, "boto3 is not installed")
    def test_our_test_server_understands_a_stock_s3_client(self):
        """Its check of signatures accepts an independent signer's, and refuses a wrong secret."""
        server = subprocess.Popen([sys.executable, str(ROOT / "tests/support/blob_server.py")], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        self.addCleanup(server.wait)
        self.addCleanup(server.stdin.close)
        self.addCleanup(server.stdout.close)
        port = int(server.stdout.readline())
        script = f"""
import boto3, botocore.config, botocore.exceptions, sys
def client(secret):
    return boto3.client("s3", endpoint_url="http://127.0.0.1:{port}", region_name="{REGION}", aws_access_key_id="{ACCESS}",
        aws_secret_access_key=secret, config=botocore.config.Config(s3={{"addressing_style": "path"}}, retries={{"max_attempts": 0}},
        request_checksum_calculation="when_required", response_checksum_validation="when_required"))
s3 = client("{SECRET}")
for key in ("few/a b+c~d=e&f/x", "few/plain", "few/q", "few/r"):
    s3.put_object(Bucket="blobs", Key=key, Body=b"0123456789")
assert s3.get_object(Bucket="blobs", Key="few/a b+c~d=e&f/x", Range="bytes=3-5")["Body"].read() == b"345"
pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket="blobs", Prefix="few/"))
assert sum(len(p["Contents"]) for p in pages) == 4 and len(pages) == 2, pages
s3.delete_object(Bucket="blobs", Key="few/q")
try:
    client("wrong").get_object(Bucket="blobs", Key="few/plain")
    sys.exit("a wrong secret was accepted")
except botocore.exceptions.ClientError as e:
    assert e.response["Error"]["Code"] == "SignatureDoesNotMatch", e
"""
        done = subprocess.run([python_with("boto3"), "-c", script], capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    tap.main()
