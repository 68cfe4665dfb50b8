"""The page that runs the model in a visitor's browser: built, served, and used in Chromium."""

import csv
import functools
import http.server
import json
import os
import re
import shutil
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import REFERENCE, music, write_audio
from map_data import open_browser, wait_for

from artist_features import extract
from artist_features.errors import OutputError
from artist_features.search.embedding_tables import read_embeddings
from artist_features.search.ranking import neighbours

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "page"
pytestmark = pytest.mark.slow
N = 12  # tracks of the corpus, one of them the example
HOSTILE = ["</script><script>window.ran = 1</script>", '"><img src=x onerror=ran=1>', "@@DATA@@"]
LICENCES = ["CC0-1.0", "CC-BY-SA-4.0", "CC-BY-ND-4.0", "", "see the file", "GPL-2+"]
LEAST_COSINE = 0.999


@pytest.fixture(scope="module")
def build():
    """The module build.py."""
    pytest.importorskip("tf2onnx", reason="of the extra [onnx]")
    sys.path.insert(0, str(EXAMPLE))
    import build

    yield build
    sys.path.remove(str(EXAMPLE))
    del sys.modules["build"]  # another example has a module of this name


@pytest.fixture(scope="module")
def archive(build):
    if not build.ort_cache().exists():
        pytest.skip(f"no {build.ort_cache()}, which examples/page/build.py fetches")
    return build.ort_cache()


