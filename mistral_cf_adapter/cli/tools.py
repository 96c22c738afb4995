"""How each tool that does not use this SDK is pointed at the gateway: variables and a snippet.

Every snippet reads its secrets from the environment, so that none is ever printed in one.
"""

import json
import shlex
from collections.abc import Callable, Mapping
from typing import TypeAlias

from .guides import (
    KEY,
    Gateway,
    Guide,
    Text,
    filled,
    join,
    python_headers,
    secret_variables,
)

Tool: TypeAlias = Callable[[Gateway], Guide]


def langchain(gateway: Gateway) -> Guide:
    """Set MISTRAL_BASE_URL (with /v1), and give langchain-mistralai's clients the headers."""
    base_url = f"{gateway.provider_url}/v1"
    template = """
import os

from langchain_mistralai import ChatMistralAI

headers = $headers
llm = ChatMistralAI(model="mistral-small-latest", base_url=$base_url)
for client in (llm.client, llm.async_client):
    client.headers.update(headers)$without_key
"""
    without_key = (
        '\n    del client.headers["Authorization"]  # the gateway holds the key'
        if gateway.stored_key
        else ""
    )
    snippet = filled(
        template,
        headers=python_headers(gateway),
        base_url=repr(base_url),
        without_key=without_key,
    )
    variables = {"MISTRAL_BASE_URL": base_url, **secret_variables(gateway)}
    return Guide(variables, base_url, gateway.headers, snippet)


def litellm(gateway: Gateway) -> Guide:
    """Pass api_base and extra_headers to LiteLLM; with stored keys, the token as compat's key."""
    if gateway.stored_key:
        return _litellm_compat(gateway)
    base_url = f"{gateway.provider_url}/v1"
    template = """
import os

import litellm

headers = $headers
answer = litellm.completion(
    model="mistral/mistral-small-latest",
    messages=[{"role": "user", "content": "Hello"}],
    api_base=$base_url,  # for chat, LiteLLM does not read MISTRAL_API_BASE
    extra_headers=headers,
)
# For embeddings it drops extra_headers, unless model="openai/mistral-embed" (and api_key=...).
"""
    snippet = filled(template, headers=python_headers(gateway), base_url=repr(base_url))
    return Guide(secret_variables(gateway), base_url, gateway.headers, snippet)


def _litellm_compat(gateway: Gateway) -> Guide:
    template = """
import os

import litellm

headers = $headers
answer = litellm.completion(
    model="openai/$provider/mistral-small-latest",
    messages=[{"role": "user", "content": "Hello"}],
    api_base=$base_url,
    api_key=os.environ["$key"],  # the gateway holds the Mistral key
    extra_headers=headers,
)
"""
    snippet = filled(
        template,
        headers=python_headers(gateway, token=False),
        base_url=repr(gateway.compat_url),
        provider=gateway.provider,
        key=gateway.compat_key[0],
    )
    headers = gateway.headers_beside_key
    return Guide(secret_variables(gateway), gateway.compat_url, headers, snippet)


def openai(gateway: Gateway) -> Guide:
    """Point OpenAI clients at compat; newer ones read all of it from the environment."""
    stored = gateway.stored_key
    name, key = gateway.compat_key if stored else (KEY, gateway.key)
    headers: Mapping[str, Text] = gateway.headers_beside_key if stored else gateway.headers
    variables: dict[str, Text | None] = {
        "OPENAI_BASE_URL": gateway.compat_url,
        "OPENAI_API_KEY": key,
        "OPENAI_CUSTOM_HEADERS": _lines(headers),
        **secret_variables(gateway),
    }
    template = """
import os

from openai import OpenAI

headers = $headers
client = OpenAI(
    base_url=$base_url,
    api_key=os.environ["$key"],
    default_headers=headers,
)
answer = client.chat.completions.create(
    model="$provider/mistral-small-latest",
    messages=[{"role": "user", "content": "Hello"}],
)
"""
    snippet = filled(
        template,
        headers=python_headers(gateway, token=not stored),
        base_url=repr(gateway.compat_url),
        key=name,
        provider=gateway.provider,
    )
    given = {name: value for name, value in variables.items() if value}
    return Guide(given, gateway.compat_url, headers, snippet)


def _lines(headers: Mapping[str, Text]) -> Text:
    parts = [part for name, text in headers.items() for part in ("\n", name, ": ", text)]
    return join(*parts[1:])


def haystack(gateway: Gateway) -> Guide:
    """Give mistral-haystack's generators and embedders api_base_url and http_client_kwargs."""
    stored = gateway.stored_key
    base_url = gateway.compat_url if stored else f"{gateway.provider_url}/v1"
    template = """
import os

from haystack.utils import Secret
from haystack_integrations.components.generators.mistral import MistralChatGenerator

headers = $headers
generator = MistralChatGenerator(
    model="$model",
    api_base_url=$base_url,
    api_key=Secret.from_env_var("$key"),
    http_client_kwargs={"headers": headers},
)
# MistralOCRDocumentConverter uses Mistral's SDK: `from mistral_cf_adapter import patch; patch()`.
"""
    snippet = filled(
        template,
        headers=python_headers(gateway, token=not stored),
        base_url=repr(base_url),
        key=gateway.compat_key[0] if stored else KEY,
        model=f"{gateway.provider}/mistral-small-latest" if stored else "mistral-small-latest",
    )
    headers = gateway.headers_beside_key if stored else gateway.headers
    return Guide(secret_variables(gateway), base_url, headers, snippet)


