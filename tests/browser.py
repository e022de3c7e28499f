"""A headless browser for the tests of pages."""

import shutil
from contextlib import contextmanager

import pytest


@contextmanager
def opened(place, **options):
    """Open a page, by its path or its address, in Chromium or Chrome; yield it and what it complained about and asked for.

    Skip where there is no browser.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -r requirements-dev.txt")
    program = next((found for name in ("chromium", "google-chrome", "chromium-browser") if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("needs Chromium or Chrome: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(**options)
        complaints, requests = [], []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(place if isinstance(place, str) else place.resolve().as_uri())
        yield page, complaints, requests
        browser.close()
