"""How things are measured: interleaved medians, fresh processes, peak memory of a process tree."""

import datetime
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

# as users have it: pip compiles modules when it installs; else TensorFlow is compiled at each start
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
_POLL_S = 0.01
_CALM = 0.1  # share of the CPU that other programs may take in a round that counts
_MOST_ROUNDS = 3  # times the number wanted
_MET = {True: "yes", False: "**no**", None: ""}
_PACKAGES = ("artist-features", "tensorflow", "keras", "kapre", "numpy", "soundfile", "soxr")


@dataclass(frozen=True)
class Figure:
    """One row of the table that `print_figures` prints.

    Attributes:
        name: what was measured.
        value: the result, a number in `unit`; None where there is none, and `unit` says why.
        unit: "x", "s", "ms", "MB", "tracks/s".
        target: largest (or, for a speed-up, smallest) acceptable value as text, or "".
        met: whether the target is met; None where there is none.
        detail: the measurements behind it.
    """

    name: str
    value: float | None
    unit: str
    target: str = ""
    met: bool | None = None
    detail: str = ""


def at_most(name, value, unit, limit, detail=""):
    """Return a `Figure` whose target is an upper limit."""
    return Figure(name, value, unit, f"<= {limit:g} {unit}", value <= limit, detail)


def at_least(name, value, unit, limit, detail=""):
    """Return a `Figure` whose target is a lower limit."""
    return Figure(name, value, unit, f">= {limit:g} {unit}", value >= limit, detail)


@dataclass(frozen=True)
class Rounds:
    """Seconds of several variants, taken in turn.

    Attributes:
        times: {name: seconds, one per round}.
        cpu_times: {name: seconds of CPU that this process and its children used}.
        disturbance: share of the CPU that other programs took meanwhile, 0 to 1.
    """

    times: dict
    cpu_times: dict
    disturbance: float

    def median_s(self, name):
        """Return the median seconds of one variant."""
        return statistics.median(self.times[name])

    def median_cpu_s(self, name):
        """Return the median CPU seconds of one variant: what other programs change little."""
        return statistics.median(self.cpu_times[name])

    def remark(self):
        """Say how calm the machine was."""
        return f"other programs took {self.disturbance:.0%} of the CPU"

    def ratio(self, name, base):
        """Return the median over the rounds of `name` divided by `base`."""
        pairs = zip(self.times[name], self.times[base], strict=True)
        return statistics.median(a / b for a, b in pairs)

    def difference_s(self, name, base):
        """Return the median over the rounds of `name` less `base`, in seconds."""
        pairs = zip(self.times[name], self.times[base], strict=True)
        return statistics.median(a - b for a, b in pairs)


def seconds(function, clock=time.perf_counter):
    """Run `function` once and return the seconds it took."""
    started = clock()
    function()
    return clock() - started


def interleaved(variants, repeats, clock=time.perf_counter):
    """Time all variants once per round, so that a disturbance hits all alike.

    A first round warms up and is thrown away. Rounds go on until enough of them were
    calm, at most three times as many; the calmest ones count.

    Args:
        variants: dict from name to a function without arguments.
        repeats: number of rounds that count.
        clock: `time.process_time` counts the CPU seconds of this process instead.

    Returns:
        `Rounds`.
    """
    rounds = []
    for number in range(_MOST_ROUNDS * repeats + 1):
        started, busy_s, own_s = time.perf_counter(), _busy_s(), _own_cpu_s()
        elapsed, cpu = {}, {}
        for name, function in variants.items():
            before_s = _own_cpu_s()
            elapsed[name] = seconds(function, clock)
            cpu[name] = _own_cpu_s() - before_s
        capacity_s = (time.perf_counter() - started) * os.cpu_count()
        elsewhere_s = _busy_s() - busy_s - (_own_cpu_s() - own_s)
        disturbance = max(0.0, elsewhere_s) / capacity_s
        shown = ", ".join(f"{name} {value:.3f}" for name, value in elapsed.items())
        progress(f"  round {number}, others {disturbance:.0%} of the CPU: {shown}")
        if number:
            rounds.append((disturbance, number, elapsed, cpu))
        if sum(kept[0] <= _CALM for kept in rounds) >= repeats:
            break
    rounds = sorted(rounds)[:repeats]
    return Rounds(
        {name: [elapsed[name] for _, _, elapsed, _ in rounds] for name in variants},
        {name: [cpu[name] for *_, cpu in rounds] for name in variants},
        statistics.median(kept[0] for kept in rounds),
    )


