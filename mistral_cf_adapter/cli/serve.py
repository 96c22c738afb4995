"""The command `serve`: its flags, and its settings file.

It does not use pydantic-settings, as the other commands do, and loads neither that nor the SDK: a
gateway for tests must start at once.
"""

import os
import sys
import tomllib
from argparse import ArgumentParser, BooleanOptionalAction, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, cast

from . import PROGRAM, UsageError

Action = Callable[[], int]

_DESCRIPTION = """\
Run a local AI Gateway with a small Mistral behind it, for tests in any
language.

Listens on 127.0.0.1 alone, prints what to set and then one line for each call,
and ends with Ctrl-C. Needs the extra `testing`:
pip install 'mistral-cf-adapter[testing]'
"""
_EPILOG = """\
Secrets are read from elsewhere, as others can read a command line: env:NAME is
the variable NAME, file:PATH the first line of a file. A settings file has the
keywords of LocalGateway; flags win over it:

  rate_limit = 60
  strict = true
  [stored_keys]
  default = "env:MISTRAL_API_KEY"
  [routes]
  support = "mistral/mistral-small-latest"

examples:
  mistral-cf-adapter serve --port 8787
  mistral-cf-adapter serve --config gateway.toml --quiet
  mistral-cf-adapter serve --stored-key default=file:key.txt
"""

_TEXT = "a text"
_WHOLE = "a whole number"
_NUMBER = "a number of seconds"
_SWITCH = "true or false"
_TEXTS = "a list of texts"
_TABLE = "a table of texts"
_TEXT_KEYS = (
    *("token", "account_id", "mistral_api_key", "upstream", "api_token"),
    *("record", "replay", "match"),
)
_TYPES = {
    **dict.fromkeys(_TEXT_KEYS, _TEXT),
    **dict.fromkeys(("rate_limit", "cache_ttl", "port"), _WHOLE),
    **dict.fromkeys(("authenticated", "guardrails", "strict", "page"), _SWITCH),
    **dict.fromkeys(("gateway_ids", "models", "tls"), _TEXTS),
    **dict.fromkeys(("stored_keys", "custom_providers", "routes", "aliases", "access"), _TABLE),
    "log_delay": _NUMBER,
}
_SECRETS = ("token", "mistral_api_key", "api_token")
_TABLES_OF_SECRETS = ("stored_keys", "access")
_PORT = 8787


class Serve:
    """What was typed after `serve`."""

    def __init__(self, arguments: list[str]) -> None:
        """Read the flags.

        Raises:
            UsageError: they cannot be understood.
            SystemExit: help was asked for, and has been printed.
        """
        try:
            self._given = _parser().parse_args(arguments)
        except _FlagError as error:
            _explain(str(error), arguments)

    def prepare(self) -> Action:
        """Load the server, and return what runs it."""
        given = self._given
        try:
            from mistral_cf_adapter.testing import LocalGateway, serve
            from mistral_cf_adapter.testing.keywords import keyword_names
        except ModuleNotFoundError as error:
            raise UsageError(str(error)) from None
        known = keyword_names(LocalGateway.__init__)
        file = {} if given.config is None else read_file(given.config, known)
        options: dict[str, Any] = {"port": _PORT, **file, **_options(given)}
        port: int = options["port"]
        if not 0 <= port <= 65535:
            msg = f"serve --port {port}: a port is 1 to 65535, or 0 for a free one"
            raise UsageError(msg)
        return partial(_run, serve, options, quiet=given.quiet)


def _run(serve: Callable[..., None], options: dict[str, Any], *, quiet: bool) -> int:
    try:
        serve(quiet=quiet, **options)
    except BrokenPipeError:
        raise  # nothing reads what is printed: the program ends quietly
    except OSError as error:
        print(f"{PROGRAM}: {_reason(error, options['port'])}", file=sys.stderr)
        return 1
    except (
        ValueError,
        ModuleNotFoundError,
    ) as error:  # a cassette, or flags that do not go together
        msg = f"serve: {error}"
        raise UsageError(msg) from None
    return 0


def _reason(error: OSError, port: int) -> str:
    if error.filename is not None:  # the cassette, or a certificate
        return f"serve: {error.filename}: {error.strerror}"
    if error.errno is None:
        return f"serve: {error}"
    return f"port {port}: {error.strerror}. Try another: --port 0 takes a free one"


# ---------------------------------------------------------------- flags


class _FlagError(ValueError):
    """What argparse refuses."""


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _FlagError(message)


def _parser() -> ArgumentParser:
    parser = _Parser(
        prog=f"{PROGRAM} serve",
        usage=f"{PROGRAM} serve [flags]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--port", type=int, help=f"Port to listen on, {_PORT} by default; 0 takes a free one.")
    add("--config", metavar="FILE", help="Settings file, in TOML; see below.")
    add("--quiet", action="store_true", help="Print no line for each call.")
    add(
        "--gateway-token",
        metavar="SECRET",
        help="The gateway token that is accepted: env:NAME or file:PATH.",
    )
    add(
        "--stored-key",
        metavar="ALIAS=SECRET",
        action="append",
        help="A provider key that the gateway keeps: ALIAS=env:NAME or ALIAS=file:PATH. "
        "Can be repeated.",
    )
    add("--upstream", metavar="URL", help="A real provider, such as https://api.mistral.ai.")
    add(
        "--record",
        metavar="FILE",
        help="A cassette (YAML) to write what passes to, without secrets.",
    )
    add("--replay", metavar="FILE", help="A cassette to answer from, in place of the upstream.")
    add(
        "--match",
        choices=("content", "order"),
        help="How a replay finds a response; by default by content.",
    )
    add(
        "--route",
        metavar="NAME=MODEL",
        action="append",
        help="A dynamic route, called as dynamic/NAME. Can be repeated.",
    )
    add(
        "--alias",
        metavar="NAME=MODEL",
        action="append",
        help="A model alias, called as custom/NAME. Can be repeated.",
    )
    add("--rate-limit", type=int, metavar="NUMBER", help="Requests admitted per minute.")
    add("--cache-ttl", type=int, metavar="SECONDS", help="How long the gateway caches responses.")
    add("--guardrails", action=BooleanOptionalAction, help="Whether guardrails are on.")
    add(
        "--strict",
        action=BooleanOptionalAction,
        help="Whether to refuse what is not scripted.",
    )
    add(
        "--page",
        action=BooleanOptionalAction,
        help="Whether a page for a browser is at its address; by default it is.",
    )
    return parser


