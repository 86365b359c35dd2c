"""Adapters on engines behind: many of them over few slots, each answered with its own files, whatever moves or breaks.

--requests N, or VLLM_REQUESTS=N (default 2,000): of the first case. 100,000 is what the project promises; the gate
asks as many.
"""
import collections
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import PATIENCE, SANITIZED, Redis, Server, metric, wait_for  # noqa: E402
from support.stand_in import StandIn, write_adapter, write_card  # noqa: E402

REQUESTS = int(sys.argv[sys.argv.index("--requests") + 1] if "--requests" in sys.argv else
               os.environ.get("VLLM_REQUESTS", 400 if SANITIZED else 2000))
CLIENTS, ADAPTERS, SLOTS = 16, 40, 4
NO = ("over", "mixed", "busy_unload", "wrong", "reused", "hot_evictions", "failed_loads")


class Fleet:
    """A gateway with a folder of adapters, in front of stand-ins."""

    def __init__(self, engines, n=ADAPTERS, provider="vllm", lora=None, upstream=None, models=("m",)):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rootstock-fleet-"))
        self.catalog, self.cas = self.folder / "adapters", self.folder / "cas"
        self.engines = engines
        self.files = {}  # name -> {ordinal: what its files are}
        for i in range(n):
            self.files[f"a{i}"] = write_card(self.catalog, f"a{i}", {1: 1000 + i}, base=models[i % len(models)])
        config = {
            "version": "v0.3",
            "adapters": {"catalog": {"type": "directory", "path": str(self.catalog)}},
            "engine": {"models": [{"name": model, "upstream": {
                "provider": provider, "model": "base",
                "endpoints": [{"name": f"e{i}", "url": e.url} for i, e in enumerate(engines)],
                "health": {"eject_after": 0}, "retry": {"max": 2, "budget": 1, "min_per_second": 1000},
                "timeouts": {"connect": "5s", "first_byte": "60s", "idle": "60s"},
                "lora": {"folder": str(self.cas), "max_loras": SLOTS, **(lora or {})}, **(upstream or {})}}
                for model in models]}}
        self.server = Server(text=json.dumps(config, indent=1))

    def stop(self):
        """All of it."""
        self.server.stop()
        for e in self.engines:
            e.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, model, connection=None, stream=False, headers=None, **more):
        """(status, headers, bytes) of a chat."""
        c = connection or self.server.connect()
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "x"}], **more}
        c.request("POST", "/v1/chat/completions", json.dumps(body),
                  {"Content-Type": "application/json", **(headers or {})})
        r = c.getresponse()
        data = r.read()
        if not connection:
            c.close()
        return r.status, r.headers, data

    def text(self, model, **more):
        """What answered: the digest of its files; fails on anything but 200."""
        status, _, data = self.ask(model, **more)
        if status != 200:
            raise AssertionError((status, data[:300]))
        return json.loads(data)["choices"][0]["message"]["content"]


def placed(cas):
    """Folders of revisions."""
    return [p for p in cas.glob("*/*") if len(p.name) == 64]


def said(data, stream):
    """The text of an answer."""
    if not stream:
        return json.loads(data)["choices"][0]["message"]["content"]
    events = [json.loads(line[6:]) for line in data.decode().split("\n") if line.startswith("data: {")]
    return "".join(c["delta"].get("content") or "" for e in events for c in e.get("choices", ()))


