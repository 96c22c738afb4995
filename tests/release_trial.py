"""Try the installed release of mistralai on a local gateway, and print what works as one JSON line.

`tests/releases.py` runs this once per release, each in an environment of its own.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import sys
import traceback

import pytest
from call_modes import MODES

from mistral_cf_adapter import GatewayRateLimitedError, _sdk, capture, make_client, patch, speedups
from mistral_cf_adapter.speedups.registry import SPEEDUPS
from mistral_cf_adapter.testing import LocalGateway

PDF = b"%PDF-1.4\n%%EOF\n"
CONTENT = b"\x00a file\r\n" * 50_000
EMBEDDING = {"model": "mistral-embed", "inputs": ["one", "two"]}


class Trials:
    """What is tried; each method is a column of the table, and raises if it does not work."""

    def __init__(self, gateway: LocalGateway) -> None:
        self._gateway = gateway
        self._client = make_client(gateway.settings())

    def chat(self) -> None:
        self._chat(MODES[:2])

    def stream(self) -> None:
        self._chat(MODES[2:])

    def embeddings(self) -> None:
        response = self._client.embeddings.create(**EMBEDDING)
        later = asyncio.run(self._client.embeddings.create_async(**EMBEDDING))
        assert len(response.data) == len(later.data) == 2
        assert response.data[0].embedding

    def ocr(self) -> None:
        file = {"file_name": "a.pdf", "content": PDF}
        uploaded = self._client.files.upload(file=file, purpose="ocr")
        document = {"type": "file", "file_id": uploaded.id}
        try:
            response = self._client.ocr.process(model="mistral-ocr-latest", document=document)
        except ValueError:
            # The oldest releases know documents by URL alone.
            url = self._client.files.get_signed_url(file_id=uploaded.id).url
            document = {"type": "document_url", "document_url": url}
            response = self._client.ocr.process(model="mistral-ocr-latest", document=document)
        assert response.pages[0].markdown

    def download(self) -> None:
        file = {"file_name": "a.bin", "content": CONTENT}
        uploaded = self._client.files.upload(file=file)
        assert self._client.files.download(file_id=uploaded.id).read() == CONTENT

        async def later() -> bytes:
            response = await self._client.files.download_async(file_id=uploaded.id)
            return await response.aread()

        assert asyncio.run(later()) == CONTENT

    def patched(self) -> None:
        key, settings = self._gateway.mistral_api_key, self._gateway.settings()
        older = _sdk.Mistral(api_key=key)
        with patch(settings=settings):
            for client in (older, _sdk.Mistral(api_key=key)):
                before = len(self._gateway.requests)
                asyncio.run(self._chat_in_one_loop(client))
                assert len(self._gateway.requests) == before + len(MODES)

    def errors(self) -> None:
        for mode in MODES:
            self._gateway.fail(2003)
            with pytest.raises(GatewayRateLimitedError) as caught:
                mode.chat(self._client)
            assert isinstance(caught.value, _sdk.SDKError)
            assert caught.value.code == 2003
            assert caught.value.log_id

    def captured(self) -> None:
        for mode in MODES:
            with capture() as calls:
                mode.chat(self._client)
            (call,) = calls
            assert call.log_id == self._gateway.logs[-1].id
            assert (call.path, call.status_code) == ("/v1/chat/completions", 200)

    async def _chat_in_one_loop(self, client: _sdk.Mistral) -> None:
        # An async client that was built before `patch()` works in one event loop only, as bare.
        for mode in MODES:
            await mode.achat(client) if mode.is_async else mode.chat(client)

    def _chat(self, modes: list) -> None:
        for mode in modes:
            self._gateway.reply("Bonjour!", path="chat/completions")
            assert mode.chat(self._client) == "Bonjour!"
            self._gateway.assert_sent(path="chat/completions")


def names() -> list[str]:
    """Return what is tried, in order."""
    return [name for name in vars(Trials) if not name.startswith("_")]


def main() -> int:
    results = {}
    with LocalGateway() as gateway, speedups.install():
        trials = Trials(gateway)
        for name in names():
            try:
                getattr(trials, name)()
            except Exception as error:
                traceback.print_exc()
                results[name] = f"{type(error).__name__}: {error}"
            else:
                results[name] = ""
            gateway.reset()
        report = {
            "mistralai": importlib.metadata.version("mistralai"),
            "library": _sdk.httpx.__name__,
            "results": results,
            "speedups": {speedup.name: speedup.name in speedups.active() for speedup in SPEEDUPS},
        }
    print(json.dumps(report))
    return 1 if any(results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
