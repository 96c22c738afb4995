"""The order of `--help`: the flags to begin with, those of the command, then all other settings."""

import textwrap
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
_NO_DEFAULTS = ("(default: None)", "(default: False)")
_METAVARS = {"str": "TEXT", "int": "N", "float": "N"}
EXAMPLES = {
    "": """examples:
  mistral-cf-adapter doctor
  mistral-cf-adapter run app.py
  mistral-cf-adapter serve
  mistral-cf-adapter reference | less
""",
    "doctor": """examples:
  mistral-cf-adapter doctor
  mistral-cf-adapter doctor --offline -v
  mistral-cf-adapter doctor --json --timeout 5

exit status:
  0  no problem was found
  1  there is a problem
  2  the command line cannot be understood
""",
    "run": """examples:
  mistral-cf-adapter run app.py --an-argument-of-app.py
  mistral-cf-adapter run --cache-ttl 3600 -m package.module
  mistral-cf-adapter run uvicorn app:app --workers 2

exit status: that of the program; 2 if it was not started.
""",
    "env": """examples:
  eval "$(mistral-cf-adapter env --for langchain --show-secrets)"
  mistral-cf-adapter env --for js --snippet > gateway.mjs
""",
    "serve": """example:
  mistral-cf-adapter serve --port 8787
""",
    "reference": """example:
  mistral-cf-adapter reference | less
""",
}


def prepare_groups(parser: ArgumentParser, command: str) -> None:
    """Give the parser of a command a short usage, and groups for the flags of settings."""
    parser.usage = f"{parser.prog} {_USAGES.get(command, '[flags]')}"
    parser.description = _wrap(parser.description or "")
    parser.epilog = EXAMPLES[command]
    first, *_ = [parser.add_argument_group(title) for title in _TITLES]
    # argparse prints groups in this order; those that it makes by itself come first.
    parser._action_groups.remove(first)  # noqa: SLF001
    parser._action_groups.insert(0, first)  # noqa: SLF001


def _wrap(text: str) -> str:
    """Return a text whose lines fit 80 columns; what is indented stays as it is."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        each if each.startswith(" ") else textwrap.fill(each, 79, break_on_hyphens=False)
        for each in paragraphs
    )


def add_to_group(parser: Any, *flags: str, **options: Any) -> Any:
    """Add an argument to a parser: a setting to its group."""
    text = options.get("help")
    if isinstance(text, str):
        for no_default in _NO_DEFAULTS:
            text = text.removesuffix(no_default).rstrip()
        options["help"] = text
    if options.get("metavar") in _METAVARS:
        options["metavar"] = _METAVARS[options["metavar"]]
    title = _title_for(flags[0].lstrip("-").replace("-", "_"))
    groups = getattr(parser, "_action_groups", ())
    group = next((group for group in groups if group.title == title), parser)
    return group.add_argument(*flags, **options)


def has_opposite(flag: str) -> bool:
    """Return whether a switch has a `--no-` form: those of settings, and what is on by default."""
    name = flag.lstrip("-").replace("-", "_")
    return name in GatewaySettings.model_fields or name == "children"


def _title_for(name: str) -> str | None:
    if name in _BEGIN_WITH:
        return _FIRST
    if name in GatewayOptions.model_fields:
        return _REQUESTS
    return _ADAPTER if name in GatewaySettings.model_fields else None
