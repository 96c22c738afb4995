"""One way to call each library: make, call, stream, and the same for async.

Imports live in `__init__`, because each driver runs in an environment of its own; nothing
but the construction of a client happens in `make()` and `amake()`. A driver leaves out what
its library cannot do.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

MODEL = "mistral-small-latest"
SYSTEM = "Answer in one short paragraph."
QUESTION = "What does the quick brown fox do, and over whom? " * 4
MESSAGES = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]


class Driver:
    """What a worker asks of a library."""

    has_client = True

    def __init__(self, base_url: str, **options: Any) -> None:
        self.base_url = base_url
        self.options = options
        self.load()

    def load(self) -> None: ...

    def make(self) -> Any:
        raise NotImplementedError

    def amake(self) -> Any:
        return self.make()

    def call(self, client: Any) -> str:
        raise NotImplementedError

    async def acall(self, client: Any) -> str:
        raise NotImplementedError

    def stream(self, client: Any) -> Iterator[str | None]:
        raise NotImplementedError

    def astream(self, client: Any) -> AsyncIterator[str | None]:
        raise NotImplementedError


class Bare(Driver):
    """The SDK as it comes, with the gateway as its server."""

    def load(self) -> None:
        try:
            from mistralai.client import Mistral
        except ImportError:
            from mistralai import Mistral
        self.Mistral = Mistral

    def make(self) -> Any:
        return self.Mistral(api_key="k", server_url=f"{self.base_url}/mistral")

    def call(self, client: Any) -> str:
        response = client.chat.complete(model=MODEL, messages=MESSAGES)
        return response.choices[0].message.content

    async def acall(self, client: Any) -> str:
        response = await client.chat.complete_async(model=MODEL, messages=MESSAGES)
        return response.choices[0].message.content

    def stream(self, client: Any) -> Iterator[str | None]:
        for event in client.chat.stream(model=MODEL, messages=MESSAGES):
            yield event.data.choices[0].delta.content

    async def astream(self, client: Any) -> AsyncIterator[str | None]:
        async for event in await client.chat.stream_async(model=MODEL, messages=MESSAGES):
            yield event.data.choices[0].delta.content


class Adapter(Bare):
    """This library."""

    def load(self) -> None:
        import mistral_cf_adapter as adapter  # which imports the SDK, as in a user's program

        self.adapter = adapter
        speedups = self.options.get("speedups", True)
        self.settings = adapter.GatewaySettings(
            base_url=self.base_url, token="t", mistral_api_key="k", speedups=speedups
        )
        self.around: Callable[[], AbstractContextManager[Any]] = nullcontext
        if self.options.get("captured"):
            self.around = self.captured

    def make(self) -> Any:
        return self.adapter.make_client(self.settings)

    def captured(self) -> AbstractContextManager[Any]:
        stack = ExitStack()
        options = {"metadata": {"team": "search"}, "cache_ttl": 3600}
        stack.enter_context(self.adapter.gateway_options(**options))
        stack.enter_context(self.adapter.capture())
        return stack

    def call(self, client: Any) -> str:
        with self.around():
            return super().call(client)

    async def acall(self, client: Any) -> str:
        with self.around():
            return await super().acall(client)


class OpenAI(Driver):
    """The OpenAI SDK on the gateway's /compat endpoint."""

    path = "/compat"
    model = f"mistral/{MODEL}"

    def load(self) -> None:
        import openai

        self.sync, self.asynchronous = openai.OpenAI, openai.AsyncOpenAI

    def arguments(self) -> dict[str, Any]:
        return {"api_key": "k", "base_url": self.base_url + self.path}

    def make(self) -> Any:
        return self.sync(**self.arguments())

    def amake(self) -> Any:
        return self.asynchronous(**self.arguments())

    def call(self, client: Any) -> str:
        response = client.chat.completions.create(model=self.model, messages=MESSAGES)
        return response.choices[0].message.content

    async def acall(self, client: Any) -> str:
        response = await client.chat.completions.create(model=self.model, messages=MESSAGES)
        return response.choices[0].message.content

    def stream(self, client: Any) -> Iterator[str | None]:
        events = client.chat.completions.create(model=self.model, messages=MESSAGES, stream=True)
        for event in events:
            yield event.choices[0].delta.content

    async def astream(self, client: Any) -> AsyncIterator[str | None]:
        create = client.chat.completions.create
        async for event in await create(model=self.model, messages=MESSAGES, stream=True):
            yield event.choices[0].delta.content


