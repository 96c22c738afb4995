"""The page of a local gateway, in headless Chromium."""

from __future__ import annotations

import http.client
import json
import re
import socket
from importlib.resources import files

import pytest
from browser import PATIENCE, open_browser, resize
from gateway_api import GatewayApi
from raw_gateway import QUESTION, asking, exchange, port_of

from mistral_cf_adapter import GatewayCall, GatewayError, gateway_options, make_client
from mistral_cf_adapter.testing import LocalGateway, limits, report_bypasses
from mistral_cf_adapter.testing.page import FILES

MODEL = "mistral-small-latest"
HTML = "<img src=x onerror=alert(1)><script>alert(2)</script><b>bold</b>"
VIEWS = ("calls", "queue", "totals", "setup", "switches")


# ---------------------------------------------------------------- its files


def _get(gateway, path, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port_of(gateway), timeout=30)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def test_there_is_a_page_only_where_it_is_wanted(local_gateway):
    assert _get(local_gateway, "/")[0] == 400
    with LocalGateway(page=True) as gateway:
        status, _, body = _get(gateway, "/")
        assert (status, b"<title>Local AI Gateway" in body) == (200, True)
        assert _get(gateway, "/", "POST")[0] == 405
        assert _get(gateway, "/else")[0] == 400
        assert [request.path for request in gateway.requests] == ["/else"]


def test_the_browser_is_told_to_load_nothing_from_elsewhere():
    with LocalGateway(page=True) as gateway:
        for path, (name, kind) in FILES.items():
            _, headers, body = _get(gateway, path)
            assert headers["content-type"] == kind
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store"
            assert not re.findall(rb"(?:src|href|url)[=(]+[\"']?https?:", body), name


def test_the_code_never_reads_data_as_html():
    code = files("mistral_cf_adapter.testing").joinpath("page", "page.js").read_text()
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert word not in code


# ---------------------------------------------------------------- in a browser


class Page:
    """The page of one gateway, as a person sees it."""

    def __init__(self, driver, gateway):
        self.driver = driver
        self.gateway = gateway

    def open(self, view="calls"):
        self.driver.get("about:blank")
        self.driver.get(f"{self.gateway.origin}/#{view}")
        self.wait_text("#connection", "Live")
        return self

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def text(self, selector):
        return self.one(selector).text

    def wait(self, condition):
        from selenium.common.exceptions import (
            NoSuchElementException,
            StaleElementReferenceException,
        )
        from selenium.webdriver.support.ui import WebDriverWait

        ignored = (NoSuchElementException, StaleElementReferenceException)
        waiting = WebDriverWait(self.driver, PATIENCE, 0.03, ignored)
        return waiting.until(lambda _: condition())

    def wait_text(self, selector, text):
        self.wait(lambda: text in self.text(selector))

    def click(self, selector):
        self.wait(lambda: self.one(selector).is_displayed())
        self.one(selector).click()

    def press(self, *keys):
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self):
        return self.run("return document.activeElement.id")

    def run(self, script, *values):
        return self.driver.execute_script(script, *values)

    def rows(self):
        """Return the texts of the rows that are drawn, from the top."""
        return self.run(
            "return [...document.querySelectorAll('#rows .row')]"
            ".sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)"
            ".map((row) => [...row.children].map((cell) => cell.textContent))"
        )

    def wait_rows(self, count):
        self.wait(lambda: len(self.rows()) == count)
        return self.rows()

    def catch_copies(self):
        self.run("navigator.clipboard.writeText = async (text) => { window.copied = text }")

    def copied(self):
        return self.wait(lambda: self.run("return window.copied"))


@pytest.fixture(scope="module")
def driver():
    with open_browser() as driver:
        yield driver


@pytest.fixture
def gateway():
    with LocalGateway(page=True) as gateway:
        yield gateway


@pytest.fixture
def page(driver, gateway):
    resize(driver, 1400, 850)
    yield Page(driver, gateway)
    errors = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    driver.get("about:blank")
    assert errors == []


@pytest.fixture
def client(gateway):
    return make_client(gateway.settings())


def say(client, text="Hello", model=MODEL):
    return client.chat.complete(model=model, messages=[{"role": "user", "content": text}])


