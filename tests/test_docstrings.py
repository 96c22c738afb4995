"""`help()` is true: the examples of every public name run, and say what they must."""

from __future__ import annotations

import doctest
import inspect
import pydoc

import pytest

import mistral_cf_adapter
from mistral_cf_adapter import GatewayConfigError, GatewayError, make_client, testing
from mistral_cf_adapter._errors import BY_CODE
from mistral_cf_adapter.testing import Access, LocalGateway

PUBLIC = {
    **{name: getattr(mistral_cf_adapter, name) for name in mistral_cf_adapter.__all__},
    "Access": Access,
    "LocalGateway": LocalGateway,
}
KINDS = {
    name: thing
    for name, thing in PUBLIC.items()
    if inspect.isclass(thing) and issubclass(thing, GatewayError) and thing is not GatewayError
}
WITH_EXAMPLE = sorted(PUBLIC.keys() - KINDS.keys())


def examples(name):
    doc = inspect.getdoc(PUBLIC[name]) or ""
    return doctest.DocTestParser().get_doctest(doc, dict(PUBLIC), name, None, 0)


@pytest.mark.parametrize("name", WITH_EXAMPLE)
def test_the_example_of_a_public_name_runs_as_it_is_shown(name):
    """Pasted into a Python that knows the public names: with no account and no variable set."""
    told = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    result = runner.run(examples(name), out=told.append)
    assert result.attempted > 0
    assert result.failed == 0, "".join(told)


@pytest.mark.parametrize("name", WITH_EXAMPLE)
def test_the_example_stands_in_what_help_prints(name):
    assert ">>> " in pydoc.plain(pydoc.render_doc(PUBLIC[name]))


@pytest.mark.parametrize("name", ["make_client", "patch", "gateway_options", "gateway_headers"])
def test_a_function_says_what_it_raises(name):
    raises = inspect.getdoc(PUBLIC[name]).partition("\nRaises:\n")[2]
    assert GatewayConfigError.__name__ in raises


@pytest.mark.parametrize(("code", "kind"), BY_CODE.items())
def test_an_error_is_raised_for_the_codes_that_its_docstring_names(code, kind):
    assert str(code) in kind.__doc__
    with LocalGateway() as gateway:
        gateway.fail(code)
        with pytest.raises(kind) as caught:
            make_client(gateway.settings()).models.list()
    assert type(caught.value) is kind
    assert caught.value.message.endswith(caught.value.advice)


@pytest.mark.parametrize("name", ["GatewayOptions", "GatewaySettings"])
def test_help_lists_every_field_with_its_text(name):
    printed = " ".join(pydoc.plain(pydoc.render_doc(PUBLIC[name])).replace(" |  ", "").split())
    for field, info in PUBLIC[name].model_fields.items():
        assert info.description
        assert f" {field}: {info.description}" in printed


@pytest.mark.parametrize(
    ("field", "unit"),
    [
        ("cache_ttl", "Seconds"),
        ("request_timeout", "Milliseconds"),
        ("retry_delay", "Milliseconds"),
        ("keepalive_expiry", "Seconds"),
        ("custom_cost", "per token"),
    ],
)
def test_a_quantity_says_its_unit(field, unit):
    assert unit in PUBLIC["GatewaySettings"].model_fields[field].description


@pytest.mark.parametrize("name", testing.__all__)
def test_what_users_test_with_is_documented(name):
    assert inspect.getdoc(getattr(testing, name)).partition("\n")[0].endswith(".")