@pytest.fixture(scope="module")
def site(build, archive, tmp_path_factory):
    """What build.py makes of twelve tracks by three artists."""
    folder = tmp_path_factory.mktemp("music")
    rows = [["file", "artist", "title", "licence", "source"]]
    for number in range(N):
        seconds = 31 if number == 1 else 3.2
        write_audio(folder / f"{number}.ogg", music(seconds, 22050, 1, seed=number), 22050)
        title = HOSTILE[number - 2] if 2 <= number < 2 + len(HOSTILE) else f"song {number}"
        source = ["github:owner/name", "javascript:alert(1)"][number % 2]
        licence = LICENCES[number % len(LICENCES)]
        rows.append([f"{number}.ogg", f"artist {number % 3}", title, licence, source])
    with open(folder / "manifest.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    assert build.main([str(folder), str(folder / "out")]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A visitor's files: formats, rates, one that is short, one that is no audio."""
    folder = tmp_path_factory.mktemp("clips")
    samples = music(8)
    for name in ("a.wav", "a.flac", "a.mp3", "a.ogg"):
        write_audio(folder / name, samples)
    for rate in (8000, 22050, 48000, 96000):
        write_audio(folder / f"{rate}.wav", music(7, rate, 2, seed=rate), rate)
    write_audio(folder / "short.wav", music(1.3, 44100, 1), 44100)
    (folder / "none.mp3").write_bytes(b"no audio" * 100)
    write_audio(folder / "silent.wav", np.zeros((44100, 1), np.float32))
    return folder


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server(site):
    handler = functools.partial(Handler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class Visitor:
    """A page in a browser, and what a person would do with it."""

    def __init__(self, browser, server):
        self.browser = browser
        self.url = f"http://127.0.0.1:{server.server_port}/"
        browser.get_log("performance"), browser.get_log("browser")
        self.load()

    def load(self):
        self.browser.get(self.url)
        wait_for(lambda: self.run("return document.documentElement.dataset.ready"), "the page")

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def texts(self, selector):
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
        return self.run(script, selector)

    def settled(self):
        return self.run(
            "return typeof own === 'object' && own.length > 0 && "
            "own.every(file => file.state === 'done' || file.state === 'failed')"
        )

    def give(self, paths, timeout_s=120):
        """Choose files; return them by name: path, state, vector, near, track, reason."""
        box = self.browser.find_element("id", "choose-files")
        box.send_keys("\n".join(map(str, paths)))
        wait_for(lambda: self.run("return own.length"), "files", timeout_s)
        wait_for(self.settled, "the model", timeout_s)
        names = "path, state, reason, near, track, nSegments, short"
        script = (
            f"return own.map(({{{names}, vector}}) => ({{{names}, vector: [...vector ?? []]}}))"
        )
        return {file["path"]: file for file in self.run(script)}

    def size(self, width, height, *, dark=False):
        settings = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", settings)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = open_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def visit(browser, server, clips):
    """(page, files): after a visitor gave all clips."""
    visitor = Visitor(browser, server)
    return visitor, visitor.give(sorted(clips.iterdir()))


def cosine(one, other):
    one, other = np.asarray(one), np.asarray(other)
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


def test_licences_and_sources(build):
    free = ["CC-BY-3.0", "cc0", "CC BY-SA 4.0", "GPL-2+", "BSD-3-Clause", "OGA-BY-3.0", "MIT"]
    assert all(map(build.may_be_cut, free))
    assert not any(map(build.may_be_cut, ["", "see the file", "CC-BY-NC-ND-4.0", "all rights"]))
    assert build.source_link("https://a.b/c") == "https://a.b/c"
    assert build.source_link("debian:freeciv-data") == "https://packages.debian.org/freeciv-data"
    assert build.source_link("github:a/b<script>") == build.source_link("javascript:1") == ""


def test_another_archive_is_refused(build, tmp_path):
    (tmp_path / "other.tgz").write_bytes(b"other")
    with pytest.raises(OutputError, match="SHA-512"):
        build.ort_archive(tmp_path / "other.tgz")


def test_a_folder_for_any_static_host(site):
    html = (site / "index.html").read_text(encoding="utf-8")
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', html)
    assert "unsafe-inline" not in policy
    assert "'unsafe-eval'" not in policy
    data = json.loads(re.search(r'id="data">(.*?)</script>', html)[1])
    assert data["n"] == N - 1
    # licences: CC0, BY-SA (the example, at 1), ND, none, unclear, GPL
    free = [0, 4, 5, 6, 10]
    assert [row for row, end in enumerate(data["link"]["ends"]) if end] == free
    excerpts = sorted(path.name for path in (site / "previews").iterdir())
    linked = [data["link"]["ends"][row] for row in free]
    assert sorted(Path(end).name for end in linked) == excerpts
    facts = json.loads((site / "facts.json").read_text())
    assert facts["example"]["title"] == "song 1"
    assert soundfile.info(site / "example.mp3").duration == pytest.approx(30, abs=0.2)
    assert "sdk: static" in (site / "README.md").read_text(encoding="utf-8")
    for path in [*site.glob("*.js"), site / "index.html", *site.glob("*.css")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?://(?!github\.com/owner)", text.replace("https:\\/\\/", "")), (
            path
        )
    assert (site / "model.onnx").stat().st_size < 1.2e6  # weights in 16 bits


def test_vectors_are_those_of_the_package(visit, clips):
    _, files = visit
    paths = [path for path in sorted(clips.iterdir()) if path.stem not in ("none", "silent")]
    with pytest.warns(match="looped"):
        expected = extract(paths)
    cosines = {
        path.name: cosine(files[path.name]["vector"], vector)
        for path, vector in zip(paths, expected, strict=True)
    }
    assert min(cosines.values()) >= LEAST_COSINE, cosines
    assert files["short.wav"]["short"]
    assert files["a.wav"]["nSegments"] == 2


def test_what_cannot_be_read_says_why(visit):
    page, files = visit
    assert "no format that this browser plays" in files["none.mp3"]["reason"]
    assert "silent" in files["silent.wav"]["reason"]
    assert "none.mp3" in page.texts("#failed-list b")
    assert any(text.startswith("is in no format") for text in page.texts("#failed-list span"))


def test_files_stand_beside_their_nearest_tracks(visit, site):
    page, files = visit
    (vectors,) = site.glob("vectors-*.bin")
    rows = np.fromfile(vectors, "<f4").reshape(N - 1, 256)
    for file in files.values():
        if file["state"] != "done":
            continue
        vector = np.float32(file["vector"])
        indices, similarities = neighbours(np.concatenate([rows, vector[None]]), 10)
        assert file["near"]["neighbours"] == indices[-1].tolist()
        np.testing.assert_allclose(file["near"]["similarities"], similarities[-1], atol=1e-5)
        script = "const t = arguments[0]; return [...tracks.x.keys()].slice(0, tracks.nGiven)"
        script += ".map(o => Math.hypot(tracks.x[o] - tracks.x[t], tracks.y[o] - tracks.y[t]))"
        assert min(page.run(script, file["track"])) <= 0.021
    assert len(page.texts("#neighbours li")) == 10
    assert page.texts(".rank")


def test_same_recordings_are_found(visit):
    page, _ = visit
    groups = page.run(
        "return [...document.querySelectorAll('#same-list li')]"
        ".map(group => [...group.children].map(e => e.textContent).sort())"
    )
    page.run("document.querySelector('#same-list .go').click()")
    assert page.text("#track-title") in groups[0]
    assert len(groups) == 1
    assert {"a.flac", "a.mp3", "a.wav"} <= set(groups[0]) <= {"a.flac", "a.mp3", "a.ogg", "a.wav"}


def test_a_high_likeness_alone_makes_no_same_recording(visit):
    page, _ = visit
    script = """const [[one, other], courses, tell] = arguments;
        import("./place.js").then(({Same}) => { const same = new Same();
        same.add("one", one, courses[0]), same.add("other", other, courses[1]);
        tell(same.several()); });"""
    vectors = [[1, 0], [0.9, 0.19**0.5]]
    course = np.random.default_rng(0).random((2, 8, 16))
    ask = page.browser.execute_async_script
    assert ask(script, vectors, course.tolist()) == []
    copies = [course[0].tolist(), (1.1 * course[0] + 0.1 * course[1]).tolist()]
    assert ask(script, vectors, copies) == [["one", "other"]]
    assert ask(script, vectors, [part[:5] for part in copies]) == []  # too short to tell
    assert ask(script, [[1, 0], [0.8, 0.6]], copies) == []


def test_titles_are_no_markup_and_nothing_is_fetched_elsewhere(visit):
    page, _ = visit
    assert not page.run("return window.ran")
    assert set(HOSTILE) <= set(page.run("return tracks.title"))
    messages = [
        json.loads(entry["message"])["message"] for entry in page.browser.get_log("performance")
    ]
    urls = {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
        and not message["params"]["documentURL"].startswith("chrome")
    }
    assert urls
    assert [url for url in urls if not url.startswith((page.url, "data:", "blob:"))] == []
    severe = [entry for entry in page.browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []


def test_export(visit, tmp_path):
    page, files = visit
    behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
    page.browser.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    for kind in ("csv", "parquet"):
        page.browser.find_element("id", kind).click()
        wait_for((tmp_path / f"vectors.{kind}").exists, "the download")
    with open(tmp_path / "vectors.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    found = read_embeddings([tmp_path / "vectors.parquet"])
    done = [file for file in files.values() if file["state"] == "done"]
    paths = [file["path"] for file in done]
    assert paths == [row["path"] for row in table] == [track.path for track in found.tracks]
    vectors = np.float32([file["vector"] for file in done])
    read = [[float(row[f"e{number}"]) for number in range(256)] for row in table]
    np.testing.assert_allclose(read, vectors, rtol=1e-6)
    np.testing.assert_array_equal(found.vectors, vectors)
    assert found.made_with["model"] == "siamese"
    assert {track.path: track.duration_s for track in found.tracks}["a.wav"] == 8


def test_keyboard_reaches_a_file_and_the_player_plays_it(visit):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page, _ = visit
    page.run("panel.clear(); document.querySelectorAll('#own-list .go')[1].focus()")
    ActionChains(page.browser).send_keys(Keys.ENTER).perform()
    assert page.text("#track-title") == page.text("#own-list li:nth-child(2) .what > span")
    wait_for(lambda: page.run("return !document.getElementById('audio').paused"), "sound")
    wait_for(
        lambda: page.run("return document.querySelectorAll('#own-list .go')[1].ariaCurrent"),
        "the mark",
    )
    page.run("document.querySelector('#neighbours .play').click()")
    name = page.text("#neighbours .what > span")
    wait_for(lambda: page.text("#playing").startswith(name), "the neighbour")


def test_what_has_the_focus_is_neither_under_the_player_nor_under_the_map(visit):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page, _ = visit
    covered = """
        const has = document.activeElement, cover = document.querySelector(arguments[0]);
        if (cover.contains(has) || has === document.body) return false;
        const one = has.getBoundingClientRect(), other = cover.getBoundingClientRect();
        return one.bottom > other.top + 1 && one.top < other.bottom - 1
            && one.right > other.left && one.left < other.right;"""
    for width, height in ((390, 844), (1400, 700)):
        page.size(width, height)
        page.run("panel.choose(0); byId('clear').focus()")
        for keys, cover in (([Keys.TAB], "#player"), ([Keys.SHIFT, Keys.TAB], "#stage")):
            for _ in range(16):
                chain = ActionChains(page.browser)
                for key in keys[:-1]:
                    chain.key_down(key)
                chain.send_keys(keys[-1])
                for key in keys[:-1]:
                    chain.key_up(key)
                chain.perform()
                assert not page.run(covered, cover)
    page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_mark_follows_the_keyboard_and_the_example_leaves_the_focus_in_the_list(
    visit, browser, server
):
    page, _ = visit
    page.run("panel.choose(own.find(file => file.state === 'done').track)")
    marked = "return document.querySelectorAll('#own-list [aria-current]').length"
    assert page.run(marked) == 1
    page.run("dispatchEvent(new KeyboardEvent('keydown')); panel.choose(0)")
    assert page.run(marked) == 0
    other = Visitor(browser, server)
    wait_for(lambda: other.run("return !byId('example-note').hidden"), "the example")
    other.run("byId('example').focus(); byId('example').click()")
    wait_for(other.settled, "the example")
    in_list = "return byId('own-list').contains(document.activeElement)"
    wait_for(lambda: other.run(in_list), "the focus")
    assert other.run("return byId('live').textContent").startswith("1 file placed on the map, most")
    page.load()


def test_samples_that_are_not_finite_are_refused(browser, server, tmp_path):
    samples = music(20, 22050, 1)
    samples[1000:1100] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 22050, subtype="FLOAT")
    page = Visitor(browser, server)
    (file,) = page.give([tmp_path / "nan.wav"]).values()
    assert (file["state"], file["reason"]) == ("failed", "holds samples that are no audio")
    wait_for(lambda: page.run("return byId('failed').open"), "the reason, the only outcome")


def test_files_given_after_a_stop_run(browser, server, tmp_path):
    paths = [tmp_path / f"{number}.wav" for number in range(9)]
    write_audio(paths[0], music(60, 44100, 2))
    for path in paths[1:8]:
        shutil.copy(paths[0], path)
    write_audio(paths[8], music(4, 44100, 2, seed=1))
    page = Visitor(browser, server)
    box = browser.find_element("id", "choose-files")
    box.send_keys("\n".join(map(str, paths[:8])))
    wait_for(lambda: page.run("return own.some(file => file.state === 'running')"), "a file")
    page.run("byId('stop').click()")
    box.send_keys(str(paths[8]))
    ended = "return own.length === 9 && own.every(f => !['waiting', 'running'].includes(f.state))"
    wait_for(lambda: page.run(ended), "the end", 120)
    states = page.run("return own.map(file => file.state)")
    assert states[8] == "done"
    assert "stopped" in states
    assert "failed" not in states
    assert page.run("return byId('failed').hidden")


def test_what_is_no_audio_by_its_name_is_told(browser, server, tmp_path):
    (tmp_path / "notes.txt").write_text("no audio")
    page = Visitor(browser, server)
    browser.find_element("id", "choose-files").send_keys(str(tmp_path / "notes.txt"))
    wait_for(lambda: page.text("#unused").startswith("No audio by its name"), "the note")
    assert not page.run("return own.length")


def test_a_visit_never_mixes_two_versions_of_the_site(browser, site, clips, tmp_path):
    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    handler = functools.partial(Handler, directory=str(copy))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = Visitor(browser, server)
        page.run("return navigator.serviceWorker.ready.then(() => true)")
        page.load()
        title = browser.title
        near = page.give([clips / "a.wav"])["a.wav"]["near"]
        (vectors,) = copy.glob("vectors-*.bin")
        rows = np.fromfile(vectors, "<f4").reshape(-1, 256)[::-1]
        (copy / "vectors-0123456789abcdef.bin").write_bytes(rows.tobytes())
        vectors.unlink()
        for name in ("index.html", "sw.js"):
            text = (copy / name).read_text(encoding="utf-8")
            text = text.replace(vectors.name, "vectors-0123456789abcdef.bin")
            text = text.replace("<title>", "<title>New: ").replace("page-", "page-new-", 1)
            (copy / name).write_text(text, encoding="utf-8")
            os.utime(copy / name, (time.time() + 10, time.time() + 10))
        page.load()
        time.sleep(2)  # the newer service worker is there, and waits
        assert page.give([clips / "a.wav"])["a.wav"]["near"] == near
        assert browser.title == title
        server.shutdown()


def test_a_dropped_folder_is_searched_and_every_control_has_a_name(browser, server, tmp_path):
    (tmp_path / "music" / "album").mkdir(parents=True)
    for name in ("one.wav", "album/two.flac"):
        write_audio(tmp_path / "music" / name, music(3, 22050, 1), 22050)
    (tmp_path / "music" / "cover.jpg").write_bytes(b"no music")
    page = Visitor(browser, server)
    data = {"items": [], "files": [str(tmp_path / "music")], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        event = {"type": kind, "x": 300, "y": 300, "data": data}
        browser.execute_cdp_cmd("Input.dispatchDragEvent", event)
    wait_for(lambda: page.run("return own.length") == 2 and page.settled(), "the files")
    assert page.run("return own.map(({path}) => path)") == ["music/album/two.flac", "music/one.wav"]
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    names = [
        node["name"]["value"]
        for node in nodes
        if not node["ignored"]
        and node["role"]["value"] in ("button", "checkbox", "combobox", "link", "slider")
    ]
    assert len(names) > 20
    assert all(names)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1400, 900)])
def test_player_is_in_sight_and_nothing_is_cut_off(visit, width, height, dark):
    page, _ = visit
    page.size(width, height, dark=dark)
    page.run("panel.choose(tracks.nGiven, {}); scrollTo(0, 0)")
    try:
        time.sleep(0.2)
        bottom = "return document.getElementById('player').getBoundingClientRect().bottom"
        assert page.run(bottom) <= height + 1
        assert page.run("return document.documentElement.scrollWidth") <= width
        shade = page.run("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", shade)[:3])) < 200) == dark
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


