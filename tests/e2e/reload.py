"""Engines behind are replaced while requests run: what a reload of the configuration does to them."""
import http.client
import json
import pathlib
import shutil
import signal
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.behind import HEALTHY, TRYING, Client, ask, behind, chat, upstream  # noqa: E402
from support.mock import Mock, text_of  # noqa: E402
from support.rootstock import PATIENCE, ROOT, SANITIZED, metric, wait_for  # noqa: E402

NEVER = {"connect": "5s", "first_byte": "120s", "idle": "120s"}
RELOADS = 10 if SANITIZED else 60


class Asking(threading.Thread):
    """Asks without a pause until it is told to end; failed: what was no success."""

    def __init__(self, server, model, script="frames=5 gap=5"):
        super().__init__(daemon=True)
        self.server, self.model, self.script = server, model, script
        self.over, self.asked, self.failed = threading.Event(), 0, []
        self.start()

    def run(self):
        while not self.over.is_set():
            try:
                reply = ask(self.server, chat(self.script, self.model, stream=self.asked % 2 == 0))
                if (reply.status, reply.error, reply.finish, reply.text) != (200, None, ["stop"], text_of(5)):
                    self.failed.append((reply.status, reply.body[-200:]))
            except (OSError, http.client.HTTPException) as e:
                self.failed.append(repr(e))
            self.asked += 1

    def end(self):
        """Stops it and waits."""
        self.over.set()
        self.join(timeout=60 * PATIENCE)


