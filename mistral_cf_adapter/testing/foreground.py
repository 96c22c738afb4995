"""The local gateway in the foreground, for programs in any language."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter._public import TESTING, set_public_module
from mistral_cf_adapter.testing.gateway import LocalGateway

if TYPE_CHECKING:
    from typing import TextIO

PORT = 8787


def serve(
    port: int = PORT,
    *,
    out: TextIO | None = None,
    until: threading.Event | None = None,
    **options: Any,
) -> None:
    """Run a `LocalGateway` until Ctrl-C, after printing where it is and what to set.

    `options` are LocalGateway's; it accepts any Mistral key unless told one. `until` ends it
    from another thread. Raises OSError if the port is taken.
    """
    stream = sys.stdout if out is None else out
    stop = threading.Event() if until is None else until
    options.setdefault("mistral_api_key", None)
    with LocalGateway(port=port, **options) as gateway:
        print(_banner(gateway), file=stream, flush=True)
        try:
            # In steps, because a wait without an end cannot be interrupted on Windows.
            while not stop.wait(0.5):
                pass
        except KeyboardInterrupt:
            print("\nStopped.", file=stream, flush=True)


def _banner(gateway: LocalGateway) -> str:
    exports = [f"  export {name}={value}" for name, value in gateway.env().items()]
    lines = [
        f"Local AI Gateway on {gateway.url}",
        "Test values; set them where your program runs:",
        *exports,
        f"Mistral's own paths:  {gateway.url}/mistral",
        f"OpenAI-compatible:    {gateway.url}/compat",
        "Ctrl-C stops it.",
    ]
    return "\n".join(lines)


set_public_module(serve, package=TESTING)
