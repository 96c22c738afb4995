"""Cloudflare's API for logs, as far as a local gateway serves it."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from mistral_cf_adapter.testing import LocalGateway

HELLO = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "Hello"}]}
HEADERS = {
    "cf-aig-authorization": "Bearer cf-test-token",
    "authorization": "Bearer mistral-test-key",
}
LOGS = "/accounts/acc/ai-gateway/gateways/default/logs"


@pytest.fixture
def gateway():
    with LocalGateway(gateway_ids=("default", "other")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def http():
    with httpx.Client(trust_env=False) as client:
        yield client


@pytest.fixture
def api(gateway, http):
    return Api(http, gateway)


class Api:
    """The API as a program with the right token sees it."""

    def __init__(self, http, gateway):
        self._http = http
        self._gateway = gateway
        self.headers = {"authorization": f"Bearer {gateway.api_token}"}

    def ask(self, method, path=LOGS, **options):
        return self._http.request(
            method, self._gateway.api_url + path, headers=self.headers, **options
        )

    def get(self, log_id):
        return self.ask("GET", f"{LOGS}/{log_id}")

    def edit(self, log_id, **changes):
        return self.ask("PATCH", f"{LOGS}/{log_id}", json=changes)


def log_of_a_call(http, gateway, json=HELLO, headers=None, name="default"):
    url = f"{gateway.origin}/v1/acc/{name}/mistral/v1/chat/completions"
    answer = http.post(url, json=json, headers={**HEADERS, **(headers or {})})
    return answer.headers["cf-aig-log-id"]


def problem(answer):
    body = answer.json()
    assert body["success"] is False
    (error,) = body["errors"]
    return answer.status_code, error["code"]


def test_a_log_says_what_the_call_was(gateway, http, api):
    before = datetime.now(UTC)
    log_id = log_of_a_call(http, gateway, headers={"cf-aig-metadata": '{"team": "search"}'})
    body = api.get(log_id).json()
    log = body["result"]
    assert body["success"] is True
    assert before <= datetime.fromisoformat(log.pop("created_at")) <= datetime.now(UTC)
    assert log.pop("duration") >= 0
    assert log.pop("tokens_in") > 0
    assert log.pop("tokens_out") > 0
    assert log == {
        "id": log_id,
        "cached": False,
        "custom_cost": False,
        "metadata": {"team": "search"},
        "model": "mistral-small-latest",
        "path": "v1/chat/completions",
        "provider": "mistral",
        "status_code": 200,
        "step": 0,
        "success": True,
    }


def test_a_stream_has_a_log_without_counted_tokens(gateway, http, api):
    log = api.get(log_of_a_call(http, gateway, {**HELLO, "stream": True})).json()["result"]
    assert (log["tokens_in"], log["tokens_out"]) == (None, None)


def test_feedback_score_and_metadata_are_kept(gateway, http, api):
    log_id = log_of_a_call(http, gateway, headers={"cf-aig-metadata": '{"team": "search"}'})
    answer = api.edit(log_id, feedback=1, score=87.5, metadata={"user": 7, "ok": True})
    assert (answer.status_code, answer.json()) == (200, {"result": {}, "success": True})
    log = gateway.logs[-1]
    assert (log.id, log.feedback, log.score) == (log_id, 1, 87.5)
    assert api.get(log_id).json()["result"]["metadata"] == {"user": 7, "ok": True}


def test_what_an_edit_leaves_out_stays_and_null_takes_it_back(gateway, http, api):
    log_id = log_of_a_call(http, gateway, headers={"cf-aig-metadata": '{"team": "search"}'})
    api.edit(log_id, feedback=-1, score=10)
    api.edit(log_id, score=None)
    assert (gateway.logs[-1].feedback, gateway.logs[-1].score) == (-1, None)
    assert gateway.logs[-1].metadata == {"team": "search"}
    api.edit(log_id, metadata=None)
    assert gateway.logs[-1].metadata == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"feedback": 2},
        {"feedback": "1"},
        {"feedback": True},
        {"score": 100.5},
        {"score": -1},
        {"metadata": {"nested": {}}},
        {"metadata": "text"},
    ],
    ids=str,
)
def test_a_value_that_is_out_of_range_changes_nothing(gateway, http, api, changes):
    log_id = log_of_a_call(http, gateway)
    assert problem(api.edit(log_id, **{"score": 1, **changes})) == (400, 7001)
    assert (gateway.logs[-1].feedback, gateway.logs[-1].score) == (None, None)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"metadata": {"a": 1e999}}'])
def test_an_edit_without_an_object_is_refused(gateway, http, api, body):
    log_id = log_of_a_call(http, gateway)
    assert problem(api.ask("PATCH", f"{LOGS}/{log_id}", content=body)) == (400, 7001)


def test_a_log_that_is_not_written_yet_is_not_found(http):
    with LocalGateway(log_delay=60) as gateway:
        api = Api(http, gateway)
        log_id = log_of_a_call(http, gateway)
        assert problem(api.get(log_id)) == (404, 7002)
        assert problem(api.edit(log_id, feedback=1)) == (404, 7002)
        assert api.ask("GET").json()["result"] == []
        gateway.pass_time(60)
        assert api.edit(log_id, feedback=1).status_code == 200
        assert [log["id"] for log in api.ask("GET").json()["result"]] == [log_id]


@pytest.mark.parametrize(
    "path",
    [
        f"{LOGS}/nothing",
        "/accounts/other/ai-gateway/gateways/default/logs",
        "/accounts/acc/ai-gateway/gateways/nowhere/logs",
    ],
)
def test_an_unknown_log_gateway_or_account_is_not_found(api, path):
    assert problem(api.ask("GET", path)) == (404, 7002)


def test_a_gateway_has_its_own_logs_alone(gateway, http, api):
    ours, theirs = (log_of_a_call(http, gateway, name=name) for name in ("default", "other"))
    assert [log["id"] for log in api.ask("GET").json()["result"]] == [ours]
    assert problem(api.get(theirs)) == (404, 7002)


@pytest.mark.parametrize("token", [None, "Bearer cf-test-token", "Bearer", "cf-api-test-token"])
def test_the_api_asks_for_a_token_of_its_own(gateway, http, token):
    headers = {} if token is None else {"authorization": token}
    assert problem(http.get(gateway.api_url + LOGS, headers=headers)) == (401, 10000)


def test_the_list_has_pages_and_the_newest_log_first(gateway, http, api):
    ids = [log_of_a_call(http, gateway) for _ in range(3)]
    pages = [api.ask("GET", params={"page": page, "per_page": 2}).json() for page in (1, 2, 3)]
    assert [[log["id"] for log in page["result"]] for page in pages] == [
        [ids[2], ids[1]],
        [ids[0]],
        [],
    ]
    assert pages[1]["result_info"] == {"count": 1, "page": 2, "per_page": 2, "total_count": 3}


@pytest.mark.parametrize("params", [{"per_page": 51}, {"per_page": 0}, {"page": 0}, {"page": "x"}])
def test_a_page_that_cannot_be_is_refused(api, params):
    assert problem(api.ask("GET", params=params)) == (400, 7001)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{LOGS}?search=x"),
        ("DELETE", LOGS),
        ("DELETE", f"{LOGS}/{{log_id}}"),
        ("GET", f"{LOGS}/{{log_id}}/request"),
        ("GET", "/user/tokens/verify"),
    ],
)
def test_what_the_api_has_besides_says_that_it_is_not_served(gateway, http, api, method, path):
    path = path.format(log_id=log_of_a_call(http, gateway))
    answer = api.ask(method, path)
    assert problem(answer) == (501, 501)
    assert "LocalGateway" in answer.text


def test_calls_to_the_api_leave_no_log_and_reach_no_provider(gateway, api):
    api.ask("GET")
    assert (gateway.logs, gateway.upstream_requests) == ([], [])
    assert gateway.requests[-1].path.endswith(LOGS)


def test_the_environment_names_the_api(gateway):
    assert gateway.api_env() == {
        "CLOUDFLARE_ACCOUNT_ID": "acc",
        "CLOUDFLARE_API_TOKEN": gateway.api_token,
        "CLOUDFLARE_BASE_URL": f"{gateway.origin}/client/v4",
    }