class Reload(unittest.TestCase):
    """Two mocks; a server a case."""

    @classmethod
    def setUpClass(cls):
        cls.one, cls.two = Mock(), Mock()

    @classmethod
    def tearDownClass(cls):
        cls.one.stop()
        cls.two.stop()

    def setUp(self):
        for mock in (self.one, self.two):
            mock.ask("POST", "/_mock/reset", b"")

    def serve(self, models, **more):
        """A server whose models may be changed."""
        self.server = behind(models, **more)
        self.addCleanup(self.stop, self.server)
        return self.server

    def stop(self, server):
        """With status 0: nothing of what was replaced is left."""
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)

    def change(self, edit, refused=False):
        """Edits the configuration as an object and reloads it."""
        name = "config_reload_failures_total" if refused else "config_reloads_total"
        config = json.loads(self.server.config.read_text(encoding="utf-8"))
        edit(config)
        self.server.config.write_text(json.dumps(config), encoding="utf-8")
        before = metric(self.server, name)
        self.server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: metric(self.server, name) > before, 20, "the reload")

    def models(self, models, **more):
        """These are the models from now on."""
        self.change(lambda c: c["engine"].update(
            models=[{"name": n, "upstream": u} for n, u in models.items()]), **more)

    def endpoints(self, model="m"):
        """What operators are told of a model's endpoints."""
        data = json.loads(self.server.get("/admin/upstream")[2])["data"]
        return next(m["endpoints"] for m in data if m["model"] == model)

    def seen(self, mock):
        """Chat requests that it has had."""
        return mock.counts()["requests"]

    def test_an_added_model_serves_and_a_removed_one_is_404(self):
        server = self.serve({"m": upstream(self.one)})
        self.assertEqual(ask(server, chat("", "n")).status, 404)
        self.models({"m": upstream(self.one), "n": upstream(self.two)})
        self.assertEqual(ask(server, chat("", "n")).text, text_of(4))
        self.assertEqual({m["id"] for m in json.loads(server.get("/v1/models")[2])["data"]}, {"m", "n"})
        self.models({"n": upstream(self.two)})
        gone = ask(server, chat("", "m", stream=False))
        self.assertEqual((gone.status, gone.error["code"]), (404, "model_not_found"))
        self.assertEqual(ask(server, chat("", "n")).text, text_of(4))
        self.assertEqual([m["id"] for m in json.loads(server.get("/v1/models")[2])["data"]], ["n"])

    def test_the_first_model_behind_may_come_with_a_reload(self):
        server = self.serve({}, engine={"models": [{"name": "here", "path": str(ROOT / "models" / "demo.gguf"), "slots": 2}]})
        self.change(lambda c: c["engine"]["models"].append({"name": "m", "upstream": upstream(self.one)}))
        self.assertEqual(ask(server, chat("", "m")).text, text_of(4))
        self.change(lambda c: c["engine"]["models"].pop(0))  # one of this process stays until a restart, and that is said
        self.assertIn("needs a restart", server.log_text())
        self.assertEqual(ask(server, chat("", "here", max_tokens=2)).status, 200)
        self.assertEqual(ask(server, chat("", "m")).text, text_of(4))

    def test_models_of_a_policy_are_replaced_too(self):
        def refs(mock):
            return {"models": [{"name": "org/m", "provider_model_id": "there", "backend_refs": [
                {"name": "b", "base_url": mock.url, "weight": 1}]}], "defaults": {"default_model": "org/m"}}

        server = self.serve({}, providers=refs(self.one))
        self.assertEqual(ask(server, chat("id=p", "org/m")).text, text_of(4))
        self.change(lambda c: c.update(providers=refs(self.two)))
        self.assertEqual(ask(server, chat("id=p", "org/m")).text, text_of(4))
        self.assertEqual((len(self.one.tries("p")), len(self.two.tries("p"))), (1, 1))

    def test_reloads_under_load_lose_no_request(self):
        sets = [{"m": upstream(self.one, timeouts=NEVER)}, {"m": upstream(self.two, timeouts=NEVER)},
                {"m": {**upstream(self.one, timeouts=NEVER), "url": None, "endpoints": [
                    {"url": self.one.url + "/v1", "weight": 3}, {"url": self.two.url + "/v1"}]}}]
        sets[2]["m"].pop("url")
        for s in sets:
            s["kept"] = upstream(self.two, timeouts=NEVER)
        self.serve(sets[0])
        asking = [Asking(self.server, m) for m in ("m", "m", "m", "kept")]
        for i in range(RELOADS):
            self.models(sets[(i + 1) % 3])
            if i % 5 == 4:
                self.change(lambda c: c.update(routing=[]), refused=True)
                self.change(lambda c: c.pop("routing"))
        for one in asking:
            one.end()
            self.assertEqual(one.failed, [])
        print(f"# {RELOADS} reloads, {sum(a.asked for a in asking)} requests")
        self.assertGreater(sum(a.asked for a in asking), 4 * RELOADS / 10)

    def test_a_running_answer_ends_where_it_began_and_its_engine_goes_then(self):
        health = {"path": "/probe", "interval": "100ms", **HEALTHY}
        server = self.serve({"m": upstream(self.one, timeouts=NEVER, health=health)})
        stream = Client(server, chat("id=long hold@frame:2"))
        stream.read_until(b"t1 ")
        probed = self.seen(self.one)
        wait_for(lambda: self.seen(self.one) > probed + 2, 10, "checks of its health")
        self.models({"m": upstream(self.two, timeouts=NEVER)})
        self.assertEqual(ask(server, chat("id=new")).text, text_of(4))
        self.assertEqual((len(self.one.tries("new")), len(self.two.tries("new"))), (0, 1))
        self.one.release("long")
        self.assertIn(b"data: [DONE]", stream.rest())
        stream.leave()
        time.sleep(0.5)
        probes = self.seen(self.one)
        time.sleep(0.5)
        self.assertEqual(self.seen(self.one), probes)  # nobody checks how it is any more

    def test_a_client_that_leaves_an_old_engine_is_told_to_it(self):
        server = self.serve({"m": upstream(self.one, timeouts=NEVER)})
        stream = Client(server, chat("id=left hold@frame:2"))
        stream.read_until(b"t1 ")
        self.models({"n": upstream(self.two)})
        stream.leave()
        wait_for(lambda: self.one.tries("left")[0]["left_us"], 10, "the end behind")
        self.assertEqual(ask(server, chat("", "n")).text, text_of(4))

    def test_a_changed_key_is_used_at_once(self):
        server = self.serve({"m": upstream(self.one)}, env={"OTHER_KEY": "sk-the-other-one"})
        self.assertEqual(ask(server, chat("id=key")).status, 200)
        self.assertIn("Bearer sk-mock-secret", self.one.request("key")[0])
        self.models({"m": upstream(self.one, key_env="OTHER_KEY")})
        self.assertEqual(ask(server, chat("id=key")).status, 200)
        self.assertIn("Bearer sk-the-other-one", self.one.request("key")[0])
        self.assertNotIn("sk-the-other-one", server.log_text())

    def test_a_reload_with_a_bad_part_changes_nothing_and_says_so(self):
        server = self.serve({"m": upstream(self.one)})
        bad = upstream(self.one, key_file="/nowhere/key")
        bad.pop("key_env")
        self.models({"m": upstream(self.two), "n": upstream(self.two), "o": bad}, refused=True)
        self.assertIn("/nowhere/key", server.log_text())
        self.assertIn("the old one keeps running", server.log_text())
        self.assertEqual(ask(server, chat("id=old")).text, text_of(4))
        self.assertEqual((len(self.one.tries("old")), len(self.two.tries("old"))), (1, 0))
        self.assertEqual(ask(server, chat("", "n")).status, 404)
        self.models({"m": upstream(self.two), "n": upstream(self.two)})
        self.assertEqual(ask(server, chat("", "n")).text, text_of(4))

    def test_what_is_known_of_endpoints_is_known_to_their_successors(self):
        def fleet(weight, dead_weight=1, names=("a", "b")):
            u = upstream(self.one, health={"eject_after": 1, "eject_time": "1h"}, retry={"max": 2, **TRYING})
            u.pop("url")
            return {**u, "endpoints": [{"name": names[0], "url": "http://127.0.0.1:1/v1", "weight": dead_weight},
                                       {"name": names[1], "url": self.one.url + "/v1", "weight": weight}]}

        server = self.serve({"m": fleet(1), "kept": upstream(self.one)})
        for _ in range(4):
            self.assertEqual(ask(server, chat("")).text, text_of(4))
            self.assertEqual(ask(server, chat("", "kept")).text, text_of(4))
        dead, well = self.endpoints()
        self.assertEqual((dead["state"], dead["faults"], well["requests"]), ("ejected", 1, 4))
        self.models({"m": fleet(7, names=("x", "y")), "kept": upstream(self.one)})
        dead, well = self.endpoints()
        self.assertEqual((dead["name"], dead["state"], dead["faults"]), ("x", "ejected", 1))
        self.assertEqual((well["name"], well["weight"], well["requests"]), ("y", 7, 4))
        self.assertGreater(well["first_token_ms"], 0)
        self.assertEqual(self.endpoints("kept")[0]["requests"], 4)
        for _ in range(6):
            self.assertEqual(ask(server, chat("")).text, text_of(4))
        self.assertEqual(self.endpoints()[0]["faults"], 1)  # it was not asked again
        connected = self.one.counts()["connections"]
        self.models({"m": fleet(2), "kept": upstream(self.one)})
        self.assertEqual(ask(server, chat("")).text, text_of(4))
        self.assertLessEqual(self.one.counts()["connections"], connected + 2)  # those of these questions


if __name__ == "__main__":
    tap.main()
