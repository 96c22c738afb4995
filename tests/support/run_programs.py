"""Programs under `mistral-cf-adapter run`, in processes of their own with a hard limit."""

import os
import subprocess
import sys

PYTHON = [sys.executable]
RUN = [sys.executable, "-m", "mistral_cf_adapter", "run"]
SETTINGS = {
    "CF_AIG_BASE_URL": "http://127.0.0.1:9/v1/acc/gw",
    "CF_AIG_TOKEN": "cf-token-0123456789",
}
LIMIT = 60
"""Seconds, for one process."""
_OWN = ("CF_", "CLOUDFLARE_", "MISTRAL_", "PYTHON")

_CALL = """
    import sys
    from {module} import Mistral

    def hello():
        with Mistral(api_key="mistral-test-key") as client:
            answer = client.chat.complete(
                model="mistral-small-latest", messages=[{{"role": "user", "content": "hi"}}]
            )
        return answer.choices[0].message.content

    if __name__ == "__main__":
        print(hello())
"""


def environment(settings):
    """Return the tests' environment, with these settings in place of the developer's."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OWN) or name == "PYTHONPATH"
    }
    return {**inherited, **settings}


def start(*command, settings=SETTINGS, **kwargs):
    return subprocess.run(
        command,
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        **kwargs,
    )


def calling():
    """Return a program that asks Mistral, and knows nothing of a gateway."""
    from mistral_cf_adapter._sdk import ROOT

    return _CALL.format(module=ROOT)
