"""An SDK that the adapter was not tested with: used as far as it can be, refused where it moved."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from mistral_cf_adapter import (
    GatewayConfigError,
    GatewaySettings,
    _client,
    _patch,
    _sdk,
    make_client,
    patch,
)
from mistral_cf_adapter.cli import main
from mistral_cf_adapter.testing import LocalGateway

NEWER = ["1.99.0", "2.11.0", "3.7.1", "3.8.0rc1", "4.0.0"]
TRIED = ["1.9.11", "1.12.4", "2.0.0", "2.10.1", "3.0.0", "3.7.0", "3.7.0.post1+local", "unknown"]
SETTINGS = {"account_id": "acc", "token": "cf-test-token", "mistral_api_key": "mistral-test-key"}
QUESTION = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "Hello"}]}
WAYS = {
    "make_client": lambda: make_client(GatewaySettings(**SETTINGS)),
    "patch": lambda: patch(settings=GatewaySettings(**SETTINGS)).undo(),
}


@pytest.fixture(autouse=True)
def fresh():
    """What is remembered of the SDK of this process is looked at again."""
    _sdk.check_sdk.cache_clear()
    yield
    _sdk.check_sdk.cache_clear()


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def way(request):
    return request.param


def notes_of(caplog):
    return [record for record in caplog.records if "newer than the newest" in record.message]


@pytest.mark.parametrize("release", NEWER)
def test_a_newer_release_is_said_to_be_untried_once(monkeypatch, caplog, way, release):
    monkeypatch.setattr(_sdk, "version", lambda: release)
    with caplog.at_level(logging.INFO, logger="mistral_cf_adapter"):
        way()
        way()
    [record] = notes_of(caplog)
    assert f"mistralai {release} is newer" in record.message
    assert record.levelno == (logging.WARNING if release.startswith("4") else logging.INFO)


@pytest.mark.parametrize("release", TRIED)
def test_a_release_that_was_tried_is_not_mentioned(monkeypatch, caplog, way, release):
    monkeypatch.setattr(_sdk, "version", lambda: release)
    with caplog.at_level(logging.INFO, logger="mistral_cf_adapter"):
        way()
    assert notes_of(caplog) == []


def test_a_newer_release_works(monkeypatch):
    monkeypatch.setattr(_sdk, "version", lambda: "4.0.0")
    with LocalGateway() as gateway:
        gateway.reply("Bonjour!")
        answer = make_client(gateway.settings()).chat.complete(**QUESTION)
    assert answer.choices[0].message.content == "Bonjour!"


def test_doctor_says_that_a_release_is_untried(monkeypatch, capsys):
    monkeypatch.setattr(_sdk, "version", lambda: "3.99.0")
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc")
    monkeypatch.setenv("MISTRAL_API_KEY", "mistral-test-key")
    main(["doctor", "--offline", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    assert [note for note in report["notes"] if "mistralai 3.99.0 is newer" in note]


def build(*args, **kwargs):
    pytest.fail("an SDK object was built all the same")


def without_field(monkeypatch):
    fields = dict(_sdk.SDKConfiguration.__dataclass_fields__)
    fields.pop("async_client")
    monkeypatch.setattr(_sdk.SDKConfiguration, "__dataclass_fields__", fields)
    monkeypatch.delattr(_sdk.SDKConfiguration, "async_client", raising=False)
    return "SDKConfiguration.async_client"


def without_method(monkeypatch):
    monkeypatch.delattr(_sdk.SDKConfiguration, "get_server_details")
    return "SDKConfiguration.get_server_details"


def with_another_method(monkeypatch):
    monkeypatch.setattr(_sdk.SDKConfiguration, "get_server_details", lambda self: self.host)
    return "SDKConfiguration.get_server_details() of a server's name"


def without_argument(monkeypatch):
    def __init__(self, api_key=None, server=None, server_url=None, client=None):  # noqa: N807
        build()

    monkeypatch.setattr(_sdk.Mistral, "__init__", __init__)
    return "Mistral(async_client=)"


def with_another_error(monkeypatch):
    kind = _sdk.SDKError.__mro__[1]
    monkeypatch.setattr(kind, "__init__", lambda self, response: None)
    return f"{kind.__name__}(message=)"


MOVED = [without_field, without_method, with_another_method, without_argument, with_another_error]


@pytest.mark.parametrize("move", MOVED)
def test_what_has_moved_is_named_before_anything_is_built(monkeypatch, way, move):
    missing = move(monkeypatch)

    monkeypatch.setattr(_client, "Mistral", build)
    before = _sdk.Mistral.__init__
    for _ in range(2):  # nothing of the refusal is remembered
        with pytest.raises(GatewayConfigError) as caught:
            way()
        assert f"has no {missing}:" in str(caught.value)
        assert _sdk.SUPPORTED in str(caught.value)
    assert _sdk.Mistral.__init__ is before
    assert _patch._active_patches == []


def test_an_object_without_its_configuration_is_named(monkeypatch):
    class Other(_sdk.Mistral):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            del self.sdk_configuration

    monkeypatch.setattr(_client, "Mistral", Other)
    with pytest.raises(GatewayConfigError, match=r"has no Other\(\)\.sdk_configuration"):
        make_client(GatewaySettings(**SETTINGS))


def test_another_librarys_wrapper_is_no_change_of_the_sdk(monkeypatch, way):
    original = _sdk.Mistral.__init__

    def __init__(self, *args, **kwargs):  # noqa: N807
        original(self, *args, **kwargs)

    monkeypatch.setattr(_sdk.Mistral, "__init__", __init__)
    way()


def test_the_reference_names_the_releases_that_were_tried():
    reference = (Path(_sdk.__file__).parent / "REFERENCE.md").read_text("utf-8")
    sentence = re.search(r"The test suite runs with (.+?), whose", reference)
    oldest, *newest = re.findall(r"[\d.]+", sentence[1])
    assert oldest == "1.9.11"
    assert newest == [*_sdk.NEWEST_TRIED.values()]
