"""The interfaces of the catalog on two gateways and one Redis: preconditions, tenants, canaries, shadows, bulk work."""
import hashlib
import http.client
import json
import pathlib
import re
import shutil
import sys
import tempfile
import threading
import time
import unittest
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import PATIENCE, ROOT, Redis, Server, wait_for  # noqa: E402

KEYS = {"operator": "key-of-nobody", "acme": "key-of-acme", "globex": "key-of-globex"}
ENV = {"ROOTSTOCK_E2E_KEYS": "key-of-nobody,key-of-acme=acme,key-of-globex=globex"}
ADAPTERS = ROOT / "models" / "adapters"


def configure(text, more=""):
    """Keys, an import folder, and what a case adds to the gateway's section."""
    head = f"gateway:\n  auth: {{keys_env: ROOTSTOCK_E2E_KEYS}}\n  import_folders: [{ADAPTERS}]\n{more}"
    return text.replace("gateway:\n", head, 1)


class Gateway(Server):
    """A server whose requests carry a key."""

    def ask(self, method, path, body=None, who="operator", **headers):
        """(status, headers, JSON or text) of one request."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["Authorization"] = "Bearer " + KEYS[who]
        status, got, data = self.request(method, path, body, named)
        try:
            return status, got, json.loads(data)
        except ValueError:
            return status, got, data.decode()

    def say(self, model, who="operator", tokens=2, text="hello", **headers):
        """One chat as (status, headers, JSON)."""
        fields = {key: headers.pop(key) for key in ("user", "stream") if key in headers}
        body = {"model": model, "temperature": 0, "max_tokens": tokens, **fields,
                "messages": [{"role": "user", "content": text}]}
        return self.ask("POST", "/v1/chat/completions", body, who, **headers)

    def revision(self, model, **more):
        """The digest that answers a model name now."""
        status, headers, body = self.say(model, **more)
        if status != 200:
            raise AssertionError((status, body))
        return headers["x-rootstock-revision"]

    def metric(self, name):
        """A counter or gauge of /metrics, with its label as in the text; 0 where it is absent."""
        text = self.get("/metrics")[2].decode()
        found = re.search(rf"^rootstock_{re.escape(name)} ([0-9.e+]+)$", text, re.M)
        return float(found[1]) if found else 0

    def upload(self, name, files, who="operator", query="", **fields):
        """Publishes files as a form, as browsers and curl send it."""
        mark = uuid.uuid4().hex
        parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()]
        for path in files:
            parts.append(f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n'
                         "Content-Type: application/octet-stream\r\n\r\n".encode() + path.read_bytes() + b"\r\n")
        data = b"".join(parts) + f"--{mark}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={mark}", "Authorization": "Bearer " + KEYS[who]}
        status, got, answer = self.request("POST", f"/admin/adapters/{name}{query}", data, headers)
        return status, got, json.loads(answer)


def files_of(name, revision=1):
    """The files of a revision of the demo's adapters."""
    return sorted(p for p in (ADAPTERS / name / str(revision)).iterdir() if p.is_file())


