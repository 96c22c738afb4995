"""`diagnose()`: every problem with what to do, in bounded time, without a trace in the process."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from mistral_cf_adapter import (
    Diagnosis,
    GatewayConfigError,
    GatewaySettings,
    Problem,
    _diagnosis,
    diagnose,
    diagnose_async,
    make_client,
)
from mistral_cf_adapter._secrets import mask_whole
from mistral_cf_adapter.testing import LocalGateway

TOKEN = "cfut_9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"
KEY = "Zq7xWm3kVb9TnR2yLc5hJd8gFs1pQe6u"


@pytest.fixture
def environment(monkeypatch):
    """Set variables, among none of the developer's own."""

    def put(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


def names(found):
    return [problem.name for problem in found.problems]


async def ask(is_async, *arguments, **keywords):
    """Call the synchronous or the asynchronous function."""
    if is_async:
        return await diagnose_async(*arguments, **keywords)
    return diagnose(*arguments, **keywords)


BOTH = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@BOTH
async def test_a_gateway_that_answers_is_ready(served, is_async):
    before = len(served.requests)
    found = await ask(is_async, served.settings(), call=True)
    assert found == Diagnosis(f"Ready: calls go through {served.url}/mistral.", (), (), called=True)
    assert found.ok
    (request,) = served.requests[before:]
    assert request.path == "/v1/acc/default/mistral/v1/models"


@BOTH
async def test_nothing_is_sent_unless_asked_for(served, is_async):
    before = len(served.requests)
    found = await ask(is_async, served.settings())
    assert (found.ok, found.called) == (True, False)
    assert found.summary.startswith("Not tried: the settings for ")
    assert found.summary.endswith("No call was made.")
    assert len(served.requests) == before


@BOTH
async def test_what_the_gateway_refuses_is_a_problem(served, is_async):
    found = await ask(is_async, served.settings(token="wrong-token-0123"), call=True)
    assert names(found) == ["token_rejected"]
    assert not found.ok
    (problem,) = found.problems
    assert problem.advice.startswith("Create a new token")
    assert found.summary == f"1 problem: {problem.message}"
    assert str(found).splitlines()[1] == f"{problem.message} {problem.advice}"


def test_the_environment_is_read_anew_each_time(environment):
    environment(CLOUDFLARE_ACCOUNT_ID="acc1", MISTRAL_API_KEY=KEY, CF_AIG_TOKEN=TOKEN)
    assert diagnose().ok
    environment(CF_AIG_CACHE_TTL="5")
    assert names(diagnose()) == ["configuration"]


def test_every_problem_is_named_and_not_the_first_alone(environment):
    environment(
        CF_AIG_CACHE_TTL="5",
        CF_AIG_MAX_ATTEMPTS="9",
        CF_AIG_ENABLED="maybe",
        CF_AIG_FALLBACK="direct",
        CF_AIG_PROVIDER="custom-eu",
        CF_AIG_ACCESS_CLIENT_ID="0123.access",
    )
    found = diagnose(call=True)
    told = [problem.message.split()[0] for problem in found.problems]
    assert told == [
        *("CF_AIG_CACHE_TTL:", "CF_AIG_MAX_ATTEMPTS:", "CF_AIG_ENABLED:"),
        *("CLOUDFLARE_ACCOUNT_ID", "fallback=direct", "access_client_id", "There"),
    ]
    assert "'maybe'" in found.problems[2].message
    assert found.summary.startswith("7 problems, the first: CF_AIG_CACHE_TTL: ")
    assert not found.called
    for problem in found.problems:
        assert problem.message.endswith(".")
        assert problem.advice.endswith(".")


def test_a_wrong_address_is_one_problem_and_hides_no_other(environment):
    environment(CF_AIG_BASE_URL="https://api.mistral.ai", CF_AIG_MAX_ATTEMPTS="9")
    told = {problem.message.split(":")[0] for problem in diagnose().problems}
    no_key = "There is no Mistral key to send."
    assert told == {"CF_AIG_BASE_URL", "CF_AIG_MAX_ATTEMPTS", no_key}


def test_a_wrong_address_makes_nothing_else_look_wrong(environment):
    environment(CF_AIG_BASE_URL="https://api.mistral.ai", MISTRAL_API_KEY=KEY)
    environment(CF_AIG_ACCESS_CLIENT_ID="0123.access", CF_AIG_ACCESS_CLIENT_SECRET=TOKEN)
    (problem,) = diagnose().problems
    assert problem.message.startswith("CF_AIG_BASE_URL: ")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("CF_AIG_TOKEN", "Bearer"), ("MISTRAL_API_KEY", "two words"), ("CF_AIG_BYOK", "x")],
)
def test_what_is_wrong_is_not_said_to_be_missing_too(environment, variable, value):
    known = {"CLOUDFLARE_ACCOUNT_ID": "acc1", "MISTRAL_API_KEY": KEY, "CF_AIG_TOKEN": TOKEN}
    environment(**{**known, variable: value})
    found = diagnose()
    assert names(found) == ["configuration"]
    assert not [note for note in found.notes if "No token is set" in note]


