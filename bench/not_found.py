#!/usr/bin/env python3
"""Can the time of a "not found" tell whether another hospital has a study?

Starts a node with two tenants, imports a folder into the first, and asks as the second for what only
the first has and for what nobody has, in turns and in random order, over several routes. Prints
medians, a bootstrap interval of the difference of medians, and the Mann-Whitney test.

    bench/not_found.py [--qianli PROGRAM] [--folder DIR] [--rounds N] [--database URL]
"""

import argparse
import http.client
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time

ROUTES = [
    ("metadata of a study", "/dicom-web/studies/{study}/metadata", {}),
    ("an object", "/dicom-web/studies/{study}/series/{series}/instances/{instance}", {}),
    ("a frame", "/dicom-web/studies/{study}/series/{series}/instances/{instance}/frames/1", {}),
    ("thumbnail of a study", "/dicom-web/studies/{study}/thumbnail", {}),
    ("search by UID", "/dicom-web/studies?StudyInstanceUID={study}", {}),
    ("page of a study", "/studies/{study}", {}),
]


def other(uid):
    """A UID of the same length that nobody has."""
    tail = "".join(random.choice("123456789") for _ in range(6))
    return uid[:-6] + tail if len(uid) > 12 else uid[:-1] + str((int(uid[-1]) + 1) % 9 + 1)


def run(program, settings, *arguments):
    line = [program, *arguments, *settings]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()


def timed(connection, path, headers):
    begin = time.perf_counter_ns()
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status, (time.perf_counter_ns() - begin) / 1000


def median(values):
    values = sorted(values)
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


def mann_whitney(one, two):
    """Two-sided p by the normal approximation, with ranks shared among equals."""
    both = sorted([(value, 0) for value in one] + [(value, 1) for value in two])
    ranks, ties, at = 0.0, 0, 0
    while at < len(both):
        end = at
        while end < len(both) and both[end][0] == both[at][0]:
            end += 1
        shared = (at + 1 + end) / 2
        ranks += shared * sum(1 for _, which in both[at:end] if which == 0)
        ties += (end - at) ** 3 - (end - at)
        at = end
    n, m = len(one), len(two)
    u = ranks - n * (n + 1) / 2
    total = n + m
    deviation = math.sqrt(n * m / 12 * (total + 1 - ties / (total * (total - 1))))
    z = (u - n * m / 2) / deviation
    return z, math.erfc(abs(z) / math.sqrt(2)), u / (n * m)


def bootstrap(one, two, times=400):
    """The middle 95 % of differences of medians."""
    found = sorted(
        median(random.choices(one, k=len(one))) - median(random.choices(two, k=len(two)))
        for _ in range(times)
    )
    return found[int(times * 0.025)], found[int(times * 0.975)]


def measure(port, theirs, ours, objects, twins, rounds, warm):
    """Microseconds of foreign and unknown by route."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    owner = http.client.HTTPConnection("127.0.0.1", port)
    mine = {"Authorization": f"Bearer {ours}"}
    owners = {"Authorization": f"Bearer {theirs}"}
    results = {}
    for name, path, headers in ROUTES:
        foreign, unknown = [], []
        statuses = set()
        for turn in range(rounds + 50):
            at = random.randrange(len(objects))
            asked = [(path.format(**objects[at]), foreign), (path.format(**twins[at]), unknown)]
            random.shuffle(asked)
            if warm:
                # What the owner just read lies in every cache that there is.
                timed(owner, path.format(**objects[at]), owners)
            for target, into in asked:
                status, took = timed(connection, target, {**headers, **mine})
                statuses.add(status)
                if turn >= 50:
                    into.append(took)
        if len(statuses) != 1:
            sys.exit(f"{name}: told apart by status: {statuses}")
        results[name] = (foreign, unknown)
    return results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--qianli", default="target/release/qianli")
    parser.add_argument("--folder", default="sample-dicom")
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--database")
    options = parser.parse_args()
    program = os.path.abspath(options.qianli)
    with tempfile.TemporaryDirectory() as folder:
        settings = ["--data", folder]
        if options.database:
            settings += ["--database", options.database]
        for tenant in ["north", "south"]:
            run(program, settings, "tenant", "add", tenant)
        tokens = [
            run(program, settings, "token", "add", "bench", "--may", "read", "--tenant", tenant)
            for tenant in ["north", "south"]
        ]
        run(program, settings, "import", options.folder, "--tenant", "north")
        serve = [program, "serve", *settings, "--http", "127.0.0.1:0", "--dimse", "127.0.0.1:0"]
        with open(os.path.join(folder, "log"), "w") as log:
            node = subprocess.Popen(
                [*serve, "--log", "warn"], stdout=subprocess.PIPE, stderr=log, text=True
            )
        try:
            port = None
            while port is None:
                line = node.stdout.readline()
                if not line:
                    sys.exit("the node did not start")
                if line.startswith("http:"):
                    port = int(line.strip().rsplit(":", 1)[1])
            time.sleep(1)
            connection = http.client.HTTPConnection("127.0.0.1", port)
            headers = {"Authorization": f"Bearer {tokens[0]}", "Accept": "application/dicom+json"}
            connection.request("GET", "/dicom-web/instances?limit=500", headers=headers)
            rows = json.loads(connection.getresponse().read())
            value = lambda row, tag: row[tag]["Value"][0]
            objects = [
                {
                    "study": value(row, "0020000D"),
                    "series": value(row, "0020000E"),
                    "instance": value(row, "00080018"),
                }
                for row in rows
            ]
            twins = [{key: other(uid) for key, uid in one.items()} for one in objects]
            database = "Postgres" if options.database else "SQLite"
            print(f"{database}, {len(objects)} objects, {options.rounds} pairs a route\n")
            print("| asked for | another's, µs | nobody's, µs | difference of medians, 95 % | P(slower) | p |")
            print("|---|---:|---:|---:|---:|---:|")
            for warm in [False, True]:
                results = measure(port, *tokens, objects, twins, options.rounds, warm)
                for name, (foreign, unknown) in results.items():
                    low, high = bootstrap(foreign, unknown)
                    _, p, slower = mann_whitney(foreign, unknown)
                    suffix = ", just read by its owner" if warm else ""
                    print(
                        f"| {name}{suffix} | {median(foreign):.0f} | {median(unknown):.0f} | "
                        f"{low:+.1f} to {high:+.1f} | {slower:.3f} | {p:.2f} |"
                    )
        finally:
            node.terminate()
            node.wait()


if __name__ == "__main__":
    main()
