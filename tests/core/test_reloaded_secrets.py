"""Secrets of files that change while a client lives: read again, and nothing else is."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
import warnings

import pytest
from call_modes import SYNC
from client_ways import WAYS
from http_records import TEXT, Reply
from object_walks import serialized, texts_in
from pydantic_settings import SettingsConfigDict
from secret_searches import shown_in
from test_callable_credentials import AT_ONCE, REFUSALS, refusal, sent

from mistral_cf_adapter import (
    GatewaySettings,
    GatewayUnauthorizedError,
    _flow,
    _secret_files,
    gateway_options,
    make_client,
)
from mistral_cf_adapter._settings_secrets import live_secrets
from mistral_cf_adapter._variables import env_names

LONG_AGO = 1_700_000_000
SECRETS = ("token", "mistral_api_key")  # for those of Access: test_rotating_access.py
setting = pytest.mark.parametrize("name", SECRETS)


class Place:
    """Where settings are read from; secrets are written there in one of its ways."""

    alias = 0
    """Which of a setting's variables is there."""

    def __init__(self, path, monkeypatch):
        self.path = path
        self.monkeypatch = monkeypatch
        self.values = {}

    def settings(self, **values):
        return GatewaySettings(**self.keywords(), **values)

    def variable(self, name):
        return env_names(name)[self.alias]

    def keywords(self):
        return {"_env_file": self.file}

    @property
    def file(self):
        return self.path / "settings.env"

    def write(self, **values):
        """Write secrets, beside those that are there already."""
        self.values |= values
        self.replace("".join(f"{env_names(n)[0]}={text}\n" for n, text in self.values.items()))

    def replace(self, text):
        self.file.write_text(text)

    def withdraw(self, name):
        del self.values[name]
        self.write()

    def spoil(self, content):
        """Leave what is no text, or no key, in the place of all secrets."""
        self.file.write_bytes(content)

    def remove(self):
        self.file.unlink()

    def age(self):
        """Let the files be as old as those of a program that has run for a while."""
        for path in self.path.rglob("*"):
            os.utime(path, (LONG_AGO, LONG_AGO))
        os.utime(self.path, (LONG_AGO, LONG_AGO))


class EnvFile(Place):
    """A file that is written in its place."""


class ReplacedFile(Place):
    """A file of the same size and time, renamed to the place of the first one."""

    def replace(self, text):
        other = self.path / "other.env"
        other.write_text(text)
        os.utime(other, (LONG_AGO, LONG_AGO))
        other.replace(self.file)


class NamedFile(Place):
    """A file that the environment names."""

    def keywords(self):
        self.monkeypatch.setenv("CF_AIG_ENV_FILE", str(self.file))
        return {}


class Directory(Place):
    """A directory with a file for each secret, as Docker has it."""

    def keywords(self):
        return {"_secrets_dir": self.path}

    def write(self, **values):
        for name, text in values.items():
            (self.path / env_names(name)[0].lower()).write_text(text)

    def withdraw(self, name):
        (self.path / env_names(name)[0].lower()).unlink()

    def spoil(self, content):
        for file in self.path.iterdir():
            file.write_bytes(content)

    def remove(self):
        shutil.rmtree(self.path)
        self.path.mkdir()


class Volume(Directory):
    """A volume of Kubernetes: links lead through another link, which alone is replaced."""

    count = 0
    alias = -1

    def write(self, **values):
        self.values |= values
        version = self.path / f"..version-{Volume.count}"
        Volume.count += 1
        version.mkdir()
        for name, text in self.values.items():
            (version / self.variable(name)).write_text(text)
            link = self.path / self.variable(name)
            if not link.is_symlink():
                link.symlink_to(f"..data/{link.name}")
        self._point(version.name)

    def _point(self, target):
        link = self.path / "..new"
        link.symlink_to(target)
        link.rename(self.path / "..data")

    def spoil(self, content):
        version = self.path / "..spoilt"
        version.mkdir(exist_ok=True)
        for name in self.values:
            (version / env_names(name)[-1]).write_bytes(content)
        self._point(version.name)

    def remove(self):
        self._point("..nothing")


PLACES = [EnvFile, ReplacedFile, NamedFile, Directory, Volume]
FIRST = {"token": "token-number-1", "mistral_api_key": "key-number-1"}
SECOND = {"token": "token-number-2", "mistral_api_key": "key-number-2"}


@pytest.fixture(params=PLACES, ids=lambda place: place.__name__)
def place(request, tmp_path, monkeypatch):
    """Each place, with the first secrets in it."""
    return _fill(request.param, tmp_path, monkeypatch)


