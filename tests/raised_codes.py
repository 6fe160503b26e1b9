"""Reads our source for every code that it can put on a row, a page or an answer, so that none is without help."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APPS = ("billing", "mrr", "crm", "dashboard", "config")
LEFT_OUT = ("migrations", "benchmarks", "demo")

# Where the code stands among the arguments of what carries one; by keyword it is found anywhere.
POSITIONS = {
    "Permanent": 0,
    "Transient": 0,
    "Wait": 0,
    "Held": 0,
    "Dropped": 0,
    "Unclear": 0,
    "Gap": 0,
    "Unknown": 0,
    "finding": 0,
    "conflict": 0,
    "_json": 1,
    "_answer": 1,
    "ApiError": 1,
    "Outcome": 1,
    "Priced": 1,
    "Check": 3,
}
POSITIONS_HERE = {
    ("billing/webhook.py", "Refused"): 1,
    ("mrr/close.py", "Refused"): 0,
    ("crm/channels/salesforce/setup.py", "Finding"): 2,
    ("dashboard/findings.py", "Finding"): 1,
}
NAMES = frozenset({"code", "error_code", "reason", "hold"})
CODE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*|[A-Z][A-Z0-9_]+")

# Files whose `reason` says why MRR moved, or is a person's own words: nothing that went wrong.
REASONS_OF_MOVEMENTS = ("mrr/", "dashboard/")

# Here a `code` names a figure to explain.
FIGURES = "dashboard/pages/explain/"


@dataclass
class Module:
    """One file of ours: its tree, its constants and functions by name, and what it assigns to names of codes."""

    path: str
    tree: ast.Module
    constants: dict[str, ast.expr] = field(default_factory=dict)
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)  # {name: (file, its name there)}


def raised_codes() -> dict[str, set[str]]:
    """Return each code with the files that can raise it."""
    found: dict[str, set[str]] = {}
    for module in _modules():
        for code in codes_of(module):
            found.setdefault(code, set()).add(module.path)
    return found


def _modules() -> Iterator[Module]:
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if not set(path.relative_to(ROOT).parts) & set(LEFT_OUT) and not name.startswith(FIGURES):
                yield read(name, path.read_text())


def read(path: str, source: str) -> Module:
    """Return a file as the search reads it."""
    module = Module(path, ast.parse(source))
    for node in module.tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            module.constants[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            module.constants[node.target.id] = node.value
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef):
            module.functions[node.name] = node
        elif isinstance(node, ast.ImportFrom) and node.module:
            where = node.module.replace(".", "/") + ".py"
            module.imported |= {alias.asname or alias.name: (where, alias.name) for alias in node.names}
    return module


@cache
def _constants_of(path: str) -> Module | None:
    file = ROOT / path
    return read(path, file.read_text()) if file.is_file() else None


def codes_of(module: Module) -> set[str]:
    return {
        text
        for expression in _code_expressions(module)
        for text in _texts(expression, module, seen=frozenset())
        if CODE.fullmatch(text)
    }


def _code_expressions(module: Module) -> Iterator[ast.expr]:
    names = NAMES - {"reason"} if module.path.startswith(REASONS_OF_MOVEMENTS) else NAMES
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            yield from (keyword.value for keyword in node.keywords if keyword.arg in names)
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if isinstance(node.func, ast.Name) and called in module.functions:
                named = [one.arg for one in module.functions[called].args.args]
                yield from (given for name, given in zip(named, node.args, strict=False) if name in names)
            position = POSITIONS_HERE.get((module.path, called), POSITIONS.get(called))
            if position is not None and len(node.args) > position:
                yield node.args[position]
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _assigned(target, node.value, names)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield from _assigned(node.target, node.value, names)


def _assigned(target: ast.expr, value: ast.expr, names: frozenset[str]) -> Iterator[ast.expr]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, given in zip(target.elts, value.elts, strict=False):
            yield from _assigned(one, given, names)
    elif (target.id if isinstance(target, ast.Name) else getattr(target, "attr", "")) in names:
        yield value


def _texts(node: ast.expr, module: Module, *, seen: frozenset[str]) -> Iterator[str]:
    """Return the texts that an expression can be, as far as this file tells."""
    match node:
        case ast.Constant(value=str() as text):
            yield text
        case ast.IfExp():
            yield from _texts(node.body, module, seen=seen)
            yield from _texts(node.orelse, module, seen=seen)
        case ast.BoolOp():
            for value in node.values:
                yield from _texts(value, module, seen=seen)
        case ast.Name(id=name) if name in module.constants and name not in seen:
            yield from _texts(module.constants[name], module, seen=seen | {name})
        case ast.Name(id=name) if name in module.imported:
            path, theirs = module.imported[name]
            if (other := _constants_of(path)) is not None and theirs in other.constants:
                yield from _texts(other.constants[theirs], other, seen=seen | {name})
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="get"), args=[_, *rest]):
            yield from _tabled(ast.Name(id=name), module)
            for each in rest:
                yield from _texts(each, module, seen=seen)
        case ast.Call(func=ast.Name(id="next"), args=[ast.GeneratorExp(generators=[of]), *rest]):
            # next((code for kind, code in TABLE if …), "")
            yield from _tabled(of.iter, module)
            for each in rest:
                yield from _texts(each, module, seen=seen)
        case ast.Call(func=ast.Name(id=name)) if name in module.functions and name not in seen:
            for inner in ast.walk(module.functions[name]):
                if isinstance(inner, ast.Return) and inner.value is not None:
                    yield from _texts(inner.value, module, seen=seen | {name})


def _tabled(node: ast.expr, module: Module) -> Iterator[str]:
    if isinstance(node, ast.Name) and node.id in module.constants:
        for inner in ast.walk(module.constants[node.id]):
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                yield inner.value
