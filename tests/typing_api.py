"""What type checkers and editors know of the public API; checked by mypy and pyright, never run.

A line that must not pass is marked so, and a mark that is not needed any more is an error itself.
`assert_type` fails on `Any` too: it finds what the installed SDK has at another place.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, assert_type

import httpx
from pydantic import SecretStr

from mistral_cf_adapter import (
    CallListener,
    GatewayBadFormatError,
    GatewayCall,
    GatewayConfigError,
    GatewayCreditsError,
    GatewayDlpError,
    GatewayError,
    GatewayGuardrailError,
    GatewayInvalidProviderError,
    GatewayNotFoundError,
    GatewayOptions,
    GatewayPolicyError,
    GatewayProviderError,
    GatewayRateLimitedError,
    GatewayRedirectError,
    GatewayScannerError,
    GatewaySettings,
    GatewaySpendLimitError,
    GatewayStoredKeyError,
    GatewayStreamError,
    GatewayUnauthorizedError,
    GatewayUnavailableError,
    Patch,
    Usage,
    capture,
    gateway_headers,
    gateway_options,
    make_client,
    on_call,
    patch,
)
from mistral_cf_adapter._typed import BackoffStrategy, Mistral, RetryConfig, SDKError
from mistral_cf_adapter.testing import LocalGateway, LogRecord, ReceivedRequest, When


def make_client_returns_the_sdks_own_class() -> None:
    client = make_client()
    assert_type(client, Mistral)
    assert_type(client.sdk_configuration.timeout_ms, int | None)
    answer = client.chat.complete(model="m", messages=[], temperature=0.5)
    assert_type(answer.model, str)
    assert_type(answer.usage.prompt_tokens, int | None)
    client.chat.complete(model="m", messages=[], http_headers=gateway_headers(skip_cache=True))
    client.chat.complete(modle="m", messages=[])  # type: ignore[call-arg]


def on_call_takes_functions_of_both_kinds() -> None:
    def note(call: GatewayCall) -> None:
        assert_type(call.usage, Usage | None)
        assert_type(call.outcome, Literal["ok", "error", "abandoned", "broken"] | None)

    async def anote(call: GatewayCall) -> int:
        return call.attempt

    assert_type(on_call(note), CallListener)
    with on_call(anote) as listener:
        listener.undo()
    on_call(len)  # type: ignore[arg-type]


async def the_asynchronous_methods_are_typed_too() -> None:
    client = make_client()
    answer = await client.chat.complete_async(model="m", messages=[])
    assert_type(answer.model, str)
    embedded = await client.embeddings.create_async(model="m", inputs="Hello")
    assert_type(embedded.data[0].object, str | None)


def make_client_knows_the_keywords_of_the_sdk() -> None:
    make_client(GatewaySettings(), api_key="key", timeout_ms=1_000)
    make_client(None, api_key=lambda: "key", url_params=None, debug_logger=None)
    make_client(retry_config=RetryConfig("backoff", BackoffStrategy(1, 2, 1.5, 3), True))
    make_client(client=httpx.Client(), async_client=httpx.AsyncClient())
    make_client(api_key=None, client=None, async_client=None, retry_config=None, timeout_ms=None)

    make_client(api_key=5)  # type: ignore[arg-type]
    make_client(timeout_ms="1")  # type: ignore[arg-type]
    make_client(retry_config=3)  # type: ignore[arg-type]
    make_client(client=httpx.AsyncClient())  # type: ignore[arg-type]
    make_client(async_client=httpx.Client())  # type: ignore[arg-type]
    make_client(server=None, server_url=None, url_params=None)
    make_client(server_url="https://api.mistral.ai")  # type: ignore[arg-type]
    make_client(server="eu")  # type: ignore[arg-type]
    make_client(url_params={})  # type: ignore[arg-type]
    make_client(timeout=1)  # type: ignore[call-arg]
    make_client(settings=GatewaySettings())  # type: ignore[call-arg]
    make_client("key")  # type: ignore[arg-type]


def patch_is_a_handle_and_a_context_manager() -> None:
    patched = patch()
    assert_type(patched, Patch)
    assert_type(patched.undo(), None)
    assert_type(patched.settings, GatewaySettings)
    with patch(make_client(), settings=GatewaySettings()) as handle:
        assert_type(handle.settings, GatewaySettings)
    patch(client=make_client())  # type: ignore[call-arg]
    patch(GatewaySettings())  # type: ignore[arg-type]


def capture_collects_calls() -> None:
    with capture() as calls:
        pass
    assert_type(calls, list[GatewayCall])
    call = calls[-1]
    assert_type((call.method, call.path), tuple[str, str])
    assert_type((call.attempt, call.elapsed), tuple[int, float])
    assert_type((call.status_code, call.step), tuple[int | None, int | None])
    assert_type((call.log_id, call.request_id), tuple[str | None, str | None])
    assert_type((call.event_id, call.cache_status), tuple[str | None, str | None])
    assert_type((call.model, call.provider), tuple[str | None, str | None])
    assert_type((call.routed_model, call.routing_reason), tuple[str | None, str | None])
    assert_type(call.routing_decision_id, str | None)
    assert_type(call.dlp, Mapping[str, Any] | None)
    assert_type(call.buffered, bool)
    call.log_id = "other"  # type: ignore[misc]


@gateway_options(cache_ttl=60)
def decorated(text: str, *, loud: bool = False) -> int:
    return len(text) + loud


@gateway_options(metadata={"team": "search", "cost": Decimal(1)}, backoff="linear")
async def decorated_async(text: str, *, loud: bool = False) -> int:
    return len(text) + loud


class Service:
    @gateway_options(skip_cache=True)
    def decorated_method(self, text: str) -> bytes:
        return text.encode()


async def a_decorator_keeps_the_signature() -> None:
    assert_type(decorated("a", loud=True), int)
    assert_type(await decorated_async("a", loud=True), int)
    assert_type(Service().decorated_method("a"), bytes)
    decorated(5)  # type: ignore[arg-type]
    decorated("a", quiet=True)  # type: ignore[call-arg]
    await decorated_async()  # type: ignore[call-arg]
    Service().decorated_method(5)  # type: ignore[arg-type]


def options_are_checked_by_name_and_type() -> None:
    with gateway_options(cache_ttl=None, endpoint="compat"), gateway_options() as block:
        assert_type(block(decorated)("a"), int)
    assert_type(gateway_headers(event_id="e", custom_cost={"per_token_in": 0.1}), dict[str, str])

    gateway_options(allowed_models=["openai/*"], allowed_providers=("openai", "xai"))
    gateway_options(allowed_models="openai/*,xai/*", no_session_affinity=True)

    gateway_options(allowed_models=7)  # type: ignore[arg-type]
    gateway_options(allowed_models=[7])  # type: ignore[list-item]
    gateway_options(cache_ttl="long")  # type: ignore[arg-type]
    gateway_options(metadata=["a"])  # type: ignore[arg-type]
    gateway_options(backoff="cubic")  # type: ignore[arg-type]
    gateway_options(endpoint="openai")  # type: ignore[arg-type]
    gateway_options(cachettl=60)  # type: ignore[call-arg]
    gateway_options(object())  # type: ignore[call-arg, arg-type]
    gateway_headers(skip_cache="no")  # type: ignore[arg-type]
    gateway_headers(skipcache=True)  # type: ignore[call-arg]


Secret = SecretStr | Callable[[], str | Awaitable[str]] | None


async def ask_a_vault() -> str:
    return "secret"


def a_secret_may_be_a_callable() -> None:
    GatewaySettings(token=lambda: "secret", mistral_api_key=ask_a_vault)
    settings = GatewaySettings(token=ask_a_vault).model_copy(update={"token": lambda: "secret"})
    if callable(settings.token):
        assert_type(settings.token(), str | Awaitable[str])
    elif settings.token is not None:
        assert_type(settings.token.get_secret_value(), str)


def settings_have_typed_fields() -> None:
    settings = GatewaySettings(account_id="0123abcd", gateway_id="prod", _env_file=".env")
    assert_type((settings.account_id, settings.gateway_id), tuple[str | None, str])
    assert_type(settings.token, Secret)
    assert_type(settings.mistral_api_key, Secret)
    assert_type((settings.base_url, settings.provider), tuple[str | None, str])
    assert_type((settings.providers, settings.byok), tuple[dict[str, str], bool])
    assert_type(settings.unsupported, Literal["error", "direct"])
    assert_type((settings.speedups, settings.max_connections), tuple[bool, int])
    assert_type(settings.keepalive_expiry, float)
    assert_type((settings.provider_url, settings.compat_url), tuple[str, str])
    assert_type((settings.root_url, settings.stored_key), tuple[str, bool])
    assert_type(settings.model_copy(update={"cache_ttl": 60}), GatewaySettings)
    options: GatewayOptions = settings
    assert_type((options.cache_ttl, options.skip_cache), tuple[int | None, bool | None])
    assert_type((options.cache_key, options.event_id), tuple[str | None, str | None])
    assert_type((options.collect_log, options.no_wholesale), tuple[bool | None, bool | None])
    assert_type((options.request_timeout, options.retry_delay), tuple[int | None, int | None])
    assert_type((options.session_id, options.turn_id), tuple[str | None, str | None])
    assert_type(options.allowed_models, Sequence[str] | None)
    assert_type(options.backoff, Literal["constant", "linear", "exponential"] | None)
    assert_type(options.endpoint, Literal["native", "compat"] | None)


def settings_are_checked_by_name_and_type(everything: dict[str, Any]) -> None:
    GatewaySettings(account_id=None, gateway_id="prod", base_url=None, provider="custom-eu")
    GatewaySettings(token="t", mistral_api_key=SecretStr("k"), byok=False, byok_alias=None)
    GatewaySettings(providers={"api.eu.mistral.ai": "custom-eu"}, otel=True, speedups=False)
    GatewaySettings(unsupported="direct", fallback="none", fallback_cooldown=1)
    GatewaySettings(max_connections=5, keepalive_expiry=0.5, cache_ttl=60, metadata={"a": 1})
    GatewaySettings(_env_file=".env", _env_file_encoding="utf-8", _secrets_dir=Path("/run"))
    GatewaySettings(_env_file=[Path("a"), "b"], _secrets_dir=None)
    GatewaySettings(**everything)

    GatewaySettings(acount_id="0123abcd")  # type: ignore[call-arg]
    GatewaySettings(cachettl=60)  # type: ignore[call-arg]
    GatewaySettings(_env_fle=".env")  # type: ignore[call-arg]
    GatewaySettings(object())  # type: ignore[call-arg, arg-type]
    GatewaySettings(account_id=5)  # type: ignore[arg-type]
    GatewaySettings(token=b"t")  # type: ignore[arg-type]
    GatewaySettings(byok="yes")  # type: ignore[arg-type]
    GatewaySettings(cache_ttl="60")  # type: ignore[arg-type]
    GatewaySettings(unsupported="ignore")  # type: ignore[arg-type]
    GatewaySettings(max_connections=1.5)  # type: ignore[arg-type]
    GatewaySettings(_env_file=5)  # type: ignore[arg-type]


def errors_have_typed_attributes() -> None:
    try:
        make_client().models.list()
    except GatewaySpendLimitError as error:
        assert_type(error.code, int | None)
    except GatewayError as error:
        assert_type((error.code, error.log_id), tuple[int | None, str | None])
        assert_type((error.retryable, error.advice), tuple[bool, str])
        assert_type((error.message, error.status_code), tuple[str, int])
        assert_type(error.body, str)
        of_the_sdk: SDKError = error
        raise of_the_sdk from None
    except GatewayConfigError as error:
        wrong_value: ValueError = error
        raise wrong_value from None


kinds: list[type[GatewayError]] = [
    GatewayBadFormatError,
    GatewayCreditsError,
    GatewayDlpError,
    GatewayGuardrailError,
    GatewayInvalidProviderError,
    GatewayNotFoundError,
    GatewayPolicyError,
    GatewayProviderError,
    GatewayRateLimitedError,
    GatewayRedirectError,
    GatewayScannerError,
    GatewaySpendLimitError,
    GatewayStoredKeyError,
    GatewayStreamError,
    GatewayUnauthorizedError,
    GatewayUnavailableError,
    GatewayConfigError,  # type: ignore[list-item]
]


def the_local_gateway_is_typed() -> None:
    with LocalGateway(token="t", stored_keys={"default": "k"}, rate_limit=5) as gateway:
        assert_type(gateway, LocalGateway)
        assert_type((gateway.url, gateway.origin, gateway.token), tuple[str, str, str])
        assert_type(gateway.env(), dict[str, str])
        assert_type(gateway.settings(byok=True), GatewaySettings)
        assert_type(make_client(gateway.settings()), Mistral)
    LocalGateway("t")  # type: ignore[call-arg]
    LocalGateway(tokens="t")  # type: ignore[call-arg]


def test_with_the_fixture(cf_gateway: LocalGateway) -> None:
    cf_gateway.reply("Bonjour!", path="chat/completions")
    cf_gateway.reply_stream(["Bon", b"jour", {"data": "!"}])
    cf_gateway.reply_json({"data": []}, status=201)
    cf_gateway.fail(2003)
    cf_gateway.fail(kind="policy_spend", status=402)
    cf_gateway.upstream_fail(503, times=2)
    cf_gateway.upstream_delay(0.5)
    with cf_gateway.fault("refuse"):
        pass
    cf_gateway.reply("x", when={"model": "m", "options": {"cache_ttl": 120}}, finish_reason="stop")
    cf_gateway.reply(lambda request: request.path, when=lambda request: request.body == b"")
    cf_gateway.reply("x", when=When(headers={"x-a": None}), tool_calls=[{"id": "1"}])
    cf_gateway.reply_parsed({"a": 1}, when={"json_contains": {"n": 1}})
    cf_gateway.reply_embeddings([[0.1, 0.2]])
    cf_gateway.reply_ocr("# One", {"markdown": "# Two"})
    cf_gateway.fault("reset", when={"method": "POST"}).end()
    cf_gateway.assert_sent(options={"cache_ttl": 120}, model="m")
    cf_gateway.assert_all_scripted()
    request = cf_gateway.assert_sent(path="models", headers={"cf-aig-skip-cache": None}, times=1)
    assert_type(request, ReceivedRequest)
    assert_type((request.method, request.path, request.body), tuple[str, str, bytes])
    assert_type(cf_gateway.requests, list[ReceivedRequest])
    assert_type(cf_gateway.logs, list[LogRecord])
    assert_type(cf_gateway.logs[0].success, bool)
    cf_gateway.assert_all_used()
    cf_gateway.guardrails = True
    cf_gateway.rate_limit = 1  # type: ignore[attr-defined]
    cf_gateway.fail("2003")  # type: ignore[arg-type]
    cf_gateway.fail(kind="denied")  # type: ignore[arg-type]
    cf_gateway.fault("explode")  # type: ignore[arg-type]
    cf_gateway.reply("x", toolcalls=[])  # type: ignore[call-arg]
    cf_gateway.reply("x", when={"modle": "m"})  # type: ignore[arg-type]
    cf_gateway.reply("x", when={"options": {"cach_ttl": 60}})  # type: ignore[arg-type]
    cf_gateway.assert_sent(option={})  # type: ignore[call-arg]
    LocalGateway(strict="yes")  # type: ignore[arg-type]
    cf_gateway.reply(5)  # type: ignore[arg-type]


class Framework:
    """Code of others that takes a client: what `make_client()` returns fits."""

    build: Callable[[], Mistral] = make_client
