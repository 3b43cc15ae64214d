"""Conditions: CEL (Common Expression Language) over the attributes of a series.

``BodyPartExamined in ["CHEST", "LUNG"]``, ``SliceThickness <= 5``, ``"PRIMARY" in ImageType``,
``has(ContrastBolusAgent)``, ``SeriesDescription.lowerAscii().contains("lung")``. Numbers are doubles, also where
written without a point. Dates, times and names are text.

Evaluation knows three outcomes. A name without a value (absent, varying, malformed) makes what depends on it
unknown; ``||`` and ``&&`` still decide where the other side does.
"""

from __future__ import annotations

import functools
import logging
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dicom_node.domain.study import SeriesView
from dicom_node.rules.attributes import Attribute, Place, Unknown, Value, attribute
from dicom_node.rules.typecheck import PRESENCE, TypeCheck

LONGEST_CONDITION = 2000  # characters
DEEPEST_CONDITION = 200  # levels of the parse tree: about 15 brackets in each other, or 180 terms in a chain
LONGEST_INTEGER = 32  # characters
REMEMBERED = 1024  # outcomes kept per condition


class Outcome(StrEnum):
    """What a condition says about a series."""

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A condition's outcome with what it was drawn from."""

    outcome: Outcome
    values: Mapping[str, Value | Unknown]  # by name, in alphabetical order
    unknown: tuple[str, ...]  # names whose value was asked for and is not known


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was read, checked and compiled. Safe to evaluate in several threads."""

    text: str
    place: Place
    attributes: tuple[Attribute, ...]  # every name it uses, in alphabetical order
    needed: frozenset[str]  # those whose value it asks for; of the others only the presence: has(NAME)
    outcome_of: Callable[[tuple[Value | Unknown, ...]], Outcome]  # values in the order of ``attributes``; memoised

    def evaluate(self, series: SeriesView) -> Evaluation:
        """Never raises: what cannot be evaluated is unknown."""
        values = tuple(known.read(series) for known in self.attributes)
        outcome = self.outcome_of(values)
        by_name = {known.name: value for known, value in zip(self.attributes, values, strict=True)}
        unknown = tuple(name for name in by_name if name in self.needed and isinstance(by_name[name], Unknown))
        if outcome is Outcome.UNKNOWN and not unknown:  # e.g. the third value of a list that has two
            unknown = tuple(name for name in by_name if name in self.needed)
        return Evaluation(outcome, by_name, unknown)


def compile_condition(text: str, place: Place) -> Condition:
    """Read and check one condition.

    Raises:
        RuleError: with file, line and key of ``place``, what is wrong and what was expected.
    """
    if len(text) > LONGEST_CONDITION:
        raise place.error(f"a condition has {LONGEST_CONDITION} characters at most", "split it into several")
    tree = _parse(text, place)
    _promote_integers(tree, place)
    _replace_presence(tree, text, place)
    check = TypeCheck(text, place, _failure)
    check.condition(tree)
    attributes = tuple(sorted(check.attributes.values(), key=lambda known: known.name))
    return Condition(text, place, attributes, frozenset(check.needed), _evaluator(tree, attributes))


@functools.cache
def _environment() -> Any:
    """celpy costs 60 ms and 18 MB: it is imported when there is a condition, not before."""
    import celpy

    logging.getLogger("celpy").setLevel(logging.WARNING)
    limit = sys.getrecursionlimit()
    environment = celpy.Environment()  # sets the recursion limit of the process to 2500
    sys.setrecursionlimit(max(limit, sys.getrecursionlimit()))
    return environment


@functools.cache
def _functions() -> dict[str, Callable[..., Any]]:
    """Functions of our own: ``size`` as a double, and the case functions of CEL's strings extension."""
    from celpy.celtypes import DoubleType, StringType

    lower = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
    upper = {ord(letter): letter.upper() for letter in "abcdefghijklmnopqrstuvwxyz"}
    return {
        "size": lambda value: DoubleType(len(value)),
        "lowerAscii": lambda text: StringType(text.translate(lower)),
        "upperAscii": lambda text: StringType(text.translate(upper)),
    }


def _parse(text: str, place: Place) -> Any:
    environment = _environment()
    from celpy import CELParseError

    try:
        tree = environment.compile(text)
    except CELParseError as error:
        column = error.column if isinstance(error.column, int) and error.column > 0 else len(text) + 1
        message, remedy = _syntax_error(text, error.line or 1, column, error.__context__)
        raise place.error(message, remedy) from error
    if _depth(tree) > DEEPEST_CONDITION:
        raise place.error("the condition is nested too deeply", "split it into several, or use in [ … ]")
    return tree


