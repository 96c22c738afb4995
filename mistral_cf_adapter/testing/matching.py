"""Which request a test means: what it is compared with, and in which words it does not fit."""

from __future__ import annotations

import inspect
import json
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from mistral_cf_adapter.testing.keywords import check_names
from mistral_cf_adapter.testing.mistral_text import as_list
from mistral_cf_adapter.testing.own_code import call_own, run_test_code
from mistral_cf_adapter.testing.records import ReceivedRequest
from mistral_cf_adapter.testing.secret_names import is_secret_header

if TYPE_CHECKING:
    from mistral_cf_adapter.testing.when import When

__tracebackhide__ = True  # pytest shows the test's own line as the last
MAX_SHOWN = 200
_TOO_DEEP = "the body's JSON is nested too deep to be read"
_MODEL_IN_FORM = re.compile(rb'name="model"\r\n(?:[^\r\n]{1,1000}\r\n){0,9}\r\n([^\r\n]*)')

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = MAX_SHOWN
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 20
_ENDPOINT = "endpoint"
"""The option that is no header."""

Difference: TypeAlias = str | None


Predicate: TypeAlias = Callable[[ReceivedRequest], bool]


class Arrival:
    """A request as the gateway got it and, if known, as it goes on to the provider."""

    def __init__(self, received: ReceivedRequest, outgoing: ReceivedRequest | None = None) -> None:
        self.received = received
        self._outgoing = outgoing

    @cached_property
    def provider_path(self) -> str:
        """The path at the provider, such as `/v1/chat/completions`."""
        if self._outgoing is not None:
            return self._outgoing.path
        parts = self.received.path.split("/", 5)
        if len(parts) < 6 or parts[1] != "v1":
            return self.received.path
        return f"/v1/{parts[5]}" if parts[4] == "compat" else f"/{parts[5]}"

    @cached_property
    def outgoing(self) -> ReceivedRequest:
        """The request for the provider, as far as it is known."""
        return self._outgoing or replace(self.received, path=self.provider_path)

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The body's JSON object as it came; RecursionError if it is nested too deep."""
        return self.received.fields

    @cached_property
    def models(self) -> list[str]:
        """The names of its model, as it came and as it goes on."""
        both = (self.received,) if self._outgoing is None else (self.received, self._outgoing)
        found = [read_model(request) for request in both]
        return [name for name in dict.fromkeys(found) if name is not None]


def read_model(request: ReceivedRequest) -> str | None:
    """Return the model that a request names, in JSON or in a form."""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        found = _MODEL_IN_FORM.search(request.body)
        return None if found is None else found[1].decode(errors="replace")
    name = request.fields.get("model")
    return name if isinstance(name, str) else None