class TwoGateways(unittest.TestCase):
    """On one Redis."""

    more = "  runtime_lora: true\n"

    @classmethod
    def setUpClass(cls):
        cls.redis = Redis()
        cls.a = Gateway(redis=cls.redis, env=ENV, edit=lambda text: configure(text, cls.more))
        cls.b = Gateway(redis=cls.redis, env=ENV, edit=lambda text: configure(text, cls.more))

    @classmethod
    def tearDownClass(cls):
        cls.a.stop()
        cls.b.stop()
        cls.redis.stop()

    def show(self, name, gateway=None, who="operator"):
        """(ETag, adapter) of the admin API."""
        status, headers, body = (gateway or self.a).ask("GET", f"/admin/adapters/{name}", who=who)
        self.assertEqual(status, 200, body)
        return headers["ETag"], body

    # ---- preconditions ----

    def test_a_change_needs_the_current_etag_where_one_is_given(self):
        etag, before = self.show("triage")
        self.assertEqual(etag, f'"{before["epoch"]}"')
        path = "/admin/adapters/triage/aliases/tried"
        status, headers, body = self.a.ask("PUT", path, {"revision": "1"}, if_match=etag)
        self.assertEqual(status, 200, body)
        newer = headers["ETag"]
        self.assertGreater(int(newer.strip('"')), int(etag.strip('"')))
        for gateway in (self.a, self.b):
            status, headers, body = gateway.ask("PUT", path, {"revision": "2"}, if_match=etag, x_min_epoch=newer)
            self.assertEqual((status, body["error"]["code"]), (412, "precondition_failed"), body)
            self.assertEqual(headers["ETag"], newer)
        self.assertEqual(self.show("triage")[1]["aliases"]["tried"], before["revisions"][0]["revision"])
        status, _, body = self.b.ask("PUT", path, {"revision": "2"}, if_match=newer)
        self.assertEqual(status, 200, body)

    def test_of_many_who_hold_one_etag_one_wins(self):
        etag, _ = self.show("extract")
        statuses = []

        def change(i):
            gateway = (self.a, self.b)[i % 2]
            statuses.append(gateway.ask("PUT", f"/admin/adapters/extract/aliases/race{i}", {"revision": "1"},
                                        if_match=etag)[0])

        threads = [threading.Thread(target=change, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(statuses), [200] + [412] * 7)

    def test_a_read_that_has_the_current_etag_gets_304(self):
        etag, _ = self.show("french")
        self.assertEqual(self.a.ask("GET", "/admin/adapters/french", if_none_match=etag)[0], 304)
        self.assertEqual(self.a.ask("GET", "/admin/adapters/french", if_none_match='"1"')[0], 200)

    def test_an_idempotency_key_makes_a_change_once_on_every_gateway(self):
        _, before = self.show("triage")
        key = uuid.uuid4().hex
        answers = [g.ask("POST", "/admin/adapters/triage/rollback", {}, idempotency_key=key) for g in (self.a, self.b)]
        self.assertEqual([a[0] for a in answers], [200, 200], answers)
        first, second = (a[2] for a in answers)
        self.assertEqual((first["repeated"], second["repeated"]), (False, True))
        self.assertEqual(first["epoch"], second["epoch"])
        after = self.show("triage")[1]
        self.assertEqual(after["aliases"]["prod"], before["aliases"]["prev"])
        self.assertEqual(self.a.ask("POST", "/admin/adapters/triage/rollback")[0], 200)
        self.assertEqual(self.show("triage")[1]["aliases"]["prod"], before["aliases"]["prod"])

    def test_bodies_are_checked_field_by_field(self):
        rows = (("PUT", "triage/aliases/x", {"revison": "1"}, 400), ("PUT", "triage/aliases/x", {}, 400),
                ("PUT", "triage/aliases/x", {"revision": 1}, 400), ("PUT", "triage/aliases/x", {"revision": "77"}, 404),
                ("POST", "triage/canary", {"revision": "1"}, 400), ("POST", "triage/canary", {"revision": "1", "weight": 0}, 400),
                ("POST", "triage/canary", {"revision": "1", "weight": 101}, 400),
                ("POST", "triage/canary", {"revision": "1", "weight": 0.001}, 400),
                ("POST", "triage/shadow", {"weight": 5}, 400), ("POST", "triage/abort", {"weight": 5}, 400),
                ("POST", "nobody/rollback", {}, 404), ("DELETE", "triage/aliases/x", None, 405),
                ("PUT", "triage/rollback", {}, 405), ("POST", "triage/history", {}, 405),
                ("DELETE", "triage/revisions/prod", None, 409), ("POST", "triage", {"path": "/etc"}, 403))
        for method, path, body, status in rows:
            with self.subTest(path=path, body=body):
                got = self.a.ask(method, "/admin/adapters/" + path, body)
                self.assertEqual(got[0], status, got[2])
                self.assertIn("error", got[2])

    # ---- what others see, and when ----

    def test_who_has_seen_an_epoch_is_never_answered_from_before_it(self):
        one, two = (r["revision"] for r in self.show("sql")[1]["revisions"][:2])
        for i in range(40):
            want = (one, two)[i % 2]
            status, headers, body = self.a.ask("PUT", "/admin/adapters/sql/aliases/turn", {"revision": want})
            self.assertEqual(status, 200, body)
            status, got, answer = self.b.say("demo:sql@turn", tokens=1, x_min_epoch=headers["x-catalog-epoch"])
            self.assertEqual(status, 200, answer)
            self.assertEqual(got["x-rootstock-revision"], want)
            self.assertGreaterEqual(int(got["x-catalog-epoch"]), int(headers["x-catalog-epoch"]))
        status, headers, body = self.b.say("demo:sql", x_min_epoch="99999999999")
        self.assertEqual((status, headers["Retry-After"]), (503, "1"), body)

    def test_after_a_wait_for_the_fleet_nobody_serves_the_old_revision(self):
        one, two = (r["revision"] for r in self.show("sql")[1]["revisions"][:2])
        state = {"epoch": 0, "stop": False}
        wrong, served, lock = [], [0], threading.Lock()
        self.assertEqual(self.a.ask("PUT", "/admin/adapters/sql/aliases/flip?wait=fleet", {"revision": one})[0], 200)
        state["want"] = {one}

        def load(gateway):
            while not state["stop"]:
                with lock:
                    allowed = set(state["want"])
                revision = gateway.revision("demo:sql@flip", tokens=1)
                with lock:
                    served[0] += 1
                    if revision not in allowed | state["want"]:
                        wrong.append(revision)

        threads = [threading.Thread(target=load, args=(g,)) for g in (self.a, self.b) * 2]
        for thread in threads:
            thread.start()
        try:
            for i in range(60):
                want = (two, one)[i % 2]
                with lock:
                    state["want"] = {one, two}
                writer = (self.a, self.b)[i % 2]
                status, _, body = writer.ask("PUT", "/admin/adapters/sql/aliases/flip?wait=fleet&timeout=10000",
                                             {"revision": want})
                with lock:
                    state["want"] = {want}
                self.assertEqual((status, body["applied_by_all"], body["laggards"]), (200, True, []), body)
                for gateway in (self.a, self.b):
                    self.assertEqual(gateway.revision("demo:sql@flip", tokens=1), want)
        finally:
            state["stop"] = True
            for thread in threads:
                thread.join()
        self.assertEqual(wrong, [])
        self.assertGreater(served[0], 60)

    def test_every_answer_of_an_adapter_says_which_revision_gave_it(self):
        _, shown = self.show("french")
        status, headers, _ = self.a.say("demo:french", stream=True)
        self.assertEqual(status, 200)
        self.assertEqual(headers["x-rootstock-adapter"], "french")
        self.assertEqual(headers["x-rootstock-revision"], shown["aliases"]["prod"])
        self.assertIn(headers["x-rootstock-residency"], ("hit", "disk", "cold"))
        self.assertEqual(headers["x-catalog-epoch"], str(shown["epoch"]))

    def test_lists_are_paged_without_a_gap(self):
        names = {a["name"] for a in self.a.ask("GET", "/admin/adapters?limit=1000")[2]["data"]}
        seen, after = [], ""
        while True:
            page = self.a.ask("GET", f"/admin/adapters?limit=2&after={after}")[2]
            self.assertLessEqual(len(page["data"]), 2)
            seen += [a["name"] for a in page["data"]]
            if not page["has_more"]:
                break
            after = page["next"]
        self.assertEqual(seen, sorted(names))
        models, after = [], ""
        while True:
            page = self.a.ask("GET", f"/v1/models?limit=3&after={after}")[2]
            models += page["data"]
            if not page["has_more"]:
                break
            after = page["last_id"]
        listed = [m for m in models if m["parent"]]
        self.assertEqual([m["id"] for m in listed], ["demo:" + name for name in sorted(names)])
        self.assertTrue(all(m["parent"] == "demo" and m["root"].startswith("sha256:") for m in listed))
        self.assertEqual(self.a.ask("GET", "/admin/adapters?limit=0")[0], 400)
        lines = self.a.ask("GET", "/admin/adapters/triage/history?limit=1")[2]
        self.assertEqual((len(lines["data"]), lines["has_more"]), (1, True))

    # ---- tenants ----

    def test_tenants_do_not_see_each_others_adapters(self):
        status, _, body = self.a.upload("private", files_of("french"), who="acme", query="?wait=fleet")
        self.assertEqual((status, body["name"]), (200, "acme/private"), body)
        unheard = ("there_is_no_such", "globex/there_is_no_such", "demo:acme/there_is_no_such")
        for gateway in (self.a, self.b):
            for name in ("private", "demo:private", "acme/private", "demo:acme/private"):
                self.assertEqual(gateway.revision(name, who="acme"), body["revision"], name)
            for name in ("private", "acme/private", "demo:acme/private", "acme/private@prod"):
                status, headers, answer = gateway.say(name, who="globex")
                self.assertEqual((status, answer["error"]["code"]), (404, "model_not_found"), answer)
                self.assertNotIn("x-rootstock-revision", headers)
                other = name.replace("private", "missing")
                missing = gateway.say(other, who="globex")[2]
                self.assertEqual(json.dumps(answer).replace("private", "missing"), json.dumps(missing))
            for path in ("/v1/models?limit=1000", "/admin/adapters?limit=1000", "/admin/adapters?prefix=acme/",
                         "/admin/adapters/acme/private", "/admin/adapters/acme%2Fprivate",
                         "/admin/adapters/acme/private/history", "/v1/models/demo:acme/private"):
                text = json.dumps(gateway.ask("GET", path, who="globex")[2])
                self.assertNotIn(body["revision"], text, path)
                if "private" not in path:
                    self.assertNotIn("private", text, path)
            self.assertIn("demo:acme/private", json.dumps(gateway.ask("GET", "/v1/models?limit=1000", who="acme")[2]))
            self.assertIn("demo:acme/private", json.dumps(gateway.ask("GET", "/v1/models?limit=1000")[2]))
            self.assertEqual(gateway.ask("GET", "/admin/adapters/acme%2Fprivate", who="acme")[2]["name"], "acme/private")
        self.assertEqual(len(unheard), 3)

    def test_tenants_change_their_own_adapters_only(self):
        self.assertEqual(self.a.upload("own", files_of("sql", 1), who="acme")[0], 200)
        rows = (("acme", "PUT", "own/aliases/x", {"revision": "1"}, 200), ("acme", "PUT", "acme/own/aliases/x", {"revision": "1"}, 200),
                ("acme", "PUT", "sql/aliases/x", {"revision": "1"}, 403), ("acme", "POST", "sql/rollback", {}, 403),
                ("acme", "DELETE", "sql", None, 403), ("globex", "PUT", "acme/own/aliases/x", {"revision": "1"}, 404),
                ("globex", "DELETE", "acme/own", None, 404), ("globex", "PUT", "own/aliases/x", {"revision": "1"}, 404),
                ("operator", "PUT", "acme/own/aliases/y", {"revision": "1"}, 200))
        for who, method, path, body, status in rows:
            with self.subTest(who=who, path=path):
                got = self.a.ask(method, "/admin/adapters/" + path, body, who=who)
                self.assertEqual(got[0], status, got[2])
        self.assertEqual(self.a.upload("acme/stolen", files_of("sql", 1), who="globex")[0], 403)
        self.assertEqual(self.a.ask("GET", "/admin/replay", who="acme")[0], 403)
        self.assertEqual(self.a.ask("GET", "/admin/replay")[0], 200)

    # ---- canaries and shadows ----

    def test_a_canary_gets_its_share_of_callers_the_same_on_every_gateway(self):
        self.a.upload("split", files_of("sql", 1))
        self.a.upload("split", files_of("sql", 2))
        _, shown = self.show("split")
        prod, other = (r["revision"] for r in shown["revisions"])
        status, _, body = self.a.ask("POST", "/admin/adapters/split/canary?wait=fleet", {"revision": "2", "weight": 30})
        self.assertEqual(status, 200, body)
        self.assertEqual(self.show("split", self.b)[1]["canary"], {"revision": other, "weight": 30})
        on_a = {user: self.a.revision("demo:split", tokens=1, user=user) for user in (f"user-{i}" for i in range(300))}
        for user, revision in list(on_a.items())[:60]:
            self.assertEqual(self.b.revision("demo:split", tokens=1, user=user), revision, user)
            self.assertEqual(self.b.revision("demo:split", tokens=1, x_session_id="s", user=user),
                             self.a.revision("demo:split", tokens=1, x_session_id="s", user="another"))
        share = sum(r == other for r in on_a.values()) / len(on_a)
        self.assertAlmostEqual(share, 0.3, delta=0.11)  # four standard deviations
        self.assertEqual(set(on_a.values()), {prod, other})
        for i in range(10):
            self.assertEqual(self.a.revision("demo:split@prod", tokens=1, user=f"user-{i}"), prod)
        status, _, body = self.b.ask("POST", "/admin/adapters/split/abort?wait=fleet")
        self.assertEqual(status, 200, body)
        self.assertEqual({self.a.revision("demo:split", tokens=1, user=user) for user in list(on_a)[:40]}, {prod})

    def test_a_shadow_answers_nobody_and_is_compared(self):
        self.a.upload("shaded", files_of("triage", 1))
        self.a.upload("shaded", files_of("triage", 2))
        prod = self.show("shaded")[1]["revisions"][0]["revision"]
        text = "Hi, I am Karl, the price of the bird on my bill is too high. Take your time."
        alone = self.a.say("demo:shaded", tokens=24, text=text)[2]["choices"]
        status, _, body = self.a.ask("POST", "/admin/adapters/shaded/shadow?wait=fleet", {"revision": "2", "weight": 100})
        self.assertEqual(status, 200, body)

        def answered():
            got = self.a.say("demo:shaded", tokens=24, text=text)
            self.assertEqual((got[0], got[1]["x-rootstock-revision"]), (200, prod))
            self.assertEqual(got[2]["choices"], alone)
            return self.a.metric('shadow_answers_total{agrees="different"}') > 0

        wait_for(answered, 20, "a shadow's answer")
        self.assertGreater(self.a.metric('shadow_requests_total{outcome="answered"}'), 0)
        status, _, body = self.a.ask("POST", "/admin/adapters/shaded/shadow", {"weight": 0})
        self.assertEqual(status, 200, body)
        self.assertIsNone(self.show("shaded")[1]["shadow"])

    def test_a_hint_brings_an_adapter_into_memory(self):
        self.a.upload("hinted", files_of("extract"))
        self.assertFalse(self.show("hinted")[1]["resident"])
        self.assertEqual(self.a.ask("POST", "/admin/adapters/hinted/prefetch")[0], 202)
        wait_for(lambda: self.show("hinted")[1]["resident"], 10, "the hinted adapter")
        self.assertEqual(self.a.say("demo:hinted")[1]["x-rootstock-residency"], "hit")
        self.assertEqual(self.a.ask("POST", "/admin/adapters/nobody/prefetch")[0], 404)

    # ---- vLLM's endpoints ----

    def test_tools_written_for_vllm_load_and_unload(self):
        def load(**fields):
            return self.a.ask("POST", "/v1/load_lora_adapter", fields)

        self.assertEqual(load(lora_name="vl", lora_path="sql/1")[::2],
                         (200, "Success: LoRA adapter 'vl' added successfully."))
        status, _, body = load(lora_name="vl", lora_path="sql/1")
        self.assertEqual((status, body["error"]["type"]), (400, "InvalidUserInput"), body)
        self.assertIn("has already been loaded", body["error"]["message"])
        before = self.a.revision("vl")
        self.assertEqual(load(lora_name="vl", lora_path=str(ADAPTERS / "sql" / "2"), load_inplace=True)[0], 200)
        self.assertNotEqual(self.a.revision("vl"), before)
        self.assertEqual(load(lora_name="vx", lora_path="nothing/here")[0], 404)
        self.assertEqual(load(lora_name="vx")[2]["error"]["message"], "Both 'lora_name' and 'lora_path' must be provided.")
        self.assertEqual(load(lora_name="vx", lora_path="/etc")[0], 403)
        self.assertIn("demo:vl", json.dumps(self.a.ask("GET", "/v1/models?prefix=vl")[2]))
        answer = self.a.ask("POST", "/v1/unload_lora_adapter", {"lora_name": "vl"})
        self.assertEqual(answer[::2], (200, "Success: LoRA adapter 'vl' removed successfully."))
        answer = self.a.ask("POST", "/v1/unload_lora_adapter", {"lora_name": "vl"})
        self.assertEqual((answer[0], answer[2]["error"]["type"]), (404, "NotFoundError"))
        self.assertEqual(self.a.say("vl")[0], 404)

    # ---- bulk ----

    def test_many_names_come_in_and_go_back_together(self):
        rows = self.a.folder / "rows.jsonl"
        with open(rows, "w", encoding="utf-8") as f:
            for i in range(3000):
                digest = hashlib.sha256(str(i).encode()).hexdigest()
                print(json.dumps({"base": "demo", "adapter": f"bulk-{i:05}", "digest": digest, "bytes": 4096}), file=f)
            print("{", file=f)
            print(json.dumps({"base": "demo", "adapter": "no good name"}), file=f)
        done = self.a.cli("adapters", "import", str(rows), "--json", check=False)
        report = json.loads(done.stdout)
        self.assertEqual((done.returncode, report["imported"], report["failed"]), (1, 3000, 2), done.stderr)
        self.assertIn(":3001:", done.stderr)
        again = json.loads(self.a.cli("adapters", "import", str(rows), "--json", check=False).stdout)
        self.assertEqual((again["imported"], again["skipped"]), (0, 3000))
        listed = self.a.cli("adapters", "list", "--prefix", "bulk-").stdout.splitlines()
        self.assertEqual(len(listed), 3000)
        wait_for(lambda: self.b.ask("GET", "/admin/adapters/bulk-02999")[0] == 200, 5, "the last name")
        paths = self.a.folder / "paths.jsonl"
        with open(paths, "w", encoding="utf-8") as f:
            for revision in (1, 2):
                for i in range(12):
                    print(json.dumps({"base": "demo", "adapter": f"back-{i}", "alias": "prod",
                                      "path": str(ADAPTERS / "sql" / str(revision))}), file=f)
        self.a.cli("adapters", "import", str(paths), "--replace")
        one, two = (r["digest"] for r in json.loads(self.a.cli("adapters", "show", "sql", "--json").stdout)["revisions"][:2])
        self.assertEqual({self.b.revision(f"demo:back-{i}", tokens=1) for i in range(12)}, {two})
        self.a.cli("adapters", "rollback", "--prefix", "back-", "--alias", "prod", "--wait", "fleet")
        self.assertEqual({self.b.revision(f"demo:back-{i}", tokens=1) for i in range(12)}, {one})

    def test_the_command_line_says_what_was_wrong_with_its_words(self):
        rows = ((("canary", "sql", "1"), 2), (("canary", "sql", "1", "500%"), 2), (("canary", "sql", "99", "5%"), 1),
                (("rollback", "a", "b", "c"), 2), (("rollback",), 2), (("retire", "nobody_here"), 1), (("frobnicate",), 2),
                (("list", "--nonsense"), 2), (("list", "--prefix", "sq"), 0), (("promote", "sql", "2"), 0))
        for words, status in rows:
            with self.subTest(words=words):
                done = self.a.cli("adapters", *words, check=False)
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertTrue(status == 0 or done.stderr)
        for verb in ("push", "list", "show", "alias", "promote", "rollback", "canary", "shadow", "retire", "history",
                     "import", "pull", "gc", "verify", "pack"):
            done = self.a.cli("adapters", verb, "--help", config=False)
            self.assertIn(f"adapters {verb}", done.stdout)


class FailingCanary(unittest.TestCase):
    """A canary whose files are gone."""

    def setUp(self):
        self.redis = Redis()
        self.addCleanup(self.redis.stop)
        self.store = pathlib.Path(tempfile.mkdtemp(prefix="rootstock-store-"))
        self.addCleanup(shutil.rmtree, self.store, True)
        self.server = Gateway(redis=self.redis, env=ENV, edit=self.edit)
        self.addCleanup(self.server.stop)

    def edit(self, text):
        """A store of files, and a canary that is judged soon."""
        text = configure(text)
        text = text.replace("  blobs:\n", f"  blobs:\n    store: ['file://{self.store}']\n", 1)
        return text.replace("adapters:\n", "adapters:\n  canary: {min_requests: 5}\n", 1)

    def files(self, digest):
        """The digests of a revision's files and of its manifest."""
        lines = (self.store / "sha256" / digest[:2] / digest).read_text(encoding="utf-8").splitlines()[1:]
        return {line.split()[0] for line in lines} | {digest}

    def test_it_is_taken_back_by_itself(self):
        server = self.server
        server.upload("risky", files_of("sql", 1), query="?wait=fleet")
        server.cli("adapters", "push", "risky", str(ADAPTERS / "sql" / "2"), "--base", "demo")
        shown = server.ask("GET", "/admin/adapters/risky")[2]
        prod, canary = (r["revision"] for r in shown["revisions"])
        gone = self.files(canary) - self.files(prod)
        for folder in (self.store, server.folder / "blobs"):
            for path in [p for p in folder.rglob("*") if p.name in gone]:
                path.unlink()
        status, _, body = server.ask("POST", "/admin/adapters/risky/canary", {"revision": "2", "weight": 50})
        self.assertEqual(status, 200, body)
        statuses = {}
        deadline = time.monotonic() + 60 * PATIENCE
        i = 0
        while time.monotonic() < deadline:
            status, headers, _ = server.say("demo:risky", tokens=1, user=f"u{i}")
            statuses[status] = statuses.get(status, 0) + 1
            if status == 200:
                self.assertEqual(headers["x-rootstock-revision"], prod)
            i += 1
            if server.ask("GET", "/admin/adapters/risky")[2]["canary"] is None:
                break
        self.assertIsNone(server.ask("GET", "/admin/adapters/risky")[2]["canary"], statuses)
        self.assertGreaterEqual(sum(n for status, n in statuses.items() if status != 200), 5)
        newest = server.ask("GET", "/admin/adapters/risky/history?limit=1")[2]["data"][0]
        self.assertTrue(newest["who"].startswith("auto: "), newest)
        self.assertEqual(server.metric('canary_aborts_total{reason="errors"}'), 1)
        self.assertIn("event=canary_abort ", server.log_text())
        for k in range(20):
            self.assertEqual(server.revision("demo:risky", tokens=1, user=f"v{k}"), prod)


if __name__ == "__main__":
    http.client._MAXHEADERS = 200  # answers of routed requests have many
    tap.main()
