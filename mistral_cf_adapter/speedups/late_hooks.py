"""The SDK's hooks are imported when one of them has something to do.

They import the SDK's workflows and telemetry: an eighth of the time to a first response. In a chat
without any of these they change nothing. So the hooks of a new client are `LateHooks`, which know
from the call and the environment that none has work. Where one has, where a program looks at the
client's lists of hooks, or where it imports a hook's module, the client gets the hooks that it has
without this file, in their order, in an `SDKHooks` like any other.
"""

import hashlib
import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, SourceFileLoader
from threading import get_ident
from types import ModuleType
from typing import Any

from .._collector import are_speedups_off
from .._locks import fork_awaited_lock
from .digests import HOOK_FILES
from .patches import ChangedError, members, watch_code

logger = logging.getLogger("mistral_cf_adapter")

_PACKAGE = "mistralai.client._hooks"
_NAME = f"{_PACKAGE}.registration"
_MODULES = frozenset(
    {
        "service_account_auth",
        "stream_error_hook",
        "traceparent",
        "tracing",
        "workflow_encoding_hook",
    }
)
"""The modules of hooks that come later. `custom_user_agent` and `deprecation_warning` are small."""
_LATE_MODULES = frozenset(f"{_PACKAGE}.{name}" for name in _MODULES)
_CLASSES = frozenset(
    {
        "CustomUserAgentHook",
        "DeprecationWarningHook",
        "ServiceAccountAuthHook",
        "TraceparentInjectionHook",
        "TracingHook",
        "WorkflowEncodingHook",
        "WorkflowStreamErrorHook",
    }
)
"""The names in `registration`, and in the package, which imports all of them."""
_IN_EXTRA = frozenset({"exceptions", "observability", "workflows"})
"""The modules of `mistralai.extra` that the hooks' import leaves there as attributes."""
_OPENTELEMETRY = ("opentelemetry.propagate", "opentelemetry.trace")
"""Imported with the SDK as ever: they read the environment as it is then, and cost little."""

_ACCOUNT = "MISTRAL_SA_TOKEN_PATH"
_TELEMETRY = "MISTRAL_SDK_TELEMETRY"
STAGES = ("before_request", "after_success", "after_error")
_LISTS = tuple(f"{stage}_hooks" for stage in STAGES)

_late: "Late | None" = None


def get_late() -> "Late | None":
    """Return what brings the hooks later, `None` where they came with the SDK."""
    return _late


def load_hooks() -> None:
    """Import the hooks now, if they are still to come."""
    if _late is not None:
        _late.load()


@contextmanager
def defer_hooks() -> Generator[None, None, None]:
    """Leave the hooks of the SDK, which is imported in this block, for later."""
    global _late  # noqa: PLW0603
    late = _prepare_or_none()
    if late is None:
        yield
        return
    sys.modules[_NAME] = late.registration
    try:
        yield
    finally:
        if _PACKAGE not in sys.modules:  # the import has failed
            sys.modules.pop(_NAME, None)
    try:
        late.begin()
    except Exception as why:  # noqa: BLE001 (a slow start is better than none)
        _log_step_aside(why)
        late.load()
    else:
        _late = late


def _prepare_or_none() -> "Late | None":
    try:
        return _prepare()
    except Exception as why:  # noqa: BLE001 (a slow start is better than none)
        _log_step_aside(why)
        return None


def _log_step_aside(why: Exception) -> None:
    logger.debug("the SDK's hooks are imported with it: %s", why)


def _prepare() -> "Late | None":
    if are_speedups_off() or "mistralai" in sys.modules or "opentelemetry" in sys.modules:
        return None
    if os.environ.get(_ACCOUNT) or os.environ.get(_TELEMETRY):
        return None
    if any(name.startswith("OTEL_") for name in os.environ):
        return None
    folder = _find_folder()
    if folder is None:  # the hooks of 1.x import nothing
        return None
    check_files(folder)
    spec = _find_spec(os.path.join(folder, "_hooks"))  # noqa: PTH118
    loader = None if spec is None else spec.loader
    if spec is None or type(loader) is not SourceFileLoader:
        return None  # a tool changes modules as they are loaded
    return Late(spec, loader)


