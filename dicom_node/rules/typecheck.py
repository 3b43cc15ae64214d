"""Type check of a parsed condition, when it is loaded.

Every name gets its kind from the DICOM dictionary; operands that do not go together are refused by name. What is
left is tried: each relation is evaluated alone on sample values, so that nothing the evaluator cannot do is found
only when a study arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dicom_node.rules.attributes import Attribute, Kind, Place, Value, attribute

PRESENCE = "_has_"  # prefix of the names that stand for has(NAME) in the tree

Sample = Mapping[str, Value | bool]
Trial = Callable[[Any, Sample], str]  # evaluates a tree on a sample; the error's text, or nothing

ORDERED = frozenset({"relation_lt", "relation_le", "relation_gt", "relation_ge"})
TEXT_TESTS = ("contains", "startsWith", "endsWith", "matches")
TEXT_CASES = ("lowerAscii", "upperAscii")
LIST_TESTS = ("all", "exists")
METHODS = (*TEXT_TESTS, *TEXT_CASES, *LIST_TESTS, "size")
SYNTAX_WITHOUT_MEANING = {
    "member_dot": "a value has no fields",
    "member_object": "objects cannot be made in a condition",
    "map_lit": "maps cannot be made in a condition",
    "dot_ident": "a name begins with a letter",
    "dot_ident_arg": "a function's name begins with a letter",
}


class TypeCheck:
    """Walks one parse tree; ``attributes`` holds the names it met, by name."""

    def __init__(self, text: str, place: Place, trial: Trial) -> None:
        self.attributes: dict[str, Attribute] = {}
        self.needed: set[str] = set()  # names of which the value is used, not only the presence
        self._text = text
        self._place = place
        self._trial = trial
        self._bound: dict[str, Kind] = {}  # variables of exists() and all()

    def condition(self, tree: Any) -> None:
        """Check the whole; it must be true or false.

        Raises:
            RuleError: with the part of the condition that is wrong.
        """
        found = self._kind(tree)
        if found is not Kind.BOOLEAN:
            raise self._error(tree, f"the condition is {found}, not true or false", "compare it, e.g. with ==")

    def _kind(self, node: Any) -> Kind:
        if node.data in SYNTAX_WITHOUT_MEANING:
            raise self._error(node, SYNTAX_WITHOUT_MEANING[node.data], "use names, numbers, texts and lists of them")
        if node.data == "ident":
            return self._name(str(node.children[0]))
        if node.data == "literal":
            return self._literal(node)
        if node.data == "list_lit":
            return self._list(node)
        if node.data == "ident_arg":
            return self._function(node)
        if node.data == "member_dot_arg":
            return self._method(node)
        if len(node.children) == 1:
            return self._kind(node.children[0])
        return _OPERATORS[node.data](self, node)

    def _name(self, name: str) -> Kind:
        if name in self._bound:
            return self._bound[name]
        if name.startswith(PRESENCE):
            keyword = name.removeprefix(PRESENCE)
            self.attributes[keyword] = attribute(keyword, self._place)
            return Kind.BOOLEAN
        self.attributes[name] = attribute(name, self._place)
        self.needed.add(name)
        return self.attributes[name].kind

    def _literal(self, node: Any) -> Kind:
        token = node.children[0]
        known = {
            "FLOAT_LIT": Kind.NUMBER,
            "INT_LIT": Kind.NUMBER,
            "STRING_LIT": Kind.TEXT,
            "MLSTRING_LIT": Kind.TEXT,
            "BOOL_LIT": Kind.BOOLEAN,
        }
        if token.type not in known:
            raise self._error(node, f"{token} is no value of a DICOM attribute", "to ask for presence use has(NAME)")
        return known[token.type]

    def _list(self, node: Any) -> Kind:
        items = node.children[0].children if node.children else []
        kinds = {self._kind(item) for item in items}
        listed = next(iter(kinds)).listed if len(kinds) == 1 else None
        if listed is None:
            raise self._error(node, "a list needs values, all numbers or all texts", 'write e.g. ["CT", "PT"]')
        return listed

    def _function(self, node: Any) -> Kind:
        name, arguments = str(node.children[0]), _arguments(node, 1)
        if name != "size":
            raise self._error(node, f"there is no function {name}()", f"known: has, size; on a value: {_known()}")
        if len(arguments) != 1 or self._kind(arguments[0]) in (Kind.NUMBER, Kind.BOOLEAN):
            raise self._error(node, "size() takes one list or one text")
        return self._tried(node, Kind.NUMBER)

    def _method(self, node: Any) -> Kind:
        name, arguments = str(node.children[1]), _arguments(node, 2)
        if name not in METHODS:
            raise self._error(node, f"there is no function {name}()", f"known on a value: {_known()}")
        found = self._kind(node.children[0])
        if name in LIST_TESTS:
            return self._each(node, found, arguments)
        if name == "size" and found is not Kind.NUMBER and not arguments:
            return self._tried(node, Kind.NUMBER)
        wanted = 1 if name in TEXT_TESTS else 0
        if found is not Kind.TEXT or len(arguments) != wanted:
            takes = "is asked of a text" + (", with one text" if wanted else ", without arguments")
            remedy = f"{name}() of each value: .exists(x, x.{name}(…))" if found is Kind.TEXTS else ""
            raise self._error(node, f"{name}() {takes}; {self._shown(node.children[0])} is {found}", remedy)
        if wanted and self._kind(arguments[0]) is not Kind.TEXT:
            raise self._error(node, f"{name}() takes a text; {self._shown(arguments[0])} is not one")
        if name == "matches":
            self._pattern(node, arguments[0])
        return self._tried(node, Kind.BOOLEAN if wanted else Kind.TEXT)

    def _each(self, node: Any, found: Kind, arguments: list[Any]) -> Kind:
        if found.item is None:
            raise self._error(
                node, f"{node.children[1]}() is asked of a list; {self._shown(node.children[0])} is {found}"
            )
        variable = self._shown(arguments[0]) if arguments else ""
        if len(arguments) != 2 or not variable.isidentifier():
            raise self._error(node, f"{node.children[1]}() takes a variable and a condition on it", 'x, x == "PRIMARY"')
        if not variable.islower() or variable in self._bound:
            raise self._error(node, f"the variable {variable} must be in small letters and used once", "call it x")
        self._bound[variable] = found.item
        self._boolean(arguments[1])
        del self._bound[variable]
        return self._tried(node, Kind.BOOLEAN)

    def _pattern(self, node: Any, argument: Any) -> None:
        """Only literal patterns: one taken from data could be malformed, or costly."""
        import re2  # type: ignore[import-untyped]
        from celpy.evaluation import celstr

        token = argument
        while getattr(token, "children", None):
            token = token.children[0] if len(token.children) == 1 else None
        if getattr(token, "type", "") not in ("STRING_LIT", "MLSTRING_LIT"):
            raise self._error(node, "matches() takes a pattern in quotes")
        options = re2.Options()
        options.log_errors = False
        try:
            re2.compile(str(celstr(token)), options)
        except re2.error as error:
            reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
            raise self._error(node, f"not a regular expression (RE2): {reason}") from error

    def _choice(self, node: Any) -> Kind:
        asked, yes, no = node.children
        self._boolean(asked)
        kinds = self._kind(yes), self._kind(no)
        if kinds[0] is not kinds[1]:
            raise self._error(node, f"the two sides of ':' are {kinds[0]} and {kinds[1]}", "make both the same type")
        return kinds[0]

    def _logic(self, node: Any) -> Kind:
        for operand in node.children:
            self._boolean(operand)
        return Kind.BOOLEAN

    def _boolean(self, node: Any) -> None:
        found = self._kind(node)
        if found is not Kind.BOOLEAN:
            raise self._error(node, f"this part is {found}, not true or false", "compare it, e.g. with ==")

    def _relation(self, node: Any) -> Kind:
        operation, right = node.children
        left = operation.children[0]
        kinds = self._kind(left), self._kind(right)
        if operation.data == "relation_in":
            fits, remedy = kinds[1].item is kinds[0], self._remedy_of_in(left, kinds[1])
        elif operation.data in ORDERED:
            fits, remedy = (
                kinds[0] is kinds[1] and kinds[0] in (Kind.NUMBER, Kind.TEXT),
                self._remedy_of(left, right, kinds),
            )
        else:
            fits, remedy = kinds[0] is kinds[1], self._remedy_of(left, right, kinds)
        if not fits:
            verb = "looked for in" if operation.data == "relation_in" else "compared with"
            sides = f"{self._described(left, kinds[0])} cannot be {verb} {self._described(right, kinds[1])}"
            raise self._error(node, sides, remedy)
        return self._tried(node, Kind.BOOLEAN)

    def _arithmetic(self, node: Any) -> Kind:
        operation, right = node.children
        if operation.data == "multiplication_mod":
            raise self._error(node, "numbers have no % here: they are not whole")
        for operand in (operation.children[0], right):
            found = self._kind(operand)
            if found is not Kind.NUMBER:
                raise self._error(node, f"arithmetic takes numbers; {self._described(operand, found)} is none")
        return self._tried(node, Kind.NUMBER)

    def _sign(self, node: Any) -> Kind:
        wanted = Kind.BOOLEAN if node.children[0].data == "unary_not" else Kind.NUMBER
        found = self._kind(node.children[1])
        if found is not wanted:
            sign = "!" if wanted is Kind.BOOLEAN else "-"
            raise self._error(node, f"{sign} takes {wanted}; {self._described(node.children[1], found)} is not")
        return wanted

    def _index(self, node: Any) -> Kind:
        found = self._kind(node.children[0])
        if found.item is None:
            raise self._error(node, f"{self._described(node.children[0], found)} has one value: it takes no index")
        if not self._shown(node.children[1]).isdigit():
            raise self._error(node, "an index is a whole number, counted from 0")
        known = self.attributes.get(self._shown(node.children[0]))
        if known and int(self._shown(node.children[1])) >= known.count:
            raise self._error(node, f"{known} has {known.count} values at most, counted from 0")
        return self._tried(node, found.item)

    def _tried(self, node: Any, kind: Kind) -> Kind:
        """Evaluate the node alone on sample values; refuse what fails."""
        sample: dict[str, Value | bool] = {name: known.sample for name, known in self.attributes.items()}
        sample |= {PRESENCE + name: True for name in self.attributes}
        sample |= {name: 1.0 if bound is Kind.NUMBER else "A" for name, bound in self._bound.items()}
        failure = self._trial(node, sample)
        if failure:
            raise self._error(node, f"cannot be evaluated: {failure}")
        return kind

    def _remedy_of_in(self, left: Any, right: Kind) -> str:
        if right is Kind.TEXT:
            return 'the right of "in" is a list, e.g. ["CT", "PT"]; for a part of a text use .contains("…")'
        return f"compare {self._shown(left)} with a list of its own type"

    def _remedy_of(self, left: Any, right: Any, kinds: tuple[Kind, Kind]) -> str:
        if set(kinds) == {Kind.NUMBER, Kind.TEXT}:
            return "write numbers without quotes, and text in quotes"
        if kinds[0].item is kinds[1]:
            return f"to ask for one value of a list write: {self._shown(right)} in {self._shown(left)}"
        if kinds[1].item is kinds[0]:
            return f"to ask for one value of a list write: {self._shown(left)} in {self._shown(right)}"
        return "compare one value of the list, e.g. PixelSpacing[0]" if kinds[0].item or kinds[1].item else ""

    def _described(self, node: Any, kind: Kind) -> str:
        text = self._shown(node)
        known = self.attributes.get(text)
        return str(known) if known else f"{text} ({kind})"

    def _shown(self, node: Any) -> str:
        return self._text[node.meta.start_pos : node.meta.end_pos] if not node.meta.empty else "()"

    def _error(self, node: Any, message: str, remedy: str = "") -> Exception:
        shown = self._shown(node)
        where = f"{shown}: " if shown != self._text.strip() else ""
        return self._place.error(f"{where}{message}, in: {self._text}", remedy)


_OPERATORS: dict[str, Callable[[TypeCheck, Any], Kind]] = {
    "expr": TypeCheck._choice,
    "conditionalor": TypeCheck._logic,
    "conditionaland": TypeCheck._logic,
    "relation": TypeCheck._relation,
    "addition": TypeCheck._arithmetic,
    "multiplication": TypeCheck._arithmetic,
    "unary": TypeCheck._sign,
    "member_index": TypeCheck._index,
}


def _arguments(node: Any, position: int) -> list[Any]:
    return list(node.children[position].children) if len(node.children) > position else []


def _known() -> str:
    return ", ".join(METHODS)
