"""Music and a manifest to a static web page that runs the model in the visitor's browser.

python build.py MUSIC out/      # MUSIC: a folder with manifest.csv, or the manifest itself
python -m http.server -d out    # http://localhost:8000

The manifest is a CSV: file (relative to it), artist, title, and licence and source for excerpts:
10 s from the middle, only of tracks whose licence allows it. The page needs files of
onnxruntime-web, fetched once from the npm registry (into ~/.cache) and checked; `--onnxruntime
FILE` takes the archive from elsewhere. Needs the extras [map] and [onnx]. A second run extracts
only what is new: the vectors stay in OUT.npz, which is not for publishing.
"""

import argparse
import base64
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from artist_features.audio.decoders import Span
from artist_features.audio.stream import open_file
from artist_features.cli.main import main as artist_features
from artist_features.config import ModelCard
from artist_features.datasets.manifest import read_manifest, require_files
from artist_features.errors import ArtistFeaturesError, AudioError, OutputError, display_path
from artist_features.export.exporter import export_model
from artist_features.extraction.remote import identity
from artist_features.files import write_atomically
from artist_features.maps import layout, page
from artist_features.optional import require
from artist_features.search import IndexedTrack, ranking
from artist_features.search.embedding_tables import join_manifest, read_embeddings
from artist_features.zoo import registry

HERE = Path(__file__).resolve().parent
TITLE = "What does your music sound like?"
PREVIEW_S, RATE, _FADE_S = 10.0, 22050, 0.2
ORT = "1.30.0"
ORT_URL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{ORT}.tgz"
# Source: `npm view onnxruntime-web@1.30.0 dist.integrity`
ORT_SHA512 = (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
ORT_FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
)
MODULES = (
    *("app.js", "containers.js", "decode.js", "export.js", "intake.js", "kernel.js"),
    *("parquet.js", "place.js", "pool.js", "signal.js", "worker.js"),
)
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' data:; media-src 'self' blob:; connect-src 'self'; worker-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
_MIN_OF_ARTIST = 3  # tracks of the artist of the example
_N_PAIRED = 3000  # tracks whose pairs say how rare a likeness is
_QUANTILES = 1000
# what licences are called that let an excerpt be passed on
_FREE = re.compile(
    r"(?i)(cc[ -]?0|public domain|pd\b|cc[ -]by|oga-by|gpl|lgpl|agpl|bsd|mit\b|isc\b|zlib|apache|"
    r"artistic|expat|wtfpl|free art)"
)


def build(
    manifest: Path,
    out: str | Path,
    *,
    model: str = "siamese",
    title: str = TITLE,
    onnxruntime: str | None = None,
) -> tuple[int, int, int]:
    """Make the folder.

    Args:
        manifest: path of a CSV; files relative to it.
        out: path of the folder.
        model: bundled name, path of a model folder, or "hf://owner/name".
        title: of the page.
        onnxruntime: path of onnxruntime-web's npm archive; None: fetched.

    Returns:
        (number of tracks on the map, of excerpts, of recordings that failed).

    Raises:
        ArtistFeaturesError: the manifest, or what is made of it, cannot be used.
        OSError: the archive cannot be fetched.
    """
    out, manifest = Path(out), Path(manifest)
    require("openTSNE", "a map", "map")  # now, not after all is extracted
    require_files(manifest, read_manifest(manifest))
    archive = ort_archive(onnxruntime)
    (out / "vendor").mkdir(parents=True, exist_ok=True)
    unpack(archive, out / "vendor")
    tracks, vectors, n_failed = embedded(manifest, out.with_suffix(".npz"), model)
    held = example_of(tracks)
    kept = [row for row in range(len(tracks)) if row != held]
    card, _ = registry.read_model(model)
    write_model(model, out / "model.onnx")
    example = None
    if held is not None:
        write_atomically(out / "example.mp3", excerpt(tracks[held], seconds=30))
        fields = {name: getattr(tracks[held], name) for name in ("title", "artist")}
        example = {**fields, "licence": licence_of(tracks[held]), "file": "example.mp3"}
    front_end = card.front_end
    names = ("sample_rate", "segment_samples", "segment_hop_samples", "pad_samples")
    facts = {name: getattr(front_end, name) for name in names}
    facts |= {"embedding_dim": card.embedding_dim, "name": card.name}
    facts = {
        "model": {**facts, "weights_sha256": card.weights_sha256},
        "example": example,
    }
    write_atomically(out / "facts.json", json.dumps(facts).encode())
    tracks, rows = [tracks[row] for row in kept], unit(vectors[kept])
    data = rows.astype("<f4").tobytes()
    name = f"vectors-{digest(data)}.bin"
    for old in out.glob("vectors-*.bin"):
        old.unlink()
    write_atomically(out / name, data)
    links = write_excerpts(tracks, out / "previews")
    root = os.path.dirname(identity(manifest))
    write_page(out, map_data(tracks, rows, links, root), title, card, name)
    write_service_worker(out, name)
    return len(tracks), sum(map(bool, links)), n_failed