NIGHTLY = [pytest.param(f"long.{end}", marks=pytest.mark.nightly) for end in ("mp3", "flac", "ogg")]


@pytest.mark.parametrize("name", ["long.wav", *NIGHTLY])
def test_long_files_come_in_pieces(browser, server, tmp_path, name):
    seconds = {"long.wav": 130, "long.mp3": 190, "long.flac": 200, "long.ogg": 300}[name]
    samples = music(seconds, n_channels=2)
    if name != "long.wav":  # noise takes more bytes
        samples += np.random.default_rng(0).normal(0, 0.1, samples.shape).astype(np.float32)
    options = {} if name.endswith("wav") else {"compression_level": 0.0}
    options |= {"bitrate_mode": "CONSTANT"} if name.endswith("mp3") else {}
    with soundfile.SoundFile(tmp_path / name, "w", 44100, 2, **options) as sound:
        for start in range(0, len(samples), 8192):
            sound.write(samples[start : start + 8192])
    page = Visitor(browser, server)
    page.run(
        "globalThis.longest = 0; const real = OfflineAudioContext.prototype.decodeAudioData;"
        "OfflineAudioContext.prototype.decodeAudioData = async function(...given) {"
        " const heard = await real.apply(this, given);"
        " longest = Math.max(longest, heard.duration); return heard; }"
    )
    (file,) = page.give([tmp_path / name]).values()
    assert file["state"] == "done", file["reason"]
    assert page.run("return longest") < 0.75 * seconds
    assert cosine(file["vector"], extract(tmp_path / name)) >= LEAST_COSINE


