"""Draw docs/map.png, the picture of a map that the README shows.

    artist-features extract FOLDER... -o music.npz
    python docs/draw_map.py music.npz MANIFEST

Opens the page of `artist-features map` in a headless Chromium (selenium, chromedriver).
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver

from artist_features.maps.map import write_map

SIZE = (1280, 640)  # pixels
OUT = Path(__file__).with_name("map.png")


def main() -> None:
    vectors, manifest = sys.argv[1:]
    options = webdriver.ChromeOptions()
    for word in ("headless=new", "no-sandbox", "hide-scrollbars", "enable-unsafe-swiftshader"):
        options.add_argument(f"--{word}")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "map.html"
        write_map(vectors, page, manifest=manifest)
        driver = webdriver.ChromeService(shutil.which("chromedriver"))  # named: none is fetched
        browser = webdriver.Chrome(options, driver)
        try:
            browser.set_window_size(SIZE[0], SIZE[1] + 140)
            browser.get(page.as_uri())
            while not browser.execute_script("return document.documentElement.dataset.ready"):
                time.sleep(0.1)
            time.sleep(1)  # the points are drawn
            browser.save_screenshot(str(OUT))
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