def _busy_s():
    """Return CPU seconds that all programs have used since the machine started."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:  # not Linux
        return 0.0
    user, nice, system, _, _, interrupts, soft_interrupts, stolen = map(int, fields[:8])
    ticks = user + nice + system + interrupts + soft_interrupts + stolen
    return ticks / os.sysconf("SC_CLK_TCK")


def _own_cpu_s():
    """Return CPU seconds of this process and its children, living or waited for."""
    ticks = 0
    for pid in _tree(os.getpid()):
        try:
            ticks += sum(map(int, _status_fields(pid)[11:15]))
        except OSError:  # the process has ended
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def fresh_process(program, folder=None):
    """Return a function that runs `python -c program` in a new interpreter."""
    return run_command([sys.executable, "-c", program], folder)


def run_command(command, folder=None):
    """Return a function that runs a command and raises if it fails."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}

    def run():
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True)
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stderr.decode(errors='replace')[-2000:]}")

    return run


def peak_memory(command):
    """Run a command; return its peak resident memory in bytes, children included.

    The sum of the peaks of all its processes: an upper bound. Linux only, by polling; a
    child's `ru_maxrss` would hold the memory of the parent that forked it, and so does
    what a child shows before its program starts, which does not count.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        message = []
        reader = threading.Thread(target=lambda: message.append(process.stderr.read()))
        reader.start()
        peaks = Counter()
        while process.poll() is None:
            for pid in _tree(process.pid):
                if _runs_own_program(pid):
                    peaks[pid] = max(peaks[pid], _high_water(pid))
            time.sleep(_POLL_S)
        reader.join()
    if process.returncode:
        raise RuntimeError(f"{command}: {message[0].decode(errors='replace')[-2000:]}")
    return peaks.total()


def _tree(root):
    """Return a process and its descendants, as far as they are alive."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int(_status_fields(folder.name)[1])
        except OSError:  # the process has ended
            continue
    tree = [root]
    for pid in tree:
        tree += [child for child, parent in parents.items() if parent == pid]
    return tree


def _status_fields(pid):
    """Return what follows "pid (name)", where the name may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _runs_own_program(pid):
    """Tell a started program from a copy of its parent that is about to start one."""
    try:
        parent = _status_fields(pid)[1]
        return _command(pid) != _command(parent)
    except OSError:  # one of them has ended
        return False


def _command(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _high_water(pid):
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # the process has ended
        return 0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def device():
    """Return the machine and the versions in one line."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return (
        f"{today}; {_cpu_model()}, {n_cores()} cores; {platform.system()} "
        f"{platform.release()}; Python {platform.python_version()}; {packages}"
    )


def _cpu_model():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        return platform.processor() or platform.machine()
    return platform.machine()


def n_cores():
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def progress(text: str) -> None:
    """Print progress to standard error; the table alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


def print_figures(figures: "list[Figure]", about: str) -> None:
    """Print the machine, then a row for each figure.

    Args:
        figures: list of `Figure`.
        about: model and files, in words, for the first line.
    """
    print(f"{device()}; {about}\n")
    if not figures:
        return
    print("| figure | measured | target | met | from |\n|---|---|---|---|---|")
    for figure in figures:
        value = f"{_number(figure.value)} {figure.unit}".strip()
        met = _MET[figure.met]
        print(f"| {figure.name} | {value} | {figure.target} | {met} | {figure.detail} |")
    print()


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