def _find_folder() -> str | None:
    """Return the folder of `mistralai.client`, without importing it."""
    spec = importlib.util.find_spec("mistralai")
    for folder in (spec and spec.submodule_search_locations) or ():
        client = os.path.join(folder, "client")  # noqa: PTH118
        if os.path.isfile(os.path.join(client, "__init__.py")):  # noqa: PTH113, PTH118
            has_hooks = os.path.isdir(os.path.join(client, "_hooks"))  # noqa: PTH112, PTH118
            return client if has_hooks else None
    return None


def check_files(folder: str) -> None:
    """Raise a ChangedError unless the files of the hooks are those that this was written for.

    Args:
        folder: The folder of `mistralai.client`.
    """
    for name, known in HOOK_FILES.items():
        try:
            with open(os.path.join(folder, name), "rb") as file:  # noqa: PTH118, PTH123
                digest = hashlib.sha256(file.read()).hexdigest()[:16]
        except FileNotFoundError:
            if name.endswith("service_account_auth.py"):  # since 3.0
                continue
            raise
        if digest not in known:
            msg = f"{name} is new (digest {digest})"
            raise ChangedError(msg)


def _find_spec(folder: str) -> ModuleSpec | None:
    for finder in sys.meta_path:
        spec = finder.find_spec(_NAME, [folder])
        if spec is not None:
            return spec
    return None


