"""Installing the speed-ups, taking them out, and stepping aside."""

from __future__ import annotations

import logging
import threading
import types

import pytest
from speedup_tools import nobody_holding, sdk_module

from mistral_cf_adapter import _sdk, speedups
from mistral_cf_adapter.speedups import patches
from mistral_cf_adapter.speedups.registry import SPEEDUPS


@pytest.fixture(autouse=True)
def _bare():
    with nobody_holding():
        yield


def target(speedup):
    module = sdk_module(speedup.module)
    return module if speedup.owner is None else getattr(module, speedup.owner)


def everything():
    """What is in the place of every speed-up, by identity; None for nothing."""
    return {speedup.name: vars(target(speedup)).get(speedup.attribute) for speedup in SPEEDUPS}


def test_every_speedup_fits_the_installed_sdk():
    expected = {speedup.name for speedup in SPEEDUPS}
    if _sdk.ROOT == "mistralai":
        expected -= {"event copies", "hooks in threads"}
    if not hasattr(sdk_module("utils.serializers"), "_coerce_iterables_for_type"):
        expected.remove("coercion of arguments")
    with speedups.install():
        assert set(speedups.active()) == expected


def test_undo_restores_exactly_what_was_there():
    before = everything()
    handle = speedups.install()
    changed = {name for name, value in everything().items() if value is not before[name]}
    assert changed == set(speedups.active())
    handle.undo()
    assert everything() == before
    assert all(value is before[name] for name, value in everything().items())
    assert "__deepcopy__" not in vars(sdk_module("types.basemodel").Unset)


def test_importing_the_package_leaves_the_sdk_untouched():
    assert speedups.active() == ()
    assert sdk_module("utils.serializers").create_model.__module__ == "pydantic.main"


def test_the_last_holder_takes_them_out():
    first, second = speedups.install(), speedups.install()
    first.undo()
    first.undo()
    assert speedups.active()
    second.undo()
    assert not speedups.active()


def test_installing_again_changes_nothing():
    with speedups.install():
        before = everything()
        with speedups.install():
            assert everything() == before
        assert everything() == before


def test_they_can_be_installed_again_after_undo():
    speedups.install().undo()
    with speedups.install():
        assert speedups.active()


def test_many_threads_may_install_and_undo_at_once():
    before = everything()
    start = threading.Barrier(8)
    errors = []

    def work():
        start.wait()
        try:
            for _ in range(5):
                with speedups.install():
                    assert speedups.active()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert everything() == before


def test_what_somebody_else_put_there_since_is_left_alone(monkeypatch, caplog):
    serializers = sdk_module("utils.serializers")
    monkeypatch.setattr(serializers, "create_model", serializers.create_model)  # for afterwards
    handle = speedups.install()
    ours = serializers.create_model

    def theirs(*args, **kwargs):
        return ours(*args, **kwargs)

    serializers.create_model = theirs
    with caplog.at_level(logging.DEBUG, "mistral_cf_adapter"):
        handle.undo()
    assert serializers.create_model is theirs
    assert serializers.unmarshal_json("3", int) == 3
    place = f"{serializers.__name__}.create_model"
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"speed-up model classes stays: {place} has been replaced by somebody else"]


@pytest.mark.parametrize("speedup", SPEEDUPS, ids=lambda speedup: speedup.name)
def test_a_speedup_steps_aside_when_a_source_is_new(speedup, caplog):
    before = everything()[speedup.name]
    changed = tuple({name: frozenset({"new"}) for name in known} for known in speedup.sources)
    if not any(changed):
        changed = ({"no_such_function": frozenset()},)
    with caplog.at_level(logging.DEBUG, "mistral_cf_adapter"):
        assert patches.apply(speedup._replace(sources=changed), _sdk.ROOT) is None
    assert everything()[speedup.name] is before
    assert len(caplog.records) == 1
    assert f"speed-up {speedup.name} steps aside: " in caplog.text


def test_the_debug_line_says_which_source_is_new(caplog):
    speedup = SPEEDUPS[0]._replace(sources=({"unmarshal": frozenset({"0"})},))
    with caplog.at_level(logging.DEBUG, "mistral_cf_adapter"):
        patches.apply(speedup, _sdk.ROOT)
    assert f"the source of {_sdk.ROOT}.utils.serializers.unmarshal is new (digest " in caplog.text


@pytest.mark.parametrize(
    ("module", "attribute"),
    [
        ("utils.serializers", "create_model"),
        ("utils.url", "get_type_hints"),
        ("utils.queryparams", "get_type_hints"),
        ("utils.forms", "get_type_hints"),
        ("utils.eventstreaming", "stream_events"),
    ],
)
def test_what_somebody_else_wrapped_before_is_left_alone(monkeypatch, module, attribute):
    module = sdk_module(module)
    original = getattr(module, attribute)

    def theirs(*args, **kwargs):
        return original(*args, **kwargs)

    monkeypatch.setattr(module, attribute, theirs)
    with speedups.install():
        assert getattr(module, attribute) is theirs


def test_a_speedup_that_cannot_be_built_steps_aside(caplog):
    def build(found):
        msg = "no way"
        raise TypeError(msg)

    with caplog.at_level(logging.DEBUG, "mistral_cf_adapter"):
        assert patches.apply(SPEEDUPS[0]._replace(build=build), _sdk.ROOT) is None
    assert "speed-up model classes steps aside: no way" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"module": "utils.no_such_module"}, id="module"),
        pytest.param({"owner": "NoSuchClass"}, id="class"),
        pytest.param({"attribute": "no_such_attribute"}, id="attribute"),
        pytest.param({"sources": ({"no_such_function": frozenset()},)}, id="function"),
    ],
)
def test_a_speedup_steps_aside_when_its_place_is_gone(change):
    assert patches.apply(SPEEDUPS[0]._replace(**change), _sdk.ROOT) is None


def test_a_module_without_source_has_no_digest():
    module = types.ModuleType("sourceless")
    exec("def function(): pass", vars(module))
    with pytest.raises(patches.ChangedError, match="cannot be found"):
        patches.digest(module, "function")


@pytest.mark.parametrize("change", ["", "\n    # a comment", "\n    ..."])
def test_a_digest_tells_a_changed_source_from_the_same_one(tmp_path, monkeypatch, change):
    monkeypatch.syspath_prepend(tmp_path)
    digests = set()
    for name, extra in (("sources_one", ""), (f"sources_two{len(change)}", change)):
        text = f"import os\n\ndef function(\n    a,\n):\n    return a{extra}\n\nother = 1\n"
        (tmp_path / f"{name}.py").write_text(text)
        digests.add(patches.digest(__import__(name), "function"))
    assert len(digests) == (2 if change else 1)
