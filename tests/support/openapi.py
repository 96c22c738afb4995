"""Mistral's OpenAPI documents: their operations, requests made from them, and their schemas."""

from __future__ import annotations

import datetime
import functools
import json
import lzma
import re
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PACKED = Path(__file__).resolve().parents[1] / "local_gateway" / "openapi" / "mistral.json.xz"
METHODS = ("get", "post", "put", "patch", "delete")
EVENTS = "text/event-stream"
JSON = "application/json"
FORM = "multipart/form-data"
UUID = "11111111-2222-4333-8444-555555555555"
MAX_DEPTH = 6
BY_FORMAT = {
    "uuid": UUID,
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "uri": "https://example.com/a",
}

formats = jsonschema.FormatChecker(())


@formats.checks("uuid", raises=ValueError)
def _is_uuid(value: object) -> bool:
    return not isinstance(value, str) or bool(uuid.UUID(value))


@formats.checks("date-time", raises=ValueError)
def _is_moment(value: object) -> bool:
    return not isinstance(value, str) or bool(datetime.datetime.fromisoformat(value).tzinfo)


@dataclass(frozen=True)
class Operation:
    """One method of one path of a document."""

    document: str
    method: str
    template: str
    """The path with its fragment, as `/v1/conversations#stream`."""
    node: Mapping[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.template}"

    @property
    def path(self) -> str:
        return self.template.partition("#")[0]

    @property
    def path_names(self) -> list[str]:
        return re.findall(r"\{(\w+)\}", self.path)

    def content_types(self) -> list[str]:
        """Return the media types that a successful response may have, once each."""
        found = [kind for _, response in self._successes() for kind in response.get("content", {})]
        return list(dict.fromkeys(found)) or [""]

    def _successes(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for status, response in self.node["responses"].items():
            if status.startswith("2"):
                yield status, resolved(self.document, response)

    def request_type(self) -> str | None:
        return next(iter(self.node.get("requestBody", {}).get("content", {})), None)

    def request_body(self, *, whole: bool = False) -> Any:
        """Return a body that the document takes, None where it takes none.

        It has what is required alone, or, if it is to be whole, a value for each field.
        """
        kind = self.request_type()
        if kind is None:
            return None
        schema = self.node["requestBody"]["content"][kind].get("schema", {})
        return sample(self.document, schema, whole=whole)

    def query(self) -> dict[str, Any]:
        """Return a value for each part of the query that is required."""
        parameters = [resolved(self.document, node) for node in self.node.get("parameters", ())]
        return {
            node["name"]: sample(self.document, node.get("schema", {}))
            for node in parameters
            if node["in"] == "query" and node.get("required")
        }

    def problem(self, status: int, content_type: str, body: bytes) -> str | None:
        """Return what a response does against the document, None for nothing."""
        response = next((node for code, node in self._successes() if code == str(status)), None)
        if response is None:
            return f"status {status}: {body[:300].decode(errors='replace')}"
        content = response.get("content", {})
        if not content:
            return f"a body where none belongs: {body[:60]!r}" if body else None
        kind = content_type.partition(";")[0]
        if kind not in content:
            return f"content type {kind!r} in place of {' or '.join(content)}"
        schema = content[kind].get("schema", {})
        if kind == EVENTS:
            found = (_why_not(self.document, schema, event) for event in read_events(body))
            return next(filter(None, found), None)
        return _why_not(self.document, schema, json.loads(body)) if kind == JSON else None


def read_events(body: bytes) -> Iterator[dict[str, Any]]:
    """Yield the events of a stream, but for its end mark, as the documents describe them."""
    for block in body.decode().strip().split("\n\n"):
        lines = (line.partition(": ") for line in block.split("\n"))
        event = {name: value for name, _, value in lines}
        if event["data"] != "[DONE]":
            yield {**event, "data": json.loads(event["data"])}


@functools.cache
def documents() -> dict[str, Any]:
    found = json.loads(lzma.decompress(PACKED.read_bytes()))["documents"]
    for document in found.values():
        _mend(document["components"]["schemas"])
    return found


def _mend(schemas: dict[str, Any]) -> None:
    """Drop what a chat completion is said to need, and has not: the `data` of embeddings.

    The schema names no such property, nor has the SDK's class made from it a field for one.
    """
    required = schemas["ChatCompletionResponse"]["allOf"][1]["required"]
    assert "data" in required, "the document is mended by now: remove this"
    required.remove("data")


@functools.cache
def _registry() -> Registry:
    found = {name: Resource(node, DRAFT202012) for name, node in documents().items()}
    return Registry().with_resources((f"urn:{name}", node) for name, node in found.items())


def operations() -> list[Operation]:
    """Return each operation once: a later document adds what the earlier ones lack."""
    found: dict[tuple[str, str], Operation] = {}
    for name, document in documents().items():
        for template, node in document["paths"].items():
            for method in METHODS:
                if method in node and (method, template) not in found:
                    found[method, template] = Operation(name, method, template, node[method])
    return list(found.values())


def resolved(document: str, node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference within a document."""
    while "$ref" in node:
        target: Any = documents()[document]
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


def _why_not(document: str, schema: Mapping[str, Any], value: Any) -> str | None:
    validator = jsonschema.Draft202012Validator(
        _with_base(document, schema), registry=_registry(), format_checker=formats
    )
    errors = [_deepest(error) for error in validator.iter_errors(value)]
    return "; ".join(f"{error.json_path}: {error.message[:200]}" for error in errors) or None


def _deepest(error: jsonschema.ValidationError) -> jsonschema.ValidationError:
    return jsonschema.exceptions.best_match([error]) or error


def _with_base(document: str, schema: Any) -> Any:
    """Return a schema whose references lead into its document."""
    if isinstance(schema, dict):
        outside = str(schema.get("$ref", "")).startswith("#/components/")
        return {
            key: f"urn:{document}{value}"
            if key == "$ref" and outside
            else _with_base(document, value)
            for key, value in schema.items()
            if key != "discriminator"
        }
    if isinstance(schema, list):
        return [_with_base(document, item) for item in schema]
    return schema


def sample(  # one branch per keyword
    document: str, schema: Mapping[str, Any], *, whole: bool = False, depth: int = 0
) -> Any:
    """Return a value that a schema accepts, with the fields that it requires, or all of them."""
    node = resolved(document, schema)

    def part(schema: Mapping[str, Any]) -> Any:
        return sample(document, schema, whole=whole and depth < MAX_DEPTH, depth=depth + 1)

    if "const" in node:
        return node["const"]
    if node.get("enum"):
        return node["enum"][0]
    if "allOf" in node:
        parts = [part(each) for each in node["allOf"]]
        merged = [each for each in parts if isinstance(each, dict)]
        return {key: value for each in merged for key, value in each.items()} or parts[0]
    for key in ("anyOf", "oneOf"):
        if key in node:
            return part(node[key][0])
    kind = node.get("type", "object" if "properties" in node else "string")
    match kind:
        case "object":
            parts = node.get("properties", {})
            wanted = parts if whole else node.get("required", ())
            return {name: part(parts.get(name, {})) for name in wanted}
        case "array":
            count = max(node.get("minItems", 1), 1)
            return [part(node.get("items", {})) for _ in range(count)]
        case "integer" | "number":
            least = max(node.get("minimum", 1), 1)
            return min(least, node.get("maximum", least))
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return BY_FORMAT.get(node.get("format", ""), "example".ljust(node.get("minLength", 0)))
