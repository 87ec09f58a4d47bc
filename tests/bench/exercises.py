"""How long the exercises' checks take, each on the lesson's own version: `python
tests/bench/exercises.py`. A student waits for a check after every try, so each should be done in
five seconds."""

from __future__ import annotations

import io
import time
from contextlib import redirect_stdout
from importlib import import_module

LESSONS = range(13)
MOST = 5.0


def seconds() -> dict[str, float]:
    """{name of a check: seconds of one call}, of all lessons."""
    taken = {}
    for lesson in LESSONS:
        module = import_module(f"lander_lite.course.exercises.lesson_{lesson:02}")
        for name, check in vars(module).items():
            if name.startswith("check_"):
                start = time.perf_counter()
                with redirect_stdout(io.StringIO()):
                    check(check.exercise.own)
                taken[name] = time.perf_counter() - start
    return taken


if __name__ == "__main__":
    taken = seconds()
    for name, spent in sorted(taken.items(), key=lambda item: -item[1])[:10]:
        print(f"{name:36} {spent:6.2f} s{'  TOO LONG' if spent > MOST else ''}")
    print(f"{len(taken)} checks, {sum(taken.values()):.1f} s together")
