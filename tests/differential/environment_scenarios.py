"""What the environment holds: proxies, certificates, keys."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from fault_scripts import DONE, EVENTS, JSON, completion
from scenario import PLAIN, STREAMED, Scenario, whole
from stream_scenarios import stream

if TYPE_CHECKING:
    from collections.abc import Iterator

GOOD = (whole(200, completion(), JSON),)
EVENTS_OF_A_STREAM = (stream(*EVENTS, DONE),)
ENVIRONMENTS = {
    "a proxy for http": {"HTTP_PROXY": "{proxy}"},
    "a proxy for http, lower case": {"http_proxy": "{proxy}"},
    "a proxy for https": {"HTTPS_PROXY": "{proxy}"},
    "a proxy for all": {"ALL_PROXY": "{proxy}"},
    "a proxy that is down": {"ALL_PROXY": "{refused}"},
    "a proxy and an exception": {"ALL_PROXY": "{refused}", "NO_PROXY": "127.0.0.1"},
    "a proxy and all excepted": {"ALL_PROXY": "{refused}", "NO_PROXY": "*"},
    "a proxy and another excepted": {"ALL_PROXY": "{refused}", "NO_PROXY": "example.org"},
    "a proxy with a key": {"ALL_PROXY": "http://user:word@127.0.0.1:1"},
    "a proxy of no kind": {"ALL_PROXY": "ftp://127.0.0.1:1"},
    "a proxy that is no URL": {"ALL_PROXY": "nonsense"},
    "an empty proxy": {"ALL_PROXY": "", "HTTP_PROXY": ""},
    "an exception alone": {"NO_PROXY": "127.0.0.1"},
    "no certificates": {"SSL_CERT_FILE": "/nonexistent.pem"},
    "empty certificates": {"SSL_CERT_FILE": ""},
    "a folder of certificates": {"SSL_CERT_DIR": "/nonexistent"},
    "a log of TLS keys": {"SSLKEYLOGFILE": ""},
    "another key": {"MISTRAL_API_KEY": "of-the-environment"},
    "another key that is no key": {"MISTRAL_API_KEY": "of the environment"},
    "a debug flag": {"MISTRAL_DEBUG": "true"},
    "a locale": {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    "netrc": {"NETRC": "/nonexistent"},
}


def scenarios() -> Iterator[Scenario]:
    for (name, environment), origin in itertools.product(
        ENVIRONMENTS.items(), ("{same}", "{tls}", "{refused}")
    ):
        where = {"{same}": "over http", "{tls}": "over TLS", "{refused}": "refused"}[origin]
        yield Scenario(f"{name}, {where}", GOOD, PLAIN, environment=environment, origin=origin)
        if origin != "{refused}":
            yield Scenario(
                f"{name}, a stream {where}",
                EVENTS_OF_A_STREAM,
                STREAMED,
                environment=environment,
                origin=origin,
            )
    for key in ("of-the-environment", "", " spaces "):
        yield Scenario(
            f"key {key!r} of the environment alone",
            GOOD,
            environment={"MISTRAL_API_KEY": key},
            sdk={"api_key": None},
        )
    for name, http in {"nothing": {}, "trust_env off": {"trust_env": False}}.items():
        for place in ("a proxy for all", "a proxy that is down", "a proxy and an exception"):
            yield Scenario(
                f"own client with {name}, {place}",
                GOOD,
                environment=ENVIRONMENTS[place],
                http=http,
            )
