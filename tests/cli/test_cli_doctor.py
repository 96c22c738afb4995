"""`mistral-cf-adapter doctor`: every broken setup is called by its name, and no secret is shown."""

import json
import socket
import ssl
import threading
from contextlib import redirect_stdout
from io import StringIO

import doctor_transcripts
import pytest
import trustme
from doctor_transcripts import SECRETS, SETUPS, WRONG, certificate_in

from mistral_cf_adapter import GatewaySettings
from mistral_cf_adapter._diagnosis._failed_call import explain_error
from mistral_cf_adapter._secrets import mask_url
from mistral_cf_adapter.cli import main
from mistral_cf_adapter.testing import Access, LocalGateway


@pytest.fixture(scope="module")
def local():
    with LocalGateway(token="cf-token-0123456789", mistral_api_key="mistral-key-0123456789") as it:
        yield it


def checked(output):
    """Return the output, after looking for secrets in it."""
    for secret in SECRETS:
        assert secret not in output
    assert "Traceback" not in output
    assert "\x1b" not in output
    return output


def doctor(*arguments, **settings):
    """Run the command as a process of its own, and return its status and output."""
    status, output = doctor_transcripts.doctor(*arguments, **settings)
    return status, checked(output)


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


@pytest.mark.every_sdk
def test_a_setup_that_works_is_well(local):
    status, output = doctor(**local.env())
    assert status == 0
    assert output.startswith(f"Ready: calls go through {local.url}/mistral.\n")
    assert "cf-t...89  CF_AIG_TOKEN" in output


@pytest.mark.parametrize("setup", SETUPS, ids=lambda setup: setup.name)
def test_a_transcript_names_the_cause_and_the_next_step(setup):
    status, output = doctor_transcripts.transcript(setup)
    checked(output)
    title, _, cause, next_step = output.splitlines()[:4]
    assert (status, title) == (1, "1 problem:")
    assert cause.startswith("1. ")
    assert cause.endswith(f" ({setup.code})")
    assert [words for words in setup.cause if words not in cause] == []
    assert next_step.startswith("   Next: ")
    assert [words for words in setup.next_step if words not in next_step] == []


