"""`patch()`: redirect Mistral clients that somebody else builds, or has built already."""

import functools
import gc
import inspect
import logging
import threading
import warnings
import weakref
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from ._sdk import MISTRAL_URL, Mistral
from .attachment import Attachment, attach, is_attached
from .client import give_clients
from .routing import MISTRAL_HOST, route_of
from .settings import GatewaySettings, from_environment

logger = logging.getLogger("mistral_cf_adapter")

_REGIONAL = frozenset({"api.eu.mistral.ai", "api.us.mistral.ai", "codestral.mistral.ai"})
_lock = threading.RLock()
_handles: list["Patch"] = []
_seam: "_Seam | None" = None


class Patch:
    """What `patch()` returns: `undo()` takes it back, as does leaving a `with` block.

    Handles may be undone in any order; the clients that one of them redirected go to the
    newest patch that is left, or to their original host.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self._attachments: weakref.WeakKeyDictionary[Any, Attachment] = weakref.WeakKeyDictionary()
        self._undone = False

    def undo(self) -> None:
        """Restore exactly what was there; do nothing when called again."""
        with _lock:
            if self._undone:
                return
            self._undone = True
            if self in _handles:
                _handles.remove(self)
                _release_seam()
            for attachment in list(self._attachments.values()):
                attachment.detach()

    def redirect(self, sdk: Any) -> bool:
        """Redirect one SDK object, if it points at Mistral itself; tell whether it does now."""
        with _lock:
            provider = _provider_for(sdk, self.settings)
            if provider is None:
                return False
            route = route_of(self.settings, provider)
            self._attachments[sdk] = attach(sdk, self.settings, route)
            return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.undo()

    def __repr__(self) -> str:
        state = "undone" if self._undone else f"{len(self._attachments)} clients"
        return f"<patch() to {self.settings.provider_url}: {state}>"
