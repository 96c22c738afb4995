"""Which certificates an HTTP client built now would load: files by identity, not by name.

An HTTP client reads its certificate authorities once, when it is built. Clients of this package
share connections, but only those that would have loaded the same files.
"""

import os
import sys
from collections.abc import Hashable
from contextlib import suppress
from importlib import import_module

# Bound here: tools that look for blocking calls in an event loop replace `os.stat`, and would end
# a program that builds a client there, where the SDK alone reads whole certificate files unseen.
from os import scandir, stat

from ._sdk import httpx

_File = tuple[str | int, ...]


def read_certificate_state() -> Hashable:
    """Return a value that differs when a client built now would load other certificates.

    It takes some microseconds: a `stat()` for each file, and with `SSL_CERT_DIR` for each file
    in that folder.
    """
    if sys.platform == "emscripten":  # the JavaScript engine does TLS there
        return None
    import ssl

    # The class is another one once a program has had `truststore` take its place.
    common = ssl.SSLContext, _read_key_log_state()
    # The HTTP library reads the first of these that is set and no other.
    if bundle := os.environ.get("SSL_CERT_FILE"):
        return common, _stat(bundle)
    if folders := os.environ.get("SSL_CERT_DIR"):
        files = (file for folder in folders.split(os.pathsep) for file in _list_files(folder))
        return common, *map(_stat, (folders, *files))
    return common, *map(_stat, _DEFAULT_PATHS)


def _read_key_log_state() -> Hashable:
    """Return which file TLS keys would be written to: it stays open under whatever name."""
    path = os.environ.get("SSLKEYLOGFILE")
    return path and _stat(path)[:3]  # without size and time, which change as keys are written


def _list_files(folder: str) -> list[str]:
    try:
        with scandir(folder) as entries:
            return [folder, *sorted(entry.path for entry in entries)]
    except OSError:
        return []


def _stat(path: str) -> _File:
    try:
        found = stat(path)  # noqa: PTH116 - quicker than Path, and once per client
    except OSError:
        return (path,)
    return path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _find_default_paths() -> tuple[str, ...]:
    """Return what the HTTP library loads without a variable: certifi's bundle, or the system's."""
    if sys.platform == "emscripten":
        return ()
    if httpx.__name__ == "httpx":
        import certifi

        return (certifi.where(),)
    import ssl

    paths = ssl.get_default_verify_paths()
    return paths.openssl_cafile, paths.openssl_capath


def _import_transport() -> None:
    """Import what the HTTP library imports when its first client is built."""
    if sys.platform != "emscripten":
        with suppress(ImportError):
            import_module(httpx.__name__.replace("httpx", "httpcore"))


# Now, and not by the first client: a process that is forked while a thread of it imports a module
# waits for that module for ever. And the garbage collector pauses now.
_DEFAULT_PATHS = _find_default_paths()
_import_transport()