def embedded(manifest: Path, table: Path, model: str) -> tuple[list[IndexedTrack], np.ndarray, int]:
    """Return (tracks, vectors, number of failures) of a manifest's recordings."""
    listed = dict.fromkeys(identity(track.path) for track in read_manifest(manifest))
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("".join(f"{path}\n" for path in listed))
        file.flush()
        command = ["extract", f"@{file.name}", "-o", str(table), "--model", str(model)]
        status = artist_features(command)
    if status > 1:
        raise SystemExit(status)
    found = read_embeddings([table])
    tracks, _ = join_manifest(found.tracks, manifest)
    kept = [row for row, track in enumerate(tracks) if track.path in listed]
    return [tracks[row] for row in kept], found.vectors[kept], found.n_failed


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors at length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write_model(model: str, path: Path) -> None:
    """Write the model as ONNX, its weights in 16 bits where the vectors stay the same."""
    try:
        export_model(model, path, format="onnx", precision="float16", force=True)
    except OutputError as error:
        if error.code != "mismatch":
            raise
        export_model(model, path, format="onnx", force=True)


def example_of(tracks: list[IndexedTrack]) -> int | None:
    """Return the row of the clip to try: the first that may be cut, of an artist with more.

    It stays off the map, so that what is found beside it is found, not looked up.
    """
    artists = [track.artist for track in tracks]
    for row, track in enumerate(tracks):
        several = track.artist and artists.count(track.artist) >= _MIN_OF_ARTIST
        if several and may_be_cut(licence_of(track)) and (track.duration_s or 0) >= 30:
            return row
    return None


def licence_of(track: IndexedTrack) -> str:
    """Return what the manifest says a track may be used under, "" for nothing."""
    return (track.extra.get("licence") or track.extra.get("license") or "").strip()


def may_be_cut(licence: str) -> bool:
    """Say whether an excerpt of a work under this licence may be passed on.

    Example:
        >>> [may_be_cut(text) for text in ("CC-BY-SA-4.0", "CC BY-NC-ND 4.0", "see the file", "")]
        [True, False, False, False]
    """
    no_derivatives = re.search(r"(?i)\bND\b|deriv", licence)
    return bool(_FREE.match(licence)) and not no_derivatives


def source_link(source: str) -> str:
    """Return the web address of a manifest's source, "" if it names none.

    Example:
        >>> source_link("github:owner/name"), source_link("debian:freeciv-data"), source_link("x")
        ('https://github.com/owner/name', 'https://packages.debian.org/freeciv-data', '')
    """
    kind, _, name = source.strip().partition(":")
    if kind == "https":
        return source.strip()
    start = {"github": "https://github.com/", "debian": "https://packages.debian.org/"}.get(kind)
    return start + name if start and re.fullmatch(r"[\w.+/-]+", name) else ""


