"""No library at all, or none but an HTTP client: the limit."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from drivers import MESSAGES, MODEL, Driver


class RawHttpx(Driver):
    """httpx and json.loads: what is left when no SDK is."""

    def load(self) -> None:
        import httpx

        self.httpx = httpx
        self.url = f"{self.base_url}/mistral/v1/chat/completions"
        self.headers = {"authorization": "Bearer k"}

    def body(self, *, stream: bool) -> dict[str, Any]:
        return {"model": MODEL, "messages": MESSAGES, "stream": stream}

    def make(self) -> Any:
        return self.httpx.Client(headers=self.headers, timeout=60)

    def amake(self) -> Any:
        return self.httpx.AsyncClient(headers=self.headers, timeout=60)

    def call(self, client: Any) -> str:
        response = client.post(self.url, json=self.body(stream=False))
        return json.loads(response.content)["choices"][0]["message"]["content"]

    async def acall(self, client: Any) -> str:
        response = await client.post(self.url, json=self.body(stream=False))
        return json.loads(response.content)["choices"][0]["message"]["content"]

    def stream(self, client: Any) -> Iterator[str | None]:
        with client.stream("POST", self.url, json=self.body(stream=True)) as response:
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    yield json.loads(line[6:])["choices"][0]["delta"]["content"]

    async def astream(self, client: Any) -> AsyncIterator[str | None]:
        async with client.stream("POST", self.url, json=self.body(stream=True)) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    yield json.loads(line[6:])["choices"][0]["delta"]["content"]


class RawHttpClient(Driver):
    """The standard library alone, sync only."""

    def load(self) -> None:
        import http.client
        import ssl
        from urllib.parse import urlsplit

        self.http, self.ssl = http.client, ssl
        self.parts = urlsplit(f"{self.base_url}/mistral/v1/chat/completions")

    def make(self) -> Any:
        address = self.parts.hostname, self.parts.port
        if self.parts.scheme == "http":
            return self.http.HTTPConnection(*address)
        return self.http.HTTPSConnection(*address, context=self.ssl.create_default_context())

    def amake(self) -> Any:
        raise NotImplementedError

    def post(self, client: Any, *, stream: bool) -> Any:
        body = json.dumps({"model": MODEL, "messages": MESSAGES, "stream": stream})
        headers = {"content-type": "application/json", "authorization": "Bearer k"}
        client.request("POST", self.parts.path, body, headers)
        return client.getresponse()

    def call(self, client: Any) -> str:
        response = self.post(client, stream=False)
        return json.loads(response.read())["choices"][0]["message"]["content"]

    def stream(self, client: Any) -> Iterator[str | None]:
        response = self.post(client, stream=True)
        for line in response:
            if line.startswith(b"data: {"):
                yield json.loads(line[6:])["choices"][0]["delta"]["content"]
