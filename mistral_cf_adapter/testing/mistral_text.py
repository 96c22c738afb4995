"""What the small Mistral says: short, friendly, and the same every time."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, cast

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


def sample(schema: Any, root: Any = None, depth: int = 0) -> Any:  # noqa: PLR0911  # one per keyword
    """Make the simplest value that a JSON schema accepts."""
    node = as_dict(schema)
    top = node if root is None else root
    if depth > MAX_DEPTH:
        return None
    if "$ref" in node:
        return sample(_resolve(str(node["$ref"]), top), top, depth + 1)
    if "const" in node:
        return node["const"]
    if "default" in node:
        return node["default"]
    if node.get("enum"):
        return node["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if node.get(key):
            return sample(node[key][0], top, depth + 1)
    return _sample_of_type(node, top, depth)


def _sample_of_type(node: Mapping[str, Any], root: Any, depth: int) -> Any:  # noqa: PLR0911  # one per type
    kinds = node.get("type", "object" if "properties" in node else "string")
    kind: Any = next(iter(as_list(kinds)), kinds)
    match kind:
        case "object":
            properties = as_dict(node.get("properties"))
            return {name: sample(part, root, depth + 1) for name, part in properties.items()}
        case "array":
            count = max(int(node.get("minItems", 1)), 0)
            return [sample(node.get("items", {}), root, depth + 1) for _ in range(count)]
        case "integer":
            return int(node.get("minimum", 1))
        case "number":
            return float(node.get("minimum", 1.0))
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return str(node.get("title", "example")).lower()


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
        digest.update(part if isinstance(part, bytes) else part.encode())
    return prefix + digest.hexdigest()[:32]


def usage(prompt: str, completion: str) -> dict[str, int]:
    """Count words and call them tokens."""
    asked, answered = len(prompt.split()), len(completion.split())
    return {
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "total_tokens": asked + answered,
    }
