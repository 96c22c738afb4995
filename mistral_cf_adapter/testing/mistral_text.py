"""What the small Mistral says: short, friendly, and the same every time."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, cast

from mistral_cf_adapter.testing.limits import MAX_NODES
from mistral_cf_adapter.testing.responses import utf8

if TYPE_CHECKING:
    from collections.abc import Mapping

GREETING = re.compile(
    r"^\W*(?:say |please say )?(hello|hi|hey|bonjour|salut|good (?:morning|evening|day))\b",
    re.IGNORECASE,
)
LEAD_IN = re.compile(
    r"^\W*(?:please\s+|kindly\s+|can you\s+|could you\s+|would you\s+)*"
    r"(?:what(?:'s| is| are| was)|who(?:'s| is| are| was)|where(?:'s| is| are)|when (?:is|was)|"
    r"why (?:is|are|do|does)|how (?:do|does|can|to|is|are)(?: i| we| you)?|"
    r"(?:who|where|when|why) \w+|tell me(?: about)?|"
    r"explain|describe|summari[sz]e|write(?: me)?|translate|name|list|give me|say)\s+",
    re.IGNORECASE,
)
QUESTION = re.compile(r"(?:what|who|where|when|why|how|which|is|are|do|does|can)\b", re.IGNORECASE)
MAX_TOPIC = 60
MAX_DEPTH = 8
MAX_NUMBER = 1e15


def reply_to(prompt: str) -> str:
    """Answer a prompt in one sentence that names its topic."""
    first_line = prompt.strip().partition("\n")[0]
    if not first_line:
        return "I am listening: send me a few words and I will answer."
    if GREETING.search(first_line):
        return "Hello! It is lovely to hear from you through the gateway."
    topic = _topic(first_line)
    return f"Happy to talk about {topic}! This is the small Mistral inside your local gateway."


def _topic(line: str) -> str:
    topic = LEAD_IN.sub("", line).strip().rstrip("?!.,:; ")
    if len(topic) > MAX_TOPIC:
        topic = topic[:MAX_TOPIC].rpartition(" ")[0] or topic[:MAX_TOPIC]
    return f'"{topic}"' if QUESTION.match(topic) else topic or "that"


def content_text(content: Any) -> str:
    """Return the text of a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    texts = [str(as_dict(part).get("text", "")) for part in as_list(content)]
    return " ".join(text for text in texts if text)


def sample(schema: Any) -> Any:
    """Make the simplest value that a JSON schema accepts, as far as it is of a sane size."""
    return _Sampler(schema).sample(schema)


class _Sampler:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._left = MAX_NODES

    def sample(self, schema: Any, depth: int = 0) -> Any:  # noqa: PLR0911  # one per keyword
        self._left -= 1
        node = as_dict(schema)
        if depth > MAX_DEPTH or self._left < 0:
            return None
        if "$ref" in node:
            return self.sample(_resolve(str(node["$ref"]), self._root), depth + 1)
        if "const" in node:
            return self._literal(node["const"])
        if "default" in node:
            return self._literal(node["default"])
        if as_list(node.get("enum")):
            return self._literal(node["enum"][0])
        for key in ("anyOf", "oneOf", "allOf"):
            if as_list(node.get(key)):
                return self.sample(node[key][0], depth + 1)
        return self._of_type(node, depth)

    def _of_type(self, node: Mapping[str, Any], depth: int) -> Any:  # noqa: PLR0911  # one per type
        kinds = node.get("type", "object" if "properties" in node else "string")
        kind: Any = next(iter(as_list(kinds)), kinds)
        match kind:
            case "object":
                return self._object(as_dict(node.get("properties")), depth)
            case "array":
                count = min(_number(node.get("minItems"), 1), max(self._left, 0))
                return [self.sample(node.get("items", {}), depth + 1) for _ in range(int(count))]
            case "integer":
                return int(_number(node.get("minimum"), 1))
            case "number":
                return float(_number(node.get("minimum"), 1.0))
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return self._literal(str(node.get("title", "example")).lower())

    def _literal(self, value: Any) -> Any:
        """Return a value that the schema spells out, which counts for what it takes to write it."""
        self._left -= len(str(value)) // 64
        return value

    def _object(self, properties: Mapping[str, Any], depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, part in properties.items():
            if self._left <= 0:
                break
            made[name] = self.sample(part, depth + 1)
        return made


def _number(value: Any, default: float) -> float:
    """Return a number as it is, anything else as the default; none that is not finite."""
    return value if isinstance(value, int | float) and abs(value) < MAX_NUMBER else default


def _resolve(ref: str, root: Any) -> Any:
    node = root
    for part in ref.removeprefix("#/").split("/"):
        node = as_dict(node).get(part, {})
    return node


def as_dict(value: Any) -> dict[str, Any]:
    """Return a JSON object as it is, anything else as an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Return a JSON array as it is, anything else as an empty one."""
    if not isinstance(value, list):
        return []
    # pyright keeps the unknown element type that mypy has forgotten by now.
    items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
    return items


def as_count(value: Any, default: int) -> int:
    """Return a positive whole number as it is, anything else as the default."""
    return value if isinstance(value, int) and value > 0 else default


def stable_id(prefix: str, *parts: bytes | str) -> str:
    """Return an id that depends on the parts alone."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else utf8(part))
    return prefix + digest.hexdigest()[:32]


def usage(prompt: str, completion: str) -> dict[str, int]:
    """Count words and call them tokens."""
    asked, answered = len(prompt.split()), len(completion.split())
    return {
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "total_tokens": asked + answered,
    }
