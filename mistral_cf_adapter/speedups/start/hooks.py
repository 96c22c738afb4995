"""The SDK's hooks are imported when one of them has something to do.

They import the SDK's workflows and telemetry, and OpenTelemetry with it: a quarter of the SDK's
import. For a chat without any of these they do nothing. Until then a `StandIn` takes the place of
each, in the same order, and tells from the call and the environment that the hook would do nothing.
Where it would, or where a program looks at a hook or imports its module, the real ones come in.
"""

import builtins
import copy
import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple, cast
from weakref import WeakSet

from ..._locks import fork_safe_lock
from ..patches import ChangedError, members
from .digests import HOOKS, RUNNER

TRACER_VARIABLE = "OTEL_PYTHON_TRACER_PROVIDER"
"""With it, the SDK's tracing hook loads a tracer when it is built."""

_EXTRAS = frozenset({"observability", "workflows", "exceptions"})
"""What the hooks import below `mistralai.extra`."""


def _has_no_account(_hook: "StandIn", _context: Any) -> bool:
    return not os.environ.get("MISTRAL_SA_TOKEN_PATH")


def _is_no_workflow(_hook: "StandIn", context: Any) -> bool:
    operation: str = context.operation_id
    return "workflow" not in operation and "deployment" not in operation


def _encodes_nothing(_hook: "StandIn", context: Any) -> bool:
    return getattr(context.config, "_workflow_encoding_config_id", None) is None


def _traces_nothing(hook: "StandIn", context: Any) -> bool:
    """Return whether the client is not to be traced, which its first call settles for good."""
    if hook.is_settled:
        return True
    if isinstance(getattr(context.config, "telemetry", None), bool | str):
        return False
    return os.environ.get("MISTRAL_SDK_TELEMETRY", "").strip().lower() in ("", "false")


class Kind(NamedTuple):
    """A hook of the SDK's, and when it has nothing to do."""

    name: str
    is_idle: Callable[["StandIn", Any], bool]


KINDS = {
    "service_account_auth": Kind("ServiceAccountAuthHook", _has_no_account),
    "traceparent": Kind("TraceparentInjectionHook", _is_no_workflow),
    "tracing": Kind("TracingHook", _traces_nothing),
    "workflow_encoding_hook": Kind("WorkflowEncodingHook", _encodes_nothing),
    "stream_error_hook": Kind("WorkflowStreamErrorHook", _is_no_workflow),
}
"""By the module of the hook. `digests.HOOKS` has the files in which all this was read."""

_LISTS = "before_request_hooks", "after_success_hooks", "after_error_hooks"


class StandIn:
    """Takes the place of a hook that has nothing to do, and becomes it where it has."""

    _real: Any = None
    is_settled = False
    """Whether a first call has found that the client is not to be traced."""

    module: str
    _kind: Kind

    def __init__(self, module: str) -> None:
        self.__dict__.update(module=module, _kind=KINDS[module.rpartition(".")[2]])

    def is_idle(self, context: Any) -> bool:
        """Return whether the hook would do nothing in a call."""
        return self._real is None and self._kind.is_idle(self, context)

    def before_request(self, hook_ctx: Any, request: Any) -> Any:
        """Return the request as it is, or what the hook makes of it."""
        if not self.is_idle(hook_ctx):
            return self.become().before_request(hook_ctx, request)
        if self._kind.name == "TracingHook":
            self.__dict__["is_settled"] = True
            request.extensions["_tracing_span"] = None
            request.extensions["_tracing_span_finished"] = False
            request.extensions.pop("_tracing_span_context", None)
        return request

    def after_success(self, hook_ctx: Any, response: Any) -> Any:
        """Return the response as it is, or what the hook makes of it."""
        if self.is_idle(hook_ctx):
            return response
        return self.become().after_success(hook_ctx, response)

    def after_error(self, hook_ctx: Any, response: Any, error: Any) -> Any:
        """Return the response and the error as they are, or what the hook makes of them."""
        if self.is_idle(hook_ctx):
            return response, error
        return self.become().after_error(hook_ctx, response, error)

    def become(self) -> Any:
        """Return the real hook, imported now if need be."""
        if self._real is None:
            hook = getattr(importlib.import_module(self.module), self._kind.name)
            with _lock:
                if self._real is None:
                    self.__dict__["_real"] = self._build(hook)
        return self._real

    def _build(self, hook: Any) -> Any:
        real = hook()
        if self.is_settled:
            real._telemetry_auto_disabled = True  # noqa: SLF001
            real.tracing_enabled = False
        return real

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return cast("Any", type(self.become()))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.become(), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.become(), name, value)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if self._real is not None:
            return copy.deepcopy(self._real, memo)
        twin = memo[id(self)] = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.become().__reduce_ex__(protocol)


_lock = fork_safe_lock()