@pytest.fixture(params=[EnvFile, Directory], ids=lambda place: place.__name__)
def main_place(request, tmp_path, monkeypatch):
    return _fill(request.param, tmp_path, monkeypatch)


def _fill(place_class, tmp_path, monkeypatch):
    path = tmp_path / "place"
    path.mkdir()
    place = place_class(path, monkeypatch)
    place.write(**FIRST)
    place.age()
    return place


@pytest.fixture(autouse=True)
def base_url(monkeypatch, gateway):
    monkeypatch.setenv("CF_AIG_BASE_URL", gateway.base_url)


def check_sent(gateway, *expected):
    for name in SECRETS:
        assert sent(gateway, name) == [f"Bearer {values[name]}" for values in expected]


# ---------------------------------------------------------------- read again


@pytest.mark.parametrize("way", WAYS)
def test_what_changed_is_sent_with_the_next_request(gateway, place, mode, way):
    with way(place.settings()) as client:
        mode.chat(client)
        place.write(**SECOND)
        mode.chat(client)
        mode.chat(client)
    check_sent(gateway, FIRST, SECOND, SECOND)


@setting
def test_one_of_them_may_change_alone(gateway, place, name):
    client = make_client(place.settings())
    place.write(**{name: SECOND[name]})
    SYNC.chat(client)
    check_sent(gateway, {**FIRST, name: SECOND[name]})


def test_what_changes_between_two_ticks_of_the_clock_is_read_again(
    gateway, main_place, monkeypatch
):
    """Of the same size, in the same file, at what is the same time."""
    monkeypatch.setattr(_secret_files, "_YOUNG", 3600 * 10**9)
    client = make_client(main_place.settings())
    now = time.time_ns()
    for values in (FIRST, SECOND):
        main_place.write(**values)
        for path in (main_place.path, *main_place.path.iterdir()):
            os.utime(path, ns=(now, now))
        SYNC.chat(client)
    check_sent(gateway, FIRST, SECOND)


def test_what_changes_again_at_once_is_read_again(gateway, main_place):
    client = make_client(main_place.settings())
    expected = []
    for number in range(100, 150):
        expected.append({"token": f"token-{number}", "mistral_api_key": f"key-{number}"})
        main_place.write(**expected[-1])
        SYNC.chat(client)
    check_sent(gateway, *expected)


def test_the_last_of_several_files_wins(gateway, main_place, tmp_path):
    first = tmp_path / "first.env"
    first.write_text("CF_AIG_TOKEN=of-the-first\nMISTRAL_API_KEY=of-the-first\n")
    second = tmp_path / "second.env"
    second.write_text("CF_AIG_TOKEN=of-the-second\n")
    settings = GatewaySettings(_env_file=[str(first), second], _secrets_dir=main_place.path)
    client = make_client(settings)
    SYNC.chat(client)
    second.write_text("CF_AIG_TOKEN=of-the-second-by-now\n")
    first.write_text("CF_AIG_TOKEN=unused\nMISTRAL_API_KEY=of-the-first-by-now\n")
    SYNC.chat(client)
    assert sent(gateway, "token") == ["Bearer of-the-second", "Bearer of-the-second-by-now"]
    assert sent(gateway, "mistral_api_key") == ["Bearer of-the-first", "Bearer of-the-first-by-now"]


class OfAFile(GatewaySettings):
    """Settings of an application that names the file in its class."""

    model_config = SettingsConfigDict(env_file="settings-of-the-class.env")