def listen(client, text="Hello"):
    messages = [{"role": "user", "content": text}]
    return list(client.chat.stream(model=MODEL, messages=messages))


def open_one_call(page, client):
    """Open the page with one call, and that call in full."""
    listen(client)
    page.open()
    page.wait_rows(1)
    page.click("#rows .row")
    page.wait_text("#detail .conversation", "Hello")


def test_an_empty_list_says_how_to_begin(page, gateway):
    page.open()
    page.wait_text("#empty-calls", "No call yet")
    page.wait_text("#empty-env", f"export CF_AIG_BASE_URL={gateway.url}")
    page.click("#empty-link")
    page.wait_text("#view-setup", "Point an application here")


def test_calls_come_in_live_newest_first(page, client, gateway):
    say(client, "before the page")
    page.open()
    page.wait_rows(1)
    with gateway_options(cache_ttl=60, metadata={"team": "search"}):
        say(client, "live")
    gateway.fail(2003)
    with pytest.raises(GatewayError):
        say(client, "refused")
    refused, live, before = page.wait_rows(3)
    assert live[1:4] == ["chat.complete", MODEL, "200"]
    assert (live[4], live[8], live[9]) == ("MISS", "team=search", "live")
    assert re.fullmatch(r"\d+ → \d+", live[5])
    assert (refused[3], refused[9]) == ("429", "2003 · Rate limited")
    assert before[9] == "before the page"
    assert page.text("#count-calls") == "3"
    red = page.run(
        "return getComputedStyle(document.querySelector('#rows .error')).color"
        " !== getComputedStyle(document.body).color"
    )
    assert red


def test_calls_are_filtered_by_text_and_by_field(page, client, gateway):
    say(client, "about apples")
    with gateway_options(metadata={"team": "fruit"}):
        say(client, "about pears", "mistral-large-latest")
    gateway.upstream_fail(500)
    with pytest.raises(Exception, match="Internal"):
        say(client, "about plums")
    page.open()
    page.wait_rows(3)
    for typed, found in [
        ("APPLES", ["about apples"]),
        ("model:large", ["about pears"]),
        ("about model:small", ["Internal server error", "about apples"]),
        ("status:500", ["Internal server error"]),
        ("is:error", ["Internal server error"]),
        ("meta:team=fruit", ["about pears"]),
        ("nowhere", []),
    ]:
        page.one("#filter").clear()
        page.one("#filter").send_keys(typed)
        page.wait(lambda found=found: [row[9] for row in page.rows()] == found)
    page.wait_text("#empty-calls", "No call fits the filter")
    from selenium.webdriver.common.keys import Keys

    page.one("#filter").send_keys(Keys.ESCAPE)
    page.wait_rows(3)


def test_one_call_in_full(page, client, gateway):
    gateway.reply_stream(["Bon", "jour"])
    with gateway_options(cache_ttl=120):
        listen(client, "What do you say?")
    page.open()
    page.wait_rows(1)
    page.click("#rows .row")
    page.wait_text("#detail .conversation", "Bonjour")
    assert "What do you say?" in page.text("#detail .conversation")
    options = page.text("#detail .options")
    assert "cache_ttl 120 Not in the cache, and not stored: it is a stream" in options
    pieces = [piece.text for piece in page.all("#detail .piece")]
    assert any('"jour"' in piece and " ms" in piece for piece in pieces)
    for summary in page.all("#detail summary")[1:]:
        summary.click()
    shown = page.text("#detail")
    assert "authorization" in shown
    assert gateway.mistral_api_key not in shown
    assert gateway.token not in shown
    assert "data: [DONE]" in shown


def test_a_call_can_be_copied_and_sent_again(page, client, gateway):
    gateway.reply("first")
    gateway.reply("second")
    say(client, "again and again")
    page.open()
    page.wait_rows(1)
    page.click("#rows .row")
    page.wait_text("#detail .conversation", "first")
    page.catch_copies()
    for name, words in [
        ("curl", "curl http://127.0.0.1"),
        ("Python", "client.chat.complete("),
        ("a test", "cf_gateway.reply('first')"),
    ]:
        page.click(f"#detail [aria-label='Copy as {name}']")
        page.wait(lambda words=words: words in page.copied())
    page.click("#send-again")
    page.wait_text("#detail .conversation", "second")
    page.wait_rows(2)


