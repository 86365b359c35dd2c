"""The program as it is released (`make build`: optimized as a whole), through suites that the others of make test pass."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import BUILD, ROOT, SANITIZED  # noqa: E402

RELEASE = ROOT / "build"
PROGRAM = RELEASE / "gateway" / "rootstock"


def why_not():
    """Why there is no such program; None: there is one."""
    options = RELEASE / "meson-info" / "intro-buildoptions.json"
    if SANITIZED:
        return "this is about the program without sanitizers"
    if not PROGRAM.exists() or not options.exists():
        return "build/gateway/rootstock is not there: make build"
    values = {o["name"]: o["value"] for o in json.loads(options.read_text(encoding="utf-8"))}
    if values["buildtype"] != "release" or not values["b_lto"]:
        return "build/ holds another kind of build: make clean build"
    sources = (f for folder in ("adapters", "base", "config", "engine", "gateway", "plugins", "router")
               for f in (ROOT / folder).rglob("*.[ch]*"))
    if max(f.stat().st_mtime for f in sources) > PROGRAM.stat().st_mtime:
        return "build/gateway/rootstock is older than its sources: make build"
    return None


class Released(unittest.TestCase):
    """A suite a case: its own lines are printed where it fails."""

    @classmethod
    def setUpClass(cls):
        cls.reason = why_not()
        cls.folder = tempfile.TemporaryDirectory(prefix="rootstock-released-")
        cls.addClassCleanup(cls.folder.cleanup)
        build = pathlib.Path(cls.folder.name)
        (build / "gateway").mkdir()
        (build / "gateway" / "rootstock").symlink_to(PROGRAM)
        (build / "tests").symlink_to(BUILD / "tests")  # what stands around it

    def setUp(self):
        if self.reason:
            self.skipTest(self.reason)

    def passes(self, suite):
        """Runs tests/e2e/SUITE.py on it."""
        ran = subprocess.run([sys.executable, ROOT / "tests" / "e2e" / f"{suite}.py"], text=True, capture_output=True,
                             env={**os.environ, "ROOTSTOCK_BUILD": self.folder.name, "ROOTSTOCK_ROOT": str(ROOT)},
                             timeout=600, check=False)
        self.assertEqual(ran.returncode, 0, f"{ran.stdout[-6000:]}\n{ran.stderr[-2000:]}")
        passed = [line for line in ran.stdout.splitlines() if line.startswith("ok ") and "# SKIP" not in line]
        self.assertGreater(len(passed), 1, ran.stdout)
        self.assertNotIn("\nnot ok ", ran.stdout)

    def test_http_contract(self):
        self.passes("http_contract")

    def test_messages_api(self):
        self.passes("messages_api")

    def test_stream_guard(self):
        self.passes("stream_guard")

    def test_second_gateway(self):
        self.passes("second_gateway")

    def test_lifecycle(self):
        self.passes("lifecycle")

    def test_reload(self):
        self.passes("reload")

    def test_upstream_faults(self):
        self.passes("upstream_faults")


if __name__ == "__main__":
    tap.main()
