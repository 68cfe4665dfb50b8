"""Embeddings and pages for the tests of the map, and the browser that opens them."""

import json
import shutil
import time

import numpy as np
import pytest

from artist_features.library import tables

MADE_WITH = json.dumps({"model": "toy", "weights_sha256": "ab" * 32})


def clusters(n, dim=8, n_clusters=4, seed=0):
    """Return float32 `(n, dim)` in clusters; row i belongs to cluster i % n_clusters."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((n_clusters, dim))
    return np.float32(centres[np.arange(n) % n_clusters] + 0.2 * rng.standard_normal((n, dim)))


def row(path, vector, status="ok", **more):
    return tables.Row(str(path), vector, 1, 30.0, 22050, "libsndfile", status, "", **more)


def write_embeddings(path, paths, vectors, made_with=MADE_WITH):
    """Write a table as `extract` does; a vector None is a recording that failed."""
    dim = next(len(vector) for vector in vectors if vector is not None)
    rows = [
        row(name, vector, "ok" if vector is not None else "damaged")
        for name, vector in zip(paths, vectors, strict=True)
    ]
    encode = tables.to_npz if path.suffix == ".npz" else tables.to_parquet
    path.write_bytes(encode(rows, dim, made_with))
    return path


def open_browser(profile):
    """Return a headless Chromium on a profile of its own; skips where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium")
    binary = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no Chromium with its chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "use-angle=swiftshader",  # WebGL without a graphics card
        "enable-unsafe-swiftshader",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "mute-audio",
        "autoplay-policy=no-user-gesture-required",
        "window-size=1200,800",
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    service = webdriver.ChromeService(driver)  # named, so that none is looked for on the web
    return webdriver.Chrome(options=options, service=service)


def wait_for(found, what, timeout_s=60):
    """Return the first true value of a function; fail with `what` after a while."""
    end = time.monotonic() + timeout_s
    while not (value := found()):
        assert time.monotonic() < end, f"waited {timeout_s} s for {what}"
        time.sleep(0.05)
    return value