class Cases(unittest.TestCase):
    """What all cases need."""

    fleet = None

    def tearDown(self):
        if self.fleet:
            self.fleet.stop()
            self.fleet = None

    def assert_clean(self, fleet, but=()):
        """No engine saw anything that it must not see."""
        for engine in fleet.engines:
            stats = engine.stats()
            self.assertEqual({k: stats[k] for k in NO if k not in but}, {k: 0 for k in NO if k not in but}, stats)
            self.assertLessEqual(stats["peak_names"], engine.more.get("max_cpu_loras", engine.more["max_loras"]))

    def drive(self, fleet, n, names, clients=CLIENTS):
        """n requests of many clients, each answer checked: Counter of outcomes."""
        outcomes, lock, left = collections.Counter(), threading.Lock(), iter(range(n))
        wrong = []
        of_name = {name: set(files.values()) for name, files in fleet.files.items()}

        def run(seed):
            r = random.Random(seed)
            connection = fleet.server.connect()
            weights = [1 / (i + 1) for i in range(len(names))]
            while True:
                with lock:
                    if next(left, None) is None:
                        break
                name = r.choices(names, weights)[0]
                stream = r.random() < 0.25
                status, headers, data = fleet.ask(f"m:{name}", connection, stream)
                what = "ok" if status == 200 else f"{status}"
                if status == 200 and said(data, stream) not in of_name[name]:
                    what = "wrong"
                if status == 200 and (headers["x-rootstock-adapter"] != name or not headers["x-rootstock-revision"]):
                    what = "headers"
                if f"{name}.".encode() in data:  # the engine's name of it
                    what = "leak"
                with lock:
                    outcomes[what] += 1
                    if what != "ok" and len(wrong) < 3:
                        wrong.append((what, name, data[:300]))
            connection.close()

        threads = [threading.Thread(target=run, args=(i,)) for i in range(clients)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if wrong:
            print("#", wrong)
        return outcomes


class Vllm(Cases):
    """Two vLLMs."""

    def test_many_adapters_over_few_slots_are_each_answered_with_their_own_files(self):
        self.fleet = Fleet([StandIn(max_loras=SLOTS, max_cpu_loras=SLOTS) for _ in range(2)])
        outcomes = self.drive(self.fleet, REQUESTS, list(self.fleet.files))
        self.assertEqual(outcomes, {"ok": REQUESTS})
        self.assert_clean(self.fleet)
        stats = [e.stats() for e in self.fleet.engines]
        self.assertEqual(sum(s["requests"] for s in stats), REQUESTS)
        print(f"# {REQUESTS} requests, {sum(s['loads'] for s in stats)} loads, peak names "
              f"{[s['peak_names'] for s in stats]}, peak in flight {[s['peak_running'] for s in stats]}")

    def test_reloads_that_replace_the_engines_keep_the_account_of_their_adapters(self):
        self.fleet = f = Fleet([StandIn(max_loras=SLOTS, max_cpu_loras=SLOTS) for _ in range(2)])
        over, reloads = threading.Event(), []

        def reload():
            config = json.loads(f.server.config.read_text(encoding="utf-8"))
            while not over.is_set():
                config["engine"]["models"][0]["upstream"]["timeouts"]["idle"] = f"{61 + len(reloads)}s"
                f.server.config.write_text(json.dumps(config), encoding="utf-8")
                before = metric(f.server, "config_reloads_total")
                f.server.process.send_signal(signal.SIGHUP)
                wait_for(lambda b=before: metric(f.server, "config_reloads_total") > b, 20, "a reload")
                reloads.append(1)
                over.wait(0.1)

        thread = threading.Thread(target=reload)
        thread.start()
        outcomes = self.drive(f, REQUESTS // 4, list(f.files))
        over.set()
        thread.join()
        self.assertEqual(outcomes, {"ok": REQUESTS // 4})
        self.assertGreater(len(reloads), 2)
        self.assert_clean(f)
        print(f"# {len(reloads)} reloads, {sum(e.stats()['loads'] for e in f.engines)} loads")

    def test_engines_with_the_bugs_of_unloading_and_of_names_answer_right(self):
        for bugs in ("advice", "eager", "stale_name", "evict_404", "eager,stale_name"):
            with self.subTest(bugs=bugs):
                self.fleet = Fleet([StandIn(max_loras=SLOTS, max_cpu_loras=SLOTS, bugs=bugs) for _ in range(2)], n=12)
                outcomes = self.drive(self.fleet, 200, list(self.fleet.files), clients=8)
                self.assertEqual(outcomes, {"ok": 200})
                self.assert_clean(self.fleet)
                self.fleet.stop()
                self.fleet = None

    def test_a_canary_and_a_rollback_are_those_of_the_catalog(self):
        self.fleet = f = Fleet([StandIn(max_loras=SLOTS)], n=2)
        old = f.files["a0"][1]
        new = write_adapter(f.folder / "new", 77)
        self.assertEqual(f.text("m:a0"), old)
        f.server.cli("adapters", "push", "a0", str(f.folder / "new"), "--base", "m", "--alias", "prod")
        self.assertEqual(f.text("m:a0"), new)
        self.assertEqual(f.text("m:a0@prev"), old)
        f.server.cli("adapters", "rollback", "a0")
        self.assertEqual(f.text("m:a0"), old)
        f.server.cli("adapters", "canary", "a0", "prev", "30%")
        seen = collections.Counter()
        for i in range(200):
            status, headers, data = f.ask("m:a0", user=f"user {i}")
            self.assertEqual(status, 200)
            seen[said(data, False), headers["x-rootstock-revision"]] += 1
        self.assertEqual({what for what, _ in seen}, {old, new})
        self.assertEqual(len(seen), 2, "a revision's header goes with its files")
        n = sum(c for (what, _), c in seen.items() if what == new)
        self.assertTrue(30 <= n <= 95, n)
        self.assert_clean(f)

    def test_a_killed_and_restarted_engine_is_loaded_again_once(self):
        self.fleet = f = Fleet([StandIn(max_loras=SLOTS)], n=3)
        for name in f.files:
            self.assertEqual(f.text(f"m:{name}"), f.files[name][1])
        f.engines[0].stop()
        f.engines[0].start()
        for name in f.files:
            self.assertEqual(f.text(f"m:{name}"), f.files[name][1])
            self.assertEqual(f.text(f"m:{name}"), f.files[name][1])
        stats = f.engines[0].stats()
        self.assertEqual(stats["loads"], 3)
        self.assertEqual(stats["requests"], 9, "each asked, told that it is unknown, loaded, asked again; then known")
        self.assert_clean(f)

    def test_a_cold_adapter_is_loaded_once_for_all_who_ask(self):
        self.fleet = f = Fleet([StandIn(max_loras=SLOTS, load_ms=300)], n=2)
        self.assertEqual(self.drive(f, 60, ["a1"], clients=12), {"ok": 60})
        self.assertEqual(f.engines[0].stats()["loads"], 1)

    def test_a_rank_too_great_is_refused_when_it_is_published(self):
        self.fleet = f = Fleet([StandIn(max_loras=SLOTS, max_lora_rank=8, bugs="fatal_load")], n=1,
                               lora={"max_rank": 8})
        write_adapter(f.folder / "big", 5, rank=64)
        done = f.server.cli("adapters", "push", "big", str(f.folder / "big"), "--base", "m", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("rank 64", done.stderr)
        write_card(f.catalog, "huge", {1: 5}, rank=64)  # past our door: in the folder itself
        status, _, data = f.ask("m:huge")
        self.assertEqual(status, 422, data)
        self.assertFalse(f.engines[0].stats()["dead"])
        self.assertEqual(f.text("m:a0"), f.files["a0"][1])
        self.assert_clean(f)

    def test_an_adapter_that_an_engine_refuses_is_not_tried_again_and_harms_no_other(self):
        self.fleet = f = Fleet([StandIn(max_loras=SLOTS, max_lora_rank=2)], n=1)  # of which we were told nothing
        for _ in range(5):
            status, _, data = f.ask("m:a0")
            self.assertEqual(status, 422, data)
            self.assertNotRegex(data, rb"a0\.[0-9a-f]{12}")
            self.assertNotIn(str(f.cas).encode(), data)
        self.assertEqual(f.engines[0].stats()["failed_loads"], 1)
        self.assertEqual(f.text("m"), "base")

    def test_damaged_files_are_put_anew(self):
        self.fleet = f = Fleet([StandIn(max_loras=SLOTS)], n=1)
        self.assertEqual(f.text("m:a0"), f.files["a0"][1])
        placed = list(f.cas.glob("*/*/adapter_model.safetensors"))
        self.assertEqual(len(placed), 1)
        self.assertEqual(len(placed[0].parent.name), 64)
        placed[0].write_bytes(placed[0].read_bytes()[:-4] + b"oops")
        f.engines[0].stop()
        f.engines[0].start()
        self.assertEqual(f.text("m:a0"), f.files["a0"][1])
        self.assertEqual(sorted(p.name[0] for p in placed[0].parent.parent.iterdir()), [placed[0].parent.name[0]])

    def test_the_folder_of_files_is_bounded_and_keeps_what_engines_have(self):
        self.fleet = f = Fleet([StandIn(max_loras=2)], n=12, lora={"max_loras": 2, "folder_keep": "1s", "folder_max": 1})
        for name in f.files:
            self.assertEqual(f.text(f"m:{name}"), f.files[name][1])
        wait_for(lambda: len(placed(f.cas)) <= 2, 20 * PATIENCE, "files of what nobody uses to go")
        time.sleep(2)  # longer than what is used once is kept
        kept = sorted(p.name[:12] for p in placed(f.cas))
        self.assertEqual(kept, sorted(n.rpartition(".")[2] for n in f.engines[0].stats()["names"]))
        self.assertEqual(self.drive(f, 60, list(f.files), clients=4), {"ok": 60})
        self.assert_clean(f)

    def test_names_of_the_engine_reach_no_client(self):
        self.fleet = f = Fleet([StandIn(max_loras=SLOTS)], n=2)
        f.text("m:a0")
        names = f.engines[0].stats()["names"]
        self.assertEqual(len(names), 1)
        answers = [f.ask("m:a0", stream=stream)[2] for stream in (False, True)]
        answers += [f.server.get("/v1/models")[2], f.server.get("/metrics")[2]]
        f.engines[0].set(bugs=["fatal_load"], load_ms=1)
        shutil.rmtree(f.cas)
        answers.append(f.ask("m:a1")[2])
        for data in answers:
            self.assertNotIn(names[0].encode(), data)
        for name in names:
            self.assertEqual(f.ask(name)[0], 404)

    def test_slow_loads_hold_nothing_else_back(self):
        self.fleet = f = Fleet([StandIn(max_loras=SLOTS)], n=3)
        f.text("m:a0")
        f.engines[0].set(load_ms=3000 * PATIENCE)
        slow = threading.Thread(target=f.text, args=("m:a1",))
        slow.start()
        wait_for(lambda: f.server.process.poll() is None and slow.is_alive(), 5, "the slow load")
        for _ in range(20):
            self.assertEqual(f.text("m:a0"), f.files["a0"][1])
        self.assertTrue(slow.is_alive())
        f.engines[0].set(load_ms=1)
        slow.join()


    def test_one_that_is_always_in_use_gives_way_to_one_that_waits(self):
        self.fleet = f = Fleet([StandIn(max_loras=1, decode_ms=40)], n=3, lora={"max_loras": 1})
        stop, said_by, threads = threading.Event(), collections.Counter(), []

        def keep_busy(name):
            while not stop.is_set():
                said_by[name, f.text(f"m:{name}") == f.files[name][1]] += 1

        try:
            for i in range(4):  # each begins before the last has ended
                threads.append(threading.Thread(target=keep_busy, args=("a0",)))
                threads[-1].start()
                time.sleep(0.01)
            for _ in range(2):
                for name in ("a1", "a2"):
                    self.assertEqual(f.text(f"m:{name}"), f.files[name][1])
            threads.append(threading.Thread(target=keep_busy, args=("a1",)))
            threads[-1].start()
            wait_for(lambda: said_by["a1", True] >= 3, 60 * PATIENCE, "both in turns")
            before = said_by["a0", True]
            wait_for(lambda: said_by["a0", True] > before, 60 * PATIENCE, "both in turns")
        finally:
            stop.set()
            for t in threads:
                t.join()
        self.assertEqual([key for key in said_by if not key[1]], [])
        self.assert_clean(f)

    def test_a_long_answer_is_not_cut_for_one_that_waits_and_other_slots_come_free(self):
        self.fleet = f = Fleet([StandIn(max_loras=2, max_cpu_loras=2, decode_ms=6000 * PATIENCE)], n=3,
                               lora={"max_loras": 2})
        answers = {}

        def ask(name):
            answers[name] = f.text(f"m:{name}")

        threads = [threading.Thread(target=ask, args=("a0",))]
        threads[0].start()
        wait_for(lambda: f.engines[0].stats()["requests"] == 1, 20, "the long answer")
        f.engines[0].set(decode_ms=20)
        stop = threading.Event()

        def keep_busy():
            while not stop.is_set():
                f.text("m:a1")

        for i in range(3):
            threads.append(threading.Thread(target=keep_busy))
            threads[-1].start()
        ask("a2")
        self.assertNotIn("a0", answers, "it was not waited for")
        stop.set()
        for t in threads:
            t.join()
        self.assertEqual(answers, {name: f.files[name][1] for name in ("a0", "a2")})
        self.assert_clean(f)

    def test_two_models_of_one_engine_stay_within_its_slots(self):
        engine = StandIn(max_loras=SLOTS)
        self.fleet = f = Fleet([engine], n=12, models=("m", "other"))
        wrong, threads = [], []

        def run(seed):
            r = random.Random(seed)
            for _ in range(20):
                i = r.randrange(12)
                if f.text(f"{('m', 'other')[i % 2]}:a{i}") != f.files[f"a{i}"][1]:
                    wrong.append(i)

        for seed in range(8):
            threads.append(threading.Thread(target=run, args=(seed,)))
            threads[-1].start()
        for t in threads:
            t.join()
        self.assertEqual(wrong, [])
        self.assertEqual(engine.stats()["requests"], 160)
        self.assert_clean(f)


class Shared(Cases):
    """Two gateways of one Redis catalog, one engine."""

    def setUp(self):
        self.redis = Redis()
        self.engine = StandIn(max_loras=SLOTS, load_ms=20)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rootstock-shared-"))
        config = {
            "version": "v0.3",
            "adapters": {"catalog": {"type": "redis", "url": self.redis.url}, "blobs": {"cache": str(self.folder / "blobs")}},
            "engine": {"models": [{"name": "m", "upstream": {
                "provider": "vllm", "model": "base", "url": self.engine.url, "health": {"eject_after": 0},
                "lora": {"folder": str(self.folder / "cas"), "max_loras": SLOTS,
                         "folder_max": 1, "folder_keep": "2s"}}}]}}
        self.servers = [Server(text=json.dumps(config)) for _ in range(2)]
        self.files = {}
        for i in range(10):
            place = self.folder / f"a{i}"
            self.files[f"a{i}"] = write_adapter(place, 2000 + i)
            self.servers[0].cli("adapters", "push", f"a{i}", str(place), "--base", "m", "--alias", "prod")

    def tearDown(self):
        for s in self.servers:
            s.stop(expect=None)
        self.engine.stop()
        self.redis.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def text(self, server, model):
        """What answered."""
        return server.chat("x", model)[0]

    def drive(self, n, clients=8):
        """n requests over both: Counter of outcomes."""
        outcomes, lock, left = collections.Counter(), threading.Lock(), iter(range(n))

        def run(seed):
            r = random.Random(seed)
            while True:
                with lock:
                    if next(left, None) is None:
                        return
                name = f"a{r.randrange(10)}"
                try:
                    what = "ok" if self.text(self.servers[seed % 2], f"m:{name}") == self.files[name] else "wrong"
                except AssertionError as e:
                    what = str(e)
                with lock:
                    outcomes[what] += 1

        threads = [threading.Thread(target=run, args=(i,)) for i in range(clients)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return outcomes

    def assert_clean(self):
        """The engine saw nothing that it must not see."""
        stats = self.engine.stats()
        self.assertEqual({k: stats[k] for k in NO}, {k: 0 for k in NO}, stats)
        self.assertLessEqual(stats["peak_names"], SLOTS)

    def test_two_gateways_stay_within_the_slots_of_one_engine(self):
        n = 60 if SANITIZED else 200
        self.assertEqual(self.drive(n), {"ok": n})
        self.assert_clean()
        print(f"# {n} requests, {self.engine.stats()['loads']} loads")

    def test_gateways_that_share_a_folder_keep_what_either_has_loaded(self):
        for i in range(6):
            self.assertEqual(self.text(self.servers[i % 2], f"m:a{i}"), self.files[f"a{i}"])
        self.servers[0].process.kill()  # what it has loaded is the other's affair now
        self.servers[0].process.wait()
        wait_for(lambda: len(placed(self.folder / "cas")) <= SLOTS, 30 * PATIENCE, "files that nobody uses to go")
        time.sleep(4)
        kept = sorted(p.name[:12] for p in placed(self.folder / "cas"))
        names = sorted(n.rpartition(".")[2] for n in self.engine.stats()["names"])
        self.assertEqual(kept, names)
        self.assertEqual(len(names), SLOTS)
        self.assert_clean()

    def test_what_one_loads_the_other_finds_loaded(self):
        self.engine.set(load_ms=300)
        threads = [threading.Thread(target=self.text, args=(s, "m:a3")) for s in self.servers for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(self.engine.stats()["loads"], 1)
        self.assert_clean()

    def test_what_one_keeps_busy_gives_way_to_what_the_other_waits_for(self):
        self.engine.set(decode_ms=40)
        stop, wrong, threads = threading.Event(), [], []

        def keep_busy(name):
            while not stop.is_set():
                if self.text(self.servers[0], f"m:{name}") != self.files[name]:
                    wrong.append(name)

        for _ in range(2):
            for i in range(SLOTS):
                threads.append(threading.Thread(target=keep_busy, args=(f"a{i}",)))
                threads[-1].start()
                time.sleep(0.01)
        for i in range(4, 8):
            self.assertEqual(self.text(self.servers[1], f"m:a{i}"), self.files[f"a{i}"])
        stop.set()
        for t in threads:
            t.join()
        self.assertEqual(wrong, [])
        self.assert_clean()

    def test_what_a_killed_gateway_held_comes_free(self):
        self.engine.set(decode_ms=60000)
        threads = [threading.Thread(target=self.hang, args=(f"m:a{i}",), daemon=True) for i in range(SLOTS)]
        for t in threads:
            t.start()
        wait_for(lambda: self.engine.stats()["requests"] == SLOTS, 20, "requests of all slots")
        self.servers[1].process.kill()
        self.servers[1].process.wait()
        self.engine.set(decode_ms=1)
        for i in range(4, 9):
            self.assertEqual(self.text(self.servers[0], f"m:a{i}"), self.files[f"a{i}"])
        self.assertLessEqual(self.engine.stats()["peak_names"], SLOTS)

    def hang(self, model):
        """A request whose gateway dies."""
        try:
            self.text(self.servers[1], model)
        except (OSError, http.client.HTTPException, AssertionError):
            pass


class Others(Cases):
    """SGLang and llama-server."""

    def test_sglang_is_asked_by_base_and_adapter(self):
        self.fleet = f = Fleet([StandIn(mode="sglang", max_loras=SLOTS) for _ in range(2)], n=12, provider="sglang")
        self.assertEqual(self.drive(f, 300, list(f.files), clients=8), {"ok": 300})
        self.assert_clean(f)

    def test_llama_servers_adapters_are_named_in_every_request(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="rootstock-fixed-"))
        try:
            paths = []
            for i in range(3):
                write_adapter(folder / str(i), 1000 + i)
                paths.append(folder / str(i))
            self.fleet = f = Fleet([StandIn(mode="llama-server", max_loras=3, lora=paths)], n=4,
                                   provider="llama-server",
                                   lora={"folder": None, "fixed": ["a0", "a1", "a2"]})
            for model in ("m:a1", "m", "m:a0", "m:a2", "m", "m:a1"):
                want = "base" if model == "m" else f.files[model[2:]][1]
                self.assertEqual(f.text(model), want)
            self.assertEqual(f.ask("m:a3")[0], 422)
            self.assertEqual(f.engines[0].stats()["unnamed"], 0)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    if "--requests" in sys.argv:
        del sys.argv[sys.argv.index("--requests"):][:2]
    tap.main()
