#!/usr/bin/env python3
"""Runs the suites of a build folder and ends with "N passed, N failed, N skipped".

usage: run.py BUILD [--suite NAME]...

Every test program speaks TAP; its cases are counted, not the programs. A program that fails without naming a
failed case (a crash, a time-out, a leak found at exit) counts as one failure.
"""
import argparse
import os
import subprocess
import sys
import xml.etree.ElementTree as ET


def case_state(case):
    """passed, failed or skipped for one <testcase>."""
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def count(path):
    """Adds up the cases of a meson JUnit file and prints what is not plain success."""
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    for suite in ET.parse(path).getroot().iter("testsuite"):
        cases = list(suite.iter("testcase"))
        states = [case_state(case) for case in cases]
        for case, state in zip(cases, states):
            totals[state] += 1
            if state != "passed":
                print(f"{state}: {suite.get('name')}: {case.get('name')}")
        broken = int(suite.get("errors", 0)) + int(suite.get("failures", 0)) > 0
        if broken and "failed" not in states:
            totals["failed"] += 1
            print(f"failed: {suite.get('name')}: the program itself")
    return totals


def main():
    """Runs meson's tests and reports; the exit status says whether all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build")
    parser.add_argument("--suite", action="append", default=[])
    args = parser.parse_args()
    command = ["/usr/bin/meson", "test", "-C", args.build, "--no-rebuild", "--print-errorlogs"]
    if "san" in os.path.basename(args.build):
        command += ["--timeout-multiplier", "5"]  # sanitizers are slow, and a timing decides nothing
    for suite in args.suite:
        command += ["--suite", suite]
    junit = os.path.join(args.build, "meson-logs", "testlog.junit.xml")
    if os.path.exists(junit):
        os.remove(junit)
    status = subprocess.run(command, check=False).returncode
    if not os.path.exists(junit):
        print("no test ran")
        return 1
    totals = count(junit)
    if status != 0 and totals["failed"] == 0:
        totals["failed"] = 1
    print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped")
    return 1 if totals["failed"] or totals["passed"] == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
