"""Write the tables of the documentation from the code: python tests/programs/write_reference.py

A table stands below a comment, as `<!-- settings -->`, of README.md, REFERENCE.md or
examples/README.md; the prose around it is written by hand. With --check nothing is written, and the
exit status is 1 if a table is not what the code says.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "differential"))

from differences import DIFFERENCES

import mistral_cf_adapter
from mistral_cf_adapter import GatewayError, GatewayOptions, GatewaySettings, _errors, testing
from mistral_cf_adapter import _gateway_call as call_module
from mistral_cf_adapter import _usage as usage_module
from mistral_cf_adapter._errors import BY_CODE
from mistral_cf_adapter._options import header_names
from mistral_cf_adapter._variables import env_names
from mistral_cf_adapter.cli.commands import CommandLine
from mistral_cf_adapter.testing import LocalGateway, calls, records, when
from mistral_cf_adapter.testing.http_api import ROUTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import ModuleType

REFERENCE = Path(mistral_cf_adapter.__file__).parent / "REFERENCE.md"
DOCUMENTS = (ROOT / "README.md", REFERENCE, ROOT / "examples" / "README.md")

# Where the response decides, and not the class: see test_edge_pages, test_connection_errors,
# test_stream_events, and the test of from_response().
RETRYABLE_BY = {
    "GatewayError": "429, 5xx",
    "GatewayUnavailableError": "by page",
    "GatewayConnectionError": "by cause",
    "GatewayStreamError": "by code",
}


def main() -> int:
    """Write the tables, or compare them; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    is_check = parser.parse_args().check
    wrong = [path for path in DOCUMENTS if not is_current(path)]
    for path in wrong:
        print(f"{path.name}: {'not what the code says' if is_check else 'written'}")
        if not is_check:
            path.write_text(with_tables(path.read_text("utf-8")), "utf-8")
    return int(is_check and bool(wrong))


def is_current(path: Path) -> bool:
    """Return whether each table of a document is what the code says."""
    text = path.read_text("utf-8")
    return with_tables(text) == text


def with_tables(text: str) -> str:
    """Return the text of a document with its tables as the code has them."""
    for name, rows in TABLES.items():
        mark = f"<!-- {name} -->\n"
        before, found, rest = text.partition(mark)
        if found:
            text = before + mark + to_markdown(rows()) + re.sub(r"\A(\|.*\n)*", "", rest)
    return text


