#!/usr/bin/env python3
"""Fails on a function above 80 lines without a reason ("/* long: … */" just above it), and on a file above 800.

usage: sizes.py ROOT. Functions are found by the house style: a body opens with "{" in column 0 and closes with "}"
in column 0, which the formatter enforces.
"""
import os
import pathlib
import re
import sys

FOLDERS = ("base", "config", "adapters", "engine", "router", "plugins", "gateway", "tests")
MAX_FUNCTION, MAX_FILE = 80, 800


def functions(lines):
    """Yields (first line of the signature, line of "}", name); lines count from 1."""
    opened = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            opened = number
        elif line == "}" and opened:
            start = opened - 1
            while start > 1 and lines[start - 2].strip() and not lines[start - 2].startswith(("}", "#", "/", " */", "*")) \
                    and not lines[start - 2].rstrip().endswith((";", "*/")):
                start -= 1
            match = re.search(r"(\w+)\s*\(", " ".join(lines[start - 1:opened]))
            yield start, number, match.group(1) if match else "?"
            opened = None


def has_reason(lines, start):
    """Whether the comment that ends just above line `start` holds "long:"."""
    above = "\n".join(lines[max(0, start - 12):start - 1])
    comment = above.rfind("/*")
    return comment >= 0 and "long:" in above[comment:]


def faults(root):
    """Every function and file beyond the wall."""
    for folder in FOLDERS:
        for src in sorted((root / folder).rglob("*.[ch]")):
            rel = src.relative_to(root).as_posix()
            lines = src.read_text(encoding="utf-8").splitlines()
            if len(lines) > MAX_FILE and "file-size:" not in "\n".join(lines[:30]):
                yield f"{rel}: {len(lines)} lines; the wall is {MAX_FILE}"
            for start, end, name in functions(lines):
                if end - start + 1 > MAX_FUNCTION and not has_reason(lines, start):
                    yield f"{rel}:{start}: {name} has {end - start + 1} lines; the wall is {MAX_FUNCTION}"


def main():
    """Prints the faults; exit status 1 when there is one."""
    found = list(faults(pathlib.Path(sys.argv[1])))
    tap = os.environ.get("ROOTSTOCK_TAP")
    for fault in found:
        print(("# " if tap else "") + fault)
    if tap:
        print(f"1..1\n{'not ok' if found else 'ok'} 1 - functions and files keep within their walls")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