def js(gateway: Gateway) -> Guide:
    """Take serverURL, and an HTTP client whose hook adds the headers: the JavaScript SDK."""
    template = """
import { Mistral } from "@mistralai/mistralai";
import { HTTPClient } from "@mistralai/mistralai/lib/http.js";

const serverURL = $server_url;
const headers = {
$headers};

const httpClient = new HTTPClient();
httpClient.addHook("beforeRequest", (request) => {
  if (!request.url.startsWith(serverURL + "/")) return request;
  const copy = new Request(request, { redirect: "error" }); // a redirect would take the token along
  for (const [name, value] of Object.entries(headers)) copy.headers.set(name, value);
$without_key  return copy;
});

const client = new Mistral({ $api_key serverURL, httpClient });
const answer = await client.chat.complete({
  model: "mistral-small-latest",
  messages: [{ role: "user", content: "Hello" }],
});
console.log(answer.choices[0].message.content);
"""
    lines = [
        f"  {json.dumps(name)}: `{header.prefix}${{process.env.{header.variable}}}`,\n"
        for name, header in gateway.secret_headers.items()
    ]
    lines += [
        f"  {json.dumps(name)}: {json.dumps(text)},\n" for name, text in gateway.options.items()
    ]
    stored = gateway.stored_key
    snippet = filled(
        template,
        server_url=json.dumps(gateway.provider_url),
        headers="".join(lines),
        without_key='  copy.headers.delete("authorization"); // the gateway holds the key\n'
        if stored
        else "",
        api_key="" if stored else f"apiKey: process.env.{KEY},",
    )
    variables = secret_variables(gateway)
    return Guide(variables, gateway.provider_url, gateway.headers, snippet, comment="//")


def curl(gateway: Gateway) -> Guide:
    """Call Mistral's own path, with the headers; the secrets go through a pipe.

    What is among a command's arguments, other users of the machine can read.
    """
    secrets = {} if gateway.stored_key else {"Authorization: Bearer": KEY}
    secrets |= {
        f"{name}: {header.prefix}".rstrip(): header.variable
        for name, header in gateway.secret_headers.items()
    }
    lines = [
        f"  -H {shlex.quote(f'{name}: {text}')} \\\n" for name, text in gateway.options.items()
    ]
    piped = ""
    if secrets:
        form = "".join(f"{start} %s\\n" for start in secrets)
        names = " ".join(f'"${name}"' for name in secrets.values())
        piped = f"printf '{form}' {names} |\n"
        lines.insert(0, "  -H @- \\\n")
    body = '{"model": "mistral-small-latest", "messages": [{"role": "user", "content": "Hello"}]}'
    snippet = (
        f"{piped}curl --fail-with-body "
        f"{shlex.quote(f'{gateway.provider_url}/v1/chat/completions')} \\\n"
        f"{''.join(lines)}  -H 'Content-Type: application/json' \\\n  -d '{body}'\n"
    )
    return Guide(secret_variables(gateway), gateway.provider_url, gateway.headers, snippet)


def _uses_sdk(usage: str) -> Tool:
    """Return the guide of a tool that builds `Mistral(...)` itself, which `patch()` redirects."""

    def guide(gateway: Gateway) -> Guide:
        needs_key = f"# It asks for a {KEY} all the same; any text will do, none is sent.\n"
        snippet = filled(
            "from mistral_cf_adapter import patch\n\npatch()\n$usage",
            usage=(needs_key if gateway.stored_key else "") + usage,
        )
        return Guide(gateway.own, gateway.provider_url, gateway.headers, snippet)

    return guide


_ANY_LLM = """
from any_llm import completion

answer = completion(
    model="mistral:mistral-small-latest",
    messages=[{"role": "user", "content": "Hello"}],
)
"""
_LLAMA_INDEX = """
from llama_index.llms.mistralai import MistralAI

llm = MistralAI(model="mistral-small-latest")
"""
_PYDANTIC_AI = """
from pydantic_ai import Agent

agent = Agent("mistral:mistral-small-latest")
"""
_INSTRUCTOR = """
import instructor

client = instructor.from_provider("mistral/mistral-small-latest")
"""
_AGNO = """
from agno.models.mistral import MistralChat

model = MistralChat(id="mistral-small-latest")
"""

TOOLS: Mapping[str, Tool] = {
    "langchain": langchain,
    "litellm": litellm,
    "openai": openai,
    "haystack": haystack,
    "llama-index": _uses_sdk(_LLAMA_INDEX),
    "any-llm": _uses_sdk(_ANY_LLM),
    "pydantic-ai": _uses_sdk(_PYDANTIC_AI),
    "instructor": _uses_sdk(_INSTRUCTOR),
    "agno": _uses_sdk(_AGNO),
    "js": js,
    "curl": curl,
}
