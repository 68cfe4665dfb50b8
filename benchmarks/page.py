"""Tracks a second of the page in a browser: CPU time of Chromium, so that others' load counts less.

python benchmarks/page.py OUT FILE...     # OUT: what examples/page/build.py made; 40 files or so
python benchmarks/page.py OUT --copies MANIFEST      # which copies of tracks it calls the same
"""

import argparse
import collections
import contextlib
import functools
import glob
import http.server
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile

from artist_features.datasets.manifest import read_manifest

N_TRACKS, N_COPIED = 500, 60

RUN = """
const done = arguments[0], before = performance.now();
const end = () => own.length && own.every(({state}) => state === "done" || state === "failed");
const look = () => end() ? done(performance.now() - before) : setTimeout(look, 50);
look();
"""
GROUPS = """return [...document.querySelectorAll("#same-list li")].map((group) =>
[...group.children].map((file) => file.textContent).join("\\n"));"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """A server that is silent."""

    def log_message(self, *_):
        """Write nothing."""


def cpu_s(root):
    """Return the CPU seconds of a process and all that it started."""
    parents, seconds = {}, {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            fields = Path(path).read_text().rsplit(")", 1)[1].split()
        except OSError:  # it ended meanwhile
            continue
        number = int(path.split("/")[2])
        parents[number] = int(fields[1])
        seconds[number] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def below(number):
        return number == root or (number in parents and below(parents[number]))

    return sum(taken for number, taken in seconds.items() if below(number))


@contextlib.contextmanager
def opened(folder):
    """Yield (browser at a page, number of its process)."""
    from selenium import webdriver

    handler = functools.partial(Handler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome")
    profile = tempfile.mkdtemp()
    for flag in ("headless=new", "no-sandbox", "disable-gpu", f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    browser = webdriver.Chrome(options=options, service=service)
    try:
        browser.set_script_timeout(3600)
        browser.command_executor.client_config.timeout = 3600
        browser.get(f"http://127.0.0.1:{server.server_port}/")
        time.sleep(3)  # scripts, and what is kept for use without a network
        yield browser, service.process.pid
    finally:
        browser.quit()
        server.shutdown()
        shutil.rmtree(profile, ignore_errors=True)


def give(browser, files):
    """Give the page some files; return wall seconds until the last is done."""
    browser.find_element("id", "choose-files").send_keys("\n".join(map(str, files)))
    return browser.execute_async_script(RUN) / 1000


def measure(folder, files):
    """Give a page some files twice; return (CPU seconds, wall seconds) of the second time."""
    with opened(folder) as (browser, pid):
        give(browser, files)
        before = cpu_s(pid)
        wall_s = give(browser, files)
        return cpu_s(pid) - before, wall_s


def write_copies(manifest, folder):
    """Write 30 s of N_TRACKS mono tracks as TRACK.flac, some also as TRACK.KIND; return paths."""
    rng, n_written, paths = np.random.default_rng(0), 0, []
    tracks = read_manifest(manifest)
    for number in rng.permutation(len(tracks)):
        with soundfile.SoundFile(tracks[number].path) as file:
            rate, samples = file.samplerate, file.read(30 * file.samplerate, dtype="float32")
        if rate != 22050 or samples.ndim > 1 or len(samples) < 10 * rate:
            continue
        copies = {"flac": (samples, {})}
        if n_written < N_COPIED:  # MP3 at this rate: from 160 kbit/s at level 0 to 8 at 1
            for kbit in (64, 32):
                level = {"compression_level": (160 - kbit) / 152, "bitrate_mode": "CONSTANT"}
                copies[f"{kbit}.mp3"] = samples, level
            copies["quieter.wav"] = samples * 0.4, {}
            copies["later.ogg"] = samples[round(0.7 * rate) :], {}
        for kind, (sound, options) in copies.items():
            paths.append(folder / f"{number}.{kind}")
            soundfile.write(paths[-1], sound, rate, **options)
        n_written += 1
        if n_written == N_TRACKS:
            break
    return paths


def find_copies(folder, manifest):
    """Print how many copies the page puts beside their originals, and what else it joins."""
    with tempfile.TemporaryDirectory() as temporary, opened(folder) as (browser, _):
        paths = write_copies(manifest, Path(temporary))
        give(browser, paths)
        groups = [text.split("\n") for text in browser.execute_script(GROUPS)]
    beside = collections.Counter()
    for group in groups:
        kinds = [name.split(".", 1) for name in group]
        if len({track for track, _ in kinds}) > 1:
            print("joined, not the same:", *group)
        beside.update(kind for track, kind in kinds if f"{track}.flac" in group)
    n_tracks = sum(path.name.count(".") == 1 for path in paths)
    print(f"{n_tracks} tracks, {N_COPIED} of them copied; beside their original: {dict(beside)}")


def main():
    """Print a row of the table in README.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="OUT")
    parser.add_argument("files", metavar="FILE", nargs="*")
    parser.add_argument("--copies", metavar="MANIFEST", help="does it find copies of tracks?")
    args = parser.parse_args()
    if args.copies:
        return find_copies(args.folder, args.copies)
    taken_s, wall_s = measure(args.folder, [os.path.abspath(file) for file in args.files])
    each_s = taken_s / len(args.files)
    print(f"| {1000 * each_s:.0f} ms | {2 / each_s:.1f} | {len(args.files) / wall_s:.1f} |")


if __name__ == "__main__":
    main()
