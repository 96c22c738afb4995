"""What the SDK's decoder of an event makes of it, without the way there.

The decoder, `lambda raw: unmarshal_json_response(models.Thing, http_res, raw)`, gets text that was
parsed and written again, makes a class for it, and copies UNSET for every field that is absent.
"""

import importlib
import logging
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from itertools import repeat
from types import CodeType, ModuleType
from typing import Any, cast

from pydantic import BaseModel, create_model
from pydantic_core import SchemaValidator, from_json

from .digests import UNMARSHAL, UNMARSHAL_JSON, UNMARSHAL_JSON_RESPONSE
from .models import ModelCache
from .patches import ChangedError, codes_of, digest

Decoder = Callable[[str], Any]
Validator = Callable[[Any], Any]

logger = logging.getLogger("mistral_cf_adapter")

_LIMIT = 64
"""Decoders and classes that are remembered; the SDK has a dozen."""


class EventDecoders:
    """Decodes events for the SDK's decoders, where nothing on their way was replaced."""

    def __init__(self, eventstreaming: ModuleType) -> None:
        self._utils = str(eventstreaming.__package__)
        self._models: dict[CodeType | None, str | None] = {}
        self._validators: dict[type[Any], tuple[Any, Validator | None]] = {}
        self._is_untouched: Callable[[Any], bool] | None = None

    def decode(self, decoder: Any, data: Any, event: str | None = None) -> Any:
        """Return what a decoder makes of an event that has data, and may have a name.

        `None` where the decoder has to be asked itself: it may fail, and say why.
        """
        name = self._name_model(decoder)
        if name is None:
            return None
        if self._is_untouched is None:
            self._is_untouched = _watch_decoding(self._utils)
        if not self._is_untouched(decoder):
            return None
        try:
            validate = self._find_validator(getattr(decoder.__globals__["models"], name))
            if validate is None:
                return None
            # In a list, as deep as in what the SDK parses: two values would be two items.
            (value,) = from_json(b"[%b]" % data)
            return validate({"data": value} if event is None else {"event": event, "data": value})
        except Exception:  # noqa: BLE001 - the decoder fails as well, with its own words
            return None

    def _name_model(self, decoder: Any) -> str | None:
        """Return the name of the model that a decoder of the SDK decodes, `None` for others."""
        code: CodeType | None = getattr(decoder, "__code__", None)
        if code is None or code in self._models:
            return self._models.get(code)
        name = code.co_names[-1] if code.co_names else ""
        module = str(decoder.__module__).partition(".")[0]
        is_sdks = module == self._utils.partition(".")[0] and _is_plain_decoder(code, name)
        if len(self._models) < _LIMIT:
            self._models[code] = name if is_sdks else None
        return None  # the first event is not to wait for what the others need

    def _find_validator(self, model: Any) -> Validator | None:
        known = self._validators.get(model)
        current = model.__pydantic_validator__
        if known is None or known[0] is not current:  # the model was built again
            if len(self._validators) >= _LIMIT:
                self._validators.clear()
            known = self._validators[model] = current, _make_validator(model, self._utils)
        return known[1]


def _is_plain_decoder(code: CodeType, model: str) -> bool:
    """Return whether code calls `unmarshal_json_response()` for a model and does nothing else."""
    if not model.isidentifier():
        return False
    text = f"lambda http_res: lambda raw: unmarshal_json_response(models.{model}, http_res, raw)"
    outer = compile(text, "", "eval")
    for _ in range(2):
        outer = next(each for each in outer.co_consts if isinstance(each, CodeType))
    return all(getattr(code, name) == getattr(outer, name) for name in _MEANING)


_MEANING = "co_code", "co_names", "co_freevars", "co_varnames", "co_argcount"


def _watch_decoding(utils: str) -> Callable[[Any], bool]:
    """Return a function that checks that a decoder's way is what it was when this was written."""
    try:
        return _watch_functions(
            importlib.import_module(f"{utils}.unmarshal_json_response"),
            importlib.import_module(f"{utils}.serializers"),
        )
    except (ChangedError, KeyError, ImportError) as why:
        logger.debug("the SDK decodes events itself: %s", why)
        return lambda _: False


def _watch_functions(response: ModuleType, serializers: ModuleType) -> Callable[[Any], bool]:
    first, names = vars(response), vars(serializers)
    if (
        digest(response, "unmarshal_json_response") not in UNMARSHAL_JSON_RESPONSE
        or digest(serializers, "unmarshal_json") not in UNMARSHAL_JSON
        or digest(serializers, "unmarshal") not in UNMARSHAL
        or names["from_json"] is not from_json
        or not (names["create_model"] is create_model or type(names["create_model"]) is ModelCache)
    ):
        msg = "a part of how it does so is new"
        raise ChangedError(msg)
    begin = first["unmarshal_json_response"]
    values = (
        (first, "unmarshal_json", names["unmarshal_json"]),
        *((names, name, names[name]) for name in ("unmarshal", "from_json", "create_model")),
    )
    watched = codes_of(begin, names["unmarshal_json"], names["unmarshal"])

    def is_untouched(decoder: Any) -> bool:
        if decoder.__globals__["unmarshal_json_response"] is not begin:
            return False
        for namespace, name, value in values:
            if namespace[name] is not value:
                return False
        for function, code in watched:  # noqa: SIM110 - all() takes twice as long
            if function.__code__ is not code:
                return False
        return True

    return is_untouched


def _make_validator(model: Any, utils: str) -> Validator | None:
    """Return a model's validator that copies UNSET for no field, `None` if it has its own way."""
    if type(model.__pydantic_validator__) is not SchemaValidator:
        return None  # of a plugin, or of a model that is not built yet
    if not issubclass(model, BaseModel):
        return None
    basemodel = importlib.import_module(f"{utils.rpartition('.')[0]}.types.basemodel")
    unset = basemodel.UNSET
    copy = deepcopy(unset)
    if copy is not deepcopy(unset):  # no speed-up shares one: each field gets another copy
        return model.__pydantic_validator__.validate_python
    schema = _share(model.__pydantic_core_schema__, unset, repeat(copy).__next__)
    with suppress(Exception):  # a release of pydantic that does not take one
        # Else it would use the validators that the models in it have.
        made = SchemaValidator(schema, None, _use_prebuilt=False)
        return made.validate_python
    return model.__pydantic_validator__.validate_python


def _share(schema: Any, unset: Any, get_copy: Callable[[], Any]) -> Any:
    """Return a schema in which `get_copy()` stands for the default UNSET.

    pydantic copies a default that has no hash, but not what a factory returns.
    """
    if type(schema) in (list, tuple):
        return type(schema)([_share(each, unset, get_copy) for each in schema])
    if type(schema) is not dict:
        return schema
    found: dict[str, Any] = {
        name: value if name in _NO_SCHEMAS else _share(value, unset, get_copy)
        for name, value in cast("dict[str, Any]", schema).items()
    }
    if found.get("type") == "default" and found.get("default") is unset:
        del found["default"]
        found["default_factory"] = get_copy
    return found


_NO_SCHEMAS = frozenset({"default", "expected", "metadata", "serialization"})
