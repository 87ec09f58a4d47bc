"""Exercises of the lessons and their checks, one module per lesson: lesson_00.py, …

A check takes the student's answer and gives back what the lesson goes on with: the answer if it is
right, and the module's own version if it is None, not answered yet. A wrong answer raises
AssertionError that names the kind of mistake and never the right value.
"""

from __future__ import annotations

import copy
import functools
import math
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

UNANSWERED = (
    "Not answered yet: three hints and a solution are folded above. "
    "The lesson goes on with its own version."
)


@dataclass(frozen=True)
class Exercise:
    """number: "00.1", the lesson and the place in it; level: 1 (easy) to 3; minutes: of a student;
    own: what the lesson goes on with."""

    number: str
    level: int
    minutes: int
    own: Any

    @property
    def heading(self) -> str:
        """How its heading in the lesson starts; the title follows."""
        dots = "●" * self.level + "○" * (3 - self.level)
        return f"### Exercise {self.number} {dots} · {self.minutes} minutes · "


def exercise(number: str, level: int, minutes: int, own: Any = None) -> Callable:
    """Make a check of the exercise `number` out of a function of the answer, which raises
    AssertionError or returns in one sentence what is now known. The record is its `.exercise`."""

    def decorate(check: Callable) -> Callable:
        @functools.wraps(check)
        def checked(answer, *context):
            if answer is None:
                print(UNANSWERED)
                return own
            try:
                print(f"Correct: {check(answer, *context)}")
            except AssertionError as wrong:  # a student reads the message, not the check's code
                raise wrong.with_traceback(None) from wrong.__cause__
            return answer

        checked.exercise = Exercise(number, level, minutes, own)
        return checked

    return decorate


def expect(right: bool, message: str) -> None:
    """Raise AssertionError if not; an assert statement would not run under `python -O`."""
    if not right:
        raise AssertionError(message)


def compare(
    answer: Callable, own: Callable, cases: Sequence[tuple], mistakes: Mapping[str, Callable]
) -> None:
    """Hold a function that a student wrote against `own`, on made-up arguments.

    Args:
        cases: (arguments, what to say where only this one shows what is wrong).
        mistakes: {what to say: a function that makes this mistake}.
    """
    __tracebackhide__ = True  # IPython shows the student's line, where that raises, not these
    for arguments, otherwise in cases:
        try:
            given, right = _call(answer, arguments), _call(own, arguments)
        except Exception as error:  # whatever the student's code raises
            said = f"your function raises {type(error).__name__}: {error}"
            raise AssertionError(f"{otherwise}: {said}") from error
        if same(given, right):
            continue
        expect(given is not None, "your function gives None: does it end with `return`?")
        for says, wrong in mistakes.items():
            expect(not same(given, _call(wrong, arguments)), says)
        shown = ", ".join(map(_shown, arguments))
        raise AssertionError(f"{otherwise}. For {shown} you gave {_shown(given)}")


def _call(function: Callable, arguments: Sequence) -> Any:
    """Each call gets arguments of its own: an answer may change them."""
    __tracebackhide__ = True
    return function(*copy.deepcopy(arguments))


def choose(answer, right, others: Mapping) -> None:
    """Hold an answer against the right one of several. others: {a wrong one: why it is wrong}."""
    options = ", ".join(map(repr, sorted([right, *others])))
    expect(answer in [right, *others], f"answer with one of {options}, not {answer!r}")
    expect(answer == right, others.get(answer, ""))


def same(given, right) -> bool:
    """Equal, and numbers close: lists, tuples, arrays and tensors item by item, dicts by key."""
    given, right = _plain(given), _plain(right)
    if isinstance(given, dict) and isinstance(right, dict):
        return given.keys() == right.keys() and all(same(given[key], right[key]) for key in right)
    if isinstance(given, list) and isinstance(right, list):
        return len(given) == len(right) and all(map(same, given, right))
    if isinstance(given, int | float) and isinstance(right, int | float):
        return math.isclose(given, right, rel_tol=1e-4, abs_tol=1e-6)
    return given == right


def _plain(value):
    """A tensor or array as numbers in lists, a tuple as a list."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _shown(value) -> str:
    """A value in short: the start of a long list, and four digits of a number."""
    short = reprlib.Repr()
    short.repr_float = lambda number, level: f"{number:.4g}"
    return short.repr(_plain(value))


def __getattr__(name: str) -> Callable:
    """check_00_1_… stands in lesson_00.py, loaded when it is asked for."""
    lesson = re.match(r"check_(\d\d)_\d_", name)
    if lesson is None:
        raise AttributeError(f"{__name__} has no {name!r}")
    return getattr(import_module(f".lesson_{lesson[1]}", __name__), name)