BROKEN = {
    "the key for a token": (
        {"CF_AIG_TOKEN": "mistral-key-0123456789"},
        "token_rejected",
        "same text as the Mistral key",
    ),
    "no key": ({"MISTRAL_API_KEY": None}, "no_key", "no Mistral key to send"),
    "an account that is not named": (
        {"CF_AIG_BASE_URL": None},
        "configuration",
        "CLOUDFLARE_ACCOUNT_ID is not set",
    ),
    "an option out of range": ({"CF_AIG_CACHE_TTL": "5"}, "configuration", "CF_AIG_CACHE_TTL"),
    "nothing that listens": (
        {"CF_AIG_BASE_URL": "http://127.0.0.1:9"},
        "refused",
        "Nothing listens at 127.0.0.1:9",
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


def not_verified(code, message):
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, message
    return error


AT_HOME = GatewaySettings(account_id="acc", mistral_api_key=WRONG)
TYPED = GatewaySettings(base_url="https://ai.example.com", mistral_api_key=WRONG)


@pytest.mark.parametrize(
    ("error", "settings", "code", "words"),
    [
        (not_verified(10, "certificate has expired"), TYPED, "certificate", "clock"),
        (not_verified(62, "Hostname mismatch"), TYPED, "certificate", "for another name"),
        (not_verified(20, "unable to get local issuer"), TYPED, "certificate", "Set SSL_CERT_FILE"),
        (socket.gaierror(-2, "unknown"), TYPED, "dns", "Check the spelling in CF_AIG_BASE_URL"),
        (socket.gaierror(-2, "unknown"), AT_HOME, "dns", "Check this machine's network, DNS"),
        (ConnectionRefusedError(111, "no"), AT_HOME, "refused", "Check this machine's network"),
    ],
)
def test_the_next_step_is_about_what_can_be_the_cause(error, settings, code, words):
    problem = explain_error(error, settings)
    assert problem.name == code
    assert words in problem.advice


@pytest.mark.parametrize("exists", [True, False])
def test_the_variable_that_makes_a_certificate_untrusted_is_named(tmp_path, exists):
    bundle = tmp_path / "bundle.pem"
    if exists:
        trustme.CA().cert_pem.write_to_path(bundle)
    with LocalGateway(tls=certificate_in(tmp_path)) as gateway:
        found = consistent(*doctor("--json", **gateway.env(), SSL_CERT_FILE=str(bundle)))
    assert found["problem"]["code"] == "certificate"
    assert "SSL_CERT_FILE" in found["problem"]["next_step"]
    assert "unset it" in found["problem"]["next_step"]


def test_a_proxy_that_wants_a_password_is_quoted():
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def refuse():
            connection, _ = proxy.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")

        threading.Thread(target=refuse, daemon=True).start()
        settings = {
            "CF_AIG_BASE_URL": "https://ai.example.com",
            "MISTRAL_API_KEY": WRONG,
            "ALL_PROXY": f"http://127.0.0.1:{proxy.getsockname()[1]}",
        }
        problem = consistent(*doctor("--json", **settings))["problem"]
    assert problem["code"] == "proxy"
    assert "407 Proxy Authentication Required" in problem["cause"]
    assert "ALL_PROXY" in problem["next_step"]


def test_a_proxy_is_not_used_for_plain_http_to_this_machine(local):
    found = consistent(*doctor("--json", **{**local.env(), "HTTP_PROXY": "http://127.0.0.1:9"}))
    assert found["ok"]
    assert found["proxy"] is None
    assert [note for note in found["notes"] if "trust_env=False" in note]


def test_an_account_by_flag_wins_over_a_url_of_the_environment():
    settings = {"CF_AIG_BASE_URL": "https://ai.example.com", "CF_AIG_TOKEN": WRONG}
    found = report("--offline", "--account-id", "acc1", **settings)
    assert found["settings"]["base_url"]["value"] is None
    assert found["settings"]["base_url"]["shadowed"] == ["CF_AIG_BASE_URL"]
    note = "CF_AIG_BASE_URL is set, but not used: --account-id names the gateway."
    assert note in found["notes"]


def test_a_url_of_a_file_is_not_used_beside_an_account_of_the_environment(tmp_path):
    file = tmp_path / ".env"
    file.write_text("CF_AIG_BASE_URL=https://ai.example.com\n")
    settings = {"CF_AIG_ENV_FILE": str(file), "CLOUDFLARE_ACCOUNT_ID": "acc1"}
    notes = report("--offline", CF_AIG_TOKEN=WRONG, **settings)["notes"]
    unused = "CF_AIG_BASE_URL in the file is set, but not used"
    assert f"{unused}: CLOUDFLARE_ACCOUNT_ID names the gateway." in notes


def test_an_account_beside_a_url_is_said_to_be_unused():
    settings = {"CF_AIG_BASE_URL": "https://ai.example.com", "CLOUDFLARE_ACCOUNT_ID": "acc1"}
    notes = report("--offline", CF_AIG_TOKEN=WRONG, **settings)["notes"]
    assert "CLOUDFLARE_ACCOUNT_ID is set, but not used: CF_AIG_BASE_URL names the gateway." in notes


@pytest.mark.parametrize("name", ["CF_AIG_TOKEN", "CLOUDFLARE_AI_GATEWAY_TOKEN"])
def test_a_rejected_token_is_named_by_the_variable_it_came_from(local, name):
    settings = {**local.env(), "CF_AIG_TOKEN": None, name: WRONG}
    assert f"set {name} to it" in report(**settings)["problem"]["next_step"]


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


@pytest.mark.every_sdk
@pytest.mark.parametrize(
    ("failure", "code"),
    [
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


@pytest.mark.parametrize(
    ("page", "code", "cause", "next_step"),
    [
        (1010, "gateway_blocked", "signature", "Ask who runs the zone"),
        ("challenge", "gateway_blocked", "challenge", "Ask who runs the zone"),
        (413, "gateway_blocked", "larger than", "Send less"),
        (1015, "gateway_rate_limited", "rate limit of the zone", "Slow down"),
        (1016, "gateway_unavailable", "cannot be resolved", "CF_AIG_BASE_URL"),
        (522, "gateway_unavailable", "in time", "CF_AIG_BASE_URL"),
        (1101, "gateway_unavailable", "Worker", "logs of the Worker"),
        (502, "gateway_unavailable", "in place of the gateway", "Try again"),
    ],
)
@pytest.mark.parametrize("form", ["line", "html", "json"])
def test_a_page_of_the_edge_has_its_own_next_step(local, page, code, cause, next_step, form):
    with local.fault("edge", page=page, form=form):
        problem = report(**local.env())["problem"]
    assert problem["code"] == code
    assert cause in problem["cause"]
    assert next_step in problem["next_step"]
    assert "passes by itself" not in str(problem)


@pytest.mark.parametrize("form", ["login", "page", "json"])
def test_access_in_front_of_the_gateway_is_named(local, form):
    with local.fault("access", form=form):
        problem = report(**local.env())["problem"]
    assert problem["code"] == "gateway_access"
    assert "Cloudflare Access refused" in problem["cause"]
    assert "CF_AIG_ACCESS_CLIENT_ID" in problem["next_step"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"CF_AIG_ACCESS_TOKEN": "ey.J.wt"}, "`cloudflared access token -app=http://127.0.0.1:"),
        (
            {"CF_AIG_ACCESS_CLIENT_ID": "a.access", "CF_AIG_ACCESS_CLIENT_SECRET": "b" * 40},
            "Check CF_AIG_ACCESS_CLIENT_ID and CF_AIG_ACCESS_CLIENT_SECRET",
        ),
    ],
)
def test_access_that_refuses_what_is_set_is_explained(values, said):
    with LocalGateway(access=Access()) as gateway:
        found = report(
            CF_AIG_BASE_URL=gateway.url, MISTRAL_API_KEY=gateway.mistral_api_key, **values
        )
    assert found["problem"]["code"] == "gateway_access"
    assert said in found["problem"]["next_step"]
    assert "b" * 8 not in str(found)
    assert not [note for note in found["notes"] if "No token is set" in note]


def test_own_headers_are_shown_without_their_values(local):
    value = "header-value-0123456789"
    headers = json.dumps({"X-Proxy-Key": f"Basic {value}"})
    local.upstream_fail(402, body={"message": f"who is Basic {value}?"})
    found = report(**local.env(), CF_AIG_HEADERS=headers)
    assert found["settings"]["headers"]["value"] == {"X-Proxy-Key": "***"}
    assert value not in str(found)
    broken = report(**local.env(), CF_AIG_HEADERS=headers, CF_AIG_CACHE_TTL="1")
    assert broken["settings"]["headers"]["value"] == "***"


@pytest.mark.every_sdk
@pytest.mark.parametrize(
    ("status", "body", "code", "said"),
    [
        (402, {"message": "Payment required", "type": "x"}, "provider_refused", "Payment required"),
        (404, {"message": "no Route matched"}, "path_not_found", "no Route matched"),
        (422, {"detail": "Bad page"}, "provider_refused", "Bad page"),
        (409, {"detail": [{"msg": "odd"}]}, "provider_refused", '[{"msg": "odd"}]'),
        (429, {"message": "Slow down"}, "provider_busy", "Slow down"),
        (503, {"object": "error", "message": "Overloaded."}, "provider_busy", "Overloaded."),
        (400, "just a text", "provider_refused", "just a text"),
    ],
)
def test_what_mistral_said_through_the_gateway_is_quoted(local, status, body, code, said):
    local.upstream_fail(status, body=body)
    problem = report(**local.env())["problem"]
    assert problem["code"] == code
    assert f"The gateway works; Mistral itself answered HTTP {status}: {said}" in problem["cause"]
    assert "neither" not in problem["cause"]


@pytest.mark.parametrize(
    ("status", "body"), [(503, b"upstream connect error"), (520, b"<html>520</html>"), (504, b"")]
)
def test_what_has_the_gateways_header_is_not_called_the_edges(local, status, body):
    local.fail(status=status, body=body)
    problem = report(**local.env())["problem"]
    assert problem["code"] == "provider_busy"
    assert "upstream" in problem["cause"] or b"upstream" not in body


def test_a_secret_that_mistral_quotes_is_masked(local):
    local.upstream_fail(400, body={"message": f"bad key {local.mistral_api_key}"})
    assert "bad key ****" in report(**local.env())["problem"]["cause"]


@pytest.mark.every_sdk
@pytest.mark.parametrize(
    "body",
    [
        b'{"hello": "world"}',
        b"{}",
        b'{"object": "list", "data": []}',
        b'{"data": [{"id": "x"}]}',
        b"<html>log in</html>",
        b"null",
    ],
)
def test_a_response_of_200_that_is_no_list_of_models_is_not_the_gateways(local, body):
    with local.fault("status", status=200, body=body, content_type="application/json"):
        found = report(**local.env())
    assert found["problem"]["code"] == "unexpected_answer"
    assert "it is not the gateway" in found["problem"]["cause"]
    assert "CF_AIG_BASE_URL" in found["problem"]["next_step"]
    assert found["call"]["models"] is None


def test_a_list_of_models_is_fine_without_a_header_of_the_gateways(local):
    body = b'{"object":"list","data":[{"id":"m","type":"base","capabilities":{}}]}'
    with local.fault("status", status=200, body=body, content_type="application/json"):
        found = report(**local.env())
    assert found["call"]["models"] == 1
    assert "no cf-aig-log-id" in " ".join(found["notes"])


def test_no_model_is_fine_with_a_header_of_the_gateways(local):
    local.reply_json({"object": "list", "data": []})
    assert report(**local.env())["call"]["models"] == 0


@pytest.mark.parametrize("name", ["CF_AIG_BASE_URL", "CLOUDFLARE_AI_GATEWAY_BASE_URL"])
def test_a_gateway_that_is_not_there_names_the_variable_that_was_used(local, name):
    url = local.url.replace("/default", "/nowhere")
    problem = report(**{**local.env(), "CF_AIG_BASE_URL": None, name: url})["problem"]
    assert problem["code"] == "gateway_not_found"
    assert f"Check account and gateway in {name}," in problem["next_step"]


def test_a_gateway_that_is_not_there_names_the_flag_that_was_used(local):
    url = local.url.replace("/default", "/nowhere")
    problem = report("--base-url", url, **local.env())["problem"]
    assert "Check account and gateway in --base-url," in problem["next_step"]


@pytest.mark.parametrize("code", [7000, 7001, 7003, 9109, 10000, 10001])
def test_cloudflares_api_in_place_of_the_gateway_is_named(local, code):
    body = {"success": False, "errors": [{"code": code, "message": "No route"}]}
    local.fail(status=401, body=json.dumps(body).encode(), content_type="application/json")
    problem = report(**local.env())["problem"]
    assert problem["code"] == "not_a_gateway"
    assert "as Cloudflare's API does, not as AI Gateway: No route" in problem["cause"]
    assert "Set CF_AIG_BASE_URL to https://gateway.ai.cloudflare.com/v1/" in problem["next_step"]


def test_a_sender_that_is_unknown_is_said_to_be_so(local):
    with local.fault("status", status=418, body=b"teapot"):
        problem = report(**local.env())["problem"]
    assert problem["code"] == "unexpected_answer"
    assert "HTTP 418: teapot. Who sent it is unknown" in problem["cause"]


def test_mistrals_own_trouble_is_not_blamed_on_the_gateway(local):
    local.upstream_fail(503)
    problem = report(**local.env())["problem"]
    assert problem["code"] == "provider_busy"
    assert "gateway works" in problem["cause"]


def test_a_secret_quoted_by_the_gateway_is_masked(local):
    local.fail(code=4711, status=400, message=f"bad token {local.token}")
    assert "bad token ****" in report(**local.env())["problem"]["cause"]


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


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"CF_AIG_ENABLED": "false"}, "enabled (CF_AIG_ENABLED) is false"),
        ({"CF_AIG_ENABLED": "if-configured"}, "neither CLOUDFLARE_ACCOUNT_ID nor CF_AIG_BASE_URL"),
    ],
)
def test_a_switch_that_is_off_is_said_to_be_so(variables, said):
    found = report(**variables)
    assert (found["ok"], found["switch"], found["call"]) == (True, "off", None)
    assert said in found["notes"][0]
    assert found["settings"]["enabled"]["variable"] == "CF_AIG_ENABLED"
    text = doctor(**variables)
    assert text[1].startswith("Switched off: calls go to Mistral, and not through a gateway.\n")
    assert "\nSet, with the switch off\n" in text[1]