_FLAGS = (
    "port",
    "upstream",
    "record",
    "replay",
    "match",
    "rate_limit",
    "cache_ttl",
    "guardrails",
    "strict",
    "page",
)


def _options(given: Namespace) -> dict[str, Any]:
    """Return the keywords of LocalGateway that were given as flags."""
    options = {name: getattr(given, name) for name in _FLAGS}
    for name, flag in (("routes", "route"), ("aliases", "alias")):
        pairs = getattr(given, flag)
        options[name] = None if pairs is None else dict(_pair(f"--{flag}", one) for one in pairs)
    if given.gateway_token is not None:
        options["token"] = _secret("serve --gateway-token", given.gateway_token)
    if given.stored_key is not None:
        keys = dict(_pair("--stored-key", one) for one in given.stored_key)
        options["stored_keys"] = {
            alias: _secret(f"serve --stored-key {alias}=", key) for alias, key in keys.items()
        }
    return {name: value for name, value in options.items() if value is not None}


def _pair(flag: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        msg = f"serve {flag}: takes a name, = and a value"
        raise UsageError(msg)
    return name, value


def _secret(where: str, text: str) -> str:
    """Return the secret that a reference on the command line leads to."""
    found = _follow(where, text)
    if found is None:
        msg = f"{where}: give env:NAME or file:PATH, as others could read the command line"
        raise UsageError(msg)
    return found


def _follow(where: str, text: str) -> str | None:
    """Return the secret that env:NAME or file:PATH stands for; `None` for another text."""
    kind, _, place = text.partition(":")
    if kind == "env":
        if not (value := os.environ.get(place)):
            msg = f"{where}: there is no variable {place}, or it is empty"
            raise UsageError(msg)
        return value
    if kind == "file":
        try:
            lines = Path(place).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            msg = f"{where}: cannot read {place}: {reason}"
            raise UsageError(msg) from None
        if not lines or not lines[0].strip():
            msg = f"{where}: the first line of {place} is empty"
            raise UsageError(msg)
        return lines[0].strip()
    return None


def _explain(message: str, arguments: list[str]) -> NoReturn:
    """Raise for flags that cannot be understood, without the values, one of which may be a secret.

    The words are those of the other commands, whose modules are loaded here alone.
    """
    from .commands import reject, reject_secrets

    reject_secrets(arguments)
    known = [flag for flag in _parser()._option_string_actions if flag.startswith("--")]  # noqa: SLF001
    reject(message, ["serve", *arguments], known)


# ---------------------------------------------------------------- the settings file


def read_file(name: str, known: Sequence[str]) -> dict[str, Any]:
    """Return the keywords of LocalGateway in a settings file, with the secrets it refers to.

    Args:
        name: the file.
        known: the keywords of LocalGateway.

    Raises:
        UsageError: it cannot be read, or has what LocalGateway does not take; no value is quoted.
    """
    from mistral_cf_adapter.testing.keywords import check_names

    try:
        values = tomllib.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        msg = f"serve --config {name}: {reason}"
        raise UsageError(msg) from None
    try:
        check_names(f"serve --config {name}", values, known)
    except TypeError as error:
        raise UsageError(str(error)) from None
    for key, value in values.items():
        _check_type(name, key, value)
    return {key: _read_value(f"{name}: {key}", key, value) for key, value in values.items()}


def _check_type(file: str, key: str, value: Any) -> None:
    wanted = _TYPES.get(key)
    if wanted is not None and not _IS_OF_TYPE[wanted](value):
        msg = f"serve --config {file}: {key} must be {wanted}"
        raise UsageError(msg)


def _are_texts(values: Any) -> bool:
    return all(isinstance(one, str) for one in values)


def _is_number(value: Any, kinds: type | tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


_IS_OF_TYPE: Mapping[str, Callable[[Any], bool]] = {
    _TEXT: lambda value: isinstance(value, str),
    _WHOLE: lambda value: _is_number(value, int),
    _NUMBER: lambda value: _is_number(value, (int, float)),
    _SWITCH: lambda value: isinstance(value, bool),
    _TEXTS: lambda value: isinstance(value, list) and _are_texts(value),
    _TABLE: lambda value: isinstance(value, dict) and _are_texts(value.values()),
}


def _read_value(where: str, key: str, value: Any) -> Any:
    if key in _SECRETS:
        return _follow(where, value) or value
    if key in _TABLES_OF_SECRETS:
        table = cast("Mapping[str, str]", value)
        value = {name: _follow(f"{where}.{name}", text) or text for name, text in table.items()}
    if key == "access":
        return _make_access(where, value)
    return tuple(value) if key == "tls" else value


def _make_access(where: str, table: Mapping[str, Any]) -> Any:
    from mistral_cf_adapter.testing import Access

    try:
        return Access(**table)
    except (TypeError, ValueError) as error:
        msg = f"serve --config {where}: {error}"
        raise UsageError(msg) from None
