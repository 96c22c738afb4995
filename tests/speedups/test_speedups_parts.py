# ruff: noqa: UP006, UP007, UP045 (the SDK spells its types the old way)
"""The smaller speed-ups: hints, copies of Unset, coercion, names and bodies."""

from __future__ import annotations

import copy
import gc
import typing
from collections import OrderedDict
from types import MappingProxyType
from typing import Annotated, Any, Dict, List, Literal, Optional, Union  # noqa: UP035

import pydantic
import pytest
import typing_extensions
from hypothesis import given, settings
from hypothesis import strategies as st
from speedup_tools import assert_same, model_classes, nobody_holding, outcome, sdk_module

from mistral_cf_adapter import speedups
from mistral_cf_adapter.speedups.models import HintCache
from mistral_cf_adapter.speedups.registry import SPEEDUPS
from mistral_cf_adapter.speedups.requests import Coercion, _contains_model

serializers = sdk_module("utils.serializers")
basemodel = sdk_module("types.basemodel")
since_2_10 = pytest.mark.skipif(
    not hasattr(serializers, "_coerce_iterables_for_type"), reason="the SDK coerces since 2.10"
)


@pytest.fixture(autouse=True, scope="module")
def _bare():
    with nobody_holding():
        yield


class Colour(pydantic.BaseModel):
    red: int = 0


def test_type_hints_are_those_of_typing_for_every_model():
    cache = HintCache(typing.get_type_hints)
    for cls in model_classes():
        expected = outcome(lambda cls=cls: typing.get_type_hints(cls))
        assert outcome(lambda cls=cls: cache(cls)) == expected
        assert outcome(lambda cls=cls: cache(cls)) == expected


def test_type_hints_belong_to_the_caller():
    cache = HintCache(typing.get_type_hints)
    cache(Colour)["red"] = str
    assert cache(Colour) == {**typing.get_type_hints(pydantic.BaseModel), "red": int}


def test_type_hints_go_with_their_class():
    cache = HintCache(typing.get_type_hints)

    class Passing(pydantic.BaseModel):
        red: int

    cache(Passing)
    del Passing
    gc.collect()
    assert len(cache) == 0


def parts(value):
    names = ("__dict__", "__pydantic_extra__", "__pydantic_fields_set__", "__pydantic_private__")
    return type(value), [getattr(value, name) for name in names]


class Subset(basemodel.Unset):
    pass


@pytest.mark.parametrize("make", [basemodel.Unset, Subset, lambda: basemodel.UNSET])
def test_a_copy_of_unset_is_made_of_the_same_parts(make):
    value = make()
    expected = parts(copy.deepcopy(value))
    with speedups.install():
        one, two = copy.deepcopy([value, value])
        assert parts(copy.deepcopy(value)) == parts(one) == expected
        assert one is two
        assert one is not value
        assert one == value
        again = copy.deepcopy(one)
        assert parts(again) == expected
    assert parts(copy.deepcopy(one)) == expected


def test_the_copy_of_unset_is_one_for_all_and_not_unset_itself():
    with speedups.install():
        one, two = copy.deepcopy(basemodel.UNSET), copy.deepcopy(basemodel.UNSET)
    assert one is two
    assert one is not basemodel.UNSET


def test_an_unset_takes_nothing_that_another_field_could_see():
    with speedups.install():
        shared = copy.deepcopy(basemodel.UNSET)
    with pytest.raises(ValueError, match="has no field"):
        shared.held = 1


def test_a_copy_of_an_unset_that_holds_something_holds_it_too():
    value = basemodel.Unset()
    value.__dict__["held"] = [1]
    value.__pydantic_fields_set__.add("held")
    with speedups.install():
        made = copy.deepcopy(value)
    assert made.__dict__ == {"held": [1]}
    assert made.__dict__["held"] is not value.__dict__["held"]
    assert made.__pydantic_fields_set__ == {"held"}


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.binary(max_size=3)
python_values = st.recursive(
    scalars | st.just(basemodel.UNSET) | st.just(Colour()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(st.integers(), max_size=2)
        | st.dictionaries(
            st.sampled_from(["red", "parts", "names", "role", "content", "inside"]), inner
        )
    ),
    max_leaves=6,
)


