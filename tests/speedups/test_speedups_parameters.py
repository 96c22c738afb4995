"""A request is searched for query and header parameters once per class, with the same outcome."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
import pytest
from operations import Sampler
from speedup_tools import model_classes, nobody_holding, sdk_module

from mistral_cf_adapter.speedups import requests
from mistral_cf_adapter.speedups.patches import Target

queries = sdk_module("utils.queryparams")
headers = sdk_module("utils.headers")
metadata = sdk_module("utils.metadata")
KINDS = {
    "query": (queries, "_populate_query_params", requests.populate_query_params),
    "header": (headers, "_populate_headers", requests.populate_headers),
}


@pytest.fixture(autouse=True)
def _bare():
    with nobody_holding():
        yield


class Plain(pydantic.BaseModel):
    text: str = "x"


def field(**marks: Any) -> Any:
    return Annotated[str, metadata.FieldMetadata(**marks)]


class Marked(pydantic.BaseModel):
    text: str = "x"
    page: field(query=metadata.QueryParamMetadata(style="form", explode=True)) = "2"  # type: ignore[valid-type]
    trace: field(header=metadata.HeaderMetadata(style="simple", explode=False)) = "t"  # type: ignore[valid-type]


class Calls:
    """Counts the calls of the SDK's own function."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.count = 0

    def __call__(self, *args: Any) -> Any:
        self.count += 1
        return self.function(*args)


@pytest.fixture(params=KINDS)
def both(request):
    module, name, build = KINDS[request.param]
    own = Calls(getattr(module, name))
    return own, build(Target(module, own, {}))


def populated(function: Any, params: Any, globals_: Any = None, skip: Any = ()) -> Any:
    """Return all that a call tells: what it returns, what it fills in, what it raises."""
    values: dict[str, Any] = {}
    try:
        return function(params, globals_, values, list(skip)), values
    except Exception as error:
        return type(error), str(error), values


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fields that are on their way out
def test_every_request_of_the_sdk_has_the_parameters_it_had(both):
    own, ours = both
    sampler = Sampler(sdk_module("models"), full=True)
    for cls in model_classes():
        try:
            params = cls.model_validate(sampler.value(cls))
        except Exception:  # not every class can be made up
            params = cls.model_construct()
        expected = populated(own.function, params)
        assert populated(ours, params) == expected
        assert populated(ours, params) == expected


@pytest.mark.parametrize("params", [None, "text", {"page": "2"}, Plain, Marked], ids=str)
def test_what_is_no_request_is_the_sdks_business(both, params):
    own, ours = both
    expected = populated(own.function, params)
    own.count = 0
    assert [populated(ours, params) for _ in range(2)] == [expected] * 2
    assert own.count == 2


def test_a_request_without_parameters_is_searched_once(both):
    own, ours = both
    assert [populated(ours, Plain()) for _ in range(5)] == [([], {})] * 5
    assert own.count == 1


def test_a_request_with_parameters_is_filled_in_each_time(both):
    own, ours = both
    expected = populated(own.function, Marked())
    assert expected[1] in ({"page": ["2"]}, {"trace": "t"})
    for globals_, skip in [
        (None, ()),
        (Marked(page="3", trace="u"), ()),
        (None, ("page", "trace")),
    ]:
        expected = populated(own.function, Marked(), globals_, skip)
        assert [populated(ours, Marked(), globals_, skip) for _ in range(3)] == [expected] * 3


def test_a_class_that_is_rebuilt_is_searched_again(both):
    own, ours = both

    class Later(pydantic.BaseModel):
        text: str = "x"

    populated(ours, Later())
    Later.__pydantic_fields__ = {**Marked.model_fields}
    later = Later.model_construct(page="2", trace="t")
    assert populated(ours, later) == populated(own.function, later)


def test_hints_that_cannot_be_resolved_are_the_same_error_each_time():
    class Broken(pydantic.BaseModel):
        text: str = "x"

    Broken.__annotations__["text"] = "Nowhere"
    own = queries._populate_query_params
    ours = requests.populate_query_params(Target(queries, own, {}))
    told = [populated(ours, Broken.model_construct()) for _ in range(3)]
    assert told == [populated(own, Broken.model_construct())] * 3
    assert told[0][0] is NameError


def test_no_more_than_512_classes_are_remembered(both):
    _, ours = both
    (kept,) = (c.cell_contents for c in ours.__closure__ if isinstance(c.cell_contents, dict))
    for number in range(600):
        populated(ours, pydantic.create_model(f"Request{number}", text=(str, "x"))())
    assert len(kept) <= 512
