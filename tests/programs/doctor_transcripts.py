"""What `doctor` says in broken setups: python tests/programs/doctor_transcripts.py

Runs the real command in each of them, as a process of its own against a `LocalGateway`, and
prints what it prints, then its exit status. Secrets are masked by the doctor itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trustme

from mistral_cf_adapter.testing import LocalGateway

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN, KEY = "cf-token-0123456789", "mistral-key-0123456789"
WRONG = "wrong-secret-0123456789"
PASSWORD = "hunter2"
SECRETS = (TOKEN, KEY, WRONG, PASSWORD)
OWN = ("CF_", "CLOUDFLARE_", "MISTRAL_", "SSL_")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@dataclass(frozen=True)
class Setup:
    """One way to be wrong, with what the doctor must say of it."""

    name: str
    changes: dict[str, str | None]
    """Variables beside those that would work; None unsets one, {origin} is the gateway's."""
    code: str
    cause: tuple[str, ...]
    """What must stand in its cause ..."""
    next_step: tuple[str, ...]
    """... and in its next step."""
    refusal: int | None = None
    """A code that the gateway refuses the call with."""
    tls: bool = False


SETUPS = (
    Setup(
        "The gateway does not exist",
        {"CF_AIG_BASE_URL": "{origin}/v1/acc/nowhere"},
        "gateway_not_found",
        ("There is no gateway", "/v1/acc/nowhere"),
        ("CF_AIG_BASE_URL", "create the gateway"),
    ),
    Setup(
        "The token is missing",
        {"CF_AIG_TOKEN": None},
        "token_missing",
        ("asks for a token, and none is set",),
        ("AI Gateway Run", "set CF_AIG_TOKEN"),
    ),
    Setup(
        "The token is wrong",
        {"CF_AIG_TOKEN": WRONG},
        "token_rejected",
        ("The gateway rejected the token", "wrong or expired"),
        ("Create a new token", "set CF_AIG_TOKEN"),
    ),
    Setup(
        "The token lacks the permission",
        {},
        "token_rejected",
        ("The gateway rejected the token", "lacks the permission `AI Gateway Run`"),
        ("Create a new token", "set CF_AIG_TOKEN"),
        refusal=2009,
    ),
    Setup(
        "The key is rejected by Mistral, not by the gateway",
        {"MISTRAL_API_KEY": WRONG},
        "key_rejected",
        ("Mistral, not the gateway, rejected the key",),
        ("MISTRAL_API_KEY",),
    ),
    Setup(
        "The stored key is missing",
        {"CF_AIG_BYOK": "true", "MISTRAL_API_KEY": None},
        "stored_key_missing",
        ("no stored key",),
        ("Provider Keys",),
    ),
    Setup(
        "/v1 is doubled",
        {"CF_AIG_BASE_URL": "https://ai.example.com/llm/v1"},
        "configuration",
        ("CF_AIG_BASE_URL", "must not end in /v1"),
        ("Set CF_AIG_BASE_URL=https://ai.example.com/llm",),
    ),
    Setup(
        "The name does not resolve",
        {"CF_AIG_BASE_URL": "https://gateway.invalid"},
        "dns",
        ("gateway.invalid cannot be resolved",),
        ("spelling", "CF_AIG_BASE_URL"),
    ),
    Setup(
        "The certificate is not trusted",
        {},
        "certificate",
        ("The certificate of 127.0.0.1", "is not trusted"),
        ("SSL_CERT_FILE",),
        tls=True,
    ),
    Setup(
        "The proxy is down",
        {
            "CF_AIG_BASE_URL": "https://ai.example.com",
            "HTTPS_PROXY": f"http://me:{PASSWORD}@127.0.0.1:9",
        },
        "proxy",
        ("goes through a proxy", "http://***@127.0.0.1:9", "refused"),
        ("HTTPS_PROXY", "NO_PROXY"),
    ),
    Setup(
        "CLOUDFLARE_API_TOKEN is set, but not used",
        {"CF_AIG_TOKEN": None, "CLOUDFLARE_API_TOKEN": WRONG},
        "token_missing",
        ("none is set", "CLOUDFLARE_API_TOKEN is set, but not used"),
        ("set CF_AIG_TOKEN",),
    ),
)


@contextmanager
def gateway_of(setup: Setup) -> Iterator[LocalGateway]:
    with tempfile.TemporaryDirectory() as folder:
        tls = certificate_in(Path(folder)) if setup.tls else None
        with LocalGateway(token=TOKEN, mistral_api_key=KEY, tls=tls) as gateway:
            if setup.refusal is not None:
                gateway.fail(setup.refusal)
            yield gateway


def certificate_in(folder: Path) -> tuple[str, str]:
    """Write a certificate that nobody trusts, and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    return str(certificate), str(key)


def transcript(setup: Setup) -> tuple[int, str]:
    """Run the doctor in a setup; return its exit status and what it printed."""
    with gateway_of(setup) as gateway:
        changes = {
            name: None if text is None else text.format(origin=gateway.origin)
            for name, text in setup.changes.items()
        }
        return doctor(**{**gateway.env(), **changes})


def doctor(*arguments: str, **settings: str | None) -> tuple[int, str]:
    """Run the command with these variables, and none of the developer's own."""
    inherited = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(OWN) and name.lower() not in PROXIES
    }
    done = subprocess.run(
        [sys.executable, "-m", "mistral_cf_adapter", "doctor", *arguments],
        env={**inherited, **{name: text for name, text in settings.items() if text is not None}},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def main() -> None:
    for number, setup in enumerate(SETUPS, 1):
        status, output = transcript(setup)
        given = "".join(f"{name}={text or ''} " for name, text in setup.changes.items())
        for secret in SECRETS:
            given = given.replace(secret, "***")
        print(f"=== {number}. {setup.name}\n$ {given}mistral-cf-adapter doctor\n")
        print(f"{output}\n[exit status {status}]\n", flush=True)


if __name__ == "__main__":
    main()
