"""The setting `headers`: further headers for the gateway, or for a proxy in front of it.

Their values count as secrets. A name that has a setting of its own, or that the SDK and the HTTP
library decide, is refused.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from pydantic import SecretStr

from ._options import header_names
from ._secrets import Secret

_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_EXAMPLE = '{"X-Team": "search"}'
_KEY = "mistral_api_key (MISTRAL_API_KEY)"
_SETTINGS = {
    "authorization": _KEY,
    "x-api-key": _KEY,
    "cf-aig-authorization": "token (CF_AIG_TOKEN)",
    "cf-access-client-id": "access_client_id (CF_AIG_ACCESS_CLIENT_ID)",
    "cf-access-client-secret": "access_client_secret (CF_AIG_ACCESS_CLIENT_SECRET)",
    "cf-access-token": "access_token (CF_AIG_ACCESS_TOKEN)",
    **{header: f"{name} (CF_AIG_{name.upper()})" for name, header in header_names().items()},
    "proxy-authorization": "user and password in the proxy's URL (HTTPS_PROXY)",
}
"""By header, what is to be set instead."""
_DECIDED = frozenset(
    {
        *("accept", "accept-encoding", "connection", "content-encoding", "content-length"),
        *("content-type", "cookie", "expect", "host", "keep-alive", "proxy-connection", "te"),
        *("trailer", "transfer-encoding", "upgrade", "user-agent"),
    }
)


def read_own_headers(value: object) -> dict[str, Secret]:
    """Return the headers of a mapping, or of the text of a JSON object.

    Raises:
        ValueError: they cannot be sent, or are not to be set here. No value is quoted.
    """
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    pairs = _read_json(value) if isinstance(value, str) else _read_mapping(value)
    headers: dict[str, Secret] = {}
    names: set[str] = set()
    for name, text in pairs:
        _check_name(name)
        if name.lower() in names:
            msg = f"has {name} twice"
            raise ValueError(msg)
        names.add(name.lower())
        headers[name] = _check_value(name, text)
    return headers


def _read_json(text: str) -> Iterable[tuple[str, Any]]:
    try:
        # As pairs: a mapping would have the last of two entries with the same name alone.
        pairs = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        pairs = None
    if isinstance(pairs, _Pairs):
        return pairs
    msg = f"must be a JSON object of names and texts, as in {_EXAMPLE}"
    raise ValueError(msg)


class _Pairs(list[tuple[str, Any]]):
    """The entries of a JSON object."""


def _read_mapping(value: object) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value).items()
    msg = f"must map names to texts, as in {_EXAMPLE}"
    raise ValueError(msg)


def _check_name(name: object) -> None:
    # Not quoted if it is no name: a whole header with its value may stand there.
    if not isinstance(name, str) or not re.fullmatch(_NAME, name):
        msg = "has a name that is empty, or has a space, a colon or another character that no "
        raise ValueError(msg + "header's name has")
    instead = _SETTINGS.get(name.lower())
    if instead is not None:
        msg = f"must not have {name}: set {instead} instead"
        raise ValueError(msg)
    if name.lower() in _DECIDED:
        msg = f"must not have {name}: the SDK and the HTTP library decide it"
        raise ValueError(msg)


def _check_value(name: str, value: object) -> Secret:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str):
        msg = f"has a value for {name} that is no text"
        raise ValueError(msg)  # noqa: TRY004 - pydantic collects ValueError only
    if not text or text != text.strip() or not (text.isascii() and text.isprintable()):
        msg = (
            f"has a value for {name} that is empty, begins or ends with a space, or has a line "
            "break, a control character or a character outside of ASCII in it"
        )
        raise ValueError(msg)
    return Secret(text)


def texts_of(value: str) -> list[str]:
    """Return the texts to mask for a header's value: all of it, and what follows its scheme."""
    return [value, value.rpartition(" ")[2]]
