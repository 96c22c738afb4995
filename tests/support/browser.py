"""A headless Chromium, driven by selenium, which ends with all of its processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

import pytest

REQUIRED = os.environ.get("REQUIRE_BROWSER") == "1"
"""Whether a browser that is missing is a failure, as in `.ci/run`, and no reason to skip."""
PATIENCE = 30
FLAGS = (
    *("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--no-sandbox", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-proxy-server", "--disable-lcd-text"),
)


def _missing() -> str | None:
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed: uv run --group browser pytest ..."
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            return f"there is no {program}: apt-get install chromium chromium-driver"
    return None


@contextlib.contextmanager
def open_browser(width=1400, height=850):
    """Yield a driver; skip the test where there is no browser."""
    missing = _missing()
    if missing is not None:
        (pytest.fail if REQUIRED else pytest.skip)(missing)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*FLAGS, f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # With the path of the driver, selenium looks for none on the network.
    service = Service(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    started = [service.process.pid, *_descendants(service.process.pid)]
    try:
        resize(driver, width, height)
        yield driver
    finally:
        driver.quit()
        _await_end(started)


def resize(driver, width, height, *, scheme="light", scale=1):
    """Set the size of the page, and whether the user prefers dark or light."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def _descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [found for child in map(int, children) for found in (child, *_descendants(child))]


def _await_end(pids: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE
    while left := [pid for pid in pids if _runs(pid)]:
        assert time.monotonic() < deadline, f"the browser left processes behind: {left}"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