Texts = typing_extensions.TypeAliasType("Texts", Union[str, List["Texts"]])


class Whole(basemodel.BaseModel):
    parts: Annotated[List[Colour], "note"]
    names: Optional[Dict[str, List[str]]] = None
    role: Union[Literal["user"], List[int], None] = None
    content: Union[List[Whole], Texts, None] = pydantic.Field(default=None, alias="inside")


@since_2_10
@given(
    value=python_values,
    typ=st.sampled_from(
        [
            *(Whole, List[Whole], Optional[List[Whole]], Dict[str, Whole], Union[str, Whole]),
            *(
                int,
                str,
                Any,
                list,
                dict,
                Dict,
                Texts,
                Union[Dict[str, List[int]], List[str]],
                Literal["a"],
                basemodel.Nullable[List[int]],
            ),
            *(basemodel.OptionalNullable[List[Whole]], Annotated[List[str], "note"], List[Any]),
        ]
    ),
)
@settings(max_examples=200, deadline=None)
def test_any_argument_is_coerced_to_the_same_value(value, typ):
    assert_same(lambda: serializers._coerce_iterables_for_type(value, typ))
    assert_same(lambda: serializers.get_pydantic_model(value, typ))


@since_2_10
def test_an_argument_that_is_coerced_stays_what_it_was_for_the_caller():
    part = {"parts": (1, 2), "names": {"a": ("b",)}}
    value = [part]
    with speedups.install():
        coerced = serializers._coerce_iterables_for_type(value, List[Whole])
    assert coerced == [{"parts": [1, 2], "names": {"a": ["b"]}}]
    assert value == [{"parts": (1, 2), "names": {"a": ("b",)}}]
    assert value[0] is part


@since_2_10
def test_a_model_that_is_rebuilt_is_coerced_by_its_new_fields():
    class Answer(basemodel.BaseModel):
        items: int

    coerce = Coercion(serializers, serializers._coerce_iterables_for_type)
    assert coerce({"items": (1, 2)}, Answer) == {"items": (1, 2)}
    Answer.__annotations__["items"] = List[int]
    Answer.model_fields["items"] = pydantic.fields.FieldInfo(annotation=List[int])
    Answer.__pydantic_fields__ = dict(Answer.model_fields)
    Answer.model_rebuild(force=True)
    assert coerce({"items": (1, 2)}, Answer) == {"items": [1, 2]}


@since_2_10
def test_a_mapping_that_is_no_dict_is_coerced_by_the_sdk_itself():
    class Odd(dict):
        pass

    value = Odd(parts=(Colour(),))
    assert_same(lambda: serializers._coerce_iterables_for_type(value, Whole))
    assert_same(lambda: serializers._coerce_iterables_for_type({"x": iter([1])}, Dict[str, List]))


# ---------------------------------------------------------------- names, bodies


@pytest.mark.parametrize("package", ["utils", "models"])
def test_every_lazy_name_is_what_it_was(package):
    module = sdk_module(package)
    names = [*module._dynamic_imports, "no_such_name", "__path__"]
    names = [name for name in names if name not in {each.attribute for each in SPEEDUPS}]
    expected = [outcome(lambda name=name: id(getattr(module, name))) for name in names]
    with speedups.install():
        for _ in range(2):
            found = [outcome(lambda name=name: id(getattr(module, name))) for name in names]
            assert found == expected


def test_a_lazy_name_follows_what_is_replaced_in_its_module(monkeypatch):
    utils = sdk_module("utils")
    with speedups.install():
        assert utils.unmarshal is serializers.unmarshal
        monkeypatch.setattr(serializers, "unmarshal", outcome)
        assert utils.unmarshal is outcome
        monkeypatch.delattr(serializers, "unmarshal")
        with pytest.raises(AttributeError, match="Failed to get unmarshal from"):
            _ = utils.unmarshal