def write_excerpts(tracks: list[IndexedTrack], folder: Path) -> list[str]:
    """Write excerpts of the tracks that may be cut; remove those of an earlier run.

    Returns:
        list of links from the page, "" where there is none.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    links = []
    for track in tracks:
        links.append("")
        if not may_be_cut(licence_of(track)):
            continue
        try:
            data = excerpt(track)
        except AudioError as error:
            print(f"no excerpt: {error}", file=sys.stderr)
            continue
        name = f"{digest(data)}.mp3"  # an older page never plays another track by a number
        write_atomically(folder / name, data)
        links[-1] = f"previews/{name}"
    return links


def digest(data: bytes) -> str:
    """Return 16 digits of the sha256, which name a file by its content."""
    return hashlib.sha256(data).hexdigest()[:16]


def excerpt(track: IndexedTrack, seconds: float = PREVIEW_S) -> bytes:
    """Return the bytes of an mp3 of the middle of a track, mono, faded in and out.

    Raises:
        AudioError: it cannot be read.
    """
    span = Span(max(0.0, ((track.duration_s or 0) - seconds) / 2), seconds)
    with open_file(track.path, target_rate=RATE, span=span) as stream:
        samples = stream.read()
    n = min(len(samples) // 2, round(_FADE_S * RATE))
    fade = np.linspace(0, 1, n, dtype=np.float32)
    samples[:n] *= fade
    samples[len(samples) - n :] *= fade[::-1]
    soundfile.write(file := io.BytesIO(), samples, RATE, format="MP3")
    return file.getvalue()


def map_data(
    tracks: list[IndexedTrack], rows: np.ndarray, links: list[str], root: str
) -> dict[str, Any]:
    """Return what the page knows of its tracks, for `page.fill_page`."""
    n = len(tracks)
    indices, similarities = ranking.neighbours(rows, layout.tsne_neighbours(n))
    places, _ = layout.place(rows, indices, similarities)
    shown = layout.N_NEIGHBOURS
    columns = {
        "path": [public_path(track.path, root) for track in tracks],
        "title": [one_line(track.title) or Path(track.path).stem for track in tracks],
        "artist": [one_line(track.artist) for track in tracks],
        "group": [one_line(track.artist) for track in tracks],
        "link": links,
        "licence": [one_line(licence_of(track)) for track in tracks],
        "source": [source_link(track.extra.get("source", "")) for track in tracks],
    }
    data = page.page_data(
        places, indices[:, :shown], similarities[:, :shown], columns, color="artist"
    )
    data["similarity_quantiles"] = quantiles(rows, columns["artist"])
    return data


def public_path(path: str, root: str) -> str:
    """Return a path below `root`, else the file's name: folders of this machine stay private.

    Example:
        >>> public_path("/music/a/b.mp3", "/music"), public_path("/home/me/b.mp3", "/music")
        ('a/b.mp3', 'b.mp3')
    """
    relative = os.path.relpath(path, root)
    inside = relative.split(os.sep)[0] != os.pardir
    return display_path(relative if inside else os.path.basename(path))


def write_page(out: Path, data: dict[str, Any], title: str, card: ModelCard, vectors: str) -> None:
    """Write index.html, its scripts and styles, and the texts that go along."""
    about = [f"{data['n']:,} open tracks, placed by their sound"]
    scripts = [f'<script src="{name}" defer></script>' for name in page.SCRIPTS]
    html = page.fill_page(
        data,
        title,
        about,
        head=f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta name="vectors" content="{vectors}">\n'
        '<link rel="icon" href="data:,">\n'
        '<link rel="stylesheet" href="page.css">\n<link rel="stylesheet" href="files.css">',
        scripts="\n".join([*scripts, '<script type="module" src="app.js"></script>']),
        files=(HERE / "files.html").read_text(encoding="utf-8").strip(),
        licences='<a href="LICENCES.txt">Licences</a>',
    )
    write_atomically(out / "index.html", html.encode())
    for name in ("page.css", *page.SCRIPTS):
        write_atomically(out / name, page.read_part(name).encode())
    for name in ("files.css", *MODULES):
        write_atomically(out / name, (HERE / name).read_bytes())
    texts = {"TITLE": json.dumps(title, ensure_ascii=False), "MODEL": card.name}
    texts.update(LICENCE=card.license, CREDIT=one_line(card.credit), ORT=ORT)
    for template, name in (("space.md", "README.md"), ("LICENCES.txt", "LICENCES.txt")):
        text = (HERE / template).read_text(encoding="utf-8")
        for key, value in texts.items():
            text = text.replace(f"@@{key}@@", value)
        write_atomically(out / name, text.encode())


def one_line(text: str) -> str:
    """Return text without line breaks and other runs of space."""
    return " ".join(text.split())


def quantiles(rows: np.ndarray, artists: list[str]) -> list[float] | None:
    """Return the cosine similarities below which 0, 0.1, ... % of pairs of tracks lie.

    Pairs of different artists; of tracks without an artist all pairs.
    """
    rng = np.random.default_rng(0)
    sample = np.sort(rng.permutation(len(rows))[:_N_PAIRED])
    names = np.array([artists[row] or f"\n{row}" for row in sample])
    one, other = np.triu_indices(len(sample), 1)
    apart = names[one] != names[other]
    similarities = (rows[sample] @ rows[sample].T)[one, other][apart]
    if not len(similarities):
        return None
    steps = np.quantile(similarities, np.arange(_QUANTILES) / _QUANTILES)
    return steps.round(4).tolist()


def ort_cache() -> Path:
    """Return where a fetched archive is kept."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "artist_features" / f"onnxruntime-web-{ORT}.tgz"


