"""The SDK's own hooks run where the call runs, not in a thread, while they have nothing to do.

From 2.x on, async calls run all hooks in threads: two trips, and a queue for a few threads when
hundreds of tasks call. The hooks look at a request or a response and almost always return it as it
is. Where one might wait for something, or is not the SDK's own, the thread stays.
"""

import logging
import os
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from .late_hooks import STAGES, get_late
from .patches import ChangedError, Target, members

logger = logging.getLogger("mistral_cf_adapter")

_SERVICE_ACCOUNT = "_hooks.service_account_auth:ServiceAccountAuthHook.before_request"

Tells = Callable[[Any, Any, Any], bool]
"""Tells from a hook, its context and the request or response that the hook has nothing to do."""


class _Known(NamedTuple):
    """A class of hooks of the SDK's, as it was found."""

    members: Mapping[str, Any]
    is_idle: Tells


def run_late_hooks(
    target: Target, build: Callable[[], Callable[..., Awaitable[Any]]]
) -> Callable[..., Awaitable[Any]] | None:
    """Return the replacement as long as the hooks are not imported: see `late_hooks`.

    Once they are, it hands calls on to what it builds.
    """
    late = get_late()
    if late is None or late.is_loaded:
        return None
    _check_place(target)
    is_untouched = target.watch()
    replacement: Callable[..., Awaitable[Any]] | None = None

    async def run_sync_in_thread(func: Any, *args: Any) -> Any:
        nonlocal replacement
        if late.can_run_here(func, args) and is_untouched():
            return func(*args)
        if replacement is None:
            if not late.is_loaded:
                return await target.original(func, *args)
            replacement = _build_or(target.original, build)
        return await replacement(func, *args)

    return run_sync_in_thread


def _build_or(
    original: Callable[..., Awaitable[Any]], build: Callable[[], Callable[..., Awaitable[Any]]]
) -> Callable[..., Awaitable[Any]]:
    try:
        return build()
    except Exception as why:  # noqa: BLE001 (a slower call is better than none)
        logger.debug("speed-up hooks in threads steps aside: %s", why)
        return original


def _check_place(target: Target) -> None:
    package = target.module.__package__
    if target.original is not vars(import_module(f"{package}.utils"))["run_sync_in_thread"]:
        msg = f"{target.module.__name__}.run_sync_in_thread is not the SDK's own"
        raise ChangedError(msg)


def run_sync_in_thread(target: Target) -> Callable[..., Awaitable[Any]]:
    """Return the replacement for `basesdk.run_sync_in_thread`."""
    original: Callable[..., Awaitable[Any]] = target.original
    package = target.module.__package__
    _check_place(target)
    runner: Any = import_module(f"{package}._hooks.sdkhooks").SDKHooks
    stages: dict[Any, str] = {vars(runner)[stage]: stage for stage in STAGES}
    is_untouched = target.watch()
    known = dict(_known(f"{package}._hooks", target.digests))

    def is_idle(hook: object, context: Any, what: Any) -> bool:
        kind = type(hook)
        as_found = known.get(kind)
        if as_found is None or members(kind) != as_found.members:
            return False
        if not as_found.members.keys().isdisjoint(members(hook)):
            return False
        return as_found.is_idle(hook, context, what)

    async def run_sync_in_thread(func: Any, *args: Any) -> Any:
        stage = stages.get(getattr(func, "__func__", None))
        if stage is not None and len(args) > 1 and is_untouched():
            hooks = getattr(func.__self__, f"{stage}_hooks")
            if all(is_idle(hook, *args[:2]) for hook in hooks):
                return func(*args)
        return await original(func, *args)

    return run_sync_in_thread


def _known(package: str, proven: Container[str]) -> Iterator[tuple[type, _Known]]:
    """Tell the SDK's own hooks, and how each of them shows that it has nothing to do."""
    encoding = import_module(f"{package}.workflow_encoding_hook")
    configured: str = vars(encoding)["_ENCODING_CONFIG_ID_ATTR"]
    deprecation = import_module(f"{package}.deprecation_warning")
    deprecated: str = vars(deprecation)["HEADER_MODEL_DEPRECATION_TIMESTAMP"]
    traceparent = import_module(f"{package}.traceparent")
    traced: Container[str] = vars(traceparent)["_EXECUTE_OPERATION_IDS"]

    def never_waits(_hook: Any, _context: Any, _what: Any) -> bool:
        return True

    def encodes_nothing(_hook: Any, context: Any, _what: Any) -> bool:
        return getattr(context.config, configured, None) is None

    def warns_of_nothing(_hook: Any, _context: Any, response: Any) -> bool:
        return deprecated not in response.headers

    def injects_nothing(_hook: Any, context: Any, _what: Any) -> bool:
        return context.operation_id not in traced

    kinds: list[tuple[type, Tells]] = [
        (import_module(f"{package}.custom_user_agent").CustomUserAgentHook, never_waits),
        (import_module(f"{package}.stream_error_hook").WorkflowStreamErrorHook, never_waits),
        (import_module(f"{package}.tracing").TracingHook, _traces_nothing),
        (encoding.WorkflowEncodingHook, encodes_nothing),
        (deprecation.DeprecationWarningHook, warns_of_nothing),
        (traceparent.TraceparentInjectionHook, injects_nothing),
    ]
    if _SERVICE_ACCOUNT in proven:  # since 3.x
        account = import_module(f"{package}.service_account_auth")
        variable: str = vars(account)["MISTRAL_SA_TOKEN_PATH_ENV"]

        def reads_no_file(_hook: Any, _context: Any, _what: Any) -> bool:
            return not os.environ.get(variable)

        kinds.append((account.ServiceAccountAuthHook, reads_no_file))
    return ((kind, _Known(dict(vars(kind)), tells)) for kind, tells in kinds)


def _traces_nothing(hook: Any, _context: Any, _what: Any) -> bool:
    """Return whether a client has found out, at its first call, that it is to make no spans."""
    state = members(hook)
    return (
        state.get("_telemetry_auto_disabled") is True
        and state.get("tracing_enabled") is False
        and state.get("tracer_provider", hook) is None
        and state.get("_telemetry_use_global_provider") is False
    )