@pytest.mark.parametrize("silent", [True, False])
def test_a_body_is_rendered_for_a_logger_that_listens(silent):
    basesdk = sdk_module("basesdk")
    request = sdk_module("httpclient").httpx.Request("POST", "http://x", content=b"abc")

    class Listening:
        def debug(self, *args):
            pass

    def call():
        logger = sdk_module("utils.logger").NoOpLogger() if silent else Listening()
        return basesdk.get_body_content(request), logger

    with speedups.install():
        assert call()[0] == ("" if silent else "b'abc'")
        assert basesdk.get_body_content(request) == "b'abc'"
    assert call()[0] == "b'abc'"


# ---------------------------------------------------------------- arguments that are not given


class NoneToOne(pydantic.BaseModel):
    one: int = 1

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_none(cls, value):
        return {"one": 1} if value is None else value


Worded = Annotated[Optional[int], pydantic.BeforeValidator(lambda value: value or 2)]


def field_types():
    """Return the types of all fields of the SDK's models: an operation's arguments have these."""
    types = [field.annotation for model in model_classes() for field in model.model_fields.values()]
    return [*{repr(typ): typ for typ in types if typing.get_args(typ)}.values()]


def test_an_argument_that_is_not_given_is_none_for_every_type_of_the_sdk():
    types = field_types()
    assert len(types) > 100
    bare = [outcome(lambda typ=typ: serializers.get_pydantic_model(None, typ)) for typ in types]
    with speedups.install():
        for typ, expected in zip(types, bare, strict=True):
            assert outcome(lambda typ=typ: serializers.get_pydantic_model(None, typ)) == expected


@pytest.mark.parametrize(
    "typ",
    [
        *(Optional[NoneToOne], Union[NoneToOne, None, str], NoneToOne, Worded, Optional[Worded]),
        *(Union[int, Worded, None], int | None, NoneToOne | None, Optional[Any], Any, None),
        *(Union[int, str], Optional[Literal["a"]], basemodel.Nullable[int]),
        *(Annotated[Optional[NoneToOne], "note"], basemodel.OptionalNullable[int], List[int]),
        *(Optional["int"], Optional[List[NoneToOne]], type(None), Union[None]),
    ],
)
@pytest.mark.parametrize("value", [None, basemodel.UNSET, 0, "", [], {}, NoneToOne()], ids=repr)
def test_so_it_is_for_odd_types(typ, value):
    assert_same(lambda: serializers.get_pydantic_model(value, typ))


class Listed(list):
    """A list that is not quite one."""


class SaysItIsAList:
    """Says so, but `typing.List` looks at the type."""

    __class__ = list

    def __iter__(self):
        return iter([NoneToOne()])


class SaysItIsAModel:
    __class__ = NoneToOne


HELD = (NoneToOne(), basemodel.UNSET, 0, "text", b"", None, 1.5, (NoneToOne(),), SaysItIsAModel())
HOLDERS = [
    *(lambda held: held, lambda held: [held], lambda held: [0, [held]], lambda held: {"a": held}),
    *(lambda held: {"a": [1, {"b": held}]}, lambda held: Listed([held]), lambda held: ([held],)),
    *(lambda held: OrderedDict(a=held), lambda held: MappingProxyType({"a": held})),
    *(lambda held: iter([held]), lambda _: SaysItIsAList()),
]


@pytest.mark.parametrize("hold", HOLDERS)
def test_a_model_is_found_where_the_sdk_finds_it(hold):
    for held in HELD:
        value = hold(held)
        expected = serializers._contains_pydantic_model(value)
        assert _contains_model(value, serializers.BaseModel) is expected, value


def test_what_the_sdk_calls_is_called_where_it_was_replaced(monkeypatch):
    with speedups.install():
        monkeypatch.setattr(serializers, "unmarshal", lambda *_: "replaced")
        assert serializers.get_pydantic_model(None, Optional[int]) == "replaced"
