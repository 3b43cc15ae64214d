"""Where a key stands in a TOML file, and how messages name it."""

from __future__ import annotations

import re
from collections.abc import Sequence


def key_text(path: Sequence[str | int]) -> str:
    """A key as messages name it: ``("rules", 0, "all")`` is ``rules[1].all``."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def line_of(text: str, path: Sequence[str | int]) -> int | None:
    """The line (1-based) on which the key of ``path`` is set, or that of its section; None where there is neither.

    Headers and keys are read line by line, since TOML libraries keep no positions.
    """
    if not path:
        return None
    section = str(path[0])
    position = next((part for part in path[1:2] if isinstance(part, int)), None)
    keys = [str(part) for part in path[1:] if isinstance(part, str)]
    item = path[-1] if len(path) > 2 and isinstance(path[-1], int) else None
    header = re.compile(rf"^\s*\[\[?\s*{re.escape(section)}\s*\]\]?")
    seen, inside, header_line, key_line = -1, False, None, None
    for number, line in enumerate(text.splitlines(), start=1):
        if re.match(r"^\s*\[\[?[A-Za-z_]", line):
            inside = False
            if header.match(line):
                seen += 1
                inside = position is None or seen == position
                header_line = number if inside else header_line
        elif inside and keys and re.match(rf"""^\s*["']?{re.escape(keys[0])}["']?\s*[=.]""", line):
            key_line = number
            break
    if key_line is None:
        return header_line
    return _line_of_item(text, key_line, item) if item is not None else key_line


def _line_of_item(text: str, key_line: int, item: int) -> int:
    """The line of the n-th string of an array that starts on ``key_line``."""
    count = -1
    for number, line in enumerate(text.splitlines()[key_line - 1 :], start=key_line):
        body = line.split("=", 1)[1] if number == key_line and "=" in line else line
        count += len(re.findall(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'', body))
        if count >= item:
            return number
        if body.rstrip().endswith("]"):
            break
    return key_line
