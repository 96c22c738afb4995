"""Wrong variables of the HTTP library: named before anything is sent, and only where bare fails."""

from __future__ import annotations

import pytest
from http_records import KEY, TOKEN
from object_walks import locals_of

from mistral_cf_adapter import GatewayConfigError, GatewayError, GatewaySettings, _pool, make_client
from mistral_cf_adapter import patch as redirect
from mistral_cf_adapter._sdk import Mistral, httpx
from mistral_cf_adapter.cli import main

PASSWORD = "hunter2-hunter2"
NOWHERE = "https://127.0.0.1:9"  # the port `discard`: nothing listens
WRONG = [
    ("HTTPS_PROXY", "ftp://proxy.example", "the scheme must be http://"),
    ("HTTPS_PROXY", "://", "the scheme must be http://"),
    ("ALL_PROXY", f"socks4://me:{PASSWORD}@proxy.example:1080", "socks4://***@proxy.example:1080"),
    ("https_proxy", f"http://me:{PASSWORD}@proxy.example:port", "http://***@proxy.example:port"),
    ("HTTPS_PROXY", f"me:{PASSWORD}@proxy.example:port", "http://***@proxy.example:port"),
    ("HTTP_PROXY", "http://[::1", "no valid URL"),
    ("SSL_CERT_FILE", "/nowhere/ca.pem", "/nowhere/ca.pem, which cannot be used: No such file"),
    ("SSL_CERT_FILE", "{tmp_path}", "Is a directory"),
    ("SSL_CERT_FILE", "{file}", "holds no certificate"),
    ("SSLKEYLOGFILE", "/nowhere/keys", "/nowhere/keys, which cannot be used: No such file"),
]
EITHER = [
    ("NO_PROXY", "::1/128"),
    ("NO_PROXY", "localhost,[::1]"),
    ("no_proxy", "[::1]:8080"),
    ("NO_PROXY", "fd00::/8, 10.0.0.0/8"),
    ("NO_PROXY", "exa\x7fmple"),
    ("NO_PROXY", "::1"),
    ("NO_PROXY", "10.0.0.0/8"),
    ("NO_PROXY", "a b,*.x.example,.y.example,,http://z.example:80,host:99999"),
    ("NO_PROXY", "*"),
    ("HTTPS_PROXY", "127.0.0.1:9"),
    ("SSL_CERT_FILE", ""),
    ("SSL_CERT_DIR", "/nowhere"),
]
SETTINGS = GatewaySettings(base_url=f"{NOWHERE}/v1/acc/gw", token=TOKEN, mistral_api_key=KEY)


@pytest.fixture(autouse=True)
def new_pools():
    _pool.close()
    yield
    _pool.close()


def set_variable(monkeypatch, tmp_path, name, value):
    file = tmp_path / "no certificate"
    file.write_text("text")
    monkeypatch.setenv(name, value.format(tmp_path=tmp_path, file=file))


def fails_bare():
    """Return whether the bare SDK cannot be built, or only reaches nothing."""
    try:
        with Mistral(api_key=KEY, server_url=NOWHERE) as client:
            client.models.list()
    except httpx.ConnectError:
        return False
    except Exception:
        return True
    raise AssertionError(NOWHERE)


@pytest.mark.parametrize(("name", "value", "said"), WRONG)
def test_a_wrong_variable_is_named(monkeypatch, tmp_path, mode, name, value, said):
    set_variable(monkeypatch, tmp_path, name, value)
    if not fails_bare():
        pytest.skip("this HTTP library does not read it, or takes it")
    with pytest.raises(GatewayConfigError) as caught:
        mode.chat(make_client(SETTINGS))
    assert str(caught.value).startswith(name)
    assert said in str(caught.value)
    assert f"Correct {name}, or unset it." in str(caught.value)
    assert caught.value.__context__ is None
    shown = [str(caught.value), *locals_of(caught.value)]
    assert not [text for text in shown if PASSWORD in text]


@pytest.mark.parametrize(("name", "value"), EITHER)
def test_where_the_bare_sdk_works_so_does_ours(monkeypatch, tmp_path, mode, name, value):
    set_variable(monkeypatch, tmp_path, name, value)
    expected = GatewayConfigError if fails_bare() else GatewayError
    with pytest.raises(expected) as caught:
        mode.chat(make_client(SETTINGS))
    if expected is GatewayConfigError:
        assert f" in {name} cannot be read by httpx" in str(caught.value)
        assert "without brackets and without a range" in str(caught.value)
    else:
        assert not isinstance(caught.value, GatewayConfigError)


def test_a_client_that_others_build_is_told_too(monkeypatch, mode):
    monkeypatch.setenv("HTTPS_PROXY", "ftp://proxy.example")
    with (
        redirect(settings=SETTINGS),
        pytest.raises(GatewayConfigError, match=r"^HTTPS_PROXY is ftp"),
    ):
        mode.chat(Mistral(api_key=KEY))


def test_a_wrong_variable_is_no_outage(monkeypatch, mode):
    """Nothing goes to Mistral in place of the gateway."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    settings = SETTINGS.model_copy(update={"fallback": "direct"})
    with pytest.raises(GatewayConfigError, match=r"^SSL_CERT_FILE names /nowhere"):
        mode.chat(make_client(settings))


def test_a_proxy_variable_is_not_read_for_plain_http_to_this_machine(monkeypatch, gateway, mode):
    monkeypatch.setenv("ALL_PROXY", "ftp://proxy.example")
    monkeypatch.setenv("NO_PROXY", "::1/128")
    settings = GatewaySettings(base_url=gateway.base_url, token=TOKEN, mistral_api_key=KEY)
    mode.chat(make_client(settings))
    assert len(gateway.requests) == 1


def test_an_error_that_is_no_variables_fault_stays_what_it_is(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")

    def refuse(**_):
        msg = "another reason"
        raise RuntimeError(msg)

    monkeypatch.setattr(httpx, "Client", refuse)
    with pytest.raises(RuntimeError, match="another reason"):
        make_client(SETTINGS).models.list()


@pytest.mark.parametrize("offline", [["--offline"], []])
@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("HTTPS_PROXY", f"ftp://me:{PASSWORD}@proxy.example", "proxy"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem", "certificate"),
    ],
)
def test_doctor_names_it_too(monkeypatch, capsys, offline, name, value, kind):
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    monkeypatch.setenv("CF_AIG_TOKEN", TOKEN)
    monkeypatch.setenv(name, value)
    assert main(["doctor", "--base-url", f"{NOWHERE}/v1/acc/gw", *offline]) == 1
    out = capsys.readouterr().out
    assert f" ({kind})\n" in out
    assert f"Correct {name}, or unset it." in out
    assert PASSWORD not in out
