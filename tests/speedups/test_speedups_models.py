# ruff: noqa: UP006, UP007, UP045 (the SDK spells its types the old way)
"""Values parsed and serialised with kept model classes: the same values, texts and errors."""

from __future__ import annotations

import copy
import gc
import json
import threading
from typing import Annotated, Any, Dict, List, Literal, Optional, Union  # noqa: UP035

import pydantic
import pytest
import typing_extensions
from hypothesis import given, settings
from hypothesis import strategies as st
from speedup_tools import assert_same, model_classes, nobody_holding, outcome, sample, sdk_module

from mistral_cf_adapter import speedups
from mistral_cf_adapter.speedups import cache as bounded_cache
from mistral_cf_adapter.speedups.cache import fingerprint
from mistral_cf_adapter.speedups.models import ModelCache

serializers = sdk_module("utils.serializers")
basemodel = sdk_module("types.basemodel")


@pytest.fixture(autouse=True, scope="module")
def _bare():
    with nobody_holding():
        yield


@pytest.fixture
def cache():
    return ModelCache(pydantic.create_model, serializers.__name__)


def model_for(cache, typ, name="Unmarshaller"):
    config = pydantic.ConfigDict(populate_by_name=True, arbitrary_types_allowed=True)
    return cache(name, body=(typ, ...), __config__=config)


def differing(action, cases):
    """Return the cases whose outcome is another one with the speed-ups, the second time too."""
    bare = [outcome(lambda case=case: action(*case)) for case in cases]
    with speedups.install():
        first = [outcome(lambda case=case: action(*case)) for case in cases]
        second = [outcome(lambda case=case: action(*case)) for case in cases[-300:]]
    wrong = [case for case, one, two in zip(cases, bare, first, strict=True) if one != two]
    again = zip(cases[-300:], bare[-300:], second, strict=True)
    return wrong + [case for case, one, two in again if one != two]


def broken(value):
    """Return the value with one thing wrong in it: in the first record, or at its first leaf."""
    if isinstance(value, dict) and value:
        name, *_ = value
        return {**value, name: broken(value[name])}
    if isinstance(value, list) and value:
        return [broken(value[0]), *value[1:]]
    return {"unexpected": value} if not isinstance(value, dict) else 3


def test_every_model_of_the_sdk_is_parsed_to_the_same_value():
    cases = [
        (json.dumps(value), cls)
        for cls in model_classes()
        for value in (sample(cls, full=full, variant=full) for full in (False, True))
        if value is not None
    ]
    assert len(cases) > 400
    assert differing(serializers.unmarshal_json, cases) == []


def test_every_model_of_the_sdk_refuses_broken_values_with_the_same_words():
    cases = [
        (json.dumps(wrong), cls)
        for cls in model_classes()
        for value in [sample(cls, full=True)]
        if value
        for wrong in (broken(value), {}, [value], {**value, "extra": 1})
    ]
    assert differing(serializers.unmarshal_json, cases) == []


def test_every_model_of_the_sdk_is_serialised_to_the_same_text():
    cases = []
    for cls in model_classes():
        value = sample(cls, full=True)
        try:
            cases.append((cls.model_validate(value), cls))
        except pydantic.ValidationError:
            continue
    assert len(cases) > 200
    assert differing(serializers.marshal_json, cases) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def places(value, path=()):
    yield path
    items = [*enumerate(value)] if isinstance(value, list) else []
    for name, item in value.items() if isinstance(value, dict) else items:
        yield from places(item, (*path, name))


def replaced(value, path, new):
    if not path:
        return new
    value = copy.copy(value)
    value[path[0]] = replaced(value[path[0]], path[1:], new)
    return value


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_damage_to_an_answer_gives_the_same_value_or_the_same_error(data):
    cls = data.draw(st.sampled_from(model_classes()).filter(lambda cls: sample(cls, full=True)))
    value = sample(cls, full=True)
    for _ in range(data.draw(st.integers(min_value=1, max_value=2))):
        path = data.draw(st.sampled_from(sorted(places(value), key=repr)))
        value = replaced(value, path, data.draw(json_values))
    text = json.dumps(value)
    assert_same(lambda: serializers.unmarshal_json(text, cls))


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '{"id": 1}', "\ufeff{}", '"\\ud800"'])
def test_an_answer_that_cannot_be_parsed_raises_the_same_validation_error(body):
    parse = sdk_module("utils.unmarshal_json_response").unmarshal_json_response
    completion = sdk_module("models").ChatCompletionResponse
    response = sdk_module("httpclient").httpx.Response(200, text=body)
    assert_same(lambda: parse(completion, response, body))


# ---------------------------------------------------------------- which types are the same


class Colour(pydantic.BaseModel):
    red: int = 0


class Shade(pydantic.BaseModel):
    red: int = 0


