"""A headless browser for the tests of pages."""

import shutil
from contextlib import contextmanager

import pytest


@contextmanager
def browsing():
    """Start Chromium or Chrome; skip where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -r requirements-dev.txt")
    program = next((found for name in ("chromium", "google-chrome", "chromium-browser") if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("needs Chromium or Chrome: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(place, browser=None, **options):
    """Open a page, by its path or its address, in a browser of its own or one that runs; yield it, its complaints and its requests."""
    if browser is None:
        with browsing() as started, opened(place, started, **options) as found:
            yield found
        return
    page = browser.new_page(**options)
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(place if isinstance(place, str) else place.resolve().as_uri())
    yield page, complaints, requests
    page.close()
