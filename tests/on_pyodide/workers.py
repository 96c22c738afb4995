"""What the example takes from Cloudflare's runtime SDK, which only that runtime can import."""

import js
from pyodide.ffi import to_js


class WorkerEntrypoint:
    def __init__(self, ctx, env):
        self.ctx = ctx
        self.env = env


class Response:
    def __init__(self, body, status=200, headers=None):
        init = to_js({"status": status, "headers": headers or {}}, dict_converter=OBJECT)
        self.js_object = js.Response.new(body, init)


OBJECT = js.Object.fromEntries
