"""What a bundle's configuration would execute, read from its files: nothing of it is run or imported.

MONAI evaluates a configuration's ``$`` expressions, imports what it names and calls its ``_target_``s, so a
configuration is a program (GHSA-873f-pvrv-4x83). A host is sandboxed; this check comes before it. What it cannot call
harmless is a concern, which a person answers by pinning the bundle's digest.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dicom_node.errors import ContractError


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Packages whose components a configuration may name; a name without a dot is a component of MONAI.
_PACKAGES = _words("monai torch torchvision ignite numpy scipy skimage einops scripts")
# Modules that compute, or of which only harmless parts remain once the calls below are looked for.
_MODULES = _PACKAGES | _words(
    "__future__ abc argparse collections contextlib copy dataclasses datetime enum functools gc glob inspect itertools "
    "json logging math nibabel numbers operator os pathlib random re statistics string sys time typing "
    "typing_extensions warnings cv2 PIL pandas tqdm torch_tensorrt csv hashlib heapq bisect struct io matplotlib"
)
_CALLS = _words("eval exec compile __import__ breakpoint input globals locals vars delattr memoryview")
# Members that run programs whatever name their module goes by.
_ANYWHERE = _words("system popen fork forkpty execv execve execvp spawnl spawnv spawnve startfile")
_OF_OS = _ANYWHERE | _words(
    "remove unlink rename replace rmdir removedirs mkdir makedirs chmod chown kill killpg symlink link putenv setuid "
    "setgid truncate open write _exit abort"
)
_DANGEROUS = {
    "os": _OF_OS,
    "torch.hub": _words("load load_state_dict_from_url download_url_to_file"),
    "torch.utils": frozenset({"cpp_extension"}),
    "monai.apps": frozenset({"download_url", "download_and_extract", "extractall"}),
    "monai.bundle": frozenset({"download", "run", "load", "init_bundle"}),
    "numpy": frozenset({"memmap", "save", "savez", "savetxt", "fromregex"}),
    "sys": frozenset({"modules", "settrace", "setprofile"}),
}
_READS = frozenset({"r", "rb", "rt"})
_LONGEST = 200  # characters of an expression that is shown


@dataclass(frozen=True, slots=True)
class Audit:
    """What would run, and what of it a person must look at."""

    targets: tuple[str, ...]  # classes and functions that the configuration calls
    expressions: tuple[str, ...]  # Python that it evaluates
    imports: tuple[str, ...]  # modules that it and its scripts import
    scripts: tuple[str, ...]  # Python files of the bundle
    concerns: tuple[str, ...]  # with file and line


def audit(folder: Path, configuration: str) -> Audit:
    """Read the configuration and every script of the bundle.

    Raises:
        ContractError: a file cannot be read as JSON, YAML or Python.
    """
    found = _Found()
    for name in (configuration, "configs/metadata.json"):
        if (folder / name).is_file():
            _walk(_parsed(folder / name), name, found)
    scripts = sorted(
        f for f in folder.rglob("*.py") if f.is_file() and "__pycache__" not in f.relative_to(folder).parts
    )
    for script in scripts:
        _read_python(_tree(script), script.relative_to(folder).as_posix(), found)
    return Audit(
        targets=tuple(sorted(found.targets)),
        expressions=tuple(dict.fromkeys(found.expressions)),
        imports=tuple(sorted(found.imports)),
        scripts=tuple(f.relative_to(folder).as_posix() for f in scripts),
        concerns=tuple(dict.fromkeys(found.concerns)),
    )


class _Found:
    def __init__(self) -> None:
        self.targets: set[str] = set()
        self.expressions: list[str] = []
        self.imports: set[str] = set()
        self.concerns: list[str] = []


def _parsed(file: Path) -> Any:
    try:
        text = file.read_text(encoding="utf-8")
        return json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ContractError(
            f"cannot be read: {error}", file=file, remedy="correct the file, or restore it from its source"
        ) from error


def _tree(file: Path) -> ast.AST:
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise ContractError(f"is no Python: {error}", file=file, remedy="restore the file from its source") from error


def _walk(node: Any, where: str, found: _Found) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "_target_" and isinstance(value, str) and not value.startswith("$"):
                _target(value, where, found)
            else:
                _walk(value, f"{where}: {key}" if ": " not in where else f"{where}.{key}", found)
    elif isinstance(node, list):
        for value in node:
            _walk(value, where, found)
    elif isinstance(node, str):
        _text(node, where, found)


def _target(value: str, where: str, found: _Found) -> None:
    found.targets.add(value)
    package, _, rest = value.partition(".")
    if rest and package not in _PACKAGES:
        found.concerns.append(f"{where}: calls {value}")
    elif (told := _dangerous(value)) is not None:
        found.concerns.append(f"{where}: calls {told}")


def _text(value: str, where: str, found: _Found) -> None:
    if value.startswith("%") and re.match(r"%\s*(/|[A-Za-z]+://|.*\.\.)", value):
        found.concerns.append(f"{where}: reads {value[1:_LONGEST]!r}, outside the bundle")
    if not value.startswith("$"):
        return
    found.expressions.append(value[:_LONGEST])
    # "@a::b#0" and "%file::key" stand for other parts of the configuration.
    code = re.sub(r"[@%][\w:#]*(?:\.\w+::[\w:#]*)?", "_reference", value[1:]).strip()
    try:
        _read_python(ast.parse(code), where, found)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        found.concerns.append(f"{where}: evaluates what is no Python: {value[:_LONGEST]!r}")


def _read_python(tree: ast.AST, where: str, found: _Found) -> None:
    for node in ast.walk(tree):
        at = f"{where}:{node.lineno}" if where.endswith(".py") and isinstance(node, ast.expr | ast.stmt) else where
        found.concerns.extend(f"{at}: {told}" for told in _concerns(node, found))


def _concerns(node: ast.AST, found: _Found) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        for name in _imported(node):
            found.imports.add(name)
            if name.partition(".")[0] not in _MODULES:
                yield f"imports {name}"
            elif name in ("os", "sys") and any(alias.asname for alias in node.names):
                yield f"imports {name} under another name"
            elif (told := _dangerous(name)) is not None:
                yield f"imports {told}"
    elif isinstance(node, ast.Attribute):
        if node.attr.startswith("__") and node.attr not in ("__init__", "__name__", "__class__", "__version__"):
            yield f"uses {node.attr}"
        elif (told := _dangerous(_dotted(node))) is not None:
            yield f"uses {told}"
    elif isinstance(node, ast.Name) and node.id in _CALLS:
        yield f"uses {node.id}"
    elif isinstance(node, ast.Call):
        yield from _call(node)


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if node.level:
        return []  # of the bundle itself
    return [f"{node.module}.{alias.name}" for alias in node.names]


def _call(node: ast.Call) -> Iterator[str]:
    name = _dotted(node.func)
    if name.rpartition(".")[2] == "open" and _mode(node) not in _READS:
        yield f"opens a file with {ast.unparse(node)[:_LONGEST]}"
    if name in ("getattr", "setattr") and len(node.args) > 1 and not _harmless_attribute(node.args[1]):
        yield f"calls {ast.unparse(node)[:_LONGEST]}"
    if name in ("torch.load", "numpy.load", "np.load") and not _loads_safely(name, node):
        yield f"unpickles with {ast.unparse(node)[:_LONGEST]}"


def _mode(node: ast.Call) -> str:
    given = [keyword.value for keyword in node.keywords if keyword.arg == "mode"]
    value = given[0] if given else (node.args[1] if len(node.args) > 1 else ast.Constant("r"))
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def _harmless_attribute(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and not node.value.startswith("__")


def _loads_safely(name: str, node: ast.Call) -> bool:
    wanted = {"torch.load": ("weights_only", True)}.get(name, ("allow_pickle", False))
    for keyword in node.keywords:
        if keyword.arg == wanted[0]:
            return isinstance(keyword.value, ast.Constant) and keyword.value.value is wanted[1]
    return True  # both refuse to unpickle unless asked


def _dotted(node: ast.AST) -> str:
    """``a.b.c`` of an expression; what it begins with is left empty where that is no name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    parts.append(node.id if isinstance(node, ast.Name) else "")
    return ".".join(reversed(parts))


def _dangerous(name: str) -> str | None:
    """The name, where it or what it lies in runs programs, writes, downloads or reaches into the interpreter."""
    if name.rpartition(".")[2] in _ANYWHERE:
        return name
    name = re.sub(r"^np\.", "numpy.", name)
    for module, members in _DANGEROUS.items():
        rest = name.removeprefix(f"{module}.")
        if rest != name and rest.partition(".")[0] in members:
            return name
    return None