class DeferredHooks:
    """Has the SDK's clients built with stand-ins, until `finish()`."""

    def __init__(self, registration: ModuleType, execute: Callable[[], None]) -> None:
        """Take the place of the module's body, which `execute()` would run."""
        self._registration = registration
        self._execute = execute
        self._package = str(registration.__package__)
        self._clients: WeakSet[Any] = WeakSet()
        self.kinds = self._find_known()
        code = self._load_code()
        self._init_hooks = self._define(code)
        vars(registration)["init_hooks"] = self._wrap()
        self._lazy = [registration, sys.modules[self._package]]
        for module in self._lazy:
            module.__class__ = _make_lazy(self, None)
        root = sys.modules[self._package.partition(".")[0]]
        self.watch_extras(root, frozenset({"extra"}))

    def watch_extras(self, module: ModuleType, names: frozenset[str] = _EXTRAS) -> None:
        """Have a package import what is asked of it, as the hooks' own imports would have."""
        if type(module) is ModuleType:
            module.__class__ = _make_lazy(self, names)
            self._lazy.append(module)

    def _find_known(self) -> dict[str, Kind]:
        folder = os.path.dirname(os.path.dirname(str(self._registration.__file__)))  # noqa: PTH120
        _check_files(folder, RUNNER)
        known: dict[str, Kind] = {}
        for module, kind in KINDS.items():
            try:
                _check_files(folder, HOOKS[module])
            except (ChangedError, OSError):
                continue
            known[module] = kind
        if TRACER_VARIABLE in os.environ or "opentelemetry.trace" in sys.modules:
            known.pop("tracing", None)
        if not known:
            msg = "the SDK's hooks are new"
            raise ChangedError(msg)
        return known

    def _load_code(self) -> CodeType:
        spec: Any = self._registration.__spec__
        code: CodeType = spec.loader.get_code(self._registration.__name__)
        return code

    def _define(self, code: CodeType) -> Callable[[Any], None]:
        """Return the SDK's own function that registers hooks, with stand-ins for its names."""
        names: dict[str, Any] = {
            "__name__": self._registration.__name__,
            "__package__": self._package,
            "__builtins__": {**vars(builtins), "__import__": self._import},
        }
        exec(code, names)  # noqa: S102 - the module's own code
        init_hooks: FunctionType = names["init_hooks"]
        return init_hooks

    def _import(
        self, name: str, names: Any = None, local: Any = None, wanted: Any = (), level: int = 0
    ) -> Any:
        kind = self.kinds.get(name) if level == 1 else None
        if kind is None:
            return __import__(name, names, local, wanted, level)
        module = f"{self._package}.{name}"
        return SimpleNamespace(**{kind.name: lambda: StandIn(module)})

    def _wrap(self) -> Callable[[Any], None]:
        def init_hooks(hooks: Any) -> None:
            self._init_hooks(hooks)
            self._clients.add(hooks)

        return init_hooks

    def swap(self, module: str) -> None:
        """Put the hooks of a module in the place of their stand-ins."""
        for hooks in list(self._clients):
            for name in _LISTS:
                each: list[Any] = getattr(hooks, name)
                each[:] = [_unwrap(hook, module) for hook in each]

    def finish(self) -> None:
        """Import the hooks' modules, and put every hook in its place."""
        for name in self.kinds:
            importlib.import_module(f"{self._package}.{name}")
        for module in self._lazy:
            module.__class__ = ModuleType
        self._execute()
        package = sys.modules[self._package]
        for name, value in members(self._registration).items():
            if not name.startswith("_"):
                members(package).setdefault(name, value)  # type: ignore[attr-defined]
        real = members(self._registration)["init_hooks"]
        self._init_hooks = real
        for holder in (package, sys.modules.get(f"{self._package}.sdkhooks")):
            if holder is not None:
                vars(holder)["init_hooks"] = real


def _unwrap(hook: Any, module: str) -> Any:
    return hook.become() if type(hook) is StandIn and hook.module == module else hook


def _check_files(folder: str, files: Mapping[str, frozenset[str]]) -> None:
    for name, known in files.items():
        with open(os.path.join(folder, name), "rb") as file:  # noqa: PTH118, PTH123
            digest = hashlib.sha256(file.read()).hexdigest()[:16]
        if digest not in known:
            msg = f"{name} is new (digest {digest})"
            raise ChangedError(msg)


def _make_lazy(hooks: DeferredHooks, names: frozenset[str] | None) -> type[ModuleType]:
    """Return a class of modules that import the hooks when such a name is missing."""

    class Lazy(ModuleType):
        """A module, some names of which come with the SDK's hooks."""

        def __getattr__(self, name: str) -> Any:
            if not name.startswith("__") and (names is None or name in names):
                hooks.finish()
                if name in vars(self):
                    return vars(self)[name]
            msg = f"module {self.__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)

    return Lazy