def test_a_missing_token_is_said_where_nothing_was_tried():
    settings = GatewaySettings(account_id="acc1", mistral_api_key=KEY)
    found = diagnose(settings)
    assert "but no token is set. No call was made." in found.summary
    assert found.notes[0].startswith("No token is set: the gateway refuses such calls unless")
    stored = diagnose(GatewaySettings(account_id="acc1", byok=True))
    assert stored.notes[0].startswith("No token is set, and the gateway holds the Mistral key")


def test_the_switch_that_is_off_is_no_problem():
    found = diagnose(GatewaySettings(enabled=False), call=True)
    assert found.ok
    assert found.summary == "Switched off: calls go to Mistral, and not through a gateway."


def test_a_misspelt_variable_is_a_note_and_no_warning(environment):
    environment(CLOUDFLARE_ACCOUNT_ID="acc1", CF_AIG_TOKN=TOKEN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = diagnose()
    assert "CF_AIG_TOKN is set, but not read; did you mean CF_AIG_TOKEN?" in found.notes


def test_a_warning_of_another_thread_is_not_swallowed(environment):
    """As `warnings.catch_warnings()` would, which is the whole process's."""
    environment(CLOUDFLARE_ACCOUNT_ID="acc1", CF_AIG_TOKN=TOKEN)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        handler = warnings.showwarning
        diagnose()
        assert warnings.showwarning is handler
        GatewaySettings()
    assert [str(each.message).split()[0] for each in caught] == ["CF_AIG_TOKN"]


def test_a_diagnosis_leaves_the_sdk_as_it_was(served):
    code = (
        "from mistral_cf_adapter import GatewaySettings, diagnose\n"
        "from mistral_cf_adapter.speedups import _applied\n"
        "import logging\n"
        f"settings = GatewaySettings(base_url={served.url!r}, token={served.token!r},\n"
        f"    mistral_api_key={served.mistral_api_key!r}, log='debug')\n"
        "print(diagnose(settings, call=True).ok, len(_applied),\n"
        "    logging.getLogger('mistral_cf_adapter').handlers)\n"
    )
    assert run(code) == "True 0 []"


def run(code, limit=30):
    """Run code in a fresh interpreter; return what it prints, and fail if it hangs."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=limit
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


HANGS = {
    "a gateway that is silent": "",
    "a callable that waits": "settings = settings.model_copy(update={'token': lambda: sleep(60)})",
    "a name that does not resolve": "socket.getaddrinfo = lambda *a, **k: sleep(60)",
}


@pytest.mark.parametrize("way", HANGS)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_it_is_bounded_and_the_process_ends(way, is_async):
    """The thread that waits is given up, and keeps the process from nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        asked = "settings, call=True, timeout=0.5"
        call = f"asyncio.run(diagnose_async({asked}))" if is_async else f"diagnose({asked})"
        code = (
            "import asyncio, socket\n"
            "from time import sleep\n"
            "from mistral_cf_adapter import GatewaySettings, diagnose, diagnose_async\n"
            f"settings = GatewaySettings(base_url={url!r}, token={TOKEN!r}, mistral_api_key='k')\n"
            f"{HANGS[way]}\n"
            f"print([each.name for each in {call}.problems])\n"
        )
        assert run(code) == "['timeout']"


def test_a_response_that_drips_is_bounded_too():
    """Each byte comes in time, so that no timeout of the HTTP library ends it."""
    with LocalGateway() as gateway, gateway.fault("slow_drip", size=1, delay=0.2):
        found = diagnose(gateway.settings(), call=True, timeout=0.5)
    assert names(found) == ["timeout"]


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 3601])
def test_a_timeout_that_is_none_is_refused(timeout):
    with pytest.raises(GatewayConfigError, match=r"timeout: .* is out of range"):
        diagnose(timeout=timeout)