def ort_archive(given: str | Path | None) -> bytes:
    """Return the bytes of onnxruntime-web's archive, checked: given, kept before, or fetched."""
    kept = ort_cache()
    if given is not None or kept.exists():
        data = Path(given or kept).read_bytes()
    else:
        with urllib.request.urlopen(ORT_URL, timeout=300) as answer:
            data = answer.read()
    if base64.b64encode(hashlib.sha512(data).digest()).decode() != ORT_SHA512:
        text = f"is not the archive of onnxruntime-web {ORT} (its SHA-512 differs)."
        raise OutputError("mismatch", text, given or kept)
    if given is None and not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, data)
    return data


def unpack(archive: bytes, folder: Path) -> None:
    """Write the runtime's three files."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for name in ORT_FILES:
            write_atomically(folder / name, tar.extractfile(f"package/dist/{name}").read())


def write_service_worker(out: Path, vectors: str) -> None:
    """Write sw.js: the names of what is kept for use without a network, and their hash."""
    names = ["index.html", "page.css", "files.css", *page.SCRIPTS, *MODULES]
    names += ["facts.json", vectors, "model.onnx", "LICENCES.txt"]
    names += [f"vendor/{name}" for name in ORT_FILES]
    names += ["example.mp3"] if (out / "example.mp3").exists() else []
    version = hashlib.sha256()
    for name in names:
        version.update((out / name).read_bytes())
    text = (HERE / "sw.js").read_text(encoding="utf-8")
    text = text.replace("@@VERSION@@", version.hexdigest()[:16])
    text = text.replace('"@@FILES@@"', json.dumps(["./", *names]))
    write_atomically(out / "sw.js", text.encode())


def main(argv: list[str] | None = None) -> int:
    """Make the folder, say what is in it, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("music", metavar="MUSIC", help="folder with manifest.csv, or a manifest")
    parser.add_argument("out", metavar="OUT", help="folder to make or to renew")
    parser.add_argument("--model", default="siamese", help="name, folder, or hf://owner/name")
    parser.add_argument("--title", default=TITLE)
    parser.add_argument("--onnxruntime", metavar="FILE", help=f"onnxruntime-web-{ORT}.tgz")
    args = parser.parse_args(argv)
    music = Path(args.music)
    manifest = music / "manifest.csv" if music.is_dir() else music
    try:
        n_tracks, n_excerpts, n_failed = build(
            manifest, args.out, model=args.model, title=args.title, onnxruntime=args.onnxruntime
        )
    except (ArtistFeaturesError, ImportError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    n_bytes = sum(path.stat().st_size for path in Path(args.out).rglob("*") if path.is_file())
    print(
        f"{n_tracks} tracks ({n_failed} recordings failed), {n_excerpts} excerpts, "
        f"{n_bytes / 1e6:.1f} MB in {display_path(args.out)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