def test_a_tool_call_and_a_failure_are_shown(page, client, gateway):
    tool = {"id": "abcdefghi", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    gateway.reply("", tool_calls=[tool])
    say(client, "weather?")
    gateway.fault("reset")
    with pytest.raises(Exception, match=r".*"):
        say(client, "and now?")
    page.open()
    page.wait_rows(2)
    page.run("document.querySelectorAll('#rows .row')[1].click()")
    page.wait_text("#detail .conversation", 'weather({"city": "Paris"})')
    page.run("document.querySelectorAll('#rows .row')[0].click()")
    page.wait_text("#detail .problem", "scripted fault: reset")


@pytest.mark.parametrize(
    ("kind", "fields", "label"),
    [
        ("reply", {"text": "Salut"}, "reply('Salut')"),
        ("reply-stream", {"pieces": "a\nb"}, "reply_stream(['a', 'b'])"),
        ("reply-json", {"value": '{"a": 1}'}, "reply_json({'a': 1})"),
        ("fail", {}, "fail(2003)"),
        ("upstream-fail", {"status": "503"}, "upstream_fail(503)"),
        ("upstream-delay", {"seconds": "1.5"}, "upstream_delay(1.5)"),
        ("cut", {}, "cut_stream, 1 left"),
        ("fault", {"times": "3"}, "reset, 3 left"),
    ],
)
def test_the_queue_is_filled_by_a_form_and_cleared(page, kind, fields, label):
    page.open("queue")
    page.wait_text("#queue-none", "Nothing is scripted")
    page.one(f"#queue-kind option[value={kind}]").click()
    for name, value in fields.items():
        field = page.one(f"#queue-fields [name={name}]")
        field.clear()
        field.send_keys(value)
    page.click("#queue-form [type=submit]")
    page.wait_text("#queue-list", label)
    assert page.text("#count-queue") == "1"
    page.click("#queue-clear")
    page.wait_text("#queue-none", "Nothing is scripted")


def test_the_queue_says_what_is_wrong_and_empties_as_calls_come(page, client):
    page.open("queue")
    page.one("#queue-kind option[value=reply-json]").click()
    page.one("#queue-fields [name=value]").send_keys("{")
    page.click("#queue-form [type=submit]")
    page.wait_text("#queue-error", "not JSON")
    page.one("#queue-kind option[value=reply]").click()
    page.click("#queue-form [type=submit]")
    page.wait_text("#queue-list", "Bonjour!")
    assert say(client).choices[0].message.content == "Bonjour!"
    page.wait_text("#queue-none", "Nothing is scripted")


def test_the_queue_takes_the_request_that_a_response_is_for(page, client, gateway):
    page.open("queue")
    page.one("[name=when]").send_keys('{"model": ')
    page.click("#queue-form [type=submit]")
    page.wait_text("#queue-error", "not JSON")
    page.one("[name=when]").send_keys('"small", "header": {}}')
    page.click("#queue-form [type=submit]")
    page.wait_text("#queue-error", "did you mean headers?")
    page.one("[name=when]").clear()
    when = {"model": "mistral-large-latest", "options": {"cache_ttl": 60}}
    page.one("[name=when]").send_keys(json.dumps(when))
    page.click("#queue-form [type=submit]")
    page.wait_text("#queue-list", "Bonjour!")
    assert page.text("#queue-error") == ""
    page.driver.get_log("browser")  # it names the request that was refused
    assert say(client).choices[0].message.content != "Bonjour!"
    assert say(client, model="mistral-large-latest").choices[0].message.content != "Bonjour!"
    with gateway_options(cache_ttl=60):
        answer = say(client, model="mistral-large-latest")
    assert answer.choices[0].message.content == "Bonjour!"
    page.wait_text("#queue-none", "Nothing is scripted")


@pytest.mark.parametrize("kind", ["cut_stream", "end_stream", "cut_body", "client", "waiting"])
def test_a_call_that_was_cut_is_marked(page, client, gateway, kind):
    say(client, "whole")
    if kind in ("client", "waiting"):
        gateway.fault("stall") if kind == "waiting" else gateway.fault("slow_drip", delay=1)
        with socket.create_connection(("127.0.0.1", port_of(gateway))) as sock:
            sock.sendall(asking(gateway, {**QUESTION, "stream": True}))
            if kind == "client":
                assert sock.recv(1000)
            gateway.calls.wait(1, 0.2)
    else:
        gateway.fault(kind, keep=1)
        with pytest.raises(Exception, match=r".*"):
            say(client) if kind == "cut_body" else listen(client)
    page.open()
    cut, whole = page.wait_rows(2)
    status = "\u2013" if kind == "waiting" else "200"
    assert (cut[3], whole[3]) == (f"{status} cut", "200")
    page.one("#filter").send_keys("is:cut")
    page.wait_rows(1)
    page.click("#rows .row")
    page.wait_text("#detail .detail-title", "cut")
    for width in (1400, 1000, 400):
        resize(page.driver, width, 850)
        clipped = page.run(
            "const e = document.querySelector('#rows .tag.cut')?.parentElement;"
            "return e && e.offsetWidth ? e.scrollWidth > e.clientWidth : false"
        )
        assert not clipped, width


def test_a_secret_that_is_split_over_events_is_masked_where_they_are_joined(page, client, gateway):
    key = gateway.mistral_api_key
    gateway.reply_stream(["The key is ", key[:5], key[5:9], key[9:], "!"])
    listen(client)
    page.open()
    page.wait_rows(1)
    page.click("#rows .row")
    page.wait_text("#detail .conversation", f"The key is {key[:4]}...{key[-2:]}!")
    for summary in page.all("#detail details:not([open]) summary"):
        summary.click()
    shown = page.text("#detail")
    assert key not in shown
    assert key[5:9] not in shown.replace("mistral-small", "")


def test_totals(page, client, gateway):
    page.open("totals")
    with gateway_options(cache_ttl=60, metadata={"team": "search"}):
        say(client)
        say(client)
    gateway.fail(2003)
    with pytest.raises(GatewayError):
        say(client)
    page.wait_text("#by-error", "2003")
    tiles = page.text("#tiles").split("\n")
    found = dict(zip(tiles[::2], tiles[1::2], strict=True))
    assert (found["Calls"], found["Errors"], found["Cache hits"]) == ("3", "1", "50.0 %")
    assert MODEL in page.text("#by-model")
    assert "team=search" in page.text("#by-metadata")


def test_set_up_shows_what_to_copy(page, gateway):
    page.open("setup")
    for name, value in gateway.env().items():
        page.wait_text("#setup-cards", f"export {name}={value}")
    page.catch_copies()
    page.click("[aria-label='Copy Environment variables']")
    assert page.copied().count("export ") == len(gateway.env())
    assert page.run("return scrollY") == 0


def test_switches_time_and_reset(page, client, gateway):
    page.open("switches")
    page.click("[name=guardrails]")
    page.wait(lambda: gateway.guardrails)
    page.click("[name=dlp]")
    page.wait(lambda: gateway.dlp is not None)
    page.one("[name=rate_limit]").send_keys("0\t")
    api = GatewayApi(gateway)
    page.wait(lambda: api.get("/switches")["rate_limit"] == 0)
    with pytest.raises(GatewayError):
        say(client)
    page.click("[data-seconds='3600']")
    page.wait_text("#ahead", "3,600 s")
    gateway.dlp = None
    page.wait(lambda: not page.one("[name=dlp]").is_selected())
    page.click("#reset")
    page.wait(lambda: api.get("/switches")["rate_limit"] is None)
    page.wait(lambda: page.text("#count-calls") == "0")
    page.wait(lambda: not page.one("[name=guardrails]").is_selected())


def test_an_alarm_for_a_call_past_the_gateway(page, gateway):
    page.open()
    assert not page.one("#alarm").is_displayed()
    known = {"attempt": 1, "elapsed": 0.1, "status_code": 200, "method": "POST"}
    with report_bypasses(gateway.url) as listener:
        listener(GatewayCall(path="/v1/models", **known))  # through it
        listener(GatewayCall(path=f"/v1/{HTML}", routed="direct", **known))
        page.wait_text("#alarm-text", "1 call went past the gateway")
        assert HTML in page.text("#alarm-text")
        page.click("#alarm-dismiss")
        page.wait(lambda: not page.one("#alarm").is_displayed())
        listener(GatewayCall(path="/v1/ocr", routed="elsewhere", **known))
        page.wait_text("#alarm-text", "2 calls went past the gateway")
        assert "POST /v1/ocr, to another host" in page.text("#alarm-text")


def test_html_stays_text(page, client, gateway):
    gateway.reply(f"answer {HTML}")
    with gateway_options(metadata={HTML: HTML}):
        say(client, HTML, model=HTML)
    gateway.upstream_fail(500, body={"message": HTML})
    with pytest.raises(Exception, match=r".*"):
        say(client, HTML)
    listen(client, HTML)
    gateway.reply(HTML)
    page.open()
    page.wait_rows(3)
    for index in range(3):
        page.run("document.querySelectorAll('#rows .row')[arguments[0]].click()", index)
        page.wait(lambda: HTML in page.text("#detail"))
    for view in VIEWS:
        page.run("location.hash = arguments[0]", view)
        page.wait(lambda view=view: page.one(f"#view-{view}").is_displayed())
    page.wait_text("#count-queue", "1")
    assert page.all("main script, main img, main b:not(.facts b)") == []


def test_it_asks_no_other_host_and_is_not_allowed_to(page, client, gateway):
    open_one_call(page, client)
    for view in VIEWS:
        page.run("location.hash = arguments[0]", view)
    asked = page.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert asked
    assert [url for url in asked if not url.startswith((gateway.origin, "data:"))] == []
    with LocalGateway() as other:
        blocked = page.driver.execute_async_script(
            "const [url, done] = arguments;"
            "document.addEventListener('securitypolicyviolation', (e) => done(e.blockedURI));"
            "fetch(url).catch(() => {});",
            f"{other.origin}/",
        )
        assert blocked.startswith(other.origin)
        assert len(other.calls) == 0
    page.driver.get_log("browser")  # it names what was blocked


def test_everything_works_by_keyboard(page, client):
    from selenium.webdriver.common.keys import Keys

    for number in range(5):
        say(client, f"question {number}")
    page.open()
    page.wait_rows(5)
    page.press("/")
    assert page.focused() == "filter"
    page.press("question", Keys.ENTER)
    assert page.focused() == "rows"
    page.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER)
    page.wait_text("#detail .conversation", "question 2")
    page.wait(lambda: page.focused() == "detail")
    active = page.one("#rows").get_attribute("aria-activedescendant")
    assert page.one(f"#{active}").get_attribute("aria-selected") == "true"
    page.press(Keys.ESCAPE)
    page.wait(lambda: page.focused() == "rows")
    assert not page.one("#detail").is_displayed()
    page.press(Keys.END, Keys.ENTER)
    page.wait_text("#detail .conversation", "question 0")
    # From the list, the tab key goes through the detail; each view is reached the same way.
    page.press(Keys.ESCAPE)
    for view in VIEWS[1:]:
        page.run("arguments[0].focus()", page.one(f".top nav a[href='#{view}']"))
        page.press(Keys.ENTER)
        page.wait(lambda view=view: page.one(f"#view-{view}").is_displayed())
    page.run("arguments[0].focus()", page.one("[name=guardrails]"))
    page.press(Keys.SPACE)
    page.wait(lambda: page.gateway.guardrails)


