"""The frameworks: what to install of each, and which script proves it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Framework:
    """One environment and the script that runs in it."""

    name: str
    requirements: tuple[str, ...]
    """What a user would install; the newest release is taken."""
    distributions: tuple[str, ...] = ()
    """Those of the requirements whose version counts; all without extras by default."""

    @property
    def script(self) -> str:
        """The script's file; the prefix keeps it from hiding the framework's own module."""
        return f"with_{self.name.replace('-', '_')}.py"

    @property
    def counted(self) -> tuple[str, ...]:
        """The distributions that must be the newest."""
        return self.distributions or self.requirements


FRAMEWORKS = (
    Framework("pydantic-ai", ("pydantic-ai-slim[mistral]",), ("pydantic-ai-slim",)),
    # instructor says so itself, but only in an extra.
    Framework("instructor", ("instructor", "mistralai<3"), ("instructor",)),
    Framework("llama-index", ("llama-index-llms-mistralai", "llama-index-embeddings-mistralai")),
    Framework("haystack", ("mistral-haystack",)),
    Framework("agno", ("agno", "mistralai"), ("agno",)),
    Framework("any-llm", ("any-llm-sdk[mistral]",), ("any-llm-sdk",)),
    Framework("langchain", ("langchain-mistralai",)),
    Framework("litellm", ("litellm",)),
    Framework("openai", ("openai",)),
    Framework(
        "openinference",
        ("openinference-instrumentation-mistralai", "opentelemetry-sdk"),
        ("openinference-instrumentation-mistralai",),
    ),
)

# Frameworks that phone home or look for models would only be refused, slowly.
QUIET = {
    "AGNO_TELEMETRY": "false",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "TRANSFORMERS_OFFLINE": "1",
}