@pytest.mark.parametrize("settings", ["a-secret-0123456789", GatewaySettings, {}])
def test_settings_that_are_none_are_a_type_error(settings):
    with pytest.raises(TypeError, match=r"diagnose\(\) takes GatewaySettings") as caught:
        diagnose(settings)
    assert "a-secret" not in str(caught.value)


def test_no_secret_is_in_a_diagnosis():
    said = f"token {TOKEN}, x{KEY}y, {quote(KEY)} and {KEY}{KEY}"
    with LocalGateway(token=TOKEN, mistral_api_key=KEY) as gateway:
        gateway.fail(4711, status=400, message=said)
        found = diagnose(gateway.settings(), call=True)
    for secret in (TOKEN, KEY):
        for part in (secret, secret[:4], secret[-4:]):
            assert part not in repr(found)
    assert "token ****, ****, **** and ****" in found.problems[0].message


@pytest.mark.parametrize(
    ("secret", "text", "expected"),
    [
        (KEY, f"a{KEY}b {KEY}-{KEY}.", "**** ****."),
        ("a+b/c=d&e:f@g", f"?k={quote('a+b/c=d&e:f@g', safe='')}&x", "?k=****&x"),
        (KEY, "what mask() left: Zq7x...6u!", "what mask() left: ****!"),
        ("pass-word", "my-pass-word1, ok", "****, ok"),
        ("gateway", "the gateway", "the gateway"),
        ("", "nothing", "nothing"),
    ],
)
def test_a_secret_is_masked_with_the_word_around_it(secret, text, expected):
    assert mask_whole(text, [SecretStr(secret)]) == expected


def test_the_result_can_be_sent_as_json(served):
    from dataclasses import asdict

    found = diagnose(served.settings(token="wrong-token-0123"), call=True)
    assert json.loads(json.dumps(asdict(found)))["problems"][0]["name"] == "token_rejected"
    assert Problem(**asdict(found)["problems"][0]) == found.problems[0]


def test_threads_may_ask_at_once(served):
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(diagnose(served.settings(), call=True).ok))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [True] * 4


def test_an_sdk_that_does_not_fit_is_a_problem_and_no_error():
    code = (
        "import sys, types\n"
        "for name in ('mistralai', 'mistralai.client'):\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        "from mistral_cf_adapter import GatewaySettings, diagnose\n"
        "found = diagnose(GatewaySettings(account_id='acc', mistral_api_key='k'), call=True)\n"
        "print(found.ok, found.called, found.problems[0].message)\n"
    )
    assert run(code).startswith("False False ")
    assert "2.x and 3.x" in run(code)


def test_a_token_of_a_service_account_is_a_key(environment):
    environment(CLOUDFLARE_ACCOUNT_ID="acc1", CF_AIG_TOKEN=TOKEN)
    assert names(diagnose()) == ["no_key"]
    environment(MISTRAL_SA_TOKEN_PATH="/run/token")
    found = diagnose()
    assert found.ok
    assert [note for note in found.notes if note.startswith("MISTRAL_SA_TOKEN_PATH is set")]


def test_the_name_loads_nothing_before_it_is_used():
    code = (
        "import sys, mistral_cf_adapter as m\n"
        "before = 'pydantic' in sys.modules\n"
        "found = m.diagnose(m.GatewaySettings(enabled=False))\n"
        "print(before, found.ok, 'mistralai' in sys.modules)"
    )
    assert run(code) == "False True False"


def test_a_client_works_after_a_diagnosis(served):
    diagnose(served.settings(), call=True)
    assert make_client(served.settings()).models.list().data


def test_every_name_of_a_problem_is_documented():
    doc = " ".join((Problem.__doc__ or "").split())
    source = "".join(path.read_text() for path in Path(_diagnosis.__file__).parent.glob("*.py"))
    found = set(re.findall(r'Problem\(\s*"([a-z_]+)"', source))
    assert len(found) > 15
    assert [
        name for name in sorted(found) if f"`{name}`" not in doc and name[:8] != "gateway_"
    ] == []
