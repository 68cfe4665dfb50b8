"""The map's page in a headless Chromium: seen, searched, clicked, heard, and by keyboard."""

import json
import time

import numpy as np
import pytest
from conftest import music, write_audio
from map_data import clusters, open_browser, wait_for, write_embeddings
from test_map import HOSTILE

from artist_features.maps.map import write_map
from artist_features.maps.page import build_page
from artist_features.search.ranking import neighbours

webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium")
pytestmark = pytest.mark.slow
N = 60
COUNT_COLOURS = """
const canvas = document.getElementById("canvas"), {width, height} = canvas;
const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data, seen = {};
for (let at = 0; at < pixels.length; at += 4) if (pixels[at + 3] > 200) {
  const name = [0, 1, 2].map((c) => pixels[at + c].toString(16).padStart(2, "0")).join("");
  seen[name] = (seen[name] ?? 0) + 1;
}
return seen;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = open_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A page over 60 tracks in four artists; one file is there, the others are not."""
    folder = tmp_path_factory.mktemp("library")
    write_audio(folder / "0.wav", music(2, sample_rate=22050), 22050)
    paths = [folder / f"{number}.wav" for number in range(N - 1)] + ["s3://bucket/lást.wav"]
    vectors = clusters(N)
    write_embeddings(folder / "e.npz", paths, list(vectors))
    lines = ["file,artist,title"]
    for number in range(N - 1):
        title = HOSTILE[number] if number < len(HOSTILE) else f"song {number}"
        artist = ["Ann", "Bob", "Cyd", ""][number % 4]
        quoted = title.replace('"', '""')
        lines.append(f'{number}.wav,{artist},"{quoted}"')
    (folder / "m.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_map(folder / "e.npz", folder / "map.html", manifest=folder / "m.csv")
    return folder, vectors


class Page:
    """A page in a browser, and what a person would do with it."""

    def __init__(self, browser, path):
        self.browser = browser
        browser.get_log("performance"), browser.get_log("browser")
        browser.get(path.as_uri())
        wait_for(lambda: self.run("return document.documentElement.dataset.ready"), "the page")

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    def text(self, name):
        return self.run("return document.getElementById(arguments[0]).textContent", name)

    def hidden(self, name):
        return self.run("return document.getElementById(arguments[0]).hidden", name)

    def press(self, *keys):
        webdriver.ActionChains(self.browser).send_keys(*keys).perform()

    def position(self, track):
        return self.run("return plot.screenPosition(arguments[0])", track)

    def move_to(self, track, *, click=False):
        stage = self.find("#map")
        middle = np.array([stage.size["width"], stage.size["height"]]) / 2
        x, y = (np.array(self.position(track)) - middle).round().astype(int).tolist()
        actions = webdriver.ActionChains(self.browser)
        actions.move_to_element_with_offset(stage, x - 3, y - 3)
        actions.move_to_element_with_offset(stage, x, y)
        (actions.click() if click else actions).perform()

    def search(self, text):
        self.find("#search").click()
        self.run("search = document.getElementById('search'); search.value = ''")
        self.find("#search").send_keys(text)


@pytest.fixture(scope="module")
def opened(browser, library):
    page = Page(browser, library[0] / "map.html")
    page.home = page.position(0)
    return page


@pytest.fixture
def page(opened):
    """The page, loaded once, as it was at first."""
    opened.press(webdriver.Keys.ESCAPE)
    opened.run("document.activeElement.blur(); plot.whole()")
    wait_for(lambda: np.allclose(opened.position(0), opened.home, atol=0.01), "the camera")
    return opened


def lonely_track(page):
    """Return a track with a title of its own that no other covers on the screen."""
    places = np.array([page.position(track) for track in range(N)])
    gaps = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    free = gaps.min(axis=1)
    free[: len(HOSTILE)] = 0
    free[-1] = 0
    return int(free.argmax())


def test_nothing_is_fetched_and_nothing_fails(page):
    events = [
        json.loads(entry["message"])["message"] for entry in page.browser.get_log("performance")
    ]
    # the log holds what the browser's own first page asks for, too
    urls = {
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
        and not event["params"]["documentURL"].startswith("chrome")
    }
    assert urls
    allowed = ("blob:", "data:")
    assert [u for u in urls if not u.endswith("/map.html") and not u.startswith(allowed)] == []
    severe = [entry for entry in page.browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []


def test_points_are_drawn_in_the_colours_of_the_legend(page):
    def drawn():
        seen = page.run(COUNT_COLOURS)
        return all(seen.get(colour, 0) > 50 for colour in ("0072b2", "d55e00", "009e73")) and seen

    wait_for(drawn, "points in three colours")
    names = page.run("return [...document.querySelectorAll('#groups .name')].map(e=>e.textContent)")
    assert names == ["Ann", "Bob", "Cyd", "no artist"]
    labels = page.run("return [...document.querySelectorAll('.label')].map(e => e.textContent)")
    assert labels == ["Ann", "Bob", "Cyd"]
    page.find("#groups li:nth-child(2) button").click()
    wait_for(lambda: not {"0072b2", "009e73"} & set(page.run(COUNT_COLOURS)), "Bob alone")
    assert page.find("#groups li:nth-child(2) button").get_attribute("aria-pressed") == "true"
    page.find("#show-all").click()
    wait_for(drawn, "all again")


def test_hover_names_the_track(page):
    track = lonely_track(page)
    page.move_to(track)
    wait_for(lambda: not page.hidden("tip"), "the tip")
    title = page.run("return document.querySelector('#tip b').textContent")
    assert title == f"song {track}"
    artist = ["Ann", "Bob", "Cyd", "no artist"][track % 4]
    assert page.text("tip") == title + artist


def test_click_shows_the_ten_neighbours_of_the_vectors(page, library):
    track = lonely_track(page)
    page.move_to(track, click=True)
    wait_for(lambda: not page.hidden("track"), "the track")
    assert page.text("track-title") == f"song {track}"
    expected = neighbours(library[1], 10)
    titles = page.run(
        "return [...document.querySelectorAll('#neighbours .what > :first-child')]"
        ".map(e => e.textContent)"
    )
    shown = [*(" ".join(title.split()) for title in HOSTILE)]
    shown += [f"song {number}" for number in range(len(HOSTILE), N - 1)] + ["lást"]
    assert titles == [shown[other] for other in expected[0][track]]
    alike = page.run("return [...document.querySelectorAll('.alike')].map(e => +e.textContent)")
    np.testing.assert_allclose(alike, expected[1][track], atol=0.006)
    badges = page.run("return [...document.querySelectorAll('.badge')].map(e => e.textContent)")
    assert sorted(map(int, badges)) == list(range(1, 11))
    assert "10 neighbours shown" in page.text("live")
    # it cannot be played, and the page says why
    wait_for(lambda: not page.hidden("audio-note"), "the note")
    assert f"there is no file at {track}.wav" in page.text("audio-note")


def test_search_keyboard_and_sound(page):
    page.search("SCRIPT> gone")
    wait_for(lambda: page.text("found") == "1 track", "one result")
    page.press(webdriver.Keys.ARROW_DOWN)
    assert page.text("track-title") == HOSTILE[0]
    assert page.browser.title == "60 tracks by sound"  # the title was no script
    assert page.find("#search").get_attribute("aria-activedescendant") == "result-0"
    assert page.text("live") == f"1 of 1: {HOSTILE[0]} by Ann"
    page.press(webdriver.Keys.ENTER)
    playing = "const a = document.getElementById('audio'); return !a.paused && a.duration"
    assert wait_for(lambda: page.run(playing), "sound") == pytest.approx(2, abs=0.01)
    assert page.hidden("audio-note")

    page.run("document.getElementById('map').focus()")
    page.press(webdriver.Keys.ARROW_RIGHT, webdriver.Keys.ARROW_RIGHT, webdriver.Keys.ARROW_LEFT)
    second = page.run("return document.querySelector('#neighbours .what > span').textContent")
    assert page.text("live").startswith(f"1 of 10: {second}")
    assert page.run("return document.querySelector('.badge.now').textContent") == "1"
    page.press(webdriver.Keys.ENTER)
    assert page.text("track-title") == second
    page.press(webdriver.Keys.ESCAPE)
    assert page.hidden("track")
    assert page.text("found") == ""
    assert not page.run("return document.querySelectorAll('.badge').length")

    page.search("SONG")
    wait_for(lambda: page.text("found") == "54 tracks", "54 results")
    page.press(webdriver.Keys.ARROW_UP)
    assert page.text("live") == "54 of 54: song 58 by Cyd"
    page.search("nowhere")
    wait_for(lambda: page.text("found") == "Nothing found", "nothing")
    page.search("Šong")  # neither case nor accents count
    wait_for(lambda: page.text("found") == "54 tracks", "54 results")
    page.search("last")
    page.press(webdriver.Keys.ARROW_DOWN)
    assert "its path is no file or web address" in page.text("audio-note")


def test_neighbours_by_keyboard_and_focus_is_seen(page):
    page.search("song 20")
    page.press(webdriver.Keys.ARROW_DOWN)
    page.run("document.querySelector('#neighbours .go').focus()")
    page.press(webdriver.Keys.ARROW_DOWN, webdriver.Keys.ARROW_DOWN)
    assert page.run("return document.querySelector('.badge.now').textContent") == "3"
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert page.run(outline) == "solid"
    third = page.run("return document.activeElement.querySelector('.what > span').textContent")
    page.press(webdriver.Keys.ENTER)
    assert page.text("track-title") == third
    page.run("document.getElementById('search').focus()")
    stops = []
    for _ in range(4):
        page.press(webdriver.Keys.TAB)
        stops.append(page.run("return document.activeElement.id || document.activeElement.tagName"))
        assert page.run(outline) == "solid" or stops[-1] == "audio"
    assert "clear" in stops


def test_address_names_the_track_and_a_link_opens_it(browser, library, page):
    page.search("song 20")
    page.press(webdriver.Keys.ARROW_DOWN)
    address = page.run("return location.href")
    assert address.endswith("#track=20.wav")
    page.press(webdriver.Keys.ESCAPE)
    assert "#" not in page.run("return location.href")
    browser.get("about:blank")
    browser.get(address)
    wait_for(lambda: page.text("track-title") == "song 20", "the track")
    page.press(webdriver.Keys.ESCAPE)


def test_dark_colours_by_the_button(page):
    shade = "return getComputedStyle(document.body).backgroundColor"
    light = page.run(shade)
    page.find("#theme").click()
    assert page.find("#theme").get_attribute("aria-pressed") == "true"
    assert page.run(shade) != light
    wait_for(lambda: page.run(COUNT_COLOURS).get("4a9ee0", 0) > 50, "the palette for the dark")
    page.find("#theme").click()
    assert page.run(shade) == light


def test_a_long_legend_is_cut_and_a_grey_group_takes_the_accent_colour(browser, tmp_path):
    n = 40
    places = np.float32(np.random.default_rng(0).uniform(-0.9, 0.9, (n, 2)))
    names = [f"group {number // 2:02d}" for number in range(n)]
    columns = {name: names for name in ("path", "title", "artist", "group", "link")}
    none = np.zeros((n, 0))
    head = {"title": "many", "about": [], "color": "artist"}
    path = tmp_path / "map.html"
    path.write_text(build_page(places, none, none, columns, **head), encoding="utf-8")
    page = Page(browser, path)
    rows = "return document.querySelectorAll('#groups li').length"
    assert page.run(rows) == 12
    assert page.text("more-groups") == "8 more"
    page.find("#more-groups").click()
    assert page.run(rows) == 20
    page.run("document.querySelectorAll('#groups button')[15].click()")
    wait_for(lambda: page.run(COUNT_COLOURS).get("6733e0", 0) > 50, "two points in violet")
    assert not {"0072b2", "d55e00"} & set(page.run(COUNT_COLOURS))
    shown = "return [...document.querySelectorAll('.label')].filter(e => e.style.opacity === '1')"
    assert page.run(f"{shown}.map(e => e.textContent)") == ["group 15"]


def test_numbers_of_neighbours_do_not_cover_each_other(browser, tmp_path):
    n = 12  # all at one place
    places = np.zeros((n, 2), np.float32)
    indices = np.array([[other for other in range(n) if other != row][:10] for row in range(n)])
    columns = {name: [f"t{i}" for i in range(n)] for name in ("path", "title", "artist", "link")}
    head = {"title": "heap", "about": [], "color": ""}
    path = tmp_path / "map.html"
    html = build_page(places, indices, np.ones((n, 10)), {**columns, "group": [""] * n}, **head)
    path.write_text(html, encoding="utf-8")
    page = Page(browser, path)
    page.run("panel.choose(0)")
    wait_for(lambda: page.run("return document.querySelectorAll('.badge').length"), "numbers")
    time.sleep(0.2)
    middles = np.array(
        page.run(
            "return [...document.querySelectorAll('.badge')].map(e => e.getBoundingClientRect())"
            ".map(({x, y, width, height}) => [x + width / 2, y + height / 2])"
        )
    )
    gaps = np.linalg.norm(middles[:, None] - middles[None], axis=2) + 100 * np.eye(10)
    assert gaps.min() > 19


def test_numbers_of_neighbours_outside_stand_at_the_edge_and_none_under_the_zoom(browser, tmp_path):
    write_embeddings(tmp_path / "e.npz", [f"{i}.wav" for i in range(40)], list(clusters(40)))
    write_map(tmp_path / "e.npz", tmp_path / "map.html")
    page = Page(browser, tmp_path / "map.html")
    page.run("panel.choose(3, { centre: true })")
    time.sleep(0.6)
    for _ in range(8):
        page.run("byId('zoom-in').click()")
        time.sleep(0.3)
    assert page.run("return document.querySelectorAll('.badge.away').length") > 3
    box = "(e => { const { left, top, right, bottom } = e.getBoundingClientRect();"
    box += " return [left, top, right, bottom]; })"
    numbers = page.run(f"return [...document.querySelectorAll('.badge')].map{box}")
    stage, zoom = (page.run(f"return {box}(byId(arguments[0]))", name) for name in ("map", "zoom"))
    assert len(numbers) == 10
    for left, top, right, bottom in numbers:
        assert stage[0] <= left < right <= stage[2]
        assert stage[1] <= top < bottom <= stage[3]
        assert right < zoom[0] or left > zoom[2] or bottom < zoom[1] or top > zoom[3]


@pytest.mark.parametrize("n", [1, 2])
def test_few_tracks(browser, tmp_path, n):
    write_embeddings(tmp_path / "e.npz", [f"{i}.wav" for i in range(n)], list(clusters(n)))
    write_map(tmp_path / "e.npz", tmp_path / "map.html")
    page = Page(browser, tmp_path / "map.html")
    page.search("wav")
    page.press(webdriver.Keys.ARROW_DOWN)
    assert page.run("return document.querySelectorAll('.badge').length") == n - 1
    assert page.hidden("legend")


@pytest.mark.nightly
def test_fifty_thousand_tracks_load_and_answer(browser, tmp_path, capsys):
    n, rng = 50000, np.random.default_rng(0)
    places = np.float32(rng.uniform(-0.95, 0.95, (n, 2)))
    indices = (np.arange(n)[:, None] + np.arange(1, 11)) % n
    similarities = np.tile(np.linspace(0.9, 0.5, 10), (n, 1))
    columns = {
        "path": [f"/music/artist {i % 900}/album/{i}.mp3" for i in range(n)],
        "title": [f"title {i}" for i in range(n)],
        "artist": [f"artist {i % 900}" for i in range(n)],
        "group": [f"artist {i % 900}" for i in range(n)],
        "link": [f"artist%20{i % 900}/album/{i}.mp3" for i in range(n)],
    }
    path = tmp_path / "map.html"
    head = {"title": "large", "about": [], "color": "artist"}
    page = build_page(places, indices, similarities, columns, **head)
    path.write_text(page, encoding="utf-8")
    page = Page(browser, path)
    timing = "return [performance.now(), document.getElementById('data').textContent.length]"
    ready_ms, n_bytes = page.run(timing)
    page.search("title 49999")
    wait_for(lambda: page.text("found") == "1 track", "one result")
    page.press(webdriver.Keys.ARROW_DOWN)
    assert page.text("track-title") == "title 49999"
    # a frame after zooming, and the answer to a letter: not held up by the number of points
    answer_ms = page.run(
        "const start = performance.now(); const box = document.getElementById('search');"
        "box.value = 'title 4'; box.dispatchEvent(new Event('input'));"
        "return performance.now() - start"
    )
    with capsys.disabled():
        print(f"\n50,000: {n_bytes / 1e6:.1f} MB, {ready_ms:.0f} ms, search {answer_ms:.0f} ms")
    assert path.stat().st_size < 12e6
    assert answer_ms < 2000
