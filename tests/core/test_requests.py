"""Requests for the pools are built as the HTTP library builds them, with less work."""

from __future__ import annotations

import pytest

from mistral_cf_adapter import _pool
from mistral_cf_adapter._sdk import httpx

URLS = [
    "https://gateway.example/v1/acc/gw/mistral/v1/chat/completions",
    "https://gateway.example",
    "https://gateway.example/",
    "http://127.0.0.1:8787/a",
    "https://gateway.example:443/a",
    "https://GATEWAY.example/A",
    "https://gateway.example/a?b=c",
    "https://gateway.example/a?b=c&b=d#e",
    "https://gateway.example/a?",
    "https://gateway.example/a#e",
    "https://gateway.example/a#e?b",
    "https://gateway.example/été/🌞",
    "https://münchen.example/a",
    "https://gateway.example/a%20b%2Fc%zz",
    "https://gateway.example/a b/../c//d",
    "https://user:pass@gateway.example/a",
    "https://[::1]:8080/a",
    "https://gateway.example/" + "a" * 5000,
    "/relative",
    "",
    httpx.URL("https://gateway.example/a?b=c"),
]
PARAMS = [
    None,
    [],
    {},
    (),
    "",
    "a=b",
    {"a": "b"},
    {"a": ["b", "c"], "d": None, "é": "& =", "t": True},
    [("a", "b"), ("a", "c"), ("b", 1)],
    httpx.QueryParams({"a": "b"}),
    httpx.QueryParams(),
]
BODIES = {
    "nothing": {},
    "content": {"content": b"\x00\xff", "headers": {"X-A": "b", "accept": "c"}},
    "JSON": {"json": {"a": "é"}, "timeout": 3.0},
    "form": {"data": {"a": ["b", "c"]}, "timeout": None},
    "parts": {
        "files": [("file", ("a.jsonl", b"\xff", "text/plain"))],
        "headers": {"content-type": "multipart/form-data; boundary=b"},
    },
    "extensions": {"extensions": {"a": "b"}, "cookies": {"c": "d"}},
}


@pytest.fixture(scope="module")
def bare():
    with httpx.Client(transport=httpx.BaseTransport()) as http:
        yield http


def sent(request):
    url = request.url
    parts = url.scheme, url.userinfo, url.raw_host, url.port, url.raw_path, url.fragment
    return request.method, str(url), parts, request.headers.raw, request.read(), request.extensions


@pytest.mark.parametrize("url", URLS, ids=lambda url: str(url)[:50])
def test_requests_are_built_as_the_http_library_builds_them(bare, url):
    for options in [{}, *({"params": params} for params in PARAMS)] * 2:
        built = _pool.build_request("POST", url, json={}, **options)
        assert sent(built) == sent(bare.build_request("POST", url, json={}, **options)), options


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("method", ["GET", "post"])
def test_so_are_their_bodies(bare, method, body):
    built = _pool.build_request(method, URLS[0], **BODIES[body])
    assert sent(built) == sent(bare.build_request(method, URLS[0], **BODIES[body]))


@pytest.mark.parametrize("url", ["https://a.example:port", "https://a.example/\n", None])
def test_what_is_no_url_is_refused_as_the_http_library_refuses_it(bare, url):
    raised = []
    for build in (_pool.build_request, bare.build_request):
        with pytest.raises((httpx.InvalidURL, TypeError)) as caught:
            build("GET", url)
        raised.append((type(caught.value), str(caught.value)))
    assert raised[0] == raised[1]


def test_a_request_is_nobody_elses():
    """What the SDK or a hook does to a request is not done to the next one for the same URL."""
    first, second = (_pool.build_request("GET", URLS[0]) for _ in range(2))
    first.headers["x-a"] = "b"
    first.extensions["timeout"]["pool"] = 0
    first.url = first.url.copy_with(path="/other")
    assert sent(second) == sent(_pool.build_request("GET", URLS[0]))


def test_no_more_than_256_urls_are_remembered():
    for number in range(300):
        _pool.build_request("GET", f"https://gateway.example/{number}")
        _pool.build_request("GET", f"https://gateway.example/{number}" + "a" * 2000)
    remembered = _pool._parse_url.cache_info()
    assert remembered.maxsize == remembered.currsize == 256