class Late:
    """Brings the hooks' modules, and a client's hooks, when they are needed."""

    def __init__(self, spec: ModuleSpec, loader: SourceFileLoader) -> None:
        """Make the module `registration`, with a function in it for its first use."""
        self.registration = importlib.util.module_from_spec(spec)
        self.is_loaded = False
        self._loader = loader
        self._lock = fork_awaited_lock()
        self._loading_thread = 0
        self._lazy: list[ModuleType] = []
        self._light: dict[Any, tuple[str, object]] = {}
        self._sdk_class: Any = None
        self._late_class: Any = None
        vars(self.registration)["init_hooks"] = self._init_hooks
        self._names_at_first = frozenset(vars(self.registration))

    def begin(self) -> None:
        """Start, now that the SDK is imported."""
        package = sys.modules[_PACKAGE]
        if vars(package)["init_hooks"] != self._init_hooks:
            msg = f"{_PACKAGE} has another init_hooks()"
            raise ChangedError(msg)
        # The import system sets this where it finds a module itself.
        vars(package)["registration"] = self.registration
        for name in _OPENTELEMETRY:
            importlib.import_module(name)
        self._find_light_hooks()
        self._sdk_class = sys.modules[f"{_PACKAGE}.sdkhooks"].SDKHooks
        self._originals: dict[str, object] = {
            stage: members(self._sdk_class)[stage] for stage in STAGES
        }
        self._late_class = _make_class(self, self._sdk_class)
        self._stages: dict[object, str] = {
            members(self._late_class)[stage]: stage for stage in STAGES
        }
        self._make_lazy(importlib.import_module("mistralai.extra"), _import_of_extra)
        for module in (package, self.registration):
            self._make_lazy(module, self._load_name)

    def _find_light_hooks(self) -> None:
        """Make the two hooks that look at every call, and import nothing."""
        agent = importlib.import_module(f"{_PACKAGE}.custom_user_agent").CustomUserAgentHook
        deprecation = importlib.import_module(f"{_PACKAGE}.deprecation_warning")
        self.agent = agent()
        self.deprecation = deprecation.DeprecationWarningHook()
        self._deprecated: str = deprecation.HEADER_MODEL_DEPRECATION_TIMESTAMP
        self._light = {
            kind: (stage, members(kind)[stage])
            for kind, stage in (
                (agent, "before_request"),
                (deprecation.DeprecationWarningHook, "after_success"),
            )
        }
        self._is_as_written = watch_code(*(found for _, found in self._light.values()))

    def is_late(self, hooks: object) -> bool:
        """Return whether a client has not got its hooks yet."""
        return type(hooks) is self._late_class

    def load(self) -> None:
        """Import the hooks' modules, as the SDK's own import does."""
        with self._lock:
            if self.is_loaded:
                return
            names = vars(self.registration)
            changed = {name: names[name] for name in names if name not in self._names_at_first}
            self._loading_thread = get_ident()
            try:
                self._loader.exec_module(self.registration)
            finally:
                self._loading_thread = 0
            # The classes as they were when the SDK was imported, and what the program put there.
            names.update({kind.__name__: kind for kind in self._light}, **changed)
            self._register = names["init_hooks"]
            self._show_names(names)
            self.is_loaded = True

    def _show_names(self, names: dict[str, Any]) -> None:
        """Put the names where the SDK's own import puts them."""
        package = sys.modules[_PACKAGE]
        for name, value in names.items():
            if not name.startswith("_"):
                vars(package).setdefault(name, value)
        for holder in (package, sys.modules[f"{_PACKAGE}.sdkhooks"]):
            if vars(holder)["init_hooks"] == self._init_hooks:
                vars(holder)["init_hooks"] = self._register
        for module in self._lazy:
            module.__class__ = ModuleType

    def fill(self, hooks: Any) -> None:
        """Give a client its hooks."""
        with self._lock:
            if not isinstance(hooks, self._late_class) or _LISTS[0] in hooks.__dict__:
                return
            self.load()
            state = hooks.__dict__
            twin = self._sdk_class.__new__(self._sdk_class)
            for name in _LISTS:
                setattr(twin, name, [])
            self._register(twin)
            if state.pop("_is_settled", False):
                _settle(twin)
            state.update((name, getattr(twin, name)) for name in _LISTS)
            if self.is_late(hooks):  # and not of a class that a program derives
                hooks.__class__ = self._sdk_class  # last: another thread may be in a call

    def has_work(self, hooks: Any, context: Any) -> bool:
        """Return whether a hook would do something in a call, or cannot be known not to."""
        operation = context.operation_id
        config = context.config
        return (
            not self.is_late(hooks)
            or self._is_seen()
            or not isinstance(operation, str)
            or "workflow" in operation
            or "deployment" in operation
            or getattr(config, "_workflow_encoding_config_id", None) is not None
            or (getattr(config, "security", None) is None and bool(os.environ.get(_ACCOUNT)))
            or not (hooks._is_settled or _traces_nothing(config))  # noqa: SLF001
        )

    def _is_seen(self) -> bool:
        """Return whether the program has changed the SDK's class, or has a module of the hooks."""
        present = members(self._sdk_class)
        for stage, original in self._originals.items():
            if present[stage] is not original:
                return True
        # A signal handler or finalizer may call in the middle of the import.
        return self._loading_thread != get_ident() and not sys.modules.keys().isdisjoint(
            _LATE_MODULES
        )

    def can_run_here(self, function: Any, arguments: tuple[Any, ...]) -> bool:
        """Return whether a stage of a client's hooks waits for nothing: async calls ask."""
        stage = self._stages.get(getattr(function, "__func__", None))
        if stage is None or len(arguments) < len(("context", "request")):
            return False
        if self.has_work(function.__self__, arguments[0]) or not self._is_as_written():
            return False
        if any(members(kind)[stage] is not found for kind, (stage, found) in self._light.items()):
            return False
        return stage != "after_success" or self._deprecated not in arguments[1].headers

    def _init_hooks(self, hooks: Any) -> None:
        """Stand in for the SDK's function that registers a client's hooks."""
        if self.is_loaded or self._sdk_class is None or type(hooks) is not self._sdk_class:
            self.load()
            self._register(hooks)
            return
        for name in _LISTS:
            delattr(hooks, name)  # a client that needs no hooks needs no lists of them
        hooks.__class__ = self._late_class

    def _load_name(self, module: ModuleType, name: str) -> Any:
        # `import *` asks for `__all__`, which neither module has, and then takes all names.
        if name in _CLASSES or name in _MODULES or name == "__all__":
            self.load()
        return vars(module).get(name)

    def _make_lazy(self, module: ModuleType, get: Callable[[ModuleType, str], Any]) -> None:
        if type(module) is not ModuleType:
            return

        class LazyModule(ModuleType):
            """A module, some names of which come with the SDK's hooks."""

            def __getattr__(self, name: str) -> Any:
                found = get(self, name)
                if found is None:
                    msg = f"module {self.__name__!r} has no attribute {name!r}"
                    raise AttributeError(msg)
                return found

        module.__class__ = LazyModule
        self._lazy.append(module)


