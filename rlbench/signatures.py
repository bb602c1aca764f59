"""What a constructor takes, read from its source text: nothing is imported, so torch is not either.

A constructor with `**rest` takes what its bases take, too, but for what it hands on to them itself.

The types are those of `rlbench.types`, `int`, `float`, `bool`, `str`, `list[...]`, `dict[str, ...]`, `Literal[...]`,
`X | None`, and dataclasses and aliases of such; whatever else an annotation names takes any value.
"""

from __future__ import annotations

import ast
import importlib.util
import math
import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from rlbench import types
from rlbench.types import Range

RUNTIME = {"task", "env"}
"""Parameters that the run supplies, not the config."""
PLAIN: dict[str, Any] = {"int": int, "float": float, "bool": bool, "str": str, "None": None}


@dataclass(frozen=True)
class Parameter:
    """One value that a config sets.

    Attributes:
        kind: its type: a typing form, or the `Signature` of a nested dataclass.
        meaning: its entry under "Args:" in the docstring.
        required: whether it has no default in the source.
    """

    name: str
    kind: Any
    meaning: str
    required: bool


@dataclass(frozen=True)
class Signature:
    """What a class takes.

    Attributes:
        target: `module.Class`.
        title: the docstring's first line.
        parameters: by name, in the order of the source.
        settled: what its constructor sets itself of that which its bases take, and the bases after it in a subclass.
    """

    target: str
    title: str
    parameters: dict[str, Parameter]
    settled: frozenset[str] = frozenset()


class MismatchError(Exception):
    """A value is not of its type.

    Attributes:
        path: the keys down to the value.
        value: the value.
        kind: what was asked for; None where no key of that name is taken.
    """

    def __init__(self, path: tuple[str, ...], value: Any, kind: Any) -> None:
        super().__init__(f"{'.'.join(path)}={value!r}")
        self.path, self.value, self.kind = path, value, kind


@cache
def signature(target: str) -> Signature:
    """The signature of `module.Class`.

    Raises:
        LookupError: there is no such module, or no such class in it.
        SyntaxError: its source is not Python.
    """
    module, _, name = target.rpartition(".")
    if not module:
        raise LookupError(f"{target!r} is not module.Class")
    node = definitions(module).get(name)
    if isinstance(node, str):
        return replace(signature(node), target=target)
    if not isinstance(node, ast.ClassDef):
        raise LookupError(f"no class {name} in {source(module)}")
    doc = ast.get_docstring(node) or ""
    meanings = arguments(doc)
    parameters: dict[str, Parameter] = {}
    constructor = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    settled = set_for_bases(constructor)
    if constructor is None or constructor.args.kwarg:
        for inherited in filter(None, (dotted(base, module) for base in node.bases)):
            found = signature(inherited)
            parameters.update({key: each for key, each in found.parameters.items() if key not in settled})
            settled |= found.settled
    own = node.body if is_dataclass(node) and not constructor else []
    fields = [n for n in own if isinstance(n, ast.AnnAssign) and not of_the_class(n)]
    pairs = [(field.target.id, field.annotation, field.value) for field in fields if isinstance(field.target, ast.Name)]
    if constructor:
        args = constructor.args
        positional = args.args[1:]
        padding: list[ast.expr | None] = [None] * (len(positional) - len(args.defaults))
        first = [*padding, *args.defaults] if len(positional) >= len(args.defaults) else args.defaults
        both = zip([*positional, *args.kwonlyargs], [*first, *args.kw_defaults], strict=True)
        pairs = [(arg.arg, arg.annotation or ast.Constant(...), default) for arg, default in both]
        meanings |= arguments(ast.get_docstring(constructor) or "")
    for key, annotation, default in pairs:
        if key not in RUNTIME:
            parameters[key] = Parameter(key, kind_of(annotation, module), meanings.get(key, ""), default is None)
    return Signature(target, doc.split("\n", 1)[0], parameters, settled)


def set_for_bases(constructor: ast.FunctionDef | None) -> frozenset[str]:
    """The parameters of the bases that a constructor with `**rest` sets itself, as keywords beside `**rest`."""
    calls = [] if constructor is None else [n for n in ast.walk(constructor) if isinstance(n, ast.Call)]
    handing_on = [call.keywords for call in calls if any(word.arg is None for word in call.keywords)]
    return frozenset(word.arg for keywords in handing_on for word in keywords if word.arg)


def is_dataclass(node: ast.ClassDef) -> bool:
    """Whether its annotated names are what its constructor takes."""
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def of_the_class(field: ast.AnnAssign) -> bool:
    """Whether it is a `ClassVar`, which no constructor takes."""
    return ast.unparse(field.annotation).startswith("ClassVar")


