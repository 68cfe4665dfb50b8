"""Build the open training corpus from freely licensed Debian packages.

    python build.py OUT --packages-dir DEBS

packages.csv names the packages, tracks.csv each track's artist, title and licence (blank:
the package's). Each package is downloaded by `apt-get download` unless DEBS already holds
it; nothing is installed and no root is needed. Of each track the middle 60 s are stored
as mono 22,050 Hz Ogg Vorbis, listed in OUT/manifest.csv. What fails is named at the end,
and the exit code is then 1; a second run does only what is missing.
"""

import argparse
import csv
import io
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import soundfile
import soxr
from store import SAMPLE_RATE, add_rows, read_rows, write_clip

HERE = Path(__file__).parent
REFUSED = {
    name: f"{name} stays unseen by training: models are checked on it from outside."
    for name in ("ufoai-music", "nexuiz-music", "supertuxkart-data")
}


SOUNDS = (".ogg", ".wav", ".g722")  # what a package's prompts may be


class PackageError(Exception):
    """A package or one of its tracks cannot be had."""


def find_package(name, folder):
    """Return the path of a package's .deb in `folder`, downloading it if it is not there."""
    if name in REFUSED:
        raise PackageError(f"refused: {REFUSED[name]}")
    folder.mkdir(parents=True, exist_ok=True)
    if not (found := sorted(folder.glob(f"{name}_*.deb"))):
        call = ["apt-get", "download", "-q", name]
        try:
            done = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False)
        except OSError as error:
            raise PackageError(f"apt-get cannot be run ({error.strerror}).") from None
        if not (found := sorted(folder.glob(f"{name}_*.deb"))):
            text = (done.stderr.strip() or "no file came").splitlines()[-1]
            raise PackageError(f"cannot be downloaded ({text}); put its .deb into {folder}.")
    return found[-1]


def unpack(package, wanted, folder):
    """Unpack some files of a package: those for whose path `wanted(path)` is true."""
    call = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)
    try:
        with call, tarfile.open(fileobj=call.stdout, mode="r|") as archive:
            for member in archive:
                path = member.name.removeprefix("./")
                if member.isfile() and ".." not in Path(path).parts and wanted(path):
                    _copy(archive.extractfile(member), folder / path)
    except tarfile.TarError as error:
        raise PackageError(f"{package} cannot be unpacked ({error}); delete it.") from None