def _syntax_error(text: str, line: int, column: int, cause: BaseException | None) -> tuple[str, str]:
    """What is wrong in words, and what to do."""
    lines = text.split("\n")
    rest = lines[line - 1][column - 1 :] if line <= len(lines) else ""
    at_end = not rest or getattr(getattr(cause, "token", None), "type", "") == "$END"
    expected = set(getattr(cause, "expected", None) or getattr(cause, "allowed", None) or ())
    if "IDENT" in expected:
        wanted = "a DICOM keyword, a value or '('"
    elif at_end and _unclosed(text):
        wanted = f"{_unclosed(text)!r}"
    else:
        wanted = "an operator (==, !=, <, <=, >, >=, in, &&, ||) or the end"
    if at_end:
        return f"syntax error at the end: expected {wanted}, in: {text}", ""
    where = f"at column {column}" + (f" of line {line}" if len(lines) > 1 else "")
    return f"syntax error {where}: expected {wanted}, not {_first_word(rest)!r}, in: {text}", _syntax_remedy(rest)


def _syntax_remedy(rest: str) -> str:
    if rest.startswith(('"', "'")):
        return "a text begins and ends with the same quote"
    words = {"=": "== to compare", "and": "&&", "or": "||", "not": "!", "&": "&&", "|": "||", "<>": "!="}
    word = _first_word(rest).lower()
    return f"write {words[word]}" if word in words else ""


def _first_word(text: str) -> str:
    return (text.split() or [text])[0]


def _unclosed(text: str) -> str:
    """The bracket that closes the innermost one left open; empty when all are closed."""
    closing = {"(": ")", "[": "]", "{": "}"}
    open_ones: list[str] = []
    for mark in re.sub(r""" "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' """, "", text, flags=re.VERBOSE):
        if mark in closing:
            open_ones.append(closing[mark])
        elif open_ones and mark == open_ones[-1]:
            open_ones.pop()
    return open_ones[-1] if open_ones else ""


def _depth(tree: Any) -> int:
    deepest, level = 0, [tree]
    while level:
        deepest += 1
        level = [child for node in level for child in node.children if hasattr(child, "children")]
    return deepest


def _promote_integers(tree: Any, place: Place) -> None:
    """Numbers of DICOM are doubles here, so integer literals become doubles; an index stays an integer."""
    from lark import Token

    indices = {id(_innermost(node.children[1])) for node in tree.find_data("member_index")}
    for node in tree.find_data("literal"):
        token = node.children[0]
        if token.type != "INT_LIT" or id(node) in indices:
            continue
        if len(token) > LONGEST_INTEGER:
            raise place.error(f"{token[:LONGEST_INTEGER]}… is too long a number")
        node.children = [Token("FLOAT_LIT", repr(float(int(token, 16 if "0x" in token else 10))))]


def _innermost(node: Any) -> Any:
    while len(node.children) == 1 and hasattr(node.children[0], "children"):
        node = node.children[0]
    return node


def _replace_presence(tree: Any, text: str, place: Place) -> None:
    """``has(NAME)`` becomes a variable: celpy's own has() would call a varying attribute absent."""
    from lark import Token

    for node in tree.find_data("ident"):
        if node.children[0].startswith(PRESENCE):
            attribute(str(node.children[0]), place)
    for node in list(tree.find_data("ident_arg")):
        if node.children[0] != "has":
            continue
        argument = _innermost(node.children[1]) if len(node.children) == 2 else None
        if argument is None or argument.data != "ident":
            raise place.error(f"has() takes one DICOM keyword, in: {text}", "write e.g. has(SliceThickness)")
        node.data = "ident"
        node.children = [Token("IDENT", PRESENCE + argument.children[0])]


def _failure(tree: Any, sample: Mapping[str, Value | bool]) -> str:
    """Why a tree cannot be evaluated on these values; empty when it can."""
    from celpy import CELEvalError

    try:
        _environment().program(tree, _functions()).evaluate({name: _cel(value) for name, value in sample.items()})
    except CELEvalError as error:
        return str(error.args[0]) if error.args else "error"
    return ""


def _evaluator(tree: Any, attributes: tuple[Attribute, ...]) -> Callable[[tuple[Value | Unknown, ...]], Outcome]:
    from celpy import CELEvalError

    program = _environment().program(tree, _functions())

    @functools.lru_cache(maxsize=REMEMBERED)
    def outcome_of(values: tuple[Value | Unknown, ...]) -> Outcome:
        context: dict[str, Any] = {}
        for known, value in zip(attributes, values, strict=True):
            context[PRESENCE + known.name] = _cel(value is not Unknown.ABSENT)
            if not isinstance(value, Unknown):
                context[known.name] = _cel(value)
        try:
            return Outcome.TRUE if program.evaluate(context) else Outcome.FALSE
        except CELEvalError:
            return Outcome.UNKNOWN

    return outcome_of


def _cel(value: Value | bool) -> Any:
    from celpy import celtypes

    if isinstance(value, bool):
        return celtypes.BoolType(value)
    if isinstance(value, float):
        return celtypes.DoubleType(value)
    if isinstance(value, str):
        return celtypes.StringType(value)
    return celtypes.ListType([_cel(item) for item in value])