def source(module: str) -> Path:
    """The file of a module, found without importing it or the packages it lies in."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
        name = top
        for part in rest:
            name = f"{name}.{part}"
            spec = PathFinder.find_spec(name, spec.submodule_search_locations) if spec else None
    except (ImportError, ValueError) as error:
        raise LookupError(f"no module {module}: {error}") from error
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise LookupError(f"no module {module}")
    return Path(spec.origin)


@cache
def definitions(module: str) -> dict[str, ast.expr | ast.ClassDef | str]:
    """A module's classes, its assigned names (for type aliases), and what it imports by name (as `module.name`)."""
    found: dict[str, ast.expr | ast.ClassDef | str] = {}
    path = source(module)
    body = ast.parse(path.read_text(encoding="utf-8"), str(path)).body
    guarded = [inner for node in body if isinstance(node, ast.If) for inner in node.body]
    for node in [*body, *guarded]:
        if isinstance(node, ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def dotted(base: ast.expr, module: str) -> str | None:
    """The full name of a base class, None where it is not a plain name of a class that a config could describe."""
    if not isinstance(base, ast.Name):
        return None
    node = definitions(module).get(base.id)
    if isinstance(node, ast.ClassDef):
        return f"{module}.{base.id}"
    return node if isinstance(node, str) and node.split(".")[0] not in {"typing", "abc", "collections"} else None


def kind_of(node: ast.expr, module: str) -> Any:
    """The type that an annotation in a module stands for; `Any` where the config cannot be held to it."""
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str(text)):
            return kind_of(ast.parse(text, mode="eval").body, module)
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            kinds = kind_of(left, module), kind_of(right, module)
            # A dataclass that may be None: its keys may be missing altogether.
            return kinds[0] if isinstance(kinds[0], Signature) else Union.__getitem__(kinds)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=values):
            return Literal[ast.literal_eval(values)]
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return list[kind_of(item, module)]  # type: ignore[misc]
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[_, item])):
            return dict[str, kind_of(item, module)]  # type: ignore[misc]
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[base, ast.Call() as bounds])):
            low_high = [ast.literal_eval(arg) for arg in bounds.args]
            named = {word.arg: ast.literal_eval(word.value) for word in bounds.keywords if word.arg}
            return Annotated[kind_of(base, module), Range(*low_high, **named)]
        case ast.Name(id=name) if name in PLAIN:
            return PLAIN[name]
        case ast.Name(id=name):
            return named_kind(name, module)
    return Any


def named_kind(name: str, module: str) -> Any:
    """The type that a name in a module stands for: an alias, or a dataclass whose fields are keys of their own."""
    node = definitions(module).get(name)
    if isinstance(node, str):
        home, _, name = node.rpartition(".")
        if home == types.__name__:
            return getattr(types, name)
        return named_kind(name, home) if home.split(".")[0] == module.split(".")[0] else Any
    if isinstance(node, ast.ClassDef):
        return signature(f"{module}.{name}") if is_dataclass(node) else Any
    return Any if node is None else kind_of(node, module)


def arguments(doc: str) -> dict[str, str]:
    """The entries under "Args:" of a docstring, each on one line."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", doc, re.MULTILINE)
    if section is None:
        return {}
    entries = re.findall(r"^ {4}(\w+)(?: \([^)]*\))?: (.*(?:\n {5,}.*)*)", section[1], re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def coerce(value: Any, kind: Any, path: tuple[str, ...] = ()) -> Any:
    """The value in its type: 1 becomes 1.0 where a number is asked for, 1e6 becomes 1000000 where a whole one is.

    Raises:
        MismatchError: it is not of its type, or out of its range.
    """
    wrong = MismatchError(path, value, kind)
    if isinstance(kind, Signature):
        if not isinstance(value, dict):
            raise wrong
        for key in value:
            if key not in kind.parameters:
                raise MismatchError((*path, key), value[key], None)
        for key, parameter in kind.parameters.items():
            if key not in value and parameter.required:
                raise MismatchError((*path, key), "???", parameter.kind)
        return {key: coerce(each, kind.parameters[key].kind, (*path, key)) for key, each in value.items()}
    if value == "???":
        raise wrong
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is Annotated:
        try:
            number = coerce(value, args[0], path)
        except MismatchError:
            raise wrong from None
        if all(number in bound for bound in args[1:]):
            return number
    elif origin in (Union, UnionType):
        for option in args:
            try:
                return coerce(value, option, path)
            except MismatchError:
                continue
    elif origin is Literal:
        if any(value == option and type(value) is type(option) for option in args):
            return value
    elif origin is list:
        if isinstance(value, list):
            return [coerce(item, args[0], path) for item in value]
    elif origin is dict:
        if isinstance(value, dict):
            return {key: coerce(item, args[1], (*path, str(key))) for key, item in value.items()}
    elif kind in (None, NoneType):
        if value is None:
            return None
    elif kind in (bool, str):
        if isinstance(value, kind):
            return value
        if kind is str and type(value) is int:
            return str(value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        if kind is float:
            return float(value)
        if kind is int and value == int(value):
            return int(value)
    raise wrong


def describe(kind: Any) -> str:
    """A type in a user's words."""
    if isinstance(kind, Signature):
        return "keys " + ", ".join(kind.parameters)
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return f"{describe(args[0])} {bounds(args[1])}"
    if origin in (Union, UnionType):
        return " or ".join(describe(option) for option in args)
    if origin is Literal:
        return "one of " + ", ".join(str(option) for option in args) if len(args) > 1 else str(args[0])
    if origin is list:
        return f"list of {plural(args[0])}"
    if origin is dict:
        return "keys and values"
    words = {int: "whole number", float: "number", bool: "true or false", str: "text", None: "null", NoneType: "null"}
    return words.get(kind, "anything")


def literals(kind: Any) -> list[Any]:
    """The values that a type allows, where it lists them."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        return [value for option in get_args(kind) for value in literals(option)]
    return []


def plural(kind: Any) -> str:
    base, *rest = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    word = {int: "whole numbers", float: "numbers", str: "texts"}.get(base, describe(base))
    return " ".join([word, *(bounds(each) for each in rest)])


def bounds(limits: Range) -> str:
    """`in [0, 1]`, `> 0`, `>= 1`."""
    if limits.high == float("inf"):
        return f"{'>' if limits.open_low else '>='} {limits.low:g}"
    if limits.low == float("-inf"):
        return f"{'<' if limits.open_high else '<='} {limits.high:g}"
    return f"in {limits}"
