"""Prometheus metrics of a FastAPI service: calls, tokens and seconds, by model and outcome.

uv run examples/prometheus_metrics.py          # asks, scrapes itself and ends
uv run examples/prometheus_metrics.py --serve  # serves on http://127.0.0.1:8000

Set CLOUDFLARE_ACCOUNT_ID, CF_AIG_TOKEN and MISTRAL_API_KEY to use your own gateway.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["mistral-cf-adapter[testing]", "fastapi>=0.115", "prometheus-client>=0.21"]
# tool.uv.sources.mistral-cf-adapter = { path = "..", editable = true }
# ///

from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from prometheus_client import Counter, Histogram, make_asgi_app

from mistral_cf_adapter import GatewayError, make_client, on_call

LABELS = ["operation", "model", "outcome"]
CALLS = Counter("llm_calls", "Calls", [*LABELS, "cache", "error_code"])
TOKENS = Counter("llm_tokens", "Tokens to pay", ["model", "kind"])
SECONDS = Histogram("llm_duration_seconds", "Seconds to the end of body or stream", LABELS)
FIRST = Histogram("llm_first_event_seconds", "Seconds to a stream's first data", ["model"])


def count(call):
    """Count a call that is over; a stream that the browser left is `abandoned`."""
    model = call.response_model or call.request_model or ""
    labels = call.operation or "", model, call.outcome or ""
    CALLS.labels(*labels, call.cache_status or "", call.error_code or "").inc()
    if call.duration is not None:
        SECONDS.labels(*labels).observe(call.duration)
    if call.time_to_first_event is not None:
        FIRST.labels(model).observe(call.time_to_first_event)
    if call.usage is not None and call.cache_status != "HIT":
        TOKENS.labels(model, "prompt").inc(call.usage.prompt_tokens or 0)
        TOKENS.labels(model, "completion").inc(call.usage.completion_tokens or 0)


@asynccontextmanager
async def lifespan(_):
    with on_call(count):
        yield {"client": make_client()}


app = FastAPI(lifespan=lifespan)
app.mount("/metrics", make_asgi_app())


def question(text):
    return {"model": "mistral-small-latest", "messages": [{"role": "user", "content": text}]}


@app.get("/ask")
async def ask(text: str, request: Request):
    try:
        answer = await request.state.client.chat.complete_async(**question(text))
    except GatewayError as error:
        raise HTTPException(502, error.message) from error
    return answer.choices[0].message.content


@app.get("/stream")
async def stream(text: str, request: Request):
    events = await request.state.client.chat.stream_async(**question(text))

    async def texts():
        async with events:
            async for event in events:
                yield event.data.choices[0].delta.content or ""

    return StreamingResponse(texts(), media_type="text/plain")


if __name__ == "__main__":
    import sys

    import uvicorn
    from _gateway import gateway
    from fastapi.testclient import TestClient

    with gateway() as local:
        if "--serve" in sys.argv:
            sys.exit(uvicorn.run(app, port=8000))
        with TestClient(app) as http:
            http.get("/ask", params={"text": "Say hello"})
            http.get("/stream", params={"text": "Say hello"})
            if local:
                local.fail(2016)
            http.get("/ask", params={"text": "How do I pick a lock?"})
            print(http.get("/metrics/").text)
