"""Every speed-up: where it goes in, and which sources it was proven against.

To cover a new release of the SDK: read what has changed, run the tests with the digest added.
"""

from .digests import HOOKS_2, HOOKS_3, LAZY_1, LAZY_2, QUERY, UNMARSHAL
from .hooks import run_late_hooks, run_sync_in_thread
from .models import cached_create_model, cached_type_hints, deepcopy_of_unset, lazy_names
from .patches import Speedup
from .requests import (
    coerce_iterables_for_type,
    get_body_content,
    get_pydantic_model,
)
from .streaming import parse_event, stream_events, stream_events_async

SPEEDUPS = (
    Speedup(
        name="model classes",
        module="utils.serializers",
        attribute="create_model",
        build=cached_create_model,
        sources=(
            {
                "unmarshal": UNMARSHAL,
                "marshal_json": frozenset({"6426307b40ca3243"}),
            },
        ),
    ),
    Speedup(
        name="type hints of paths",
        module="utils.url",
        attribute="get_type_hints",
        build=cached_type_hints,
        sources=({"_populate_path_params": frozenset({"669b688488de7a16"})},),
    ),
    Speedup(
        name="type hints of queries",
        module="utils.queryparams",
        attribute="get_type_hints",
        build=cached_type_hints,
        sources=({"_populate_query_params": QUERY},),
    ),
    Speedup(
        name="type hints of forms",
        module="utils.forms",
        attribute="get_type_hints",
        build=cached_type_hints,
        sources=(
            {
                "serialize_multipart_form": frozenset(
                    {"0b78367461c37ce0", "fa6528f9a036c50c", "84e1d92c3cd6161a"}
                ),
                "serialize_form_data": frozenset({"695a0e8ef42f9fe5"}),
            },
        ),
    ),
    Speedup(
        name="stream boundaries",
        module="utils.eventstreaming",
        attribute="stream_events",
        build=stream_events,
        sources=(
            {
                "stream_events": frozenset(
                    {"8c6d8edb153da122", "01520ed16e1b6e8f", "9f893127db3b7001", "314b8ab7ec01787d"}
                ),
                "_peek_sequence": frozenset({"10fa052f3e7ac2f1"}),
            },
        ),
    ),
    Speedup(
        name="stream boundaries, async",
        module="utils.eventstreaming",
        attribute="stream_events_async",
        build=stream_events_async,
        sources=(
            {
                "stream_events_async": frozenset(
                    {"316903955ded04ae", "de0c51ef11964774", "77ce8ddc88cfcd54", "bd92df881f7489bf"}
                ),
                "_peek_sequence": frozenset({"10fa052f3e7ac2f1"}),
            },
        ),
    ),
    Speedup(
        name="event copies",
        module="utils.eventstreaming",
        attribute="_parse_event",
        build=parse_event,
        sources=(
            {
                "_parse_event": frozenset(
                    {"646917c3d49ac0b0", "9c9a5ca2c7acad3b", "01c867f8656f159b"}
                )
            },
        ),
    ),
    Speedup(
        name="copies of Unset",
        module="types.basemodel",
        owner="Unset",
        attribute="__deepcopy__",
        build=deepcopy_of_unset,
    ),
    Speedup(
        name="coercion of arguments",
        module="utils.serializers",
        attribute="_coerce_iterables_for_type",
        build=coerce_iterables_for_type,
        sources=(
            {
                "_coerce_iterables_for_type": frozenset({"b7e3820d9dc19c13"}),
                "_resolve_type_alias": frozenset({"80d6a360c66cf948"}),
                "_is_annotated_type": frozenset({"f7dc4eca32e8e84a"}),
                "is_union": frozenset({"b0285e4a3df27c8c"}),
                "_is_list_type": frozenset({"299a0d85eb3601bc"}),
                "_is_mapping_type": frozenset({"4f3cc9be4f7b023c"}),
                "_is_pydantic_model_type": frozenset({"077530cf930d7842"}),
            },
        ),
    ),
    Speedup(
        name="arguments not given",
        module="utils.serializers",
        attribute="get_pydantic_model",
        build=get_pydantic_model,
        sources=(
            {
                "get_pydantic_model": frozenset({"f9b67607998567fb", "24c1d5f6b24fe469"}),
                "_contains_pydantic_model": frozenset({"17737b944e46febc"}),
                "unmarshal": UNMARSHAL,
            },
        ),
    ),
    Speedup(
        name="lazy names of utils",
        module="utils",
        attribute="__getattr__",
        build=lazy_names,
        sources=(LAZY_1, LAZY_2),
    ),
    Speedup(
        name="lazy names of models",
        module="models",
        attribute="__getattr__",
        build=lazy_names,
        sources=(LAZY_1, LAZY_2),
    ),
    Speedup(
        name="debug texts of bodies",
        module="basesdk",
        attribute="get_body_content",
        build=get_body_content,
        sources=(
            {
                "BaseSDK.do_request": frozenset(
                    {"07a0c37dc9a7ca95", "7525026bd13c0e5e", "80df5f7ee0aa2599", "8bb82cc591f3e997"}
                ),
                "BaseSDK.do_request_async": frozenset(
                    {"97267677adcd374f", "858fe08634d1196a", "4bb7b116611c5c5e", "0bef46479cd756dd"}
                ),
                "utils.logger:get_body_content": frozenset({"e12953ae34f30fd8"}),
                "utils.logger:NoOpLogger.debug": frozenset({"b78ec91adea2fd18"}),
            },
        ),
    ),
    Speedup(
        name="hooks in threads",
        module="basesdk",
        attribute="run_sync_in_thread",
        build=run_sync_in_thread,
        sources=(HOOKS_3, HOOKS_2),
        until_loaded=run_late_hooks,
    ),
)