def test_a_switch_that_is_on_is_said_to_be_so(local):
    off = {**local.env(), "CF_AIG_ENABLED": "false"}
    assert report(**off)["switch"] == "off"
    assert report("--enabled", "true", **off)["switch"] == "on"
    found = report(**local.env(), CF_AIG_ENABLED="if-configured")
    assert (found["ok"], found["switch"]) == (True, "on")
    assert report(CF_AIG_ENABLED="perhaps")["problem"]["cause"].startswith(
        "CF_AIG_ENABLED: 'perhaps' must"
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
        ({"CLOUFLARE_API_TOKEN": WRONG}, "never read, nor is CLOUDFLARE_API_TOKEN: such a token"),
        ({"CLOUDFLARE_AI_GATEWAY_API_KEY": WRONG}, "CLOUDFLARE_AI_GATEWAY_API_KEY is set and"),
        ({"CF_AIG_CACHETTL": "60"}, "did you mean CF_AIG_CACHE_TTL?"),
        ({"CLOUDFLARE_AI_GATEWAY_TOKEN": WRONG}, "CF_AIG_TOKEN is used"),
        ({"CF_AIG_BYOK": "true"}, "MISTRAL_API_KEY is set, but not sent"),
        ({"CF_AIG_TOKEN": None}, "No token is set"),
    ],
)
def test_what_is_worth_a_word_is_a_note(local, settings, words):
    assert words in " ".join(report("--offline", **{**local.env(), **settings})["notes"])


