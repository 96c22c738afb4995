"""The parts of a request that a scripted response can wait for."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from mistral_cf_adapter._public import TESTING, set_public_module

if TYPE_CHECKING:
    from mistral_cf_adapter._options import OptionKeywords as Options
else:
    Options = Mapping[str, Any]  # importing them would load pydantic


class When(TypedDict, total=False):
    """What a request must have for a scripted response; what is left out fits anything.

    A plain dictionary does as well, and so does a function that gets the request and returns
    whether it fits.

    Example:
        >>> When(model="codestral-latest", options={"cache_ttl": 120})
        {'model': 'codestral-latest', 'options': {'cache_ttl': 120}}
    """

    path: str
    """A whole path or its end, such as "chat/completions"."""
    method: str
    """The HTTP method, in upper or lower case."""
    model: str
    """The model, as the request names it or as the gateway has it behind a route or alias."""
    json_contains: Mapping[str, Any]
    """Fields of the body. Objects may have more of them, at any depth; a list has as many items."""
    headers: Mapping[str, str | None]
    """Headers as the gateway gets them; None for one that must be absent."""
    options: Options
    """Options of `gateway_options()`, such as `{"cache_ttl": 120}`; None for one that must be
    absent. Metadata may have more entries."""


set_public_module(When, package=TESTING)