def test_a_file_that_a_class_of_settings_names(gateway, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "settings-of-the-class.env"
    file.write_text("CF_AIG_TOKEN=one-token\nMISTRAL_API_KEY=one-key\n")
    client = make_client(OfAFile())
    file.write_text("CF_AIG_TOKEN=another-token\nMISTRAL_API_KEY=another-key\n")
    SYNC.chat(client)
    assert sent(gateway, "token") == ["Bearer another-token"]
    assert sent(gateway, "mistral_api_key") == ["Bearer another-key"]


def test_what_changes_before_the_first_call_is_read(gateway, main_place):
    settings = main_place.settings()
    main_place.write(**SECOND)
    SYNC.chat(make_client(settings))
    check_sent(gateway, SECOND)


def test_a_prefix_is_taken_off(gateway, place):
    client = make_client(place.settings())
    place.write(**{name: f"Bearer {text}" for name, text in SECOND.items()})
    SYNC.chat(client)
    check_sent(gateway, SECOND)


def test_a_retry_of_the_sdk_sends_what_is_there_by_then(gateway, main_place, mode):
    def respond(_):
        main_place.write(**SECOND)
        gateway.responder = None
        return Reply(503)

    gateway.responder = respond
    mode.chat(make_client(main_place.settings(), retry_config=AT_ONCE))
    check_sent(gateway, FIRST, SECOND)


@setting
def test_a_refused_secret_is_looked_for_once_more(gateway, main_place, mode, name):
    """The one request that meets a rotation does not fail."""
    refuse, _ = REFUSALS[name]

    def respond(_):
        main_place.write(**{name: SECOND[name]})
        gateway.responder = None
        return refuse()

    gateway.responder = respond
    assert mode.chat(make_client(main_place.settings())) == TEXT
    check_sent(gateway, FIRST, {**FIRST, name: SECOND[name]})


def test_a_refused_secret_that_is_still_there_is_not_sent_twice(gateway, main_place, mode):
    gateway.replies.append(refusal())
    with pytest.raises(GatewayUnauthorizedError):
        mode.chat(make_client(main_place.settings()))
    assert len(gateway.requests) == 1


def test_an_unchanged_file_is_not_read(gateway, place, monkeypatch):
    client = make_client(place.settings())
    reads = []
    monkeypatch.setattr(
        _secret_files.SecretFiles, "_read_found", lambda files: reads.append(files) or {}
    )
    for _ in range(3):
        SYNC.chat(client)
    assert reads == []


def test_threads_see_one_of_the_values_and_the_last_one_in_the_end(gateway, main_place):
    client = make_client(main_place.settings())
    done = threading.Event()

    def call():
        while not done.is_set():
            SYNC.chat(client)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(100, 130):
        main_place.write(token=f"token-{number}", mistral_api_key=f"key-{number}")
    done.set()
    for thread in threads:
        thread.join()
    SYNC.chat(client)
    assert sent(gateway, "token")[-1] == "Bearer token-129"
    assert sent(gateway, "mistral_api_key")[-1] == "Bearer key-129"


def test_the_file_stays_the_same_in_another_directory(gateway, tmp_path, monkeypatch):
    """A file by the same name there is another program's."""
    for name in ("here", "there"):
        (tmp_path / name / "secrets").mkdir(parents=True)
        (tmp_path / name / ".env").write_text(f"CF_AIG_TOKEN=token-{name}\n")
        (tmp_path / name / "secrets" / "mistral_api_key").write_text(f"key-{name}")
    monkeypatch.chdir(tmp_path / "here")
    client = make_client(GatewaySettings(_env_file=".env", _secrets_dir="secrets"))
    monkeypatch.chdir(tmp_path / "there")
    SYNC.chat(client)
    (tmp_path / "here" / ".env").write_text("CF_AIG_TOKEN=token-of-now\n")
    SYNC.chat(client)
    assert sent(gateway, "token") == ["Bearer token-here", "Bearer token-of-now"]
    assert sent(gateway, "mistral_api_key") == ["Bearer key-here"] * 2


def test_a_file_is_read_again_beside_a_directory_that_is_not_there(gateway, tmp_path):
    """It may be mounted in production alone."""
    file = tmp_path / "settings.env"
    file.write_text("CF_AIG_TOKEN=one-token\nMISTRAL_API_KEY=one-key\n")
    with pytest.warns(UserWarning, match="does not exist"):
        settings = GatewaySettings(_env_file=file, _secrets_dir=tmp_path / "absent")
    client = make_client(settings)
    file.write_text("CF_AIG_TOKEN=another-token\nMISTRAL_API_KEY=another-key\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SYNC.chat(client)
    assert sent(gateway, "token") == ["Bearer another-token"]


# ---------------------------------------------------------------- and nothing else is


@setting
def test_a_keyword_wins(gateway, place, mode, name):
    client = make_client(place.settings(**{name: "by-keyword"}))
    place.write(**SECOND)
    mode.chat(client)
    check_sent(gateway, {**SECOND, name: "by-keyword"})


@setting
@pytest.mark.parametrize("case", [str.upper, str.lower])
def test_the_environment_wins(gateway, place, mode, name, case, monkeypatch):
    monkeypatch.setenv(case(place.variable(name)), "of-the-environment")
    client = make_client(place.settings())
    place.write(**SECOND)
    mode.chat(client)
    check_sent(gateway, {**SECOND, name: "of-the-environment"})


@setting
def test_a_callable_wins(gateway, place, name):
    client = make_client(place.settings(**{name: lambda: "of-a-callable"}))
    place.write(**SECOND)
    SYNC.chat(client)
    check_sent(gateway, {**SECOND, name: "of-a-callable"})


def test_a_key_of_the_client_wins(gateway, main_place, mode):
    client = make_client(main_place.settings(), api_key="of-the-client")
    main_place.write(**SECOND)
    mode.chat(client)
    check_sent(gateway, {**SECOND, "mistral_api_key": "of-the-client"})


@setting
def test_a_copy_with_another_secret_keeps_that(gateway, place, name):
    settings = place.settings().model_copy(update={name: "by-keyword"})
    place.write(**SECOND)
    SYNC.chat(make_client(settings))
    check_sent(gateway, {**SECOND, name: "by-keyword"})


def test_other_settings_stay_as_they_were_read(gateway, tmp_path, monkeypatch):
    place = _fill(EnvFile, tmp_path, monkeypatch)
    place.values |= {"cache_ttl": "60"}
    place.write()
    client = make_client(place.settings())
    place.write(**SECOND, cache_ttl="70", provider="custom-elsewhere")
    SYNC.chat(client)
    check_sent(gateway, SECOND)
    assert gateway.last.header("cf-aig-cache-ttl") == "60"
    assert "/mistral/v1/" in gateway.last.path


def test_a_secret_that_was_not_there_is_not_looked_for(gateway, main_place, mode):
    """What a file did not have when settings were read is not the file's."""
    main_place.withdraw("token")
    client = make_client(main_place.settings())
    main_place.write(**SECOND)
    mode.chat(client)
    assert gateway.last.header("cf-aig-authorization") is None
    assert gateway.last.header("authorization") == f"Bearer {SECOND['mistral_api_key']}"


def test_a_stored_key_stays_in_use(gateway, main_place, mode):
    client = make_client(main_place.settings(byok=True))
    main_place.write(**SECOND)
    mode.chat(client)
    assert gateway.last.header("authorization") is None
    assert gateway.last.header("cf-aig-authorization") == f"Bearer {SECOND['token']}"
    client = make_client(main_place.settings())
    with gateway_options(byok_alias="production"):
        mode.chat(client)
    assert gateway.last.header("authorization") is None


def test_the_fallback_takes_the_key_of_now(elsewhere, main_place, monkeypatch, mode):
    monkeypatch.setattr(_flow, "MISTRAL_URL", elsewhere.origin)
    monkeypatch.setattr(_flow, "_open_until", {})
    monkeypatch.setenv("CF_AIG_BASE_URL", "http://127.0.0.1:9/v1/acc/gw")
    client = make_client(main_place.settings(fallback="direct"))
    main_place.write(**SECOND)
    with pytest.warns(UserWarning, match="AI Gateway is down"):
        mode.chat(client)
    assert elsewhere.last.header("authorization") == f"Bearer {SECOND['mistral_api_key']}"


def test_a_call_elsewhere_gets_the_key_of_now(elsewhere, main_place, mode):
    client = make_client(main_place.settings())
    main_place.write(**SECOND)
    with pytest.warns(UserWarning, match="past AI Gateway"):
        mode.chat(client, server_url=elsewhere.origin)
    assert elsewhere.last.header("authorization") == f"Bearer {SECOND['mistral_api_key']}"
    assert elsewhere.last.gateway == {}


def test_who_reads_the_key_of_a_client_gets_that_of_now(main_place):
    client = make_client(main_place.settings())
    assert client.sdk_configuration.security().api_key == FIRST["mistral_api_key"]
    main_place.write(**SECOND)
    assert client.sdk_configuration.security().api_key == SECOND["mistral_api_key"]


def test_settings_are_copied_without_their_file(gateway, place):
    settings = place.settings()
    place.remove()
    SYNC.chat(make_client(settings.model_copy(update={"cache_ttl": 60})))
    check_sent(gateway, FIRST)
    assert gateway.last.header("cf-aig-cache-ttl") == "60"


# ---------------------------------------------------------------- switched off

SWITCHES = {
    "a keyword": lambda place: place.settings(reload_secrets=False),
    "a variable": lambda place: (
        place.monkeypatch.setenv("CF_AIG_RELOAD_SECRETS", "false") or place.settings()
    ),
    "a copy": lambda place: place.settings().model_copy(update={"reload_secrets": False}),
}


@pytest.mark.parametrize("build", SWITCHES.values(), ids=SWITCHES)
def test_it_can_be_switched_off(gateway, place, mode, build):
    client = make_client(build(place))
    place.write(**SECOND)
    mode.chat(client)
    check_sent(gateway, FIRST)


def test_a_copy_that_reads_no_more_has_what_was_read_last(gateway, main_place):
    settings = main_place.settings()
    main_place.write(**SECOND)
    SYNC.chat(make_client(settings))
    fixed = settings.model_copy(update={"reload_secrets": False})
    main_place.write(**FIRST)
    SYNC.chat(make_client(fixed))
    SYNC.chat(make_client(settings))
    check_sent(gateway, SECOND, SECOND, FIRST)


def test_without_files_there_is_nothing_to_look_at(settings):
    assert live_secrets(settings) == {}


# ---------------------------------------------------------------- at a bad moment

SPOILT = {
    "empty": b"",
    "blank": b"  \n",
    "not UTF-8": b"CF_AIG_TOKEN=\xff\xfe\nMISTRAL_API_KEY=\xff",
    "half a line": b"CF_AIG_TOKEN\nMISTRAL_API",
    "in quotes": b'CF_AIG_TOKEN="\'x\'"\nMISTRAL_API_KEY="<key>"\n',
}


def told(caplog):
    return [one.getMessage() for one in caplog.records if "last good value" in one.getMessage()]


@pytest.mark.parametrize("content", SPOILT.values(), ids=SPOILT)
def test_what_is_half_written_leaves_the_last_good_value(gateway, place, mode, content, caplog):
    client = make_client(place.settings())
    place.spoil(content)
    for _ in range(3):
        mode.chat(client)
    (message,) = told(caplog)
    assert message.startswith("mistral_api_key and token cannot be read again from ")
    assert str(place.path) in message
    place.write(**SECOND)
    mode.chat(client)
    check_sent(gateway, FIRST, FIRST, FIRST, SECOND)
    assert len(told(caplog)) == 1


def test_what_is_missing_leaves_the_last_good_value(gateway, place, mode, caplog):
    client = make_client(place.settings())
    place.remove()
    for _ in range(3):
        mode.chat(client)
    assert len(told(caplog)) == 1
    place.write(**SECOND)
    mode.chat(client)
    place.remove()
    mode.chat(client)
    check_sent(gateway, FIRST, FIRST, FIRST, SECOND, SECOND)
    assert len(told(caplog)) == 2


def test_a_directory_that_is_gone_leaves_the_last_good_value(gateway, main_place, mode, caplog):
    client = make_client(main_place.settings())
    shutil.rmtree(main_place.path)
    for _ in range(2):
        mode.chat(client)
    main_place.path.mkdir()
    main_place.write(**SECOND)
    mode.chat(client)
    check_sent(gateway, FIRST, FIRST, SECOND)
    assert len(told(caplog)) == 1


def test_one_that_cannot_be_read_leaves_the_other(gateway, place, caplog):
    client = make_client(place.settings())
    place.write(token="<token>", mistral_api_key=SECOND["mistral_api_key"])
    SYNC.chat(client)
    check_sent(gateway, {**SECOND, "token": FIRST["token"]})
    (message,) = told(caplog)
    assert message.startswith("token cannot be read again")


def test_no_secret_is_shown(gateway, place, mode, caplog):
    caplog.set_level(logging.DEBUG)
    one, other = "Zq7xWm3kVb9TnR2yLc5hJd8gFs1pQe6u", "Hy4bNt8vKx2mPw6cRz9sLd3fGj7qAe5o"
    place.write(token=one, mistral_api_key=one)
    settings = place.settings()
    client = make_client(settings)
    place.write(token=other, mistral_api_key=other)
    mode.chat(client)
    place.spoil(f'{one} "{other}"'.encode())
    mode.chat(client)
    assert sent(gateway, "token") == [f"Bearer {other}"] * 2
    for thing in (settings, client, settings.model_copy(), live_secrets(settings)):
        assert not shown_in("\n".join(texts_in(thing)), one, other)
        assert not shown_in(serialized(thing), one, other)
    assert not shown_in(caplog.text, one, other)


def test_what_a_server_quotes_is_masked(gateway, main_place, mode):
    one, other = "Zq7xWm3kVb9TnR2yLc5hJd8gFs1pQe6u", "Hy4bNt8vKx2mPw6cRz9sLd3fGj7qAe5o"
    main_place.write(token=one, mistral_api_key=one)
    client = make_client(main_place.settings())

    def respond(_):
        main_place.write(token=other, mistral_api_key=one)
        return refusal(text=f"{one} and {other}")

    gateway.responder = respond
    with pytest.raises(GatewayUnauthorizedError, match=r"Zq7x\.\.\.6u and Hy4b\.\.\.5o"):
        mode.chat(client)
