"""The base URL: what people paste becomes the one right form, or is refused with it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_cf_adapter import GatewayConfigError, GatewaySettings
from mistral_cf_adapter._base_url import is_loopback, normalize_base_url

CLOUDFLARE = "https://gateway.ai.cloudflare.com/v1/acc/gw"
ID = "0123456789abcdef0123456789abcdef"
OURS = f"https://gateway.ai.cloudflare.com/v1/{ID}"


@pytest.mark.parametrize(
    ("pasted", "expected"),
    [
        (CLOUDFLARE, CLOUDFLARE),
        (f"{CLOUDFLARE}/", CLOUDFLARE),
        (f"  {CLOUDFLARE}\n", CLOUDFLARE),
        (f"{CLOUDFLARE}/mistral", CLOUDFLARE),
        (f"{CLOUDFLARE}/mistral/", CLOUDFLARE),
        (f"{CLOUDFLARE}/mistral/v1", CLOUDFLARE),
        (f"{CLOUDFLARE}/mistral/v1/chat/completions", CLOUDFLARE),
        (f"{CLOUDFLARE}/compat", CLOUDFLARE),
        (f"{CLOUDFLARE}/compat/chat/completions", CLOUDFLARE),
        ("https://gateway.ai.cloudflare.com//v1/acc//gw", CLOUDFLARE),
        ("https://ai.example.com", "https://ai.example.com"),
        ("https://ai.example.com/", "https://ai.example.com"),
        ("https://ai.example.com:8443", "https://ai.example.com:8443"),
        ("https://ai.example.com/mistral", "https://ai.example.com"),
        ("https://ai.example.com/mistral/v1", "https://ai.example.com"),
        ("https://ai.example.com/team/llm", "https://ai.example.com/team/llm"),
        ("https://ai.example.com/team/compat", "https://ai.example.com/team"),
        ("https://ai.example.com/a%20b/c+d;e=f", "https://ai.example.com/a%20b/c+d;e=f"),
        ("https://mistral.ai.example.com", "https://mistral.ai.example.com"),
        ("https://notmistral.ai", "https://notmistral.ai"),
        ("https://gateway.ai.cloudflare.com./v1/a/b", "https://gateway.ai.cloudflare.com./v1/a/b"),
        ("http://127.0.0.1:8787/v1/acc/gw", "http://127.0.0.1:8787/v1/acc/gw"),
        ("http://localhost:8787/v1/acc/gw", "http://localhost:8787/v1/acc/gw"),
        ("http://[::1]:8787/v1/acc/gw", "http://[::1]:8787/v1/acc/gw"),
    ],
)
def test_a_usable_url_is_brought_into_the_one_form(pasted, expected):
    assert GatewaySettings(base_url=pasted).base_url == expected


@pytest.mark.parametrize(
    ("pasted", "said"),
    [
        ("gateway.ai.cloudflare.com/v1/acc/gw", "must be a URL"),
        ("ftp://gateway.ai.cloudflare.com/v1/acc/gw", "must be a URL"),
        ("https://", "must be a URL"),
        ("https:///v1/acc/gw", "must be a URL"),
        ("http://gateway.ai.cloudflare.com/v1/acc/gw", "must be https"),
        ("http://127.0.0.1.example.com/v1/acc/gw", "must be https"),
        ("http://192.168.0.1/v1/acc/gw", "must be https"),
        ("https://user:hunter2@ai.example.com", "credentials"),
        ("https://hunter2@ai.example.com", "credentials"),
        (f"{CLOUDFLARE}?token=hunter2", "query"),
        (f"{CLOUDFLARE}#hunter2", "fragment"),
        ("https://ai.example.com/a b", "spaces"),
        ("https://ai.example.com/\x07", "control"),
        ("https://ai.example.com/é", "non-ASCII"),
        ("https://gateway.ai.cloudflare.com/v1/../gw", "dots"),
        ("https://ai.example.com/./x", "dots"),
        ("https://ai.example.com/%2e%2e/x", "dots"),
        ("https://ai.example.com/%252E./x", "dots"),
        ("https://ai.example.com/a%2Fb", "a slash"),
        ("https://ai.example.com/a\\b", "a backslash"),
        ("https://ai.example.com/a%5cb", "a backslash"),
        ("https://ai.example.com/a%00b", "plain URL"),
        ("https://gateway.ai.cloudflare.com/v1/{account_id}/{gateway_id}", "{account_id}"),
        ("https://gateway.ai.cloudflare.com/v1/$ACCOUNT/gw", "placeholder in it, $ACCOUNT"),
        ("https://gateway.ai.cloudflare.com/v1/acc/<gateway>", "placeholder in it, <gateway>"),
        ("https://gateway.ai.cloudflare.com/v1/acc/g!w", "gateway id: must be one path segment"),
        ("https://gateway.ai.cloudflare.com/v1/a:b/gw", "account id: must be one path segment"),
        ("http://127.0.0.1:8787/v1/{account}/gw", "placeholder in it, {account}"),
        ("https://ai.example.com/${TEAM}", "placeholder in it, ${TEAM}"),
        ("https://$HOST/team", "placeholder in it, $HOST"),
        ("https://<host>", "placeholder in it, <host>"),
        ("http://[::1]evil.test/", "no valid host"),
        ("https://a%2eb.example/", "no valid host"),
        ("https://a,b.example/", "no valid host"),
        ("https://[::1", "must be a URL"),
        ("https://user:hunter2@ai.ex\N{ACCOUNT OF}mple.com", "non-ASCII"),
        ("https://api.mistral.ai", "Mistral's own address"),
        ("https://API.mistral.ai./v1", "Mistral's own address"),
        ("https://codestral.mistral.ai/v1/fim", "Mistral's own address (codestral.mistral.ai)"),
        ("https://api.cloudflare.com/client/v4", "Give the gateway's URL, https://gateway.ai."),
        (f"https://api.cloudflare.com/client/v4/accounts/{ID}/ai/v1", f"{OURS}/default ?"),
        (
            f"https://api.cloudflare.com/client/v4/accounts/{ID}/ai-gateway/gateways/prod/logs",
            f"did you mean {OURS}/prod ?",
        ),
        (f"https://dash.cloudflare.com/{ID}", f"did you mean {OURS}/default ?"),
        (f"https://dash.cloudflare.com/{ID}/ai/ai-gateway", f"did you mean {OURS}/default ?"),
        (
            f"https://dash.cloudflare.com/{ID}/ai/ai-gateway/gateways/prod/settings",
            f"did you mean {OURS}/prod ?",
        ),
        ("https://dash.cloudflare.com/login", "Give the gateway's URL"),
        ("https://ai.example.com:port", "port"),
        ("https://ai.example.com:99999", "ort"),
        ("https://gateway.ai.cloudflare.com", "account and gateway"),
        ("https://gateway.ai.cloudflare.com/v1", "account and gateway"),
        ("https://gateway.ai.cloudflare.com/v1/acc", "account and gateway"),
        ("https://gateway.ai.cloudflare.com/acc/gw", "account and gateway"),
        (f"{CLOUDFLARE}/v1", f"did you mean {CLOUDFLARE} ?"),
        (f"{CLOUDFLARE}/openai", f"did you mean {CLOUDFLARE} ?"),
        (f"{CLOUDFLARE}/custom-eu", "CF_AIG_PROVIDER=custom-eu"),
        ("https://ai.example.com/custom-eu/v1", "CF_AIG_PROVIDER=custom-eu"),
        ("https://ai.example.com/v1", "https://ai.example.com for a custom domain"),
        ("https://ai.example.com/llm/v1", "did you mean https://ai.example.com/llm ?"),
        ("http://localhost:8787/v1", "http://localhost:8787/v1/{account_id}/{gateway_id}"),
    ],
)
def test_an_unusable_url_is_refused_with_what_would_be_right(pasted, said):
    with pytest.raises(GatewayConfigError) as caught:
        GatewaySettings(base_url=pasted)
    assert said in str(caught.value)
    assert "base_url" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("pasted", "quoted"),
    [
        ("http://ai.example.com/team", "'http://ai.example.com/team' must be https"),
        ("http://x.example", "'http://x.example' must be https"),
        ("https://me:hunter2@ai.example.com", "'https://***@ai.example.com' has credentials"),
        ("https://ai.example.com/x?key=hunter2", "'https://ai.example.com/x?***' must not have"),
        ("https://ai.example.com/\x07", r"'https://ai.example.com/\x07' has spaces, control"),
        ("hunter2-hunter2-hunter2", "base_url: must be a URL such as"),
    ],
)
def test_the_url_is_quoted_without_what_may_be_secret(pasted, quoted):
    with pytest.raises(GatewayConfigError) as caught:
        GatewaySettings(base_url=pasted)
    assert quoted in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("example.com", False),
        ("localhost.example.com", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
    ],
)
def test_only_this_machine_is_loopback(host, expected):
    assert is_loopback(host) is expected


@given(st.text(max_size=40))
def test_any_text_is_a_url_or_a_value_error(text):
    try:
        base = normalize_base_url(f"https://{text}")
    except ValueError:
        return
    assert base.startswith("https://")
    assert not base.endswith("/")


@given(st.from_regex(r"https://[a-z]{1,8}\.example(/[a-z0-9.]{1,6}){0,5}/?", fullmatch=True))
def test_a_checked_url_stays_what_it_is(url):
    try:
        base = normalize_base_url(url)
    except ValueError:
        return
    assert normalize_base_url(base) == base
