"""Digests of the SDK's files, all of its releases, that a faster start was tested against."""

HOOKS = {
    "service_account_auth": {
        "_hooks/service_account_auth.py": frozenset({"3a3b2142be1e6228"}),
    },
    "traceparent": {
        "_hooks/traceparent.py": frozenset(
            {"4d5cf3080c30f32b", "89dbb916a4a4346a", "f2f1dc7ed96aec28"}
        ),
    },
    "tracing": {
        "_hooks/tracing.py": frozenset({"9498ec6167af10db", "9c0c6908811df50b"}),
        "../extra/observability/telemetry.py": frozenset({"b8aa9f5ccf8ab973"}),
        "../extra/observability/otel.py": frozenset(
            {"1fbd58c4d632990a", "2a08256bb8c6dbe6", "eed88c0b93371bd0"}
        ),
    },
    "workflow_encoding_hook": {
        "_hooks/workflow_encoding_hook.py": frozenset(
            {"15fd69c8adc49cf9", "1a981cf8d9ae9b54", "caae812d4816b95e"}
        ),
    },
    "stream_error_hook": {
        "_hooks/stream_error_hook.py": frozenset({"3df45eb5ebcfa246", "8e8a72cb198f6668"}),
    },
}
"""The files of a hook, below the SDK's package or `extra`, by the hook's module."""

RUNNER = {
    "_hooks/sdkhooks.py": frozenset({"3ba644b5ac9ac595", "70f504e7a01d54b0"}),
    # They are loaded, and run beside the stand-ins: see speedups/hooks.py.
    "_hooks/custom_user_agent.py": frozenset({"7077e9e3745cb0db", "c5c6c3a8ac21aacf"}),
    "_hooks/deprecation_warning.py": frozenset({"7422913c2d0f4f5b", "7b210e7fbfa8f6ea"}),
}
"""The files of what runs the hooks."""