def to_markdown(rows: Iterable[Sequence[str]]) -> str:
    """Return rows as a table of Markdown; the first one is its heading."""
    lines = [" | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in row) for row in rows]
    rule = " | ".join(["---"] * (lines[0].count(" | ") + 1))
    return "".join(f"| {line} |\n" for line in [lines[0], rule, *lines[1:]])


def code(text: str) -> str:
    """Return text as code of Markdown."""
    return f"`{text}`"


def summary(thing: Any) -> str:
    """Return the first sentence or line of a docstring."""
    return (inspect.getdoc(thing) or "").partition("\n\n")[0]


# ---------------------------------------------------------------- settings and options


def settings() -> Iterator[Sequence[str]]:
    yield "Setting", "Environment", "Default", "Meaning"
    for name, field in GatewaySettings.model_fields.items():
        if name not in GatewayOptions.model_fields:
            variables = ", ".join(map(code, env_names(name)))
            default = "none" if field.default is None else code(_in_a_variable(field.default))
            others = [code(each) for each in _choices(field.annotation) if each != field.default]
            values = f"{default}, or {', '.join(others)}" if others else default
            yield code(name), variables, values, field.description or ""


def _in_a_variable(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _choices(annotation: Any) -> tuple[str, ...]:
    """Return the texts that a setting is limited to, wherever in its type they stand."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    parts = get_args(annotation)
    if get_origin(annotation) is Annotated:
        parts = parts[:1]
    return tuple(each for part in parts for each in _choices(part))


MOST_USED = (
    *("cache_ttl", "skip_cache", "metadata"),
    *("request_timeout", "max_attempts", "collect_log_payload"),
)


def options_most_used() -> Iterator[Sequence[str]]:
    yield "Option", "Meaning"
    for name in MOST_USED:
        yield code(name), GatewayOptions.model_fields[name].description or ""


def options() -> Iterator[Sequence[str]]:
    yield "Option", "Header", "Type", "Meaning"
    for name, field in GatewayOptions.model_fields.items():
        header = header_names().get(name)
        kind = _option_type(field.annotation)
        yield code(name), code(header) if header else "none", kind, field.description or ""


def _option_type(annotation: Any) -> str:
    """Return what an option is in Python, in a word."""
    kind = next(each for each in get_args(annotation) if each is not type(None))
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        return ", ".join(map(code, get_args(kind)))
    return {Mapping: "mapping", Sequence: "list"}.get(get_origin(kind), "") or code(kind.__name__)


# ---------------------------------------------------------------- what a call says


def call() -> Iterator[Sequence[str]]:
    yield "Field", "Type", "Meaning"
    yield from attributes(call_module, "GatewayCall")


def usage() -> Iterator[Sequence[str]]:
    yield "Field", "Type", "Meaning"
    yield from attributes(usage_module, "Usage")


def attributes(module: ModuleType, name: str) -> Iterator[Sequence[str]]:
    """Name each annotated attribute of a class, with the text below it in the source."""
    for node, below in pairwise([*_class_body(module, name), ast.Pass()]):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield code(node.target.id), _type(module, node.annotation), _text(below)


def methods_of(module: ModuleType, name: str) -> Iterator[Sequence[str]]:
    """Name each property and method of a class, with the first lines of its docstring."""
    for node in _class_body(module, name):
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        said = (ast.get_docstring(node) or "").partition("\n\n")[0]
        decorators = {ast.unparse(each) for each in node.decorator_list}
        if decorators & {"property", "cached_property"}:
            yield code(node.name), _type(module, node.returns), said
        else:
            given = ", ".join(each.arg for each in node.args.args if each.arg != "self")
            yield code(f"{node.name}({given})"), "", said


def _class_body(module: ModuleType, name: str) -> list[ast.stmt]:
    nodes = ast.parse(inspect.getsource(module)).body
    (cls,) = [node for node in nodes if isinstance(node, ast.ClassDef) and node.name == name]
    return cls.body


def _type(module: ModuleType, annotation: ast.expr | None) -> str:
    """Return a type in words; that a field may be `None` is said once, above the table."""
    match annotation:
        case ast.Constant(str() as words):
            pass
        case _:
            words = ast.unparse(annotation or ast.Constant(""))
    words = words.removesuffix(" | None")
    named = vars(module).get(words)
    if words.startswith("Literal["):
        return ", ".join(map(code, ast.literal_eval(words.removeprefix("Literal"))))
    if get_origin(named) is Literal:
        return ", ".join(map(code, get_args(named)))
    if words.startswith("_"):  # an alias that only the module knows
        words = str(named)
    return " or ".join(map(code, words.partition("[")[0].split(" | ")))


def _text(node: ast.stmt) -> str:
    match node:
        case ast.Expr(ast.Constant(str() as text)):
            return text
        case _:
            return ""


# ---------------------------------------------------------------- errors and other names


MOST_MET = (
    *("GatewayUnauthorizedError", "GatewayNotFoundError", "GatewayRateLimitedError"),
    *("GatewayGuardrailError", "GatewayConnectionError"),
)


def errors_most_met() -> Iterator[Sequence[str]]:
    yield "Error", "Meaning", "Advice"
    known = dict(_error_classes())
    for name in MOST_MET:
        yield code(name), summary(known[name]), known[name].advice


def errors() -> Iterator[Sequence[str]]:
    yield "Error", "Code", "Retryable", "Meaning", "Advice"
    for name, cls in _error_classes():
        codes = ", ".join(str(number) for number, each in BY_CODE.items() if each is cls)
        retryable = RETRYABLE_BY.get(name, "yes" if cls.retryable else "no")
        yield code(name), codes or "none", retryable, summary(cls), cls.advice


def _error_classes() -> list[tuple[str, type[GatewayError]]]:
    """Return the classes in the order of the source: the base first, then by code."""
    return [
        (name, thing)
        for name, thing in vars(_errors).items()
        if inspect.isclass(thing) and issubclass(thing, GatewayError) and name == thing.__name__
    ]


def names() -> Iterator[Sequence[str]]:
    yield "Name", "Meaning"
    named_below = dict(_error_classes())
    for name in mistral_cf_adapter.__all__:
        if name not in named_below:
            yield code(name), summary(getattr(mistral_cf_adapter, name))


def testing_names() -> Iterator[Sequence[str]]:
    yield "Name", "Meaning"
    for name in testing.__all__:
        yield code(name), summary(getattr(testing, name))


def differences() -> Iterator[Sequence[str]]:
    yield "About", "With the adapter"
    for each in DIFFERENCES:
        yield _sentence(each.name), each.reason


def commands() -> Iterator[Sequence[str]]:
    yield "Command", "Meaning"
    for name, field in CommandLine.model_fields.items():
        if name != "version":
            yield code(f"mistral-cf-adapter {name}"), field.description or ""


# ---------------------------------------------------------------- the local gateway


def gateway() -> Iterator[Sequence[str]]:
    yield "Keyword", "Default", "Meaning"
    defaults = inspect.signature(LocalGateway).parameters
    for name, text in _arguments(LocalGateway):
        yield code(name), code(repr(defaults[name].default)), _sentence(text)


def _arguments(thing: Any) -> Iterator[tuple[str, str]]:
    """Return what the section `Args:` of a docstring says of each argument."""
    section = (inspect.getdoc(thing) or "").partition("\nArgs:\n")[2].partition("\n\n")[0]
    for entry in re.split(r"\n(?=    \w)", f"\n{section}"):
        name, found, text = entry.strip().partition(": ")
        if found:
            yield name, text


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def methods() -> Iterator[Sequence[str]]:
    yield "Method or attribute", "Meaning"
    for name, thing in vars(LocalGateway).items():
        if not name.startswith("_") and inspect.getdoc(thing):
            yield code(name + _parameters(thing)), summary(thing)


def _parameters(thing: Any) -> str:
    """Return the parameters as they are called, without types; nothing for a property."""
    if isinstance(thing, property):
        return ""
    bare = [
        each.replace(annotation=inspect.Parameter.empty)
        for each in inspect.signature(thing).parameters.values()
        if each.name != "self"
    ]
    return str(inspect.Signature(bare))


def faults() -> Iterator[Sequence[str]]:
    yield "Fault", "What happens"
    text = (inspect.getdoc(LocalGateway.fault) or "").partition("\n\nRaises:")[0]
    for kind, what in re.findall(r'^- "(\w+)": (.+(?:\n  .+)*)', text, re.MULTILINE):
        yield code(kind), _sentence(what)


def members_of(module: Any, name: str) -> Iterator[Sequence[str]]:
    yield "Attribute", "Type", "Meaning"
    yield from attributes(module, name)
    yield from methods_of(module, name)


def conditions() -> Iterator[Sequence[str]]:
    yield "Key", "Type", "What the request must have"
    yield from attributes(when, "When")


def routes() -> Iterator[Sequence[str]]:
    yield "Route", "What it does", "Fields"
    for route in ROUTES:
        said = route.describe()
        fields = [_field(name, **field) for name, field in said["fields"].items()]
        yield code(f"{said['method']} {said['path']}"), said["summary"], "; ".join(fields)


def _field(name: str, *, required: bool, description: str, **_: object) -> str:
    need = " (required)" if required else ""
    return f"{code(name)}{need}{f': {description}' if description else ''}"


# ---------------------------------------------------------------- the examples


def examples() -> Iterator[Sequence[str]]:
    yield "Example", "What it shows"
    for path in sorted((ROOT / "examples").glob("[a-z]*.py")):
        yield f"[{path.name}]({path.name})", _first_line(path)
    worker = ROOT / "examples" / "worker" / "src" / "entry.py"
    yield "[worker](worker/src/entry.py)", _first_line(worker)


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return docstring.partition("\n\n")[0]


TABLES: dict[str, Callable[[], Iterable[Sequence[str]]]] = {
    "names": names,
    "settings": settings,
    "options": options,
    "options most used": options_most_used,
    "call": call,
    "usage": usage,
    "errors": errors,
    "errors most met": errors_most_met,
    "commands": commands,
    "differences": differences,
    "gateway": gateway,
    "methods": methods,
    "faults": faults,
    "received": partial(members_of, records, "ReceivedRequest"),
    "log": partial(members_of, records, "LogRecord"),
    "served": partial(members_of, calls, "Call"),
    "conditions": conditions,
    "routes": routes,
    "testing names": testing_names,
    "examples": examples,
}

if __name__ == "__main__":
    sys.exit(main())
