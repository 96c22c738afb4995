"""A FastAPI service: one client for all requests, and each log says whose request it was.

uv run examples/fastapi_service.py            # asks itself four things and ends
uv run examples/fastapi_service.py --serve    # serves on http://127.0.0.1:8000

Set CLOUDFLARE_ACCOUNT_ID, CF_AIG_TOKEN and MISTRAL_API_KEY to use your own gateway.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["mistral-cf-adapter[testing]", "fastapi>=0.115"]
# tool.uv.sources.mistral-cf-adapter = { path = "..", editable = true }
# ///

import json
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel
from starlette.datastructures import Headers

import mistral_cf_adapter as cf
from mistral_cf_adapter import capture, gateway_options, make_client

STATUS = {  # the nearest class counts
    cf.GatewayRateLimitedError: (429, "Too many questions at once, try again in a moment"),
    cf.GatewaySpendLimitError: (503, "The budget is spent, try again later"),
    cf.GatewayGuardrailError: (422, "That question is not allowed here"),
    cf.GatewayTimeoutError: (504, "The model takes too long, try again later"),
    cf.GatewayError: (502, "The model cannot be reached"),  # also where the connection fails
}


class UserMetadata:
    """Put the user on the gateway's log of every call that a request leads to.

    A plain ASGI middleware, so that endpoint and streamed answer both run inside the block. It
    could be an `async def` dependency; a `def` one sets its options in a thread, and in vain.
    """

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        user = Headers(scope=scope).get("x-user", "anonymous")  # yours comes from the session
        with gateway_options(metadata={"user": user, "path": scope["path"]}):
            return await self.app(scope, receive, send)


@asynccontextmanager
async def lifespan(_):
    yield {"client": make_client()}  # its connections are closed with the event loop


app = FastAPI(lifespan=lifespan)
app.add_middleware(UserMetadata)


@app.exception_handler(cf.GatewayError)
async def refused(_, error):
    status, detail = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    return JSONResponse({"detail": detail, "log_id": error.log_id}, status)


class Question(BaseModel):
    text: str

    def for_model(self):
        messages = [{"role": "user", "content": self.text}]
        return {"model": "mistral-small-latest", "messages": messages}


@app.post("/ask")
async def ask(question: Question, request: Request):
    with capture() as calls:
        answer = await request.state.client.chat.complete_async(**question.for_model())
    return {"answer": answer.choices[0].message.content, "log_id": calls[-1].log_id}


@app.post("/stream")
async def stream(question: Question, request: Request):
    # Begun here and not in the generator: a refusal can still become a status.
    events = await request.state.client.chat.stream_async(**question.for_model())
    return StreamingResponse(server_sent(events), media_type="text/event-stream")


async def server_sent(events):
    try:
        async with events:  # closed as well when the browser goes away
            async for event in events:
                if text := event.data.choices[0].delta.content:
                    yield f"data: {json.dumps(text)}\n\n"
        yield "event: done\ndata:\n\n"
    except cf.GatewayStreamError:
        yield "event: error\ndata:\n\n"


if __name__ == "__main__":
    import sys

    import uvicorn
    from _gateway import gateway
    from fastapi.testclient import TestClient

    def try_it():
        with TestClient(app) as http:
            for user, path, text in (
                ("ada", "/ask", "What is the mistral wind?"),
                ("grace", "/stream", "Hello"),
                ("ada", "/ask", "How do I pick a lock?"),
                ("grace", "/stream", "What is a budget?"),
            ):
                answer = http.post(path, headers={"x-user": user}, json={"text": text})
                print(f"{user} {path} {answer.status_code}\n{answer.text.strip()}\n")

    with gateway() as local:
        if "--serve" in sys.argv:
            sys.exit(uvicorn.run(app, port=8000))
        if local:
            local.reply("A cold wind from the north-west.")
            local.reply_stream(["Hello", " Grace"])
            local.fail(2016)  # guardrails
            local.fail(2041)  # spend limit
        try_it()
        for log in local.logs if local else ():
            print(f"The gateway's log: {log.status_code} {dict(log.metadata)}")
