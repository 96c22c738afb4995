"""Secrets that are asked for at each request: the user's callables, and files that may change."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn, Protocol, Self, TypeAlias

from pydantic import SecretStr

from ._options import GatewayConfigError
from ._secret_files import SecretFiles
from ._secrets import Secret, check_secret

SecretFunction: TypeAlias = Callable[[], str | Awaitable[str]]


class SecretSource(Protocol):
    """What returns a secret as it is now."""

    @property
    def files(self) -> SecretFiles | None:
        """The files that it comes from, which are looked at first."""
        ...

    @property
    def last(self) -> Secret | None:
        """The value of now if it is there without asking, for texts that are to be masked."""
        ...

    def ask(self, setting: str) -> Secret:
        """Return the secret of now, for a synchronous call."""
        ...

    async def ask_async(self, setting: str) -> Secret:
        """Return the secret of now, for an asynchronous call."""
        ...


class CallableSecret:
    """A user's callable that returns a secret.

    The callable is in a closure, as the text of a `Secret` is: it may be a bound method or a
    `functools.partial()` with a secret in it.
    """

    last = None
    files = None

    def __init__(self, function: SecretFunction) -> None:
        self._get: Callable[[], SecretFunction] = lambda: function

    def __call__(self) -> str | Awaitable[str]:
        return self._get()()

    def ask(self, setting: str) -> Secret:
        """Ask the callable, for a synchronous call.

        Raises:
            GatewayConfigError: it is a coroutine function, or what it returned is no secret.
            Exception: whatever the callable raises, with a note that names the setting.
        """
        if _is_coroutine_function(self._get()):
            raise _build_async_error(setting)
        try:
            value = _hide(self())
        except Exception as error:
            _add_note(error, setting)
            raise
        if inspect.isawaitable(value):
            _close(value)
            raise _build_async_error(setting)
        return _check(value, setting)

    async def ask_async(self, setting: str) -> Secret:
        """Ask the callable, for an asynchronous call; raise as `ask()` does."""
        try:
            value = _hide(self())
            if inspect.isawaitable(value):
                value = _hide(await value)
        except Exception as error:
            _add_note(error, setting)
            raise
        return _check(value, setting)

    def __repr__(self) -> str:
        return "<a callable>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CallableSecret) and self._get() == other._get()

    def __hash__(self) -> int:
        return hash(self._get())

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        msg = "The callable of a secret does not pickle: build the settings in the worker"
        raise TypeError(msg)


def ask_all(sources: Mapping[str, SecretSource]) -> dict[str, Secret]:
    """Return the secrets of now by setting, for a synchronous call."""
    _refresh(sources)
    return {setting: source.ask(setting) for setting, source in sources.items()}


async def ask_all_async(sources: Mapping[str, SecretSource]) -> dict[str, Secret]:
    """Return the secrets of now by setting, for an asynchronous call."""
    _refresh(sources)
    return {setting: await source.ask_async(setting) for setting, source in sources.items()}


def _refresh(sources: Mapping[str, SecretSource]) -> None:
    """Look at the files, once for all secrets in them."""
    for files in {source.files for source in sources.values()}:
        if files is not None:
            files.refresh()


def _is_coroutine_function(function: Any) -> bool:
    # An object with `async def __call__()` is one too.
    return any(map(inspect.iscoroutinefunction, (function, getattr(function, "__call__", None))))  # noqa: B004


def _build_async_error(setting: str) -> GatewayConfigError:
    return GatewayConfigError(
        f"{setting} is an asynchronous callable, which neither a synchronous call can await nor "
        "the SDK itself, as with the switch off: give a plain function, or call an *_async method "
        "of a client that goes through the gateway"
    )


def _close(awaitable: Any) -> None:
    """Close a coroutine that is not awaited, which would be a warning else."""
    if inspect.iscoroutine(awaitable):
        awaitable.close()


def _add_note(error: Exception, setting: str) -> None:
    note = f"raised by the callable that is the setting {setting}; no request was sent with it"
    if note not in getattr(error, "__notes__", ()):  # a callable may raise one again
        error.add_note(note)


def _hide(value: object) -> object:
    """Return what a callable returned as a traceback may show it, and an awaitable as it is."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str):
        return Secret(value)
    return value if inspect.isawaitable(value) else type(value)


def _check(value: object, setting: str) -> Secret:
    if isinstance(value, Secret):
        secret, problem = check_secret(value)
        if secret is not None:
            return secret
    else:
        returned = value if isinstance(value, type) else type(value)
        problem = f"is no text but {returned.__name__}"
    msg = f"{setting}: what its callable returned {problem}"
    raise GatewayConfigError(msg)
