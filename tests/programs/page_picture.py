"""Take the picture of the local gateway's page that the README shows.

    uv run --group browser tests/programs/page_picture.py [FILE]

Needs Chromium and its driver. The file is examples/page.png by default.
"""

from __future__ import annotations

import contextlib
import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from browser import open_browser, resize

from mistral_cf_adapter import gateway_options, make_client
from mistral_cf_adapter.testing import LocalGateway

WIDTH, HEIGHT = 1160, 600
SMALL, LARGE = "mistral-small-latest", "mistral-large-latest"
SYSTEM = "You answer questions about our documentation. Be brief and name your source."
QUESTION = "How do I rotate the gateway's token without downtime?"
ANSWER = (
    "Create a second token, deploy it with CF_AIG_TOKEN, and delete the first one when no call "
    "uses it any more. Both are accepted meanwhile (see: Authentication)."
)
ASKED = (
    ("search", SMALL, "Which plans include log retention of 90 days?"),
    ("support", LARGE, "Summarise ticket 4182 for the engineer on call."),
    ("search", SMALL, "What changed in the export format last month?"),
    ("support", SMALL, "Is the status page down, or is it me?"),
    ("search", LARGE, "Compare the two plans for a team of twelve."),
)


def main(path: Path) -> None:
    with LocalGateway(page=True) as gateway:
        _make_calls(gateway)
        streamed = next(call.id for call in gateway.calls.since() if call.is_streamed)
        gateway.reply("Scripted for the next call")
        with open_browser(WIDTH, HEIGHT) as driver:
            resize(driver, WIDTH, HEIGHT, scheme="light")
            driver.get(f"{gateway.origin}/#call/{streamed}")
            _await_detail(driver)
            path.write_bytes(driver.get_screenshot_as_png())
    print(f"{path}: {path.stat().st_size} bytes")


def _make_calls(gateway: LocalGateway) -> None:
    client = make_client(gateway.settings())
    # Delays as of a real provider, the same each time.
    delays = random.Random(7)

    def ask(team, model, text, *, slow=True):
        if slow:
            gateway.upstream_delay(delays.uniform(0.12, 0.6))
        messages = [{"role": "user", "content": text}]
        with gateway_options(metadata={"team": team}, cache_ttl=3600):
            return client.chat.complete(model=model, messages=messages)

    client.models.list()
    for team, model, text in ASKED:
        ask(team, model, text)
    _cached(client)
    gateway.upstream_delay(0.09)
    client.embeddings.create(model="mistral-embed", inputs=["rotate token", "log retention"])
    gateway.fail(2003)
    with contextlib.suppress(Exception):
        ask("search", SMALL, "Which regions store logs?", slow=False)
    _stream(gateway, client)
    gateway.upstream_fail(503)
    with contextlib.suppress(Exception):
        ask("support", LARGE, "Draft an answer to ticket 4190.", slow=False)
    ask("support", LARGE, "Draft an answer to ticket 4190.")
    with contextlib.suppress(Exception), gateway.fault("reset"):
        client.ocr.process(
            model="mistral-ocr-latest",
            document={"type": "document_url", "document_url": "https://example.com/terms.pdf"},
        )
    ask("support", SMALL, "Translate the answer to ticket 4190 into French.")
    ask("search", SMALL, "Who may see the logs of a gateway?")


def _cached(client) -> None:
    team, model, text = ASKED[0]
    with gateway_options(metadata={"team": team}, cache_ttl=3600):
        client.chat.complete(model=model, messages=[{"role": "user", "content": text}])


def _stream(gateway: LocalGateway, client) -> None:
    words = [word if not index else f" {word}" for index, word in enumerate(ANSWER.split())]
    gateway.reply_stream(words)
    gateway.upstream_delay(0.31)
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    options = {"metadata": {"team": "search"}, "cache_ttl": 3600, "max_attempts": 3}
    with gateway_options(**options, event_id="docs-7f3a"):
        for _ in client.chat.stream(model=LARGE, messages=messages):
            pass


def _await_detail(driver) -> None:
    shown = "return document.querySelector('#detail:not([hidden]) .conversation') !== null"
    while not driver.execute_script(shown):
        time.sleep(0.05)
    driver.execute_script("document.activeElement.blur()")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "examples" / "page.png")