def test_the_tab_key_reaches_every_control(page, client):
    from selenium.webdriver.common.keys import Keys

    open_one_call(page, client)
    page.run("document.activeElement.blur()")
    reached = set()
    for _ in range(40):
        page.press(Keys.TAB)
        reached.add(
            page.run("const e = document.activeElement; return e.id || e.textContent.trim()")
        )
    expected = {"Skip to content", "Set up", "filter", "rows", "send-again", "Copy as a test"}
    assert expected <= reached


def test_every_control_has_a_name(page, client):
    open_one_call(page, client)
    for view in VIEWS:
        page.run("location.hash = arguments[0]", view)
        page.wait(lambda view=view: page.one(f"#view-{view}").is_displayed())
        controls = page.all("a, button, input, select, textarea, summary, [tabindex='0']")
        visible = [control for control in controls if control.is_displayed()]
        assert len(visible) > 5
        nameless = [each.get_attribute("outerHTML") for each in visible if not each.accessible_name]
        assert nameless == []


def _luminance(color):
    channels = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_dark_or_light_and_can_be_read(page, client, gateway, scheme):
    resize(page.driver, 1400, 850, scheme=scheme)
    gateway.fail(2003)
    with pytest.raises(GatewayError):
        say(client)
    page.open()
    page.wait_rows(1)
    page.click("#rows .row")
    page.wait_text("#detail .problem", "Rate limited")
    background = page.run("return getComputedStyle(document.body).backgroundColor")
    assert (_luminance(background) < 0.5) == (scheme == "dark")
    for selector in ("#rows .dim", "#rows .operation", "#rows .status", "#detail .problem p"):
        found = page.run(
            "let e = document.querySelector(arguments[0]); const color = getComputedStyle(e).color;"
            "const back = () => getComputedStyle(e).backgroundColor;"
            "while (back() === 'rgba(0, 0, 0, 0)') e = e.parentElement;"
            "return [color, back()]",
            selector,
        )
        dark, light = sorted(map(_luminance, found))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (selector, found)


