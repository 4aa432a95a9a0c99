"""The OpenAPI page in a browser: nothing comes from other hosts, and a request can be tried out."""

from __future__ import annotations

import importlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import Case
from uvicorn_server import HANG, REPOSITORY

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as until
from selenium.webdriver.support.wait import WebDriverWait

#: Where to write the screenshot of docs/images, when it is to be made anew.
SCREENSHOT = os.environ.get("OPENAPI_SCREENSHOT")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium or chromedriver is not installed: apt-get install chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--disable-background-networking",
        "--window-size=1280,2130",
        "--hide-scrollbars",
        f"--user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    try:
        opened.set_page_load_timeout(HANG)
        yield opened
    finally:
        opened.quit()


def requested(browser: webdriver.Chrome) -> list[str]:
    """The addresses of all that the page has asked for."""
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def test_a_prediction_is_tried_out_on_the_page(
    browser: webdriver.Chrome,
    serve: Callable[..., str],
    iris: Case,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "examples" / "fastapi_model_server"))
    url = serve(importlib.import_module("model_server").app)
    wait = WebDriverWait(browser, HANG)
    browser.get(f"{url}/docs")

    def click(css: str) -> None:
        element = wait.until(until.element_to_be_clickable((By.CSS_SELECTOR, css)))
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def shown(css: str) -> Any:
        return wait.until(until.visibility_of_element_located((By.CSS_SELECTOR, css)))

    block = "div[id$='-modelserve_predict_post']"
    click(f"{block} .opblock-summary-control")
    click(f"{block} .try-out__btn")
    example = json.loads(shown(f"{block} textarea.body-param__text").get_attribute("value"))
    assert len(example["features"]) == 4
    click(f"{block} .execute")
    status = shown(f"{block} .live-responses-table tr.response .response-col_status")
    assert status.text.split()[0] == "200"
    text = shown(f"{block} .live-responses-table tr.response .highlight-code code").text
    assert f'"prediction": {iris_label(example["features"])}' in text
    assert '"request_id": "42"' in text

    browser.execute_script("scrollTo(0, 0)")
    picture = Path(SCREENSHOT) if SCREENSHOT else tmp_path / "openapi.png"
    assert browser.save_screenshot(str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 20_000

    addresses = requested(browser)
    assert any(address.endswith("swagger-ui-bundle.js") for address in addresses)
    assert f"{url}/predict" in addresses
    others = [a for a in addresses if not a.startswith((f"{url}/", "data:"))]
    # The browser's own start page.
    assert [a for a in others if urlsplit(a).scheme in ("http", "https")] == []
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []


def iris_label(row: list[float]) -> int:
    """What the model says, asked without a server."""
    import modelserve as ms

    path = REPOSITORY / "examples" / "fastapi_model_server" / "models" / "iris" / "1"
    return int(ms.load(path / "model.onnx").predict(row).prediction)
