"""The order of `--help`: the flags to begin with, those of the command, then all other settings."""

from argparse import ArgumentParser
from typing import Any

from mistral_cf_adapter._options import GatewayOptions
from mistral_cf_adapter._settings import GatewaySettings

_FIRST = "which gateway (secrets are no flags: set CF_AIG_TOKEN and MISTRAL_API_KEY)"
_REQUESTS = "what each request asks of the gateway"
_ADAPTER = "the adapter, and other ways to the gateway"
_TITLES = (_FIRST, _REQUESTS, _ADAPTER)
_BEGIN_WITH = ("account_id", "gateway_id", "byok")
_USAGES = {"run": "[flags] (script | -m module) [arguments]"}
_NO_DEFAULT = "(default: None)"


def prepare_groups(parser: ArgumentParser, command: str) -> None:
    """Give the parser of a command a short usage, and groups for the flags of settings."""
    parser.usage = f"{parser.prog} {_USAGES.get(command, '[flags]')}"
    first, *_ = [parser.add_argument_group(title) for title in _TITLES]
    # argparse prints groups in this order; those that it makes by itself come first.
    parser._action_groups.remove(first)  # noqa: SLF001
    parser._action_groups.insert(0, first)  # noqa: SLF001


def add_to_group(parser: Any, *flags: str, **options: Any) -> Any:
    """Add an argument to a parser: a setting to its group."""
    text = options.get("help")
    if isinstance(text, str):
        options["help"] = text.removesuffix(_NO_DEFAULT).rstrip()
    title = _title_for(flags[0].lstrip("-").replace("-", "_"))
    groups = getattr(parser, "_action_groups", ())
    group = next((group for group in groups if group.title == title), parser)
    return group.add_argument(*flags, **options)


def _title_for(name: str) -> str | None:
    if name in _BEGIN_WITH:
        return _FIRST
    if name in GatewayOptions.model_fields:
        return _REQUESTS
    return _ADAPTER if name in GatewaySettings.model_fields else None
