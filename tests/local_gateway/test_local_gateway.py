"""The local gateway keeps the rules of the real one, as far as they are known."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import uuid

import httpx
import openai
import pytest
from fault_server import FaultServer

from mistral_cf_adapter.testing import LocalGateway, limits

CHAT = "/mistral/v1/chat/completions"
COMPAT = "/compat/chat/completions"
HELLO = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "Hello"}]}
COMPAT_HELLO = {**HELLO, "model": "mistral/mistral-small-latest"}
TOKEN = {"cf-aig-authorization": "Bearer cf-test-token"}
KEY = {"authorization": "Bearer mistral-test-key"}
BOTH = {**TOKEN, **KEY}


@pytest.fixture
def gateway():
    with LocalGateway() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def http():
    with httpx.Client(trust_env=False) as client:
        yield client


def post(http, gateway, path=CHAT, json=HELLO, headers=None, **options):
    return http.post(gateway.url + path, json=json, headers={**BOTH, **(headers or {})}, **options)


def code(answer):
    body = answer.json()
    assert body["name"] == "AiGatewayError"
    assert body["success"] is False
    assert body["httpCode"] == answer.status_code
    assert body["error"][0]["code"] == body["internalCode"]
    assert body["error"][0]["message"] == body["message"] == body["description"]
    return answer.status_code, body["internalCode"]


@pytest.mark.parametrize(
    ("path", "headers", "json", "expected"),
    [
        ("/v1/acc/nowhere/mistral/v1/models", BOTH, HELLO, (400, 2001)),
        ("/v1/other/default/mistral/v1/models", BOTH, HELLO, (400, 2001)),
        ("/mistral/v1/models", BOTH, HELLO, (400, 2001)),
        ("/v1/acc/default" + CHAT, KEY, HELLO, (401, 2009)),
        ("/v1/acc/default" + CHAT, {**KEY, "cf-aig-authorization": "Bearer x"}, HELLO, (401, 2009)),
        ("/v1/acc/default" + CHAT, {"authorization": "Bearer cf-test-token"}, HELLO, (401, 2009)),
        ("/v1/acc/default/nobody/v1/x", BOTH, HELLO, (400, 2008)),
        ("/v1/acc/default/custom-x/v1/x", BOTH, HELLO, (400, 2008)),
        ("/v1/acc/default" + COMPAT, BOTH, HELLO, (400, 2019)),
        ("/v1/acc/default" + COMPAT, BOTH, {"model": "nobody/x"}, (400, 2008)),
        ("/v1/acc/default" + COMPAT, BOTH, {"model": "dynamic/none"}, (400, 2005)),
    ],
)
def test_a_wrong_request_gets_the_documented_refusal(gateway, http, path, headers, json, expected):
    answer = http.post(gateway.origin + path, json=json, headers=headers)
    assert code(answer) == expected
    assert gateway.upstream_requests == []


def test_an_open_gateway_asks_for_no_token(http):
    with LocalGateway(authenticated=False) as gateway:
        assert http.post(gateway.url + CHAT, json=HELLO, headers=KEY).status_code == 200


def test_every_gateway_that_exists_is_served(http):
    with LocalGateway(account_id="a" * 32, gateway_ids=("one", "two")) as gateway:
        assert gateway.url == f"{gateway.origin}/v1/{'a' * 32}/one"
        url = f"{gateway.origin}/v1/{'a' * 32}/two{CHAT}"
        assert http.post(url, json=HELLO, headers=BOTH).status_code == 200


class TestKeys:
    """Which key reaches the provider."""

    @pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}])
    def test_a_missing_or_wrong_key_ends_in_the_providers_own_401(self, gateway, http, headers):
        answer = http.post(gateway.url + CHAT, json=HELLO, headers={**TOKEN, **headers})
        assert answer.status_code == 401
        assert answer.json() == {"detail": "Unauthorized"}
        assert gateway.logs[0].status_code == 401

    def test_no_gateway_header_reaches_the_provider(self, gateway, http):
        post(http, gateway, headers={"cf-aig-metadata": "{}", "x-mine": "kept"})
        sent = gateway.upstream_requests[0]
        assert sent.path == "/v1/chat/completions"
        assert sent.headers["host"] == "api.mistral.ai"
        assert sent.headers["x-mine"] == "kept"
        assert sent.headers["authorization"] == KEY["authorization"]
        assert not [name for name in sent.headers if name.startswith("cf-")]

    @pytest.mark.parametrize(
        ("stored", "headers", "used"),
        [
            ({"default": "stored"}, {}, "Bearer stored"),
            ({"default": "stored", "eu": "other"}, {"cf-aig-byok-alias": "eu"}, "Bearer other"),
            ({"default": "stored"}, KEY, KEY["authorization"]),
            ({"default": "stored"}, {"authorization": "Bearer"}, "Bearer"),
            ({}, {"cf-aig-byok-alias": "eu"}, None),
        ],
    )
    def test_a_stored_key_counts_only_without_authorization(self, http, stored, headers, used):
        with LocalGateway(stored_keys=stored) as gateway:
            http.post(gateway.url + CHAT, json=HELLO, headers={**TOKEN, **headers})
            assert gateway.upstream_requests[0].headers.get("authorization") == used

    def test_an_unknown_alias_is_refused_with_the_known_ones(self, http):
        with LocalGateway(stored_keys={"default": "stored"}) as gateway:
            headers = {**TOKEN, "cf-aig-byok-alias": "eu"}
            answer = http.post(gateway.url + CHAT, json=HELLO, headers=headers)
            assert code(answer) == (400, 2040)
            assert "default" in answer.json()["message"]
            assert answer.headers["cf-aig-log-id"] == gateway.logs[0].id

    def test_no_wholesale_without_credentials_is_a_400(self, gateway, http):
        headers = {**TOKEN, "cf-aig-no-wholesale": "true"}
        answer = http.post(gateway.url + CHAT, json=HELLO, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["name"] == "AiGatewayError"


class TestCompat:
    """The OpenAI-shaped endpoint."""

    def test_a_prefixed_model_reaches_the_provider_without_its_prefix(self, gateway, http):
        answer = post(http, gateway, COMPAT, COMPAT_HELLO)
        assert answer.json()["model"] == "mistral-small-latest"
        assert gateway.upstream_requests[0].path == "/v1/chat/completions"
        assert gateway.upstream_requests[0].json()["model"] == "mistral-small-latest"

    def test_the_gateway_token_may_stand_in_authorization_with_stored_keys(self, http):
        with LocalGateway(stored_keys={"default": "stored"}) as gateway:
            headers = {"authorization": "Bearer cf-test-token"}
            answer = http.post(gateway.url + COMPAT, json=COMPAT_HELLO, headers=headers)
            assert answer.status_code == 200
            sent = gateway.upstream_requests[0]
            assert sent.headers["authorization"] == "Bearer stored"

    def test_a_dynamic_route_says_which_model_served(self, http):
        with LocalGateway(
            routes={"support": "mistral-small-latest"}, stored_keys={"default": "stored"}
        ) as gateway:
            body = {**HELLO, "model": "dynamic/support"}
            answer = http.post(gateway.url + COMPAT, json=body, headers=TOKEN)
            assert answer.status_code == 200
            assert answer.headers["cf-aig-model"] == "mistral-small-latest"
            assert answer.headers["cf-aig-provider"] == "mistral"

    @pytest.mark.parametrize("stream", [False, True])
    def test_the_openai_client_works_on_compat(self, gateway, stream):
        with openai.OpenAI(
            base_url=gateway.url + "/compat",
            api_key=gateway.mistral_api_key,
            default_headers=TOKEN,
            http_client=httpx.Client(trust_env=False),
        ) as client:
            answer = client.chat.completions.create(**COMPAT_HELLO, stream=stream)
            text = (
                "".join(chunk.choices[0].delta.content or "" for chunk in answer)
                if stream
                else answer.choices[0].message.content
            )
        assert text == "Hello! It is lovely to hear from you through the gateway."


def test_the_curl_call_of_cloudflares_mistral_page_works(gateway):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    run = subprocess.run(
        [
            *[curl, "--silent", "--fail", "--noproxy", "*", "--max-time", "10"],
            gateway.url + "/mistral/v1/chat/completions",
            *["--header", "content-type: application/json"],
            *["--header", "Authorization: Bearer mistral-test-key"],
            *["--header", "cf-aig-authorization: Bearer cf-test-token"],
            "--data",
            json.dumps({**HELLO, "messages": [{"role": "user", "content": "What is Cloudflare?"}]}),
        ],
        capture_output=True,
        check=True,
    )
    assert "Cloudflare" in json.loads(run.stdout)["choices"][0]["message"]["content"]


class TestCache:
    """Identical requests, answered once."""

    @staticmethod
    def status(answer):
        return answer.headers.get("cf-aig-cache-status")

    @pytest.mark.parametrize(
        ("headers", "statuses"),
        [
            ({}, [None, None]),
            ({"cf-aig-cache-ttl": "60"}, ["MISS", "HIT"]),
            ({"cf-cache-ttl": "60"}, ["MISS", "HIT"]),
            ({"cf-aig-cache-key": "mine"}, ["MISS", "HIT"]),
            ({"cf-aig-cache-ttl": "60", "cf-aig-skip-cache": "true"}, [None, None]),
            ({"cf-aig-cache-ttl": "60", "cf-skip-cache": "true"}, [None, None]),
        ],
    )
    def test_headers_decide_what_is_cached(self, gateway, http, headers, statuses):
        answers = [post(http, gateway, headers=headers) for _ in statuses]
        assert [self.status(answer) for answer in answers] == statuses
        assert answers[0].json() == answers[1].json()
        assert [log.cached for log in gateway.logs] == [status == "HIT" for status in statuses]
        assert len(gateway.upstream_requests) == 2 - statuses.count("HIT")

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ({}, {"json": {**HELLO, "temperature": 0.5}}),
            ({}, {"headers": {"authorization": "Bearer other"}}),
            ({}, {"json": {**HELLO, "model": "mistral-large-latest"}}),
        ],
    )
    def test_body_model_and_provider_key_are_part_of_the_key(self, http, first, second):
        with LocalGateway(cache_ttl=60, stored_keys={"x": "other"}) as gateway:
            assert self.status(post(http, gateway, **first)) == "MISS"
            assert self.status(post(http, gateway, **second)) == "MISS"

    def test_metadata_is_no_part_of_the_key(self, http):
        with LocalGateway(cache_ttl=60) as gateway:
            post(http, gateway, headers={"cf-aig-metadata": '{"a": 1}'})
            again = post(http, gateway, headers={"cf-aig-metadata": '{"a": 2}'})
            assert self.status(again) == "HIT"

    def test_a_custom_key_joins_different_requests(self, gateway, http):
        headers = {"cf-aig-cache-key": "mine", "cf-aig-cache-ttl": "3600"}
        one = post(http, gateway, headers=headers)
        other = post(http, gateway, json={**HELLO, "max_tokens": 1}, headers=headers)
        assert self.status(other) == "HIT"
        assert other.json() == one.json()

    @pytest.mark.parametrize(
        ("headers", "life"),
        [({"cf-aig-cache-ttl": "90"}, 90), ({"cf-aig-cache-key": "mine"}, 300)],
    )
    def test_an_entry_expires_on_the_gateways_clock(self, gateway, http, headers, life):
        post(http, gateway, headers=headers)
        gateway.pass_time(life - 30)
        assert self.status(post(http, gateway, headers=headers)) == "HIT"
        gateway.pass_time(30)
        assert self.status(post(http, gateway, headers=headers)) == "MISS"

    def test_streams_and_errors_are_not_cached(self, http):
        with LocalGateway(cache_ttl=60) as gateway:
            for body in ({**HELLO, "stream": True}, {"model": "m", "messages": []}):
                answers = [post(http, gateway, json=body) for _ in range(2)]
                assert [self.status(answer) for answer in answers] == ["MISS", "MISS"]


class TestLogs:
    """What the dashboard would show."""

    def test_one_id_names_log_request_and_event(self, gateway, http):
        answer = post(http, gateway)
        log = gateway.logs[0]
        assert uuid.UUID(log.id).version == 7
        assert log.id == log.request_id == log.event_id == answer.headers["cf-aig-log-id"]
        assert answer.headers["cf-aig-request-id"] == answer.headers["cf-aig-event-id"] == log.id
        assert answer.headers["cf-aig-step"] == "0"
        assert (log.provider, log.model) == ("mistral", "mistral-small-latest")
        assert log.path == "v1/chat/completions"
        assert log.success
        assert log.attempts == 1

    def test_ids_sort_by_time(self, gateway, http):
        for _ in range(3):
            post(http, gateway)
        stamps = [uuid.UUID(log.id).int >> 80 for log in gateway.logs]
        assert stamps == sorted(stamps)

    def test_an_own_event_id_comes_back(self, gateway, http):
        answer = post(http, gateway, headers={"cf-aig-event-id": "mine"})
        assert answer.headers["cf-aig-event-id"] == gateway.logs[0].event_id == "mine"

    @pytest.mark.parametrize(
        ("sent", "kept"),
        [
            ('{"team": "search", "n": 1, "f": 1.5, "ok": true}', {"team", "n", "f", "ok"}),
            ('{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6}', {"a", "b", "c", "d", "e"}),
            ('{"cf.a":1,"a":1}', {"a"}),
            ('{"a":1,"b":null}', set()),
            ('{"a":1,"b":{"c":1}}', set()),
            ('{"a":1,"b":[1]}', set()),
            ("[1]", set()),
            ("no json", set()),
        ],
    )
    def test_metadata_follows_the_rules_in_silence(self, gateway, http, sent, kept):
        assert post(http, gateway, headers={"cf-aig-metadata": sent}).status_code == 200
        assert set(gateway.logs[0].metadata) == kept

    def test_payloads_and_logs_can_be_left_out(self, gateway, http):
        post(http, gateway)
        assert json.loads(gateway.logs[0].request) == HELLO
        assert b"Hello!" in gateway.logs[0].response
        post(http, gateway, headers={"cf-aig-collect-log-payload": "false"})
        assert gateway.logs[1].request is gateway.logs[1].response is None
        answer = post(http, gateway, headers={"cf-aig-collect-log": "false"})
        assert len(gateway.logs) == 2
        assert "cf-aig-log-id" not in answer.headers

    def test_custom_cost_is_kept(self, gateway, http):
        post(http, gateway, headers={"cf-aig-custom-cost": '{"per_token_in": 0.1}'})
        assert gateway.logs[0].custom_cost == {"per_token_in": 0.1}

    def test_dlp_findings_are_announced_on_demand(self, gateway, http):
        gateway.dlp = {"findings": [], "action": "FLAG"}
        assert json.loads(post(http, gateway).headers["cf-aig-dlp"]) == gateway.dlp

    def test_no_repr_shows_a_key_or_a_prompt(self, gateway, http):
        post(http, gateway)
        shown = repr([gateway, gateway.requests, gateway.upstream_requests, gateway.logs])
        assert "mistral-test-key" not in shown
        assert "cf-test-token" not in shown
        assert "Hello" not in shown


class TestAttempts:
    """Retries and the time limit."""

    @pytest.mark.parametrize(
        ("headers", "failures", "status", "attempts"),
        [
            ({}, 1, 500, 1),
            ({"cf-aig-max-attempts": "3"}, 2, 200, 3),
            ({"cf-aig-max-attempts": "3", "cf-aig-retry-delay": "1"}, 3, 500, 3),
            ({"cf-aig-max-attempts": "99"}, 5, 500, 5),
            ({"cf-aig-max-attempts": "0"}, 1, 500, 1),
        ],
    )
    def test_a_failing_provider_is_asked_again(
        self, gateway, http, headers, failures, status, attempts
    ):
        gateway.upstream_fail(status=500, times=failures)
        assert post(http, gateway, headers=headers).status_code == status
        assert len(gateway.requests) == 1
        assert len(gateway.upstream_requests) == attempts
        assert gateway.logs[0].attempts == attempts
        gateway.assert_all_used()

    def test_an_error_of_the_callers_is_not_retried(self, gateway, http):
        gateway.upstream_fail(status=422)
        headers = {"cf-aig-max-attempts": "5"}
        assert post(http, gateway, headers=headers).status_code == 422
        assert len(gateway.upstream_requests) == 1

    @pytest.mark.parametrize(
        ("backoff", "waits"),
        [("constant", [2, 2, 2]), ("linear", [2, 4, 6]), ("exponential", [2, 4, 8])],
    )
    def test_backoff_shapes_the_waits(self, backoff, waits):
        from mistral_cf_adapter.testing.policies import RetryPolicy

        policy = RetryPolicy(attempts=5, delay=2, backoff=backoff, timeout=None)
        assert [policy.wait(attempt) for attempt in (1, 2, 3)] == waits

    def test_a_provider_slower_than_the_time_limit_is_given_up(self, gateway, http):
        gateway.upstream_delay(60)
        answer = post(http, gateway, headers={"cf-aig-request-timeout": "1"})
        assert code(answer) == (400, 2005)

    def test_a_slow_provider_still_answers_within_the_time_limit(self, gateway, http):
        gateway.upstream_delay(0.01, times=2)
        gateway.reply("slowly")
        headers = {"cf-aig-request-timeout": "60000"}
        first = post(http, gateway, headers=headers).json()
        assert first["choices"][0]["message"]["content"] == "slowly"
        assert post(http, gateway, headers=headers).status_code == 200

    def test_the_last_retry_waits_for_as_long_as_it_takes(self, gateway, http):
        gateway.upstream_delay(0.05, times=2)
        headers = {"cf-aig-request-timeout": "1", "cf-aig-max-attempts": "2"}
        assert post(http, gateway, headers=headers).status_code == 200
        assert gateway.logs[0].attempts == 2

    def test_the_rate_limit_is_a_429_until_the_minute_has_passed(self, http):
        with LocalGateway(rate_limit=2) as gateway:
            statuses = [post(http, gateway).status_code for _ in range(3)]
            assert statuses == [200, 200, 429]
            refused = post(http, gateway)
            assert code(refused) == (429, 2003)
            assert "retry-after" not in refused.headers
            gateway.pass_time(60)
            assert post(http, gateway).status_code == 200


def test_a_guarded_stream_comes_as_one_json_answer(gateway, http):
    gateway.guardrails = True
    answer = post(http, gateway, json={**HELLO, "stream": True})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["object"] == "chat.completion"


MADE = {
    "/v1/conversations": {"model": "m", "inputs": "Hello"},
    "/v1/agents": {"model": "m", "name": "a"},
    "/v1/libraries": {"name": "a"},
    "/v1/fine_tuning/jobs": {"model": "m"},
    "/v1/audio/voices": {"name": "a", "sample_audio": "AAAA"},
    "/v1/connectors": {"name": "a", "description": "b", "server": "https://example.com"},
    "/v2/prompts": {"name": "a", "definition": {}},
    "/v2/skills": {"name": "a", "definition": {}},
    "/v1/batch/jobs": {
        "endpoint": "/v1/chat/completions", "model": "m",
        "requests": [{"custom_id": "1", "body": HELLO}],
    },
}  # fmt: skip


@pytest.mark.parametrize("through_http", [False, True], ids=["Python", "HTTP"])
def test_a_reset_forgets_what_was_made(gateway, http, through_http):
    def kept():
        paths = [*MADE, "/v1/files", "/v1/models"]
        found = {path: http.get(f"{gateway.url}/mistral{path}", headers=BOTH) for path in paths}
        assert {answer.status_code for answer in found.values()} == {200}
        return {path: answer.json() for path, answer in found.items()}

    before = kept()
    file = {"file": ("a.jsonl", b"{}")}
    url = f"{gateway.url}/mistral/v1/files"
    file_id = http.post(url, files=file, headers=BOTH).json()["id"]
    signed = http.get(f"{url}/{file_id}/url", headers=BOTH).json()["url"]
    assert http.get(signed).status_code == 200
    for path, fields in MADE.items():
        assert post(http, gateway, f"/mistral{path}", json=fields).is_success, path
    after = kept()
    assert [path for path in MADE if after[path] == before[path]] == []
    if through_http:
        http.post(f"{gateway.origin}/_gateway/reset", json={})
    else:
        gateway.reset()
    assert kept() == before
    assert http.get(signed).is_client_error
    assert post(http, gateway).status_code == 200


class TestForwarding:
    """A real provider behind the local gateway."""

    def test_everything_but_the_gateways_headers_is_passed_on(self, http):
        with (
            LocalGateway(authenticated=False) as provider,
            LocalGateway(upstream=provider.url + "/mistral") as gateway,
        ):
            whole = post(http, gateway)
            assert whole.json()["object"] == "chat.completion"
            with http.stream(
                "POST", gateway.url + CHAT, json={**HELLO, "stream": True}, headers=BOTH
            ) as streamed:
                assert streamed.read().endswith(b"data: [DONE]\n\n")
            got = provider.requests[0]
            assert "cf-aig-authorization" not in got.headers
            assert got.headers["authorization"] == KEY["authorization"]

    def test_a_custom_provider_has_an_origin_of_its_own(self, http):
        with (
            LocalGateway(authenticated=False) as provider,
            LocalGateway(custom_providers={"eu": provider.url + "/mistral", "us": None}) as gateway,
        ):
            for slug in ("eu", "us"):
                url = f"{gateway.url}/custom-{slug}/v1/models?page=1"
                assert http.get(url, headers=BOTH).json()["object"] == "list"
            assert [request.query for request in provider.requests] == ["page=1"]

    def test_a_provider_out_of_reach_is_a_2005(self, http):
        with LocalGateway() as gone:
            origin = gone.origin
        with LocalGateway(upstream=origin) as gateway:
            assert code(post(http, gateway)) == (400, 2005)

    @pytest.mark.parametrize("records", [False, True], ids=["plain", "recording"])
    def test_a_response_without_an_end_is_refused(self, http, monkeypatch, tmp_path, records):
        monkeypatch.setattr(limits, "MAX_BODY", 1_000_000)
        more = {"record": tmp_path / "cassette.yaml"} if records else {}
        with (
            FaultServer(write_without_end) as provider,
            LocalGateway(upstream=provider.origin, **more) as gateway,
        ):
            answer = post(http, gateway, timeout=20)
            assert answer.status_code == 501
            assert "is over 1000000 bytes and is no stream of events" in answer.json()["message"]
            assert provider.stuck() == 0
            assert len(provider.requests) == 1

    def test_a_stream_may_be_longer_than_that(self, http, monkeypatch):
        monkeypatch.setattr(limits, "MAX_BODY", 200)
        with (
            LocalGateway(authenticated=False) as provider,
            LocalGateway(upstream=provider.url + "/mistral") as gateway,
        ):
            answer = post(http, gateway, json={**HELLO, "stream": True})
            assert answer.text.endswith("data: [DONE]\n\n")
            assert len(answer.content) > 200


def write_without_end(wire, request):
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        wire.send(b" " * 65_536)


class TestServer:
    """Starting and stopping."""

    def test_requests_are_recorded_as_they_came(self, gateway, http):
        http.get(
            gateway.url + "/mistral/v1/models/a%2Fb?x=1&y=",
            headers=[*BOTH.items(), ("x-twice", "1"), ("X-Twice", "2")],
        )
        request = gateway.requests[0]
        assert request.raw_path == "/v1/acc/default/mistral/v1/models/a%2Fb"
        assert request.path == "/v1/acc/default/mistral/v1/models/a/b"
        assert request.query == "x=1&y="
        assert request.params == {"x": "1", "y": ""}
        assert request.headers.getlist("X-TWICE") == ["1", "2"]
        assert gateway.upstream_requests[0].raw_path == "/v1/models/a%2Fb"

    def test_it_ends_with_open_connections_and_half_read_streams(self, http):
        with LocalGateway() as gateway:
            gateway.fault("stall", path="v1/embeddings")
            waiting = threading.Thread(target=_expect_drop, args=(gateway,))
            waiting.start()
            post(http, gateway)
            gateway.fault("slow_drip", path="v1/chat/completions", delay=30)
            with http.stream("POST", gateway.url + CHAT, json=HELLO, headers=BOTH) as answer:
                pieces = answer.iter_raw()
                next(pieces)
                gateway.stop()
                with pytest.raises(httpx.HTTPError):
                    list(pieces)
            waiting.join()
        assert "local-gateway" not in [thread.name for thread in threading.enumerate()]

    def test_a_second_stop_does_nothing(self, gateway):
        gateway.stop()
        gateway.stop()

    def test_a_taken_port_is_an_error_of_start(self, gateway):
        port = int(gateway.origin.rpartition(":")[2])
        with pytest.raises(OSError), LocalGateway(port=port):
            pass

    def test_serve_tells_where_it_is_and_what_to_set(self, capsys):
        from mistral_cf_adapter.testing import serve

        stop = threading.Event()
        stop.set()
        serve(port=0, until=stop)
        shown = capsys.readouterr().out
        for name in ("CF_AIG_BASE_URL=http://127.0.0.1:", "CF_AIG_TOKEN=", "MISTRAL_API_KEY="):
            assert f"export {name}" in shown

    def test_tls_serves_https(self, tmp_path):
        trustme = pytest.importorskip("trustme")
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        paths = tmp_path / "cert.pem", tmp_path / "key.pem"
        certificate.cert_chain_pems[0].write_to_path(str(paths[0]))
        certificate.private_key_pem.write_to_path(str(paths[1]))
        import ssl

        context = ssl.create_default_context()
        authority.configure_trust(context)
        with (
            LocalGateway(tls=paths) as gateway,
            httpx.Client(verify=context, trust_env=False) as http,
        ):
            assert gateway.url.startswith("https://127.0.0.1:")
            assert post(http, gateway).status_code == 200


def test_the_settings_point_an_adapter_here(gateway):
    pytest.importorskip("mistral_cf_adapter._settings")
    settings = gateway.settings(cache_ttl=60)
    assert str(settings.base_url) == gateway.url
    assert settings.token.get_secret_value() == gateway.token
    assert settings.cache_ttl == 60


def _expect_drop(gateway):
    with httpx.Client(trust_env=False, timeout=30) as http, pytest.raises(httpx.HTTPError):
        post(http, gateway, "/mistral/v1/embeddings", {"model": "m", "input": "x"})
