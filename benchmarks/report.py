"""The screenshots of docs/reports.md: a study on electronics, its page in a headless browser, as wide as telephone and desk.

    python benchmarks/report.py        # ULTRAGCN_DATA_DIR; about a minute; what is done of the study is not run again

Needs the extras report and test, and Chromium or Chrome.
"""

import io
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
STUDY, IMAGES = Path("runs/weights"), ROOT / "docs/images"
SWEEP = "sweep --dataset electronics --vary item_item_weight=0,0.5,1,2 --vary negative_weight=100,300,1000 --seeds 0,1,2 --jobs 2 --quiet"
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}


def main() -> None:
    """Run the study, write its page, and photograph it."""
    for words in ([*SWEEP.split(), "--out", str(STUDY)], ["report", str(STUDY)]):
        subprocess.run([sys.executable, "-m", "ultragcn", *words], check=True, cwd=ROOT)
    browser_path = next(path for name in ("chromium", "google-chrome") if (path := shutil.which(name)))
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for name, (width, height) in SIZES.items():
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=1.5)
                page.goto((ROOT / STUDY / "report/index.html").as_uri())
                for part, anchor in (("", None), ("-plots", "h2")):
                    if anchor:
                        page.locator(anchor).first.evaluate("head => window.scrollTo(0, head.offsetTop - 12)")
                    picture = Image.open(io.BytesIO(page.screenshot()))
                    picture.convert("RGB").save(IMAGES / f"report-{name}-{scheme}{part}.png", optimize=True)
                page.close()
        browser.close()
    for path in sorted(IMAGES.glob("report-*.png")):
        print(f"{path.relative_to(ROOT)}\t{path.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()