def test_it_fits_a_narrow_window(page, client):
    listen(client)
    resize(page.driver, 400, 700)
    page.open()
    page.wait_rows(1)
    for view in VIEWS:
        page.run("location.hash = arguments[0]", view)
        page.wait(lambda view=view: page.one(f"#view-{view}").is_displayed())
        page.wait(lambda: page.run("return document.documentElement.scrollWidth <= innerWidth"))
    page.run("location.hash = 'calls'")
    page.click("#rows .row")
    page.wait_text("#detail .conversation", "Hello")
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    page.click("#detail .close")
    page.wait(lambda: page.one("#rows").is_displayed())


def test_ten_thousand_calls(page, client, gateway):
    exchange(gateway, asking(gateway, QUESTION))
    first = gateway.requests[0]
    for _ in range(limits.MAX_KEPT - 2):
        gateway.calls.open(first, None).close()
    say(client, "the newest")
    page.open()
    page.wait_text("#count-calls", "10,000")
    assert page.run("return document.querySelectorAll('#rows .row').length") < 100
    page.one("#filter").send_keys("newest")
    page.wait_rows(1)
    page.one("#filter").clear()
    page.one("#filter").send_keys("status:200")
    page.wait_text("#shown", "2 of 10,000")
    say(client, "one more")
    page.wait_text("#shown", "2 of 10,000")  # the oldest, a 200, is gone
    page.run("document.querySelector('#filter').value = ''")
    from selenium.webdriver.common.keys import Keys

    page.one("#filter").send_keys(" ")
    page.run("document.querySelector('#rows').focus()")
    page.press(Keys.END)
    page.wait(lambda: page.one("#rows .row[aria-selected=true]").text)
    assert page.one("#rows").get_attribute("aria-rowcount") == "10000"


def test_it_connects_again_after_the_gateway_was_restarted(page, client, gateway):
    say(client, "before")
    page.open()
    page.wait_rows(1)
    port = port_of(gateway)
    gateway.stop()
    page.wait_text("#connection", "Connection lost")
    with LocalGateway(page=True, port=port) as other:
        page.wait_text("#connection", "Live")
        page.wait_rows(0)
        say(make_client(other.settings()), "after")
        assert page.wait_rows(1)[0][9] == "after"
        page.driver.get("about:blank")
    page.driver.get_log("browser")  # it names the requests that failed


def test_it_misses_no_call_where_the_connection_breaks(page, client, gateway):
    page.open()
    with gateway.fault("refuse"):
        page.wait_text("#connection", "Connection lost")
        gateway.calls.open(gateway_request(gateway), None).close()
    page.wait_text("#connection", "Live")
    page.wait_rows(1)
    page.driver.get_log("browser")


def gateway_request(gateway):
    from starlette.datastructures import Headers

    from mistral_cf_adapter.testing import ReceivedRequest

    path = "/v1/acc/default/mistral/v1/chat/completions"
    return ReceivedRequest("POST", path, path, "", Headers(), json.dumps(QUESTION).encode())
