"""What was sent, compared with what a test expects, in words a person can read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from mistral_cf_adapter.testing.script import path_matches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mistral_cf_adapter.testing.records import ReceivedRequest

SECRET_HEADERS = frozenset({"authorization", "cf-aig-authorization", "cookie", "x-api-key"})
MAX_SHOWN = 200


class Expectation:
    """The request a test expects; every part left out fits anything."""

    def __init__(
        self,
        *,
        path: str | None,
        method: str | None,
        headers: Mapping[str, str | None] | None,
        json_contains: Mapping[str, Any] | None,
    ) -> None:
        self._path = path
        self._method = method
        self._headers = headers or {}
        self._json = json_contains or {}

    def differences(self, request: ReceivedRequest) -> list[str]:
        """Say what is other than expected; nothing if the request fits."""
        found: list[str] = []
        if not path_matches(self._path, request.path):
            found.append(f"path is {request.path}, not {self._path}")
        if self._method is not None and request.method != self._method.upper():
            found.append(f"method is {request.method}, not {self._method.upper()}")
        for name, wanted in self._headers.items():
            found.extend(_header_difference(name, wanted, request.headers.get(name)))
        if self._json:
            found.extend(_json_differences(self._json, request.fields, "body"))
        return found

    def failure(self, requests: Sequence[ReceivedRequest], problem: str) -> str:
        """Explain a failed assertion, request by request."""
        lines = [f"{problem}. Received {len(requests)} request(s):"]
        for number, request in enumerate(requests, 1):
            differences = self.differences(request)
            verdict = "; ".join(differences) if differences else "fits"
            lines.append(f"  {number}. {request.method} {request.path}: {verdict}")
        return "\n".join(lines)


def _header_difference(name: str, wanted: str | None, got: str | None) -> list[str]:
    if wanted == got:
        return []
    if wanted is None:
        return [f"header {name} is present"]
    if got is None:
        return [f"header {name} is absent"]
    if name.lower() in SECRET_HEADERS:
        return [f"header {name} has another value (not shown: it is a secret)"]
    return [f"header {name} is {_short(got)}, not {_short(wanted)}"]


def _json_differences(wanted: Any, got: Any, where: str) -> list[str]:
    if isinstance(wanted, dict) and isinstance(got, dict):
        found: list[str] = []
        for key, value in cast("dict[str, Any]", wanted).items():
            place = f"{where}.{key}"
            if key not in got:
                found.append(f"{place} is absent")
                continue
            found.extend(_json_differences(value, got[key], place))
        return found
    return [] if wanted == got else [f"{where} is {_short(got)}, not {_short(wanted)}"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
