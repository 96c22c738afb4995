"""The SDK's types from wherever the installed release has them; for type checkers alone.

To them a name imported from a module that is not there is `Any`. A star import from such a module
brings nothing, so that each name comes from the one module that has it.
"""

# ruff: noqa: F403
# mypy: disable-error-code="import-not-found, import-untyped"
# pyright: reportWildcardImportFromLibrary=false, reportMissingImports=false

from collections.abc import Awaitable
from typing import Any, Protocol

from mistralai import *  # 1.x; its mistralai.client has none of these names
from mistralai.client import *  # 2.x and 3.x
from mistralai.client.errors import *
from mistralai.client.models import *
from mistralai.client.sdkconfiguration import *
from mistralai.client.utils import *
from mistralai.models import *
from mistralai.sdkconfiguration import *
from mistralai.utils import *


class SyncHttp(Protocol):
    """A client of httpx or httpx2, whichever the SDK is built on, or anything like it."""

    def build_request(self, *args: Any, **kwargs: Any) -> Any: ...
    def send(self, *args: Any, **kwargs: Any) -> Any: ...
    def close(self) -> None: ...


class AsyncHttp(Protocol):
    """An async client of httpx or httpx2, whichever the SDK is built on, or anything like it."""

    def build_request(self, *args: Any, **kwargs: Any) -> Any: ...
    def send(self, *args: Any, **kwargs: Any) -> Awaitable[Any]: ...
    def aclose(self) -> Awaitable[None]: ...
