"""A Cloudflare Python Worker that asks Mistral through AI Gateway; `/stream` streams its response.

    cd examples/worker && uv run pywrangler dev       # on this machine, with .dev.vars
    cd examples/worker && uv run pywrangler deploy    # after: pywrangler secret put CF_AIG_TOKEN

Without an account: `mistral-cf-adapter serve --port 8787` prints what to put into .dev.vars.
"""

from urllib.parse import urlsplit

from js import Error, TextEncoder, TransformStream
from workers import Response, WorkerEntrypoint

from mistral_cf_adapter import GatewayError, GatewaySettings, capture, make_client

QUESTION = {
    "model": "mistral-small-latest",
    "messages": [{"role": "user", "content": "What is an edge network? One sentence."}],
}
# A Worker's variables and secrets are in `env`, not in `os.environ`.
VARIABLES = {
    "account_id": "CLOUDFLARE_ACCOUNT_ID",
    "gateway_id": "CLOUDFLARE_GATEWAY_ID",
    "base_url": "CF_AIG_BASE_URL",
    "token": "CF_AIG_TOKEN",
    "mistral_api_key": "MISTRAL_API_KEY",
}


def settings_of(env):
    """Return the settings that a Worker's environment has."""
    found = {name: getattr(env, variable, None) for name, variable in VARIABLES.items()}
    return GatewaySettings(**{name: value for name, value in found.items() if value is not None})


class Default(WorkerEntrypoint):
    """What Cloudflare calls for each request."""

    async def fetch(self, request):
        """Respond to a request."""
        client = make_client(settings_of(self.env))
        try:
            if urlsplit(request.url).path == "/stream":
                return await self.stream(client)
            with capture() as calls:
                answer = await client.chat.complete_async(**QUESTION)
        except GatewayError as error:
            return Response(f"{error}\n", status=error.status_code)
        headers = {"cf-aig-log-id": calls[-1].log_id or ""}
        return Response(answer.choices[0].message.content, headers=headers)

    async def stream(self, client):
        """Hand on the model's words as they come."""
        events = await client.chat.stream_async(**QUESTION)
        pipe = TransformStream.new()
        self.ctx.waitUntil(write(events, pipe.writable.getWriter()))
        return Response(pipe.readable, headers={"content-type": "text/plain; charset=utf-8"})


async def write(events, writer):
    """Write the words of a stream; where it breaks off, the reader sees that it does."""
    encoder = TextEncoder.new()
    try:
        async with events:
            async for event in events:
                await writer.write(encoder.encode(event.data.choices[0].delta.content or ""))
        await writer.close()
    except GatewayError as error:
        await writer.abort(Error.new(str(error)))
