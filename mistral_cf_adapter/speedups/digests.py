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
UNMARSHAL_JSON = frozenset({"046a47d981754f14"})
UNMARSHAL_JSON_RESPONSE = frozenset({"389064909090760a"})

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

HOOK_FILES = {
    "_hooks/registration.py": frozenset({"24fac3ded6b92343", "74675f3773bf137c"}),
    "_hooks/sdkhooks.py": frozenset({"3ba644b5ac9ac595", "70f504e7a01d54b0"}),
    "_hooks/custom_user_agent.py": frozenset({"7077e9e3745cb0db", "c5c6c3a8ac21aacf"}),
    "_hooks/deprecation_warning.py": frozenset({"7422913c2d0f4f5b", "7b210e7fbfa8f6ea"}),
    "_hooks/service_account_auth.py": frozenset({"3a3b2142be1e6228"}),
    "_hooks/traceparent.py": frozenset(
        {"4d5cf3080c30f32b", "89dbb916a4a4346a", "f2f1dc7ed96aec28"}
    ),
    "_hooks/tracing.py": frozenset({"9498ec6167af10db", "9c0c6908811df50b"}),
    "_hooks/workflow_encoding_hook.py": frozenset(
        {"15fd69c8adc49cf9", "1a981cf8d9ae9b54", "caae812d4816b95e"}
    ),
    "_hooks/stream_error_hook.py": frozenset({"3df45eb5ebcfa246", "8e8a72cb198f6668"}),
    "../extra/observability/telemetry.py": frozenset({"b8aa9f5ccf8ab973"}),
    "../extra/observability/otel.py": frozenset(
        {"1fbd58c4d632990a", "2a08256bb8c6dbe6", "eed88c0b93371bd0"}
    ),
}
"""The files, below `mistralai.client`, of the hooks that `late_hooks` knows."""
