"""Who is measured: a name, what to install, and the driver that speaks its API."""

from dataclasses import dataclass, field
from typing import Any

ADAPTER = "{adapter}"  # stands for this checkout in a requirement
BASELINE = "mistralai-3.7.0"
MINE = "adapter-3.7.0"


@dataclass(frozen=True)
class Rival:
    """One row of the table.

    `driver` names a module and a class, `options` are its keyword arguments, `imports` is the
    statement that the import metric times.
    """

    name: str
    requirements: tuple[str, ...]
    driver: str
    imports: str
    title: str
    options: dict[str, Any] = field(default_factory=dict)
    group: str = "rival"


def _adapter(sdk: str, suffix: str = "", title: str = "", **options: Any) -> Rival:
    return Rival(
        name=f"adapter-{sdk}{suffix}",
        requirements=(ADAPTER, f"mistralai=={sdk}"),
        driver="drivers.Adapter",
        imports="import mistral_cf_adapter",
        title=f"this adapter, SDK {sdk}{title}",
        options=options,
        group="adapter",
    )


def _bare(sdk: str) -> Rival:
    legacy = sdk.startswith("1.")
    return Rival(
        name=f"mistralai-{sdk}",
        requirements=(f"mistralai=={sdk}",),
        driver="drivers.Bare",
        imports="from mistralai import Mistral"
        if legacy
        else "from mistralai.client import Mistral",
        title=f"mistralai {sdk}",
        group="bare",
    )


# Rivals are pinned, so that two runs compare the same code. Raise the pins by hand.
RIVALS = [
    _bare("3.7.0"),
    _bare("2.10.1"),
    _bare("1.12.4"),
    _adapter("3.7.0"),
    _adapter("2.10.1"),
    _adapter("1.12.4"),
    _adapter("3.7.0", "-plain", ", speed-ups off", speedups=False),
    _adapter("3.7.0", "-capture", ", capture() and options on", captured=True),
    Rival("openai", ("openai==3.54.0",), "drivers.OpenAI", "import openai", "openai on /compat"),
    # LiteLLM 1.82.7 and 1.82.8 were published with malware: never an open range.
    Rival("litellm", ("litellm==1.106.2",), "drivers.LiteLLM", "import litellm", "LiteLLM"),
    Rival("portkey-ai", ("portkey-ai==2.3.4",), "drivers.Portkey", "import portkey_ai", "Portkey"),
    Rival(
        "langchain-mistralai",
        ("langchain-mistralai==1.1.6",),
        "drivers.LangChain",
        "import langchain_mistralai",
        "langchain-mistralai",
    ),
    Rival(
        "pydantic-ai",
        ("pydantic-ai-slim[mistral]==2.68.0",),
        "drivers.PydanticAI",
        "import pydantic_ai.models.mistral",
        "pydantic-ai",
    ),
    Rival(
        "raw-httpx", ("httpx==0.28.1",), "raw.RawHttpx", "import httpx", "raw httpx", group="raw"
    ),
    Rival(
        "raw-http.client",
        (),
        "raw.RawHttpClient",
        "import http.client",
        "raw http.client",
        group="raw",
    ),
]
BY_NAME = {rival.name: rival for rival in RIVALS}