class Expectation:
    """The request a test expects; every part left out fits anything."""

    def __init__(  # noqa: PLR0913  # each is a part of a request
        self,
        *,
        path: str | None = None,
        method: str | None = None,
        model: str | None = None,
        headers: Mapping[str, str | None] | None = None,
        json_contains: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._path = path
        self._method = method
        self._model = model
        self._headers = headers or {}
        self._json = json_contains or {}
        self._options = {} if options is None else _check_options(options)

    @property
    def model(self) -> str | None:
        """The model it expects."""
        return self._model

    def differences(self, arrival: Arrival) -> list[str]:
        """Say what is other than expected; nothing if the request fits."""
        request = arrival.received
        found: list[str] = []
        paths = (request.path, arrival.provider_path)
        if not any(path_matches(self._path, path) for path in paths):
            found.append(f"path is {request.path}, not {self._path}")
        if self._method is not None and request.method != self._method.upper():
            found.append(f"method is {request.method}, not {self._method.upper()}")
        for name, wanted in self._headers.items():
            found.extend(_header_difference(name, wanted, request.headers.get(name)))
        for name, wanted in self._options.items():
            found.extend(_option_difference(name, wanted, request))
        try:
            found.extend(self._differences_in_body(arrival))
        except RecursionError:
            found.append(_TOO_DEEP)
        return found

    def _differences_in_body(self, arrival: Arrival) -> list[str]:
        found: list[str] = []
        if self._model is not None and self._model not in arrival.models:
            names = " or ".join(map(_short, arrival.models)) or "absent"
            found.append(f"model is {names}, not {_short(self._model)}")
        if self._json:
            found.extend(_json_differences(self._json, arrival.fields, "body"))
        return found


class Condition:
    """What a request must be for a scripted response: a kind of request, a path, `when`."""

    def __init__(
        self,
        method: str,
        when: When | Mapping[str, Any] | Predicate | None,
        path: str | None,
        kind: Callable[[Arrival], Difference] | None = None,
    ) -> None:
        """Check `when`, and raise TypeError or GatewayConfigError where it cannot be meant.

        Args:
            method: the scripting method, for errors.
            when: what the test gave.
            path: a path, as in `When`.
            kind: returns why a request is none that the response is for, None if it is.
        """
        self._kind = kind
        self._path = Expectation(path=path)
        self._fields = Expectation()
        self.function: Predicate | None = None
        """What the test decides by itself; it is asked for requests that fit in all else."""
        if callable(when):
            self.function = check_function(f"{method}(when=...)", when)
        elif when is not None:
            self._fields = _read_when(f"{method}(when=...)", when)

    @property
    def model(self) -> str | None:
        """The model it waits for, if it waits for one by name."""
        return self._fields.model

    def differences(self, arrival: Arrival) -> list[str]:
        """Say why a request does not fit, without asking the test's own function."""
        try:
            kind = None if self._kind is None else self._kind(arrival)
        except RecursionError:
            kind = _TOO_DEEP
        if kind is not None:
            return [kind]
        return [*self._path.differences(arrival), *self._fields.differences(arrival)]

    async def accepts(self, label: str, arrival: Arrival) -> bool:
        """Return what the test's own function says, if there is one, else true.

        Raises:
            ScriptError: it failed.
        """
        function = self.function
        if function is None:
            return True
        return await run_test_code(label, lambda: bool(call_own(function, arrival.received)))


def path_matches(wanted: str | None, path: str) -> bool:
    """Return whether a path is the wanted one or ends with it, whole segments only."""
    if wanted is None:
        return True
    return path == wanted or path.endswith("/" + wanted.strip("/"))


def check_function(where: str, function: Any) -> Any:
    """Return a function of a request; raise TypeError for one that cannot be called here."""
    if inspect.iscoroutinefunction(function):
        msg = f"{where}: an async function is not awaited here; use a plain one"
        raise TypeError(msg)
    try:
        inspect.signature(function).bind(None)
    except ValueError:
        return function  # some of C have no signature
    except TypeError:
        msg = f"{where}: the function must take one argument, the request"
        raise TypeError(msg) from None
    return function


_TYPES: Mapping[str, tuple[type, str]] = {
    "path": (str, "a text"),
    "method": (str, "a text"),
    "model": (str, "a text"),
    "json_contains": (Mapping, "a mapping"),
    "headers": (Mapping, "a mapping"),
    "options": (Mapping, "a mapping"),
}


def expect(where: str, parts: Mapping[str, Any], *more: str) -> Expectation:
    """Return what parts of a request make an expectation; `None` leaves one out.

    Args:
        where: what was called, as "assert_sent()".
        parts: the parts, by the names of `When`.
        more: further names that are suggested for an unknown one.

    Raises:
        TypeError: there is no such part, or it is of another type.
        GatewayConfigError: there is no such option, or it does not take this value.
    """
    check_names(where, parts, [*_TYPES, *more])
    given = {name: value for name, value in parts.items() if value is not None}
    for name, value in given.items():
        kind, words = _TYPES[name]
        if not isinstance(value, kind):
            msg = f"{where}: {name} must be {words}, not {type(value).__name__}"
            raise TypeError(msg)
    return Expectation(**given)


def _read_when(where: str, when: object) -> Expectation:
    if not isinstance(when, Mapping):
        msg = f"{where} takes a mapping or a function of the request, not {type(when).__name__}"
        raise TypeError(msg)
    return expect(where, cast("Mapping[str, Any]", when))


def _check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Map options to what is sent for them: header and value, None for no header.

    Raises:
        GatewayConfigError: there is no such option, or it does not take this value.
    """
    from pydantic import ValidationError

    from mistral_cf_adapter._options import GatewayConfigError, GatewayOptions, to_headers
    from mistral_cf_adapter._validation import explain_validation_error

    try:
        checked = GatewayOptions(**options)
    except ValidationError as error:
        text = "; ".join(explain_validation_error(error, GatewayOptions.model_fields).values())
        raise GatewayConfigError(text) from None
    sent: dict[str, Any] = {}
    for name in options:
        value = getattr(checked, name)
        is_header = value is not None and name != _ENDPOINT
        sent[name] = to_headers({name: value}).popitem() if is_header else value
    return sent


def _option_difference(name: str, wanted: Any, request: ReceivedRequest) -> list[str]:
    if name == _ENDPOINT:
        is_compat = "/compat/" in request.path
        got = "compat" if is_compat else "native"
        return [] if wanted in (None, got) else [f"option endpoint is {got}, not {wanted}"]
    header, text = wanted or ("cf-aig-" + name.replace("_", "-"), None)
    sent = request.headers.get(header)
    if sent == text:
        return []
    if sent is None:
        return [f"option {name} is absent"]
    if text is None:
        return [f"option {name} is {_short(sent)}, and should be absent"]
    if not text.startswith("{"):
        return [f"option {name} is {_short(sent)}, not {_short(text)}"]
    return _json_differences(_parse(text), _parse(sent), f"option {name}")


def _parse(text: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        return text


def _header_difference(name: str, wanted: str | None, got: str | None) -> list[str]:
    if wanted == got:
        return []
    if wanted is None:
        return [f"header {name} is present"]
    if got is None:
        return [f"header {name} is absent"]
    if is_secret_header(name):
        return [f"header {name} has another value (not shown: it is a secret)"]
    return [f"header {name} is {_short(got)}, not {_short(wanted)}"]


def _json_differences(wanted: Any, got: Any, where: str) -> list[str]:
    found: list[str] = []
    if isinstance(wanted, Mapping) and isinstance(got, dict):
        fields = cast("dict[str, Any]", got)
        for key, value in cast("Mapping[str, Any]", wanted).items():
            place = f"{where}.{key}"
            if key not in fields:
                found.append(f"{place} is absent")
                continue
            found.extend(_json_differences(value, fields[key], place))
        return found
    if isinstance(wanted, list) and isinstance(got, list):
        expected, items = as_list(wanted), as_list(got)
        if len(expected) != len(items):
            return [f"{where} has {len(items)} item(s), not {len(expected)}"]
        for index, pair in enumerate(zip(expected, items, strict=True)):
            found.extend(_json_differences(*pair, f"{where}[{index}]"))
        return found
    return [] if wanted == got else [f"{where} is {_short(got)}, not {_short(wanted)}"]


def _short(value: Any) -> str:
    """Return the beginning of a value's text; a prompt may have millions of characters."""
    if isinstance(value, str):
        shown = repr(value[:MAX_SHOWN])
        return shown if len(value) <= MAX_SHOWN else f"{shown[:-1]}..."
    return _SHORT.repr(value)
