"""The local gateway in the foreground, for programs in any language."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter._public import TESTING, set_public_module
from mistral_cf_adapter.testing.call_lines import CallLines
from mistral_cf_adapter.testing.connect import HIDDEN, show_variable
from mistral_cf_adapter.testing.gateway import LocalGateway

if TYPE_CHECKING:
    from typing import TextIO

PORT = 8787
# In steps, because a wait without an end cannot be interrupted on Windows.
_STEP = 0.5


def serve(
    port: int = PORT,
    *,
    out: TextIO | None = None,
    until: threading.Event | None = None,
    quiet: bool = False,
    **options: Any,
) -> None:
    """Run a `LocalGateway` until Ctrl-C, after printing where it is and what to set.

    Then it prints one line for each call: its time, operation, model, status, cache status, tokens
    in and out, milliseconds, what went wrong, and the log id.

    Args:
        port: the port to listen on; 0 takes a free one.
        out: where to print; standard output by default.
        until: ends it from another thread.
        quiet: whether to print no line for each call.
        options: LocalGateway's; it accepts any Mistral key unless told one, and has a page.

    Raises:
        OSError: the port is taken.
    """
    stream = sys.stdout if out is None else out
    stop = threading.Event() if until is None else until
    options = {"mistral_api_key": None, "page": True, **options}
    with LocalGateway(port=port, **options) as gateway:
        print(_banner(gateway, has_page=options["page"]), file=stream, flush=True)
        try:
            if quiet:
                _wait(stop)
            else:
                _print_calls(gateway, stop, stream)
        except KeyboardInterrupt:
            print("\nStopped.", file=stream, flush=True)


def _wait(stop: threading.Event) -> None:
    while not stop.wait(_STEP):
        pass


def _print_calls(gateway: LocalGateway, stop: threading.Event, stream: TextIO) -> None:
    """Print the calls in this thread, so that none waits for its line."""
    lines = CallLines(stream, gateway)
    seen = 0
    while not stop.is_set():
        for call in gateway.calls.wait(seen, timeout=_STEP):
            seen = call.id
            print(lines.format(call), file=stream, flush=True)


def _banner(gateway: LocalGateway, *, has_page: bool) -> str:
    env = gateway.env()
    # A secret of the user's own stays out of terminals and build logs.
    shown = {name: show_variable(name, value) for name, value in env.items()}
    exports = [f"  export {name}={value}" for name, value in shown.items()]
    lines = [
        f"Local AI Gateway on {gateway.url}",
        "Set them where your program runs (*** is a secret of your own):"
        if HIDDEN in shown.values()
        else "Test values; set them where your program runs:",
        *exports,
        f"Mistral's own paths:  {gateway.url}/mistral",
        f"OpenAI-compatible:    {gateway.url}/compat",
        *([f"A page with the calls: {gateway.origin}/"] if has_page else []),
        "Ctrl-C stops it.",
    ]
    return "\n".join(lines)


set_public_module(serve, package=TESTING)