@pytest.mark.parametrize("name", ["44k_stereo.mp3", "44k_stereo.ogg", "22k_mono.flac"])
def test_music(browser, server, name):
    path = REFERENCE / f"clip_{name}"
    if not path.exists():
        pytest.skip(f"no {path}")
    (file,) = Visitor(browser, server).give([path]).values()
    assert cosine(file["vector"], extract(path)) >= LEAST_COSINE


@pytest.mark.nightly
def test_a_thousand_files_neither_freeze_the_page_nor_fill_the_memory(browser, server, tmp_path):
    for number in range(1000):
        write_audio(tmp_path / f"{number:04d}.wav", music(3, 8000, 1, seed=number), 8000)
    page = Visitor(browser, server)
    page.run(
        "globalThis.slowest = 0; let last = performance.now(); setInterval(() => {"
        "const now = performance.now(); slowest = Math.max(slowest, now - last); last = now }, 20)"
    )
    paths = sorted(tmp_path.iterdir())
    page.give(paths[:100], 300)
    before = page.run("return performance.memory.usedJSHeapSize")
    page.give(paths[100:], 600)
    assert page.run("return performance.memory.usedJSHeapSize") < before + 60e6
    assert page.run("return document.querySelectorAll('#own-list li').length") == 100
    assert page.run("return slowest") < 2000


def test_works_without_a_network_after_the_first_visit(browser, server):
    page = Visitor(browser, server)
    ready = "navigator.serviceWorker.ready.then(() => arguments[0](true))"
    assert browser.execute_async_script(ready)
    page.load()
    assert page.run("return Boolean(navigator.serviceWorker.controller)")
    server.shutdown()
    server.server_close()
    page.load()
    browser.find_element("id", "example").click()
    wait_for(page.settled, "the example")
    assert page.run("return own[0].state") == "done"
    assert page.text("#track-title") == "song 1.mp3"