Text = typing_extensions.TypeAliasType("Text", Union[int, str])
OTHER_TEXT = typing_extensions.TypeAliasType("Text", Union[str, int])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Union[int, str], Union[str, int]),
        (List[Union[int, str]], list[Union[str, int]]),
        (Union[Colour, Shade, None], Union[Shade, Colour, None]),
        (Literal[1], Literal[True]),
        (Literal["a", "b"], Literal["b", "a"]),
        (Literal[1, 2], Literal[1]),
        (Annotated[int, pydantic.Field(gt=1)], Annotated[int, pydantic.Field(gt=2)]),
        (Annotated[int, "note"], int),
        (Dict[str, int], Dict[int, str]),
        (list[int], set[int]),
        (Text, OTHER_TEXT),
        (basemodel.Nullable[int], basemodel.OptionalNullable[int]),
        (basemodel.Nullable[Union[int, str]], basemodel.Nullable[Union[str, int]]),
        (tuple[int, ...], tuple[int, int]),
        (Colour, Shade),
    ],
)
def test_types_that_pydantic_can_tell_apart_have_classes_of_their_own(cache, one, other):
    assert fingerprint(one) != fingerprint(other)
    assert model_for(cache, one) is not model_for(cache, other)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Colour,
        lambda: Optional[Colour],
        lambda: Union[Colour, None, Shade],
        lambda: Colour | Shade,
        lambda: list[Colour],
        lambda: List[Dict[str, Any]],
        lambda: basemodel.OptionalNullable[Dict[str, Any]],
        lambda: basemodel.Nullable[List[Union[Colour, Shade]]],
        lambda: Literal["a", 1, b"x"],
        lambda: Annotated[Text, "note"],
        lambda: Any,
    ],
)
def test_a_type_written_twice_shares_its_class(cache, make):
    first = model_for(cache, make())
    gc.collect()
    assert model_for(cache, make()) is first


def test_the_order_of_a_union_decides_also_after_the_other_order_was_seen():
    with speedups.install():
        assert serializers.unmarshal({"red": 1}, Union[Colour, Shade]) == Colour(red=1)
        assert serializers.unmarshal({"red": 1}, Union[Shade, Colour]) == Shade(red=1)


def test_reading_and_writing_have_classes_of_their_own(cache):
    assert model_for(cache, int).__name__ == "Unmarshaller"
    assert model_for(cache, int, "Marshaller").__name__ == "Marshaller"


def test_the_classes_are_like_those_of_the_sdk(cache):
    made = model_for(cache, int)
    assert made.__module__ == serializers.__name__
    assert made is model_for(cache, int)
    with pytest.raises(pydantic.ValidationError, match="for Unmarshaller\nbody\n"):
        made(body="x")


def test_another_use_of_create_model_is_left_to_pydantic(cache):
    made = cache("Other", field=(int, 3))
    assert made().field == 3
    assert cache("Other", field=(int, 3)) is not made
    assert len(cache) == 0


def test_a_model_that_is_rebuilt_counts_at_once():
    class Answer(pydantic.BaseModel):
        pass

    with speedups.install():
        assert serializers.unmarshal({"more": 1}, Optional[Answer]).model_extra is None
        Answer.model_config["extra"] = "allow"
        Answer.model_rebuild(force=True)
        assert serializers.unmarshal({"more": 1}, Optional[Answer]).model_extra == {"more": 1}


def test_a_model_that_is_not_complete_yet_is_not_kept(cache):
    class Early(pydantic.BaseModel):
        later: Later  # noqa: F821

    for _ in range(2):
        with pytest.raises(pydantic.errors.PydanticUserError, match="not fully defined"):
            model_for(cache, Early)(body={"later": 1})
    assert len(cache) == 0


def test_a_type_that_pydantic_refuses_is_refused_each_time(cache):
    for _ in range(2):
        with pytest.raises(TypeError, match="discriminated union"):
            model_for(cache, Annotated[int, pydantic.Field(discriminator="x")])
    assert len(cache) == 0


def test_the_number_of_keys_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(bounded_cache, "LIMIT", 5)
    monkeypatch.setattr(bounded_cache, "_recent", {})
    keys = [fingerprint(Literal[number]) for number in range(12)]
    assert len(bounded_cache._recent) <= 5
    assert keys == [fingerprint(Literal[number]) for number in range(12)]


def test_the_number_of_classes_kept_is_bounded(cache, monkeypatch):
    monkeypatch.setattr(bounded_cache, "LIMIT", 5)
    made = [model_for(cache, Literal[number]) for number in range(12)]
    assert len(cache) == 5
    assert model_for(cache, Literal[11]) is made[11]
    assert model_for(cache, Literal[0]) is not made[0]


def test_many_threads_get_the_same_values(cache):
    types_ = [Optional[Literal[number, "x"]] for number in range(20)]
    start = threading.Barrier(8)
    wrong = []

    def work():
        start.wait()
        for number, typ in enumerate(types_ * 5):
            if model_for(cache, typ)(body=number % 20).body != number % 20:
                wrong.append(number)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(cache) == 20
