"""Which certificates an HTTP client built now would load: files by identity, not by name.

An HTTP client reads its certificate authorities once, when it is built. Clients of this package
share connections, but only those that would have loaded the same files.
"""

import os
import sys
from collections.abc import Hashable
from functools import cache

from ._sdk import httpx

_File = tuple[str, int, int, int, int] | str


def read_certificate_state() -> Hashable:
    """Return a value that differs when a client built now would load other certificates.

    It takes some microseconds: a `stat()` for each file, and with `SSL_CERT_DIR` for each file
    in that folder.
    """
    if sys.platform == "emscripten":  # the JavaScript engine does TLS there
        return None
    environ = os.environ
    keylog = environ.get("SSLKEYLOGFILE")
    # The HTTP library reads the first of these that is set and no other.
    if bundle := environ.get("SSL_CERT_FILE"):
        return keylog, _stat(bundle)
    if folder := environ.get("SSL_CERT_DIR"):
        return keylog, *map(_stat, (folder, *_list_files(folder)))
    return keylog, *map(_stat, _default_paths())


def _list_files(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries)
    except OSError:
        return []


def _stat(path: str) -> _File:
    try:
        found = os.stat(path)  # noqa: PTH116 - quicker than Path, and once per client
    except OSError:
        return path
    return path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@cache
def _default_paths() -> tuple[str, ...]:
    """Return what the HTTP library loads without a variable: certifi's bundle, or the system's."""
    if httpx.__name__ == "httpx":
        import certifi

        return (certifi.where(),)
    import ssl

    paths = ssl.get_default_verify_paths()
    return paths.openssl_cafile, paths.openssl_capath
