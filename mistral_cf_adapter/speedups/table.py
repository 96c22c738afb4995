"""Every speed-up: where it goes in, and which sources it was proven against.

To cover a new release of the SDK: read what has changed, run the tests with the digest added.
"""

from .calls import get_body_content, match_content_type
from .coercion import coerce_iterables_for_type
from .events import parse_event
from .hints import cached_type_hints
from .hooks import run_sync_in_thread
from .models import cached_create_model
from .names import lazy_names
from .parameters import populate_headers, populate_query_params
from .seams import Seam
from .streams import stream_events, stream_events_async
from .unset import deepcopy_of_unset

_LAZY_1 = {
    "__getattr__": frozenset({"712b94c2de1a537d", "854986add9c17983"}),
    "dynamic_import": frozenset({"84403a67c66e5492"}),
}
_LAZY_2 = {
    "__getattr__": frozenset({"fbf21af56de2627b"}),
    "utils.dynamic_imports:lazy_getattr": frozenset({"a779540166ee16b6"}),
    "utils.dynamic_imports:dynamic_import": frozenset({"57b16225c3e253ec"}),
}

_QUERY = frozenset({"28c1ecec3d1bb2dd", "009b00a29b182729"})
_METADATA = {
    "utils.metadata:find_field_metadata": frozenset({"8452d5ad5a3eaaf7"}),
    "utils.metadata:find_metadata": frozenset({"daeaa2a237ef83a2"}),
}
_HOOKS_2 = {
    "BaseSDK.do_request_async": frozenset({"0bef46479cd756dd"}),
    "utils:run_sync_in_thread": frozenset({"3a4ede7ec2502389"}),
    "_hooks.sdkhooks:SDKHooks.before_request": frozenset({"8f641891d24d0654"}),
    "_hooks.sdkhooks:SDKHooks.after_success": frozenset({"656a5a4ee66582f5"}),
    "_hooks.sdkhooks:SDKHooks.after_error": frozenset({"1e42ec347badeb3e"}),
    "_hooks.custom_user_agent:CustomUserAgentHook.before_request": frozenset({"ea2fbf0db6e51178"}),
    "_hooks.traceparent:TraceparentInjectionHook.before_request": frozenset(
        {"3f5c16cfbec43e21", "bf5b90776e7a4613", "c9016f7f2897e530"}
    ),
    "_hooks.tracing:TracingHook.before_request": frozenset({"231782088b352c26"}),
    "_hooks.tracing:TracingHook.after_success": frozenset({"4c78d9bbf1df9d12"}),
    "_hooks.tracing:TracingHook.after_error": frozenset({"9dd0f55dcfcbc578"}),
    "_hooks.tracing:TracingHook._get_span": frozenset({"263716d01f9dea3d"}),
    "_hooks.tracing:TracingHook._store_span_on_request": frozenset({"3b15e6d6f4785c71"}),
    "_hooks.workflow_encoding_hook:_get_encoding_config": frozenset({"0dc09eea3efe0af6"}),
    "_hooks.workflow_encoding_hook:WorkflowEncodingHook.before_request": frozenset(
        {"d8321d1eb7de29a5", "3a4ca4a176a30210"}
    ),
    "_hooks.workflow_encoding_hook:WorkflowEncodingHook.after_success": frozenset(
        {"d72094bcbffc3493", "5b360813a4ebf27d"}
    ),
    "_hooks.deprecation_warning:DeprecationWarningHook.after_success": frozenset(
        {"b855d042e98468bd"}
    ),
    "_hooks.stream_error_hook:WorkflowStreamErrorHook.after_success": frozenset(
        {"80da47fc6462282b"}
    ),
    ".extra.observability.telemetry:configure_telemetry_for_hook": frozenset({"6955710b93f3823e"}),
    ".extra.observability.otel:get_traced_request_and_span": frozenset(
        {"6d514fd7fa5fce61", "3dc4a91637d6a403"}
    ),
    ".extra.observability.otel:get_traced_response": frozenset({"d41c6ac2642fe4c7"}),
    ".extra.observability.otel:get_response_and_error": frozenset({"d413cf272895e041"}),
}
_HOOKS_3 = {
    **_HOOKS_2,
    "_hooks.service_account_auth:ServiceAccountAuthHook.before_request": frozenset(
        {"0557ab63f58430d7"}
    ),
    "_hooks.service_account_auth:_env_authorization": frozenset({"749563f2e5cec736"}),
    "_hooks.service_account_auth:read_service_account_token": frozenset({"593736e21ff70676"}),
}

SEAMS = (
    Seam(
        name="model classes",
        module="utils.serializers",
        attribute="create_model",
        build=cached_create_model,
        sources=(
            {
                "unmarshal": frozenset({"8e20ba044f9570d8", "359bfabdc32e0643"}),
                "marshal_json": frozenset({"6426307b40ca3243"}),
            },
        ),
    ),
    Seam(
        name="type hints of paths",
        module="utils.url",
        attribute="get_type_hints",
        build=cached_type_hints,
        sources=({"_populate_path_params": frozenset({"669b688488de7a16"})},),
    ),
    Seam(
        name="type hints of queries",
        module="utils.queryparams",
        attribute="get_type_hints",
        build=cached_type_hints,
        sources=({"_populate_query_params": _QUERY},),
    ),
    Seam(
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
    Seam(
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
    Seam(
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
    Seam(
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
    Seam(
        name="copies of Unset",
        module="types.basemodel",
        owner="Unset",
        attribute="__deepcopy__",
        build=deepcopy_of_unset,
    ),
    Seam(
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
    Seam(
        name="lazy names of utils",
        module="utils",
        attribute="__getattr__",
        build=lazy_names,
        sources=(_LAZY_1, _LAZY_2),
    ),
    Seam(
        name="lazy names of models",
        module="models",
        attribute="__getattr__",
        build=lazy_names,
        sources=(_LAZY_1, _LAZY_2),
    ),
    Seam(
        name="content types",
        module="utils.values",
        attribute="match_content_type",
        build=match_content_type,
        sources=({"match_content_type": frozenset({"23249141bc581b62"})},),
    ),
    Seam(
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
    Seam(
        name="query parameters",
        module="utils.queryparams",
        attribute="_populate_query_params",
        build=populate_query_params,
        sources=({"_populate_query_params": _QUERY, **_METADATA},),
    ),
    Seam(
        name="header parameters",
        module="utils.headers",
        attribute="_populate_headers",
        build=populate_headers,
        sources=({"_populate_headers": frozenset({"7bc632f2f4c91d65"}), **_METADATA},),
    ),
    Seam(
        name="hooks in threads",
        module="basesdk",
        attribute="run_sync_in_thread",
        build=run_sync_in_thread,
        sources=(_HOOKS_3, _HOOKS_2),
    ),
)