class Portkey(OpenAI):
    """Portkey's SDK, pointed at the same server."""

    path = "/v1"
    model = MODEL

    def load(self) -> None:
        import portkey_ai

        self.sync, self.asynchronous = portkey_ai.Portkey, portkey_ai.AsyncPortkey


class LiteLLM(Driver):
    """LiteLLM's functions, on connections that it keeps to itself."""

    has_client = False

    def load(self) -> None:
        import litellm

        self.litellm = litellm

    def make(self) -> Any:
        return {
            "model": f"mistral/{MODEL}",
            "api_base": f"{self.base_url}/mistral/v1",
            "api_key": "k",
        }

    def call(self, client: Any) -> str:
        return self.litellm.completion(messages=MESSAGES, **client).choices[0].message.content

    async def acall(self, client: Any) -> str:
        response = await self.litellm.acompletion(messages=MESSAGES, **client)
        return response.choices[0].message.content

    def stream(self, client: Any) -> Iterator[str | None]:
        for event in self.litellm.completion(messages=MESSAGES, stream=True, **client):
            yield event.choices[0].delta.content

    async def astream(self, client: Any) -> AsyncIterator[str | None]:
        async for event in await self.litellm.acompletion(messages=MESSAGES, stream=True, **client):
            yield event.choices[0].delta.content


class LangChain(Driver):
    """LangChain's own Mistral client."""

    def load(self) -> None:
        # It reads certifi's file whatever SSL_CERT_FILE says.
        if bundle := os.environ.get("SSL_CERT_FILE"):
            import certifi

            certifi.where = lambda: bundle
        from langchain_mistralai import ChatMistralAI

        self.ChatMistralAI = ChatMistralAI
        self.messages = [("system", SYSTEM), ("human", QUESTION)]

    def make(self) -> Any:
        return self.ChatMistralAI(model=MODEL, api_key="k", base_url=f"{self.base_url}/mistral/v1")

    def call(self, client: Any) -> str:
        return client.invoke(self.messages).content

    async def acall(self, client: Any) -> str:
        return (await client.ainvoke(self.messages)).content

    def stream(self, client: Any) -> Iterator[str | None]:
        for event in client.stream(self.messages):
            yield event.content

    async def astream(self, client: Any) -> AsyncIterator[str | None]:
        async for event in client.astream(self.messages):
            yield event.content


class PydanticAI(Driver):
    """An agent with no tools, every streamed event passed on as it comes."""

    def load(self) -> None:
        from pydantic_ai import Agent
        from pydantic_ai.models.mistral import MistralModel
        from pydantic_ai.providers.mistral import MistralProvider

        self.Agent, self.Model, self.Provider = Agent, MistralModel, MistralProvider

    def make(self) -> Any:
        provider = self.Provider(api_key="k", base_url=f"{self.base_url}/mistral")
        return self.Agent(self.Model(MODEL, provider=provider), instructions=SYSTEM)

    def call(self, client: Any) -> str:
        return client.run_sync(QUESTION).output

    async def acall(self, client: Any) -> str:
        return (await client.run(QUESTION)).output

    def stream(self, client: Any) -> Iterator[str | None]:
        yield from client.run_stream_sync(QUESTION).stream_text(delta=True, debounce_by=None)

    async def astream(self, client: Any) -> AsyncIterator[str | None]:
        async with client.run_stream(QUESTION) as result:
            async for text in result.stream_text(delta=True, debounce_by=None):
                yield text