def _copy(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, open(target, "wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)


def decode(path, seconds=None):
    """Decode an audio file, or its middle `seconds`, to float32 mono at 22,050 Hz.

    Args:
        path: of the file; "ARCHIVE.zip!MEMBER" names a file inside a zip archive.
    """
    archive, _, member = str(path).partition("!")
    source = path
    if member:
        with zipfile.ZipFile(archive) as opened:
            source = io.BytesIO(opened.read(member))
    elif Path(path).suffix == ".g722":  # headerless, so libsndfile cannot know it
        samples, rate = _decode_g722(path)
        first = max(0, int(len(samples) - (seconds or 1e9) * rate) // 2)
        return soxr.resample(samples[first : len(samples) - first], rate, SAMPLE_RATE)
    with soundfile.SoundFile(source) as sound:
        rate = sound.samplerate
        length = min(sound.frames, int((seconds or 1e9) * rate))
        sound.seek((sound.frames - length) // 2)
        samples = sound.read(length, dtype="float32", always_2d=True).mean(axis=1)
    return soxr.resample(samples, rate, SAMPLE_RATE)


def _decode_g722(path):
    import av  # needed by this format alone

    with av.open(str(path), format="g722") as container:
        rate = container.streams.audio[0].rate
        blocks = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
    if not blocks:
        raise RuntimeError("holds no audio")
    return np.concatenate(blocks).astype("float32") / 32768, rate


def store_tracks(package, tracks, folder, out, seconds):
    """Store a package's listed tracks; return (manifest rows, errors)."""
    rows, errors = [], []
    for track in tracks:
        stems = track["file"].split(" + ")
        try:
            parts = [decode(folder / stem, seconds) for stem in stems]
            samples = sum(part[: min(map(len, parts))] for part in parts)
            name = f"{package['package']}/{_file_name(stems)}.ogg"
            length = write_clip(out / name, samples, SAMPLE_RATE)
        except (OSError, RuntimeError, ImportError, KeyError) as error:  # libsndfile's are Runtime
            errors.append(f"{stems[0]}: {error}")
            continue
        licence = track["licence"] or package["licence"]
        row = {"artist": track["artist"], "title": track["title"], "licence": licence}
        rows.append(row | _facts(package, name, length))
    return rows, errors


def _file_name(stems):
    """The last folder and the stem: short, and unlike its neighbours' names."""
    path = Path(stems[0].partition("!")[2] or stems[0])
    words = f"{path.parent.name} {path.stem}{' mix' if len(stems) > 1 else ''}"
    return "".join(letter if letter.isalnum() else "_" for letter in words)


def _facts(package, name, length):
    source = f"debian:{package['package']}"
    return {"file": name, "seconds": f"{length:.1f}", "source": source, "kind": package["kind"]}


def store_speech(package, folder, out, seconds):
    """String a package's prompts together into clips; return (manifest rows, errors)."""
    rng = random.Random(package["package"])
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    rng.shuffle(paths)
    rows, errors, parts, length, licence = [], [], [], 0.0, package["licence"]
    for path in paths:
        try:
            samples = decode(path)
        except (OSError, RuntimeError, ImportError) as error:
            errors.append(f"{path.name}: {error}")
            continue
        pause = np.zeros(int(rng.uniform(0.1, 0.7) * SAMPLE_RATE), "float32")
        parts += [samples, pause]
        length += (len(samples) + len(pause)) / SAMPLE_RATE
        if length >= seconds:
            title = f"{package['package']}, prompts {len(rows) + 1}"
            name = f"{package['package']}/{len(rows):03d}.ogg"
            clip = np.concatenate(parts)[: int(seconds * SAMPLE_RATE)]
            row = {"artist": "", "title": title, "licence": licence}
            rows.append(row | _facts(package, name, write_clip(out / name, clip, SAMPLE_RATE)))
            parts, length = [], 0.0
        if len(rows) == int(package["clips"]):
            break
    return rows, errors


def build_package(package, tracks, args):
    """Fetch, unpack and store one package; return (manifest rows, errors)."""
    try:
        deb = find_package(package["package"], args.packages_dir)
        speech = package["kind"] == "speech"
        needed = {stem.partition("!")[0] for row in tracks for stem in row["file"].split(" + ")}
        wanted = (lambda path: path.endswith(SOUNDS)) if speech else needed.__contains__
        with tempfile.TemporaryDirectory() as folder:
            unpack(deb, wanted, Path(folder))
            if speech:
                return store_speech(package, Path(folder), args.out, args.seconds)
            return store_tracks(package, tracks, Path(folder), args.out, args.seconds)
    except PackageError as error:
        return [], [str(error)]


def read_tables(folder):
    """Read packages.csv and tracks.csv; return (packages, tracks by package)."""
    tables = []
    for name in ("packages.csv", "tracks.csv"):
        with open(folder / name, encoding="utf-8", newline="") as lines:
            tables.append(list(csv.DictReader(lines)))
    packages, by_package = tables[0], {}
    for track in tables[1]:
        by_package.setdefault(track["package"], []).append(track)
    return packages, by_package


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for the clips and manifest.csv")
    parser.add_argument("--packages-dir", type=Path, required=True, help="folder of .deb files")
    parser.add_argument("--tables", type=Path, default=HERE, help="folder of the two tables")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="packages to build (all)")
    parser.add_argument("--seconds", type=float, default=60, help="most to store of a track")
    text = "leave out tracks that this manifest has: same source, artist and title"
    parser.add_argument("--known", type=Path, metavar="MANIFEST", help=text)
    return parser


def main(argv=None):
    args = build_parser().parse_args(argv)
    packages, tracks = read_tables(args.tables)
    unknown = {"kind": "", "clips": "0"}
    listed = {package["package"]: package for package in packages}
    if strangers := set(args.only or ()) - set(listed) - set(REFUSED):
        raise SystemExit(f"{min(strangers)} is not in {args.tables / 'packages.csv'}.")
    known = {(row["source"], row["artist"], row["title"]) for row in read_rows(args.known or "")}
    done = {row["source"] for row in read_rows(args.out / "manifest.csv")}
    failures = []
    for name in args.only or listed:
        source, package = f"debian:{name}", listed.get(name, unknown | {"package": name})
        wanted = [
            row
            for row in tracks.get(name, ())
            if (source, row["artist"], row["title"]) not in known
        ]
        nothing = not wanted and package["kind"] == "music"
        if source in done or nothing:
            continue
        rows, errors = build_package(package, wanted, args)
        add_rows(args.out / "manifest.csv", rows)
        failures += [f"{name}: {error}" for error in errors]
        print(f"{name}: {len(rows)} clips, {len(errors)} failed", flush=True)
    rows = read_rows(args.out / "manifest.csv")
    hours = sum(float(row["seconds"]) for row in rows) / 3600
    print(f"{args.out}: {len(rows)} clips, {hours:.2f} h, {len(failures)} failures")
    print(*failures, sep="\n", end="\n" if failures else "", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
