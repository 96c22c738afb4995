"""Nothing of ours blocks an event loop where the bare SDK is not seen to.

Tools such as blockbuster replace functions that may block, and raise where one is called in an
event loop: a program that is tested so must pass with the adapter as it does without. What the
HTTP library does to load certificates is its own, with and without the adapter.
"""

from __future__ import annotations

import asyncio
import builtins
import functools
import os
import sys
import time

import pytest
from http_records import KEY

from mistral_cf_adapter import make_client, patch
from mistral_cf_adapter._certificates import read_certificate_state
from mistral_cf_adapter._sdk import Mistral

WATCHED = [
    *((os, name) for name in ("stat", "scandir", "listdir", "open", "read", "rename", "replace")),
    (builtins, "open"),
    (time, "sleep"),
]
ASK = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


class BlockingError(Exception):
    pass


def is_called_by_us(frame):
    """Return whether the innermost caller outside of the standard library is this package."""
    while frame.f_globals["__name__"].partition(".")[0] in sys.stdlib_module_names:
        frame = frame.f_back
    return frame.f_globals["__name__"].startswith("mistral_cf_adapter")


def watched(function):
    @functools.wraps(function)
    def watching(*args, **kwargs):
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return function(*args, **kwargs)
        if not is_called_by_us(sys._getframe(1)):
            return function(*args, **kwargs)
        raise BlockingError(function.__name__)

    return watching


@pytest.fixture
def detector(monkeypatch):
    read_certificate_state()  # the first time it asks `ssl` for the paths, as the library does
    for owner, name in WATCHED:
        monkeypatch.setattr(owner, name, watched(getattr(owner, name)))


async def call(client):
    """Make one call of each kind."""
    await client.chat.complete_async(**ASK)
    async with await client.chat.stream_async(**ASK) as events:
        assert [event async for event in events]
    await client.models.list_async()


async def build_and_call(build):
    await call(build())


@pytest.mark.usefixtures("detector")
def test_make_client_in_an_event_loop_is_not_either(settings):
    asyncio.run(build_and_call(lambda: make_client(settings)))


@pytest.mark.usefixtures("detector")
def test_patch_in_an_event_loop_is_not_either(settings):
    async def main():
        with patch(settings=settings):
            await build_and_call(lambda: Mistral(api_key=KEY))

    asyncio.run(main())


@pytest.mark.usefixtures("detector")
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_of_ones_own_do_not_change_that(settings, variable, monkeypatch):
    import ssl

    paths = ssl.get_default_verify_paths()
    path = {"SSL_CERT_FILE": paths.openssl_cafile, "SSL_CERT_DIR": paths.openssl_capath}[variable]
    if not os.path.exists(path):  # noqa: PTH110
        pytest.skip("this system keeps its certificates elsewhere")
    monkeypatch.setenv(variable, path)
    asyncio.run(build_and_call(lambda: make_client(settings)))