def _make_class(late: Late, sdk_class: Any) -> Any:
    """Return the class of a client's hooks until they are there."""

    class LateHooks(sdk_class):  # type: ignore[misc]
        _is_settled = False  # whether a first call has found that it is not to be traced

        def before_request(self, hook_ctx: Any, request: Any) -> Any:
            if late.has_work(self, hook_ctx):
                late.fill(self)
                return sdk_class.before_request(self, hook_ctx, request)
            request = late.agent.before_request(hook_ctx, request)
            self._is_settled = True
            # What the SDK's tracing notes in every request.
            request.extensions["_tracing_span"] = None
            request.extensions["_tracing_span_finished"] = False
            request.extensions.pop("_tracing_span_context", None)
            return request

        def after_success(self, hook_ctx: Any, response: Any) -> Any:
            if late.has_work(self, hook_ctx):
                late.fill(self)
                return sdk_class.after_success(self, hook_ctx, response)
            return late.deprecation.after_success(hook_ctx, response)

        def after_error(self, hook_ctx: Any, response: Any, error: Any) -> Any:
            if late.has_work(self, hook_ctx):
                late.fill(self)
                return sdk_class.after_error(self, hook_ctx, response, error)
            return response, error

        def __reduce_ex__(self, protocol: Any) -> Any:
            late.fill(self)
            return sdk_class.__reduce_ex__(self, protocol)

    for name in _LISTS:
        setattr(LateHooks, name, _late_list(late, name))
    # A program that prints it sees the SDK's name.
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(LateHooks, name, getattr(sdk_class, name))
    return LateHooks


def _late_list(late: Late, name: str) -> property:
    """Return a property for a list of hooks that gives a client its hooks first."""

    def get_list(hooks: Any) -> Any:
        late.fill(hooks)
        return hooks.__dict__[name]

    def set_list(hooks: Any, value: Any) -> None:
        late.fill(hooks)
        hooks.__dict__[name] = value

    def delete_list(hooks: Any) -> None:
        late.fill(hooks)
        del hooks.__dict__[name]

    return property(get_list, set_list, delete_list)


def _import_of_extra(_module: ModuleType, name: str) -> Any:
    # Not with all the hooks: that takes a lock, and this may run within another import.
    return importlib.import_module(f"mistralai.extra.{name}") if name in _IN_EXTRA else None


def _traces_nothing(config: Any) -> bool:
    """Return whether a client's first call finds that it is not to be traced, for good."""
    if isinstance(getattr(config, "telemetry", None), bool | str):
        return False
    setting = os.environ.get(_TELEMETRY)
    return not setting or setting.strip().lower() == "false"


def _settle(hooks: Any) -> None:
    """Let the tracing hook know what the client's first call has found."""
    for hook in hooks.before_request_hooks:
        if type(hook).__name__ == "TracingHook":
            hook._telemetry_auto_disabled = True  # noqa: SLF001
            hook.tracing_enabled = False
