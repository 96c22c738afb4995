"""How bulk.py asks a prompt, in this process or in Ray's, and what becomes of it."""

import os
import sys
from contextlib import contextmanager, nullcontext
from inspect import signature
from urllib.parse import quote

import mistral_cf_adapter as cf

try:
    from mistralai.client import chat, utils
except ImportError:  # mistralai 1
    from mistralai import chat, utils

MODEL = "mistral-small-latest"  # of a prompt that names none
# A prompt may not say where it is sent, nor with which headers.
NOT_IN_PROMPTS = {"self", "stream", "retries", "server_url", "timeout_ms", "http_headers"}
PARAMETERS = signature(chat.Chat.complete).parameters.keys() - NOT_IN_PROMPTS
CACHE_TTL = 7 * 24 * 3600  # seconds
TIMEOUT_MS = 300_000  # of one try
ANSWERED, FAILED, AGAIN, STOP = "answered", "failed for good", "to ask again", "stopped the run"
STOPPING = (  # errors that every other prompt would meet too
    cf.GatewaySpendLimitError,
    cf.GatewayNotFoundError,
    cf.GatewayInvalidProviderError,
    cf.GatewayStoredKeyError,
)
RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # workers use this environment, not a copy of it
}
LOCAL_RAY = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux it means: listen on 127.0.0.1 only
}


class Asker:
    """A client: one in this process, or one in each worker of Ray."""

    def __init__(self, retry_seconds):
        # The SDK retries: it obeys Retry-After. What cannot pass the adapter raises at once.
        backoff = utils.BackoffStrategy(500, 60_000, 1.5, 1000 * retry_seconds)
        strategy = "backoff" if retry_seconds else "none"
        retries = utils.RetryConfig(strategy, backoff, retry_connection_errors=True)
        # Settings do not travel: a worker has them from its own environment.
        self.client = cf.make_client(timeout_ms=TIMEOUT_MS, retry_config=retries)

    async def ask(self, prompt, error_count):
        """Return the line that is to be written, whatever happens."""
        # After a kill the key is the same, so that the answer may come from the cache; after an
        # error it is another one, as it is not documented whether errors are cached.
        key = f"{prompt['key']}-{error_count}"
        with cf.capture() as calls:
            try:
                event = quote(prompt["id"])
                with cf.gateway_options(cache_ttl=CACHE_TTL, cache_key=key, event_id=event):
                    response = await self.client.chat.complete_async(**prompt["request"])
                outcome = read_answer(response)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is the outcome
                outcome = describe_error(error, was_sent=bool(calls))
        seen = {name: getattr(calls[-1], name) for name in ("log_id", "cache_status") if calls}
        return {"id": prompt["id"], "key": prompt["key"], **outcome, **seen, "tries": len(calls)}


def read_answer(response):
    response = response.model_dump(mode="json")
    return {"state": ANSWERED, "choices": response["choices"], "usage": response["usage"]}


def describe_error(error, *, was_sent):
    status, code = getattr(error, "status_code", None), getattr(error, "code", None)
    if isinstance(error, cf.GatewayConnectionError):
        status = None  # there was no response: its 502 or 504 is a stand-in
    may_pass = was_sent if status is None else status in {408, 429} or status >= 500
    state = AGAIN if getattr(error, "retryable", may_pass) else FAILED
    if isinstance(error, STOPPING) or status in {401, 402}:
        state = STOP
    about = {"class": type(error).__name__, "code": code, "status": status, "message": str(error)}
    return {"state": state, "error": about}


def start_here(options):
    """Enter to get the function that asks in this process, in a list."""
    return nullcontext([Asker(options.retry_for).ask])


@contextmanager
def start_ray(options):
    """Yield the functions that have a worker of Ray ask, one for each worker."""
    in_cluster = "RAY_ADDRESS" in os.environ
    os.environ.update((RAY if in_cluster else RAY | LOCAL_RAY) | os.environ)
    import ray

    local = {"num_cpus": options.workers, "include_dashboard": False, "object_store_memory": 10**8}
    ray.init(logging_level="ERROR", log_to_driver=False, **({} if in_cluster else local))
    try:
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # nodes lack this file
        # A worker that was killed is started again, and gets again what it had in flight.
        worker_class = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=3)(Asker)
        workers = [worker_class.remote(options.retry_for) for _ in range(options.workers)]
        ray.get([worker.__ray_ready__.remote() for worker in workers])
        yield [worker.ask.remote for worker in workers]
    finally:
        ray.shutdown()
