"""Digests of the SDK's sources, by generation, that the speed-ups were tested against."""

from typing import Literal

Generation = Literal["1.x", "2.0", "2.1", "2.10"]

GENERATIONS: dict[str, Generation] = {
    "8c6d8edb153da122": "1.x",
    "01520ed16e1b6e8f": "2.0",
    "9f893127db3b7001": "2.1",
    "314b8ab7ec01787d": "2.10",
}
GENERATIONS_ASYNC: dict[str, Generation] = {
    "316903955ded04ae": "1.x",
    "de0c51ef11964774": "2.0",
    "77ce8ddc88cfcd54": "2.1",
    "bd92df881f7489bf": "2.10",
}

UNMARSHAL = frozenset({"8e20ba044f9570d8", "359bfabdc32e0643"})

WITHOUT_DATA_REQUIRED = "646917c3d49ac0b0"  # 2.0.0 to 2.0.2, and 2.0.4

LAZY_1 = {
    "__getattr__": frozenset({"712b94c2de1a537d", "854986add9c17983"}),
    "dynamic_import": frozenset({"84403a67c66e5492"}),
}
LAZY_2 = {
    "__getattr__": frozenset({"fbf21af56de2627b"}),
    "utils.dynamic_imports:lazy_getattr": frozenset({"a779540166ee16b6"}),
    "utils.dynamic_imports:dynamic_import": frozenset({"57b16225c3e253ec"}),
}

QUERY = frozenset({"28c1ecec3d1bb2dd", "009b00a29b182729"})
HOOKS_2 = {
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
HOOKS_3 = {
    **HOOKS_2,
    "_hooks.service_account_auth:ServiceAccountAuthHook.before_request": frozenset(
        {"0557ab63f58430d7"}
    ),
    "_hooks.service_account_auth:_env_authorization": frozenset({"749563f2e5cec736"}),
    "_hooks.service_account_auth:read_service_account_token": frozenset({"593736e21ff70676"}),
}
