"""How many files of the core a call passes: python tests/support/call_path.py

Prints, for a `chat.complete()` and for an asynchronous stream, the number of files, and how often
the next frame of the core lies in another file than the last one.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Self

os.environ["CF_AIG_SPEEDUPS"] = "false"

import mistral_cf_adapter
from mistral_cf_adapter.testing import LocalGateway

CORE = Path(mistral_cf_adapter.__file__).parent
QUESTION: Any = {
    "model": "mistral-small-latest",
    "messages": [{"role": "user", "content": "Say hello"}],
}


class CallPath:
    """Notes the file of each frame of the core that is entered, or entered again."""

    def __init__(self) -> None:
        self.files: list[str] = []

    def __enter__(self) -> Self:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _argument: object) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.parent == CORE:
            self.files.append(file.name)

    def count(self) -> dict[str, int]:
        """Return the number of files, and of changes from one file to another."""
        changes = sum(one != other for one, other in zip(self.files, self.files[1:], strict=False))
        return {"files": len(set(self.files)), "changes": changes}


async def stream(client: Any) -> None:
    async for _ in await client.chat.stream_async(**QUESTION):
        pass


async def measure_stream(client: Any) -> dict[str, int]:
    """Return the least of some streams: each wait for the network enters the frames again."""
    counts: list[dict[str, int]] = []
    for _ in range(5):
        await stream(client)  # what is done once for each class of streams
        await client.chat.complete_async(**QUESTION)  # which reads what a stream left behind
        with CallPath() as path:
            await stream(client)
        counts.append(path.count())
    return min(counts, key=lambda count: count["changes"])


def main() -> None:
    with LocalGateway() as gateway:
        client = mistral_cf_adapter.make_client(gateway.settings())
        client.chat.complete(**QUESTION)
        with CallPath() as path:
            client.chat.complete(**QUESTION)
        found = {"chat.complete": path.count(), "async stream": asyncio.run(measure_stream(client))}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
