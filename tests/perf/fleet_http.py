#!/usr/bin/env python3
"""Moves an alias while eight gateways serve: is any request answered by the old revision afterwards?

usage: fleet_http.py [--gateways 8] [--flips 500] [--clients 4]

ROOTSTOCK_BUILD names the build folder. Gateways of the demo on one Redis; clients ask any of them without pause, and
`prod` moves between two revisions through a gateway's admin API with ?wait=fleet. A request that begins after a move
has returned, and ends before the next begins, must say the new digest in x-rootstock-revision. Times of the moves are
printed; they judge nothing, a wrong digest does.
"""
import argparse
import http.client
import json
import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from tests.support.rootstock import Redis, Server  # noqa: E402

ADAPTER = "triage"
BODY = json.dumps({"model": f"demo:{ADAPTER}", "max_tokens": 1, "temperature": 0,
                   "messages": [{"role": "user", "content": "Which team takes this?"}]})
JSON = {"Content-Type": "application/json"}


class Client(threading.Thread):
    """Asks one gateway after the other; keeps (begin, end, digest) of each answer."""

    def __init__(self, gateways):
        super().__init__()
        self.connections = [http.client.HTTPConnection("127.0.0.1", g.port, timeout=60) for g in gateways]
        self.answers, self.failed, self.stopping = [], 0, False

    def run(self):
        while not self.stopping:
            connection = random.choice(self.connections)
            begin = time.monotonic()
            connection.request("POST", "/v1/chat/completions", BODY, JSON)
            response = connection.getresponse()
            response.read()
            self.failed += response.status != 200
            self.answers.append((begin, time.monotonic(), response.headers["x-rootstock-revision"]))


def move(connection, revision):
    """One move: (when it began, when it returned, the digest that prod names now)."""
    begin = time.monotonic()
    connection.request("PUT", f"/admin/adapters/{ADAPTER}/aliases/prod?wait=fleet", json.dumps({"revision": revision}),
                       JSON)
    response = connection.getresponse()
    answer = json.loads(response.read())
    if response.status != 200 or not answer.get("applied_by_all"):
        sys.exit(f"fleet_http.py: {response.status} {answer}")
    return begin, time.monotonic(), answer["revision"]


def judge(moves, answers):
    """(answers between two moves, those of them with another digest than the first of the two gave)."""
    sure = wrong = 0
    for (_, returned, digest), (next_begin, _, _) in zip(moves, moves[1:]):
        for begin, end, got in answers:
            if begin >= returned and end <= next_begin:
                sure += 1
                wrong += got != digest
    return sure, wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gateways", type=int, default=8)
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--clients", type=int, default=4)
    args = parser.parse_args()
    redis = Redis()
    gateways = [Server(redis=redis) for _ in range(args.gateways)]
    clients = [Client(gateways) for _ in range(args.clients)]
    moves, sure, wrong = [], 0, 0
    try:
        for client in clients:
            client.start()
        connections = [http.client.HTTPConnection("127.0.0.1", g.port, timeout=60) for g in gateways]
        for i in range(args.flips):
            moves.append(move(connections[i % len(connections)], str(i % 2 + 1)))
            time.sleep(0.03)
    finally:
        for client in clients:
            client.stopping = True
        for client in clients:
            client.join()
        for gateway in gateways:
            gateway.stop()
        redis.stop()
    for client in clients:
        begun = 0
        for k in range(len(moves) - 1):  # answers and moves are in order of time
            while begun < len(client.answers) and client.answers[begun][0] < moves[k][1]:
                begun += 1
            last = begun
            while last < len(client.answers) and client.answers[last][0] < moves[k + 1][0]:
                last += 1
            s, w = judge(moves[k:k + 2], client.answers[begun:last])
            sure, wrong = sure + s, wrong + w
    took = sorted(1000 * (end - begin) for begin, end, _ in moves)
    print(f"{len(gateways)} gateways, {len(moves)} moves with wait=fleet: p50 {took[len(took) // 2]:.2f} ms, "
          f"p99 {took[len(took) * 99 // 100]:.2f} ms")
    answers, failed = sum(len(c.answers) for c in clients), sum(c.failed for c in clients)
    print(f"{answers} answers, {failed} failed; {sure} begun after a move and ended before the next, {wrong} of "
          "them by the old revision")
    return 1 if wrong or not sure else 0


if __name__ == "__main__":
    sys.exit(main())
