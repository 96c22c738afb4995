"""`mistral-cf-adapter doctor`: every broken setup is called by its name, and no secret is shown."""

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import redirect_stdout
from io import StringIO

import pytest
import trustme

from mistral_cf_adapter import GatewaySettings
from mistral_cf_adapter.cli import main
from mistral_cf_adapter.cli.doctor import Report
from mistral_cf_adapter.cli.origins import masked, without_credentials
from mistral_cf_adapter.cli.report import as_text
from mistral_cf_adapter.testing import LocalGateway

WRONG = "wrong-secret-0123456789"
OWN = ("CF_", "CLOUDFLARE_", "MISTRAL_", "SSL_")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(scope="module")
def local():
    with LocalGateway(token="cf-token-0123456789", mistral_api_key="mistral-key-0123456789") as it:
        yield it


def checked(output):
    """Return the output, after looking for secrets in it."""
    for secret in ("cf-token-0123456789", "mistral-key-0123456789", WRONG, "hunter2"):
        assert secret not in output
    assert "Traceback" not in output
    assert "\x1b" not in output
    return output


def doctor(*arguments, **settings):
    """Run the command as a process of its own, and return its status and output."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(OWN) and name.lower() not in PROXIES
    }
    done = subprocess.run(
        [sys.executable, "-m", "mistral_cf_adapter", "doctor", *arguments],
        env={**inherited, **given(settings)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, checked(done.stdout + done.stderr)


def report(*arguments, **settings):
    """Run the command in this process, which is quicker, and return its JSON."""
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(StringIO()) as out:
        for name, value in given(settings).items():
            patched.setenv(name, value)
        status = main(["doctor", "--json", *arguments])
    return consistent(status, checked(out.getvalue()))


def given(settings):
    return {name: value for name, value in settings.items() if value is not None}


def consistent(status, output):
    found = json.loads(output)
    assert (status == 0) is found["ok"] is (found["problem"] is None)
    return found


def test_a_setup_that_works_is_well(local):
    status, output = doctor(**local.env())
    assert status == 0
    assert "All is well." in output
    assert local.url in output
    assert "cf-t...89  CF_AIG_TOKEN" in output


BROKEN = {
    "another gateway's name": (
        {"CF_AIG_BASE_URL": "{origin}/v1/acc/nowhere"},
        "gateway_not_found",
        "no gateway at",
    ),
    "no token": ({"CF_AIG_TOKEN": None}, "token_missing", "none is set"),
    "a token that is never read": (
        {"CF_AIG_TOKEN": None, "CLOUDFLARE_API_TOKEN": WRONG},
        "token_missing",
        "CLOUDFLARE_API_TOKEN is set, but not used",
    ),
    "a wrong token": ({"CF_AIG_TOKEN": WRONG}, "token_rejected", "AI Gateway Run"),
    "the key for a token": (
        {"CF_AIG_TOKEN": "mistral-key-0123456789"},
        "token_rejected",
        "same text as the Mistral key",
    ),
    "a key that Mistral rejects": (
        {"MISTRAL_API_KEY": WRONG},
        "key_rejected",
        "Mistral, not the gateway",
    ),
    "no key": ({"MISTRAL_API_KEY": None}, "no_key", "no Mistral key to send"),
    "no stored key": (
        {"MISTRAL_API_KEY": None, "CF_AIG_BYOK": "true"},
        "stored_key_missing",
        "no stored key",
    ),
    "an account that is not named": (
        {"CF_AIG_BASE_URL": None},
        "configuration",
        "CLOUDFLARE_ACCOUNT_ID is not set",
    ),
    "a doubled /v1": (
        {"CF_AIG_BASE_URL": "https://ai.example.com/llm/v1"},
        "configuration",
        "must not end in /v1, the SDK adds it",
    ),
    "an option out of range": ({"CF_AIG_CACHE_TTL": "5"}, "configuration", "CF_AIG_CACHE_TTL"),
    "a name that does not resolve": (
        {"CF_AIG_BASE_URL": "https://nowhere.invalid"},
        "dns",
        "nowhere.invalid cannot be resolved",
    ),
    "nothing that listens": (
        {"CF_AIG_BASE_URL": "http://127.0.0.1:9"},
        "refused",
        "Nothing listens at 127.0.0.1:9",
    ),
    "a proxy that is down": (
        {
            "CF_AIG_BASE_URL": "https://ai.example.com",
            "HTTPS_PROXY": "http://me:hunter2@127.0.0.1:9",
        },
        "proxy",
        "the proxy http://***@127.0.0.1:9",
    ),
    "http where https is spoken to": (
        {"CF_AIG_BASE_URL": "https://127.0.0.1:{port}/v1/acc/default"},
        "tls",
        "does not speak TLS",
    ),
}


@pytest.mark.parametrize("setup", BROKEN)
def test_a_broken_setup_is_explained_by_its_cause(local, setup):
    changes, code, words = BROKEN[setup]
    port = local.origin.rpartition(":")[2]
    filled = {
        name: value and value.format(origin=local.origin, port=port)
        for name, value in changes.items()
    }
    found = consistent(*doctor("--json", **{**local.env(), **filled}))
    assert found["problem"]["code"] == code
    assert words in f"{found['problem']['cause']} {found['problem']['next_step']}"
    assert found["problem"]["next_step"]


def test_an_unknown_alias_of_a_stored_key_is_named():
    with LocalGateway(stored_keys={"default": "k"}) as gateway:
        settings = {**gateway.env(), "MISTRAL_API_KEY": None, "CF_AIG_BYOK_ALIAS": "team"}
        problem = report(**settings)["problem"]
    assert problem["code"] == "stored_key_missing"
    assert "'team'" in problem["cause"]


def test_a_certificate_nobody_trusts_is_named(tmp_path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    with LocalGateway(tls=(str(certificate), str(key))) as gateway:
        problem = report(**gateway.env())["problem"]
    assert problem["code"] == "certificate"
    assert "SSL_CERT_FILE" in problem["next_step"]


def test_an_answer_that_never_comes_is_a_timeout():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = {"CF_AIG_BASE_URL": base, "CF_AIG_TOKEN": WRONG, "MISTRAL_API_KEY": WRONG}
        problem = report("--timeout", "0.2", **settings)["problem"]
    assert problem["code"] == "timeout"


def test_a_connection_that_is_dropped_is_no_riddle():
    with socket.create_server(("127.0.0.1", 0)) as rude:

        def hang_up():
            connection, _ = rude.accept()
            connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        base = f"http://127.0.0.1:{rude.getsockname()[1]}"
        settings = {"CF_AIG_BASE_URL": base, "CF_AIG_TOKEN": WRONG, "MISTRAL_API_KEY": WRONG}
        assert report(**settings)["problem"]["code"] == "connection"


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        ({"status": 403, "body": b"error code: 1010"}, "gateway_unavailable"),
        ({"status": 522, "body": b"<html>timed out</html>"}, "gateway_unavailable"),
        ({"status": 200, "body": b"<html>please log in</html>"}, "unexpected_answer"),
        ({"status": 404, "body": b"<html>nothing</html>"}, "path_not_found"),
        ({"code": 2003}, "gateway_rate_limited"),
        ({"code": 2005}, "gateway_provider"),
        ({"code": 2008}, "gateway_invalid_provider"),
        ({"code": 2009, "status": 400}, "token_rejected"),
        ({"code": 4711, "status": 400}, "gateway_error"),
    ],
)
def test_every_kind_of_answer_has_a_code(local, failure, code):
    local.fail(**failure)
    problem = report(**local.env())["problem"]
    assert problem["code"] == code
    assert problem["cause"]
    assert problem["next_step"]


def test_mistrals_own_trouble_is_not_blamed_on_the_gateway(local):
    local.upstream_fail(503)
    problem = report(**local.env())["problem"]
    assert problem["code"] == "provider_busy"
    assert "gateway works" in problem["cause"]


def test_a_secret_quoted_by_the_gateway_is_masked(local):
    local.fail(code=4711, status=400, message=f"bad token {local.token}")
    assert "cf-t...89" in report(**local.env())["problem"]["cause"]


def test_offline_makes_no_call(local):
    before = len(local.requests)
    found = report("--offline", **local.env())
    assert found["ok"]
    assert found["call"] is None
    assert len(local.requests) == before


def test_offline_still_sees_that_there_is_no_key(local):
    assert report("--offline", **{**local.env(), "MISTRAL_API_KEY": None})["problem"]["code"] == (
        "no_key"
    )


def test_each_setting_tells_where_it_came_from(tmp_path):
    file = tmp_path / ".env"
    file.write_text("CF_AIG_CACHE_KEY=from-file\nCLOUDFLARE_GATEWAY_ID=shadowed\n")
    found = report(
        *("--offline", "--max-attempts", "3", "--no-skip-cache"),
        CF_AIG_ENV_FILE=str(file),
        CLOUDFLARE_ACCOUNT_ID="first",
        CF_ACCOUNT_ID="second",
        CLOUDFLARE_AI_GATEWAY_ID="gw",
        CF_AIG_TOKEN="short",
        MISTRAL_API_KEY="mistral-key-0123456789",
        CF_AIG_MAX_ATTEMPTS="2",
    )["settings"]
    assert set(found) == set(GatewaySettings.model_fields)
    assert found["account_id"] == {
        "value": "first",
        "source": "environment",
        "variable": "CLOUDFLARE_ACCOUNT_ID",
        "shadowed": ["CF_ACCOUNT_ID"],
    }
    assert found["max_attempts"] == {
        "value": 3,
        "source": "flag",
        "variable": None,
        "shadowed": ["CF_AIG_MAX_ATTEMPTS"],
    }
    assert found["skip_cache"]["value"] is False
    assert found["cache_key"]["source"] == "file"
    assert found["cache_key"]["value"] == "from-file"
    assert found["provider"] == {
        "value": "mistral",
        "source": "default",
        "variable": None,
        "shadowed": [],
    }
    assert found["token"]["value"] == "***"
    assert found["mistral_api_key"]["value"] == "mist...89"


def test_the_value_shown_is_the_value_used(tmp_path):
    """Across environment and file, the names win in the order the settings use."""
    file = tmp_path / ".env"
    file.write_text("CLOUDFLARE_GATEWAY_ID=of-the-file\n")
    gateway_id = report(
        "--offline",
        CF_AIG_ENV_FILE=str(file),
        CF_AIG_GATEWAY_ID="of-the-environment",
        CLOUDFLARE_ACCOUNT_ID="acc",
        MISTRAL_API_KEY=WRONG,
    )["settings"]["gateway_id"]
    won = {"of-the-file": "file", "of-the-environment": "environment"}
    assert gateway_id["source"] == won[gateway_id["value"]]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"CLOUDFLARE_API_TOKEN": WRONG}, "CLOUDFLARE_API_TOKEN is set and never read"),
        ({"CLOUDFLARE_AI_GATEWAY_API_KEY": WRONG}, "CLOUDFLARE_AI_GATEWAY_API_KEY is set and"),
        ({"CF_AIG_CACHETTL": "60"}, "did you mean CF_AIG_CACHE_TTL?"),
        ({"CF_AIG_ENV_FILE": "/nowhere/.env"}, "a file that does not exist"),
        ({"CLOUDFLARE_AI_GATEWAY_TOKEN": WRONG}, "CF_AIG_TOKEN is used"),
        ({"CF_AIG_BYOK": "true"}, "is not sent"),
        ({"CF_AIG_TOKEN": None}, "No token is set"),
    ],
)
def test_what_is_worth_a_word_is_a_note(local, settings, words):
    assert words in " ".join(report("--offline", **{**local.env(), **settings})["notes"])


def test_a_secret_given_as_a_flag_is_masked(local):
    settings = {**local.env(), "CF_AIG_TOKEN": None}
    _, output = doctor("--token", local.token, **settings)
    assert "cf-t...89  flag" in output


def test_the_report_tells_what_patch_would_redirect(local):
    providers = '{"api.eu.mistral.ai": "custom-eu"}'
    found = report("--offline", "--providers", providers, **local.env())["patch"]
    assert found["https://api.mistral.ai"] == f"{local.url}/mistral"
    assert found["https://api.eu.mistral.ai"] == f"{local.url}/custom-eu"


def test_a_terminal_gets_colour_and_columns_unless_it_wants_none(monkeypatch):
    values = {"source": "default", "variable": None, "shadowed": []}
    settings = {"a": {"value": 1, **values}, "longer": {"value": None, **values}}
    found = Report(ok=True, settings=settings)
    assert "\x1b[2m  a       1  default\x1b[0m" in as_text(found, terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\n  a       1  default\n" in as_text(found, terminal=True)
    assert "\n  a  1  default\n" in as_text(found, terminal=False)


@pytest.mark.parametrize("secret", ["", "short", "fifteen-letters"])
def test_a_short_secret_is_not_shown_in_part(secret):
    assert masked(secret) == "***"


def test_credentials_in_a_url_are_not_shown():
    assert without_credentials("https://me:pw@host:1/p?k=v#f") == "https://***@host:1/p?***"
