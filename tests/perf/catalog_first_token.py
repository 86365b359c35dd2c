#!/usr/bin/env python3
"""First-token time behind a catalog of many names over that behind one of few: two gateways, one run.

usage: catalog_first_token.py [--names 1000000] [--few 1000] [--requests 1500]

ROOTSTOCK_BUILD names the build folder. Each gateway serves the demo's base and adapters, the same hot set, from a Redis
of its own; one of them knows a million names besides. Requests go to both in turn, so that a machine that others load
too slows both alike. The ratio of the 95th percentiles is printed last. Timings judge nothing.
"""
import argparse
import http.client
import json
import pathlib
import random
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from tests.support.rootstock import BUILD, Redis, Server  # noqa: E402

WARM = 40
PROMPT = "How many employees live in each of the countries?"


class Site:
    """A Redis with so many names and a gateway on it."""

    def __init__(self, names):
        self.redis = Redis()
        for name, value in (("hash-max-listpack-entries", "128"), ("hash-max-listpack-value", "192")):
            subprocess.run(["redis-cli", "-p", str(self.redis.port), "config", "set", name, value], check=True,
                           stdout=subprocess.DEVNULL)
        subprocess.run([BUILD / "tests" / "perf" / "catalog", "-n", str(names), "-fill", self.redis.url], check=True,
                       stdout=subprocess.DEVNULL)
        self.server = Server(redis=self.redis)
        self.connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        self.times = []

    def first_token(self, model):
        """Seconds from the request to the first piece of text of its stream."""
        body = json.dumps({"model": model, "stream": True, "max_tokens": 4, "temperature": 0,
                           "messages": [{"role": "user", "content": PROMPT}]})
        begin = time.perf_counter()
        self.connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        response = self.connection.getresponse()
        first = None
        for line in response:
            if first is None and b'"content"' in line and b'"content":""' not in line:
                first = time.perf_counter() - begin
        if response.status != 200 or first is None:
            sys.exit(f"catalog_first_token.py: {model}: status {response.status}")
        return first

    def stop(self):
        self.connection.close()
        self.server.stop()
        self.redis.stop()


def percentile(times, p):
    return sorted(times)[min(len(times) - 1, int(len(times) * p))]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--names", type=int, default=1000000)
    parser.add_argument("--few", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=1500)
    options = parser.parse_args()
    sites = {options.few: Site(options.few), options.names: Site(options.names)}
    order = random.Random(1)
    try:
        for i in range(WARM + options.requests):
            model = "demo:" + order.choice(["sql", "french", "extract", "triage"])
            both = list(sites.values())
            order.shuffle(both)
            for site in both:
                seconds = site.first_token(model)
                if i >= WARM:
                    site.times.append(seconds)
        for names, site in sites.items():
            print(f"{names:>9} names: first token p50 {percentile(site.times, 0.5) * 1e3:.2f} ms, "
                  f"p95 {percentile(site.times, 0.95) * 1e3:.2f} ms")
        ratio = percentile(sites[options.names].times, 0.95) / percentile(sites[options.few].times, 0.95)
        print(f"ratio of p95: {ratio:.3f}")
    finally:
        for site in sites.values():
            site.stop()


if __name__ == "__main__":
    main()
