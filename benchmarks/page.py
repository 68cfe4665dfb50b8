"""Tracks a second of the page in a browser: CPU time of Chromium, so that others' load counts less.

python benchmarks/page.py OUT FILE...     # OUT: what examples/page/build.py made; 40 files or so
"""

import argparse
import functools
import glob
import http.server
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

RUN = """
const done = arguments[0], before = performance.now();
const end = () => own.length && own.every(({state}) => state === "done" || state === "failed");
const look = () => end() ? done(performance.now() - before) : setTimeout(look, 50);
look();
"""


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


def measure(folder, files):
    """Give a page some files twice; return (CPU seconds, wall seconds) of the second time."""
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
        browser.set_script_timeout(600)
        browser.get(f"http://127.0.0.1:{server.server_port}/")
        time.sleep(3)  # scripts, and what is kept for use without a network
        for _ in range(2):
            before = cpu_s(service.process.pid)
            browser.find_element("id", "choose-files").send_keys("\n".join(files))
            wall_s = browser.execute_async_script(RUN) / 1000
            taken_s = cpu_s(service.process.pid) - before
        return taken_s, wall_s
    finally:
        browser.quit()
        server.shutdown()
        shutil.rmtree(profile, ignore_errors=True)


def main():
    """Print a row of the table in README.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="OUT")
    parser.add_argument("files", metavar="FILE", nargs="+")
    args = parser.parse_args()
    taken_s, wall_s = measure(args.folder, [os.path.abspath(file) for file in args.files])
    each_s = taken_s / len(args.files)
    print(f"| {1000 * each_s:.0f} ms | {2 / each_s:.1f} | {len(args.files) / wall_s:.1f} |")


if __name__ == "__main__":
    main()