@pytest.mark.parametrize(
    ("content", "cause", "next_step"),
    [
        (f"CF_AIG_TOKEN={WRONG}\n".encode("utf-16"), "is UTF-16 text", "Do what it says"),
        (f"CF_AIG_TOKEN={WRONG}\xe9\n".encode("latin-1"), "line 1 (CF_AIG_TOKEN)", "Do what it"),
        (None, "there is no file", "Correct CF_AIG_ENV_FILE"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_problem_of_the_configuration(
    tmp_path, content, cause, next_step
):
    file = tmp_path / "settings.env"
    if content is not None:
        file.write_bytes(content)
    problem = report(CF_AIG_ENV_FILE=str(file), CLOUDFLARE_ACCOUNT_ID="acc1")["problem"]
    assert problem["code"] == "configuration"
    assert problem["cause"].startswith("CF_AIG_ENV_FILE: ")
    assert cause in problem["cause"]
    assert next_step in problem["next_step"]


def test_an_empty_variable_names_no_file():
    settings = {"CLOUDFLARE_ACCOUNT_ID": "acc1", "MISTRAL_API_KEY": WRONG}
    assert report("--offline", CF_AIG_ENV_FILE="", **settings)["ok"]


def test_a_file_that_nothing_reads_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"CLOUDFLARE_ACCOUNT_ID=acc1\nMISTRAL_API_KEY={WRONG}\n")
    problem = report("--offline")["problem"]
    assert problem["code"] == "configuration"
    assert "./.env sets CLOUDFLARE_ACCOUNT_ID and MISTRAL_API_KEY" in problem["cause"]
    assert problem["next_step"] == "Set CF_AIG_ENV_FILE=.env."
    assert report("--offline", CF_AIG_ENV_FILE=".env")["ok"]
    (note,) = [
        note
        for note in report("--offline", CLOUDFLARE_ACCOUNT_ID="acc1")["notes"]
        if "./.env" in note
    ]
    assert "./.env sets MISTRAL_API_KEY, but a file is read only when asked for" in note


@pytest.mark.parametrize("name", ["CF_AIG_SOMETHING", "CF_AIG_ZZZ"])
def test_a_variable_that_resembles_no_setting_is_named(local, name):
    assert f"{name} is no setting." in report("--offline", **local.env(), **{name: "x"})["notes"]


def test_a_url_of_the_dashboard_is_put_right():
    account = "0123456789abcdef0123456789abcdef"
    url = f"https://dash.cloudflare.com/{account}/ai/ai-gateway/gateways/prod"
    problem = report(CF_AIG_BASE_URL=url)["problem"]
    right = f"https://gateway.ai.cloudflare.com/v1/{account}/prod"
    assert problem["next_step"] == f"Set CF_AIG_BASE_URL={right}"


def test_a_secret_that_is_pasted_elsewhere_is_not_shown(local):
    pasted = {
        "CF_AIG_CACHE_KEY": f"x-{local.token}",
        "CF_AIG_METADATA": f'{{"k": "{local.token}"}}',
    }
    found = report("--offline", **local.env(), **pasted)["settings"]
    assert found["cache_key"]["value"] == "****"
    assert found["metadata"]["value"] == {"k": "****"}
    assert found["token"]["value"] == "cf-t...89"


def test_an_alias_of_a_stored_key_implies_byok(local):
    found = report("--offline", **local.env(), CF_AIG_BYOK_ALIAS="prod")["settings"]
    assert found["byok"] == {**found["byok_alias"], "value": True}
    found = report("--offline", "--byok-alias", "prod", **local.env())["settings"]
    assert (found["byok"]["value"], found["byok"]["source"]) == (True, "flag")


JWT = "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjE4MDAwMDAwMDB9.Zq7xWm3kVb9TnR2yLc5hJd8gFs1pQe6u"
WITH_A_KEY = {"CF_AIG_TOKEN": "cf-token-0123456789", "MISTRAL_API_KEY": "mistral-key-0123456789"}
SENT = {
    "token and key": (
        WITH_A_KEY,
        {"cf-aig-authorization": "token", "authorization": "mistral_api_key"},
    ),
    "no token": (
        {"MISTRAL_API_KEY": "mistral-key-0123456789"},
        {"authorization": "mistral_api_key"},
    ),
    "options": (
        {**WITH_A_KEY, "CF_AIG_CACHE_TTL": "60", "CF_AIG_METADATA": '{"team": "search"}'},
        {
            "cf-aig-authorization": "token",
            "authorization": "mistral_api_key",
            "cf-aig-cache-ttl": "cache_ttl",
            "cf-aig-metadata": "metadata",
        },
    ),
    "a stored key beside an unused one": (
        {**WITH_A_KEY, "CF_AIG_BYOK_ALIAS": "production"},
        {"cf-aig-authorization": "token", "cf-aig-byok-alias": "byok_alias"},
    ),
    "a service token": (
        {
            "MISTRAL_API_KEY": "mistral-key-0123456789",
            "CF_AIG_ACCESS_CLIENT_ID": "0123456789abcdef.access",
            "CF_AIG_ACCESS_CLIENT_SECRET": "5d41402abc4b2a76b9719d911017c592",
        },
        {
            "authorization": "mistral_api_key",
            "cf-access-client-id": "access_client_id",
            "cf-access-client-secret": "access_client_secret",
        },
    ),
    "a JWT beside a key": (
        {"MISTRAL_API_KEY": "mistral-key-0123456789", "CF_AIG_ACCESS_TOKEN": JWT},
        {"authorization": "mistral_api_key", "cf-access-token": "access_token"},
    ),
    "a JWT beside a stored key": (
        {"CF_AIG_BYOK": "true", "CF_AIG_ACCESS_TOKEN": JWT},
        {"authorization": "access_token"},
    ),
    "own headers": (
        {**WITH_A_KEY, "CF_AIG_HEADERS": '{"X-Proxy-Key": "5d41402abc4b2a76b9719d911017c592"}'},
        {
            "cf-aig-authorization": "token",
            "authorization": "mistral_api_key",
            "x-proxy-key": "headers",
        },
    ),
}


@pytest.mark.every_sdk
@pytest.mark.parametrize(("variables", "expected"), SENT.values(), ids=SENT)
def test_the_report_tells_which_setting_is_sent_as_which_header(gateway, variables, expected):
    """And that is what is sent, by the call that it makes."""
    found = report(CF_AIG_BASE_URL=gateway.base_url, **variables)
    assert {each["header"]: each["setting"] for each in found["sent"]} == expected
    assert {each["url"] for each in found["sent"]} == {f"{gateway.base_url}/mistral"}
    names = {name.lower() for name, _ in gateway.last.headers}
    known = ("cf-", "authorization", "x-proxy-key")
    assert {name for name in names if name.startswith(known)} == expected.keys()
    for each in found["sent"]:
        assert found["settings"][each["setting"]]["variable"] in variables


def test_the_report_tells_what_goes_to_mistral_while_the_gateway_is_down(local):
    url = "https://api.mistral.ai"
    _, output = doctor("--offline", "-v", **local.env(), CF_AIG_FALLBACK="direct")
    section = output.partition(f"\nSent to {url}, while the gateway is down\n")[2]
    assert section.partition("\n\n")[0] == "  authorization  mistral_api_key  MISTRAL_API_KEY"


def test_with_the_switch_off_the_report_tells_what_goes_to_mistral_and_what_is_not_used():
    off = {"CF_AIG_ENABLED": "false", "CF_AIG_CACHE_TTL": "60"}
    found = report("--offline", **off, **WITH_A_KEY)
    sent = {"url": "https://api.mistral.ai", "header": "authorization"}
    assert found["sent"] == [{**sent, "setting": "mistral_api_key"}]
    (unused,) = [note for note in found["notes"] if note.startswith("Set, but not used")]
    assert unused.endswith(": CF_AIG_TOKEN, CF_AIG_CACHE_TTL.")


def test_the_report_tells_what_patch_would_redirect(local):
    providers = '{"api.eu.mistral.ai": "custom-eu"}'
    found = report("--offline", "--providers", providers, **local.env())["patch"]
    assert found["https://api.mistral.ai"] == f"{local.url}/mistral"
    assert found["https://api.eu.mistral.ai"] == f"{local.url}/custom-eu"


def test_credentials_in_a_url_are_not_shown():
    assert mask_url("https://me:pw@host:1/p?k=v#f") == "https://***@host:1/p?***"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_a_terminal_cannot_show_is_escaped(encoding):
    status, output = doctor(CF_AIG_ENV_FILE="/nowhere/設定.env", PYTHONIOENCODING=encoding)
    assert status == 1
    assert "/nowhere/\\u8a2d\\u5b9a.env" in output
