"""The four ways in which the SDK makes a call, so that a promise is written once for all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Mode:
    """One of the four ways in which the SDK makes a call."""

    name: str

    @property
    def is_async(self) -> bool:
        return self.name.startswith("async")

    @property
    def is_stream(self) -> bool:
        return self.name.endswith("stream")

    def chat(self, client: Any, content: str = "Hello", **options: Any) -> str:
        """Make one chat call from synchronous code; return the text of the answer."""
        if self.is_async:
            return asyncio.run(self.achat(client, content, **options))
        arguments = _chat(content, options)
        if not self.is_stream:
            return client.chat.complete(**arguments).choices[0].message.content
        with client.chat.stream(**arguments) as events:
            return "".join(event.data.choices[0].delta.content for event in events)

    async def achat(self, client: Any, content: str = "Hello", **options: Any) -> str:
        """Make one chat call inside of an event loop."""
        arguments = _chat(content, options)
        if not self.is_stream:
            answer = await client.chat.complete_async(**arguments)
            return answer.choices[0].message.content
        async with await client.chat.stream_async(**arguments) as events:
            return "".join([event.data.choices[0].delta.content async for event in events])

    async def chat_in_loop(self, client: Any, content: str = "Hello", **options: Any) -> str:
        """Make one chat call inside of an event loop, a synchronous one in a thread."""
        if self.is_async:
            return await self.achat(client, content, **options)
        return await asyncio.to_thread(self.chat, client, content, **options)

    def error(self, client: Any, content: str = "Hello", **options: Any) -> Exception:
        """Make one chat call that fails; return its error."""
        with pytest.raises(Exception) as caught:
            self.chat(client, content, **options)
        return caught.value

    def upload(self, client: Any, content: bytes, **options: Any) -> Any:
        """Upload a file, as multipart."""
        file = {"file_name": "a.jsonl", "content": content}
        if not self.is_async:
            return client.files.upload(file=file, **options)

        async def call() -> Any:
            return await client.files.upload_async(file=file, **options)

        return asyncio.run(call())


def _chat(content: str, options: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "user", "content": content}
    return {"model": "mistral-small-latest", "messages": [message], **options}


MODES = [Mode(name) for name in ("sync", "async", "stream", "async-stream")]
SYNC, ASYNC, STREAM, ASYNC_STREAM = MODES
STREAMS = [STREAM, ASYNC_STREAM]
