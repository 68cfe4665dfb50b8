"""A manifest of music to the folder that app.py shows: index, map and previews.

python prepare.py MANIFEST.csv data     # file, artist, title, licence, source, ...

Only a track whose column `licence` (or `license`) says so gets a preview: an excerpt is
for those that may be passed on. Works without derivatives (ND) get none, either. What
credits the licences ask for is in data/previews/CREDITS.csv and beside each player.
Needs the extra [map] and, for m4a and the like, [av]. A second run extracts
only what is new: the vectors stay in DATA.npz, which is not for publishing.
"""

import argparse
import csv
import io
import os
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from library import INDEX, PLACES, PREVIEWS

from artist_features.audio.decoders import Span
from artist_features.audio.stream import open_file
from artist_features.cli.main import main as artist_features
from artist_features.datasets.manifest import read_manifest, require_files
from artist_features.errors import ArtistFeaturesError, AudioError, display_path
from artist_features.extraction.remote import identity
from artist_features.files import write_atomically
from artist_features.maps import layout
from artist_features.optional import require
from artist_features.search import Index, ranking
from artist_features.search.sources import join_manifest, read_embeddings

PREVIEW_S, RATE = 15.0, 22050
_FADE_S = 0.2
_CREDITS = ("artist", "title", "licence", "source")


def prepare(manifest, out, *, model="siamese", with_previews=True):
    """Make the folder.

    Args:
        manifest: path of a CSV; files relative to it.
        out: path of the folder.
        model: bundled name. A folder or Hub id makes an index that the app refuses.
        with_previews: write them.

    Returns:
        (number of tracks, of previews, of recordings that failed).

    Raises:
        ArtistFeaturesError: the manifest, or what is made of it, cannot be used.
    """
    out, manifest = Path(out), Path(manifest)
    require("openTSNE", "a map", "map")  # now, not after all is extracted
    require_files(manifest, read_manifest(manifest))
    out.mkdir(parents=True, exist_ok=True)
    table = out.with_suffix(".npz")
    extract(manifest, table, model)
    found = read_embeddings([table])
    tracks, _ = join_manifest(found.tracks, manifest)
    listed = {identity(track.path) for track in read_manifest(manifest)}
    kept = [row for row, track in enumerate(tracks) if track.path in listed]
    tracks, vectors = [tracks[row] for row in kept], found.vectors[kept]
    np.save(partial := io.BytesIO(), lay_out(vectors), allow_pickle=False)
    write_atomically(out / PLACES, partial.getvalue())
    n_previews = write_previews(tracks, out / PREVIEWS) if with_previews else 0
    root = os.path.dirname(identity(manifest))
    # relative: where the files lie on this machine is nobody's business
    named = [replace(track, path=os.path.relpath(track.path, root)) for track in tracks]
    Index.build(vectors, named, found.made_with).save(out / INDEX)
    return len(tracks), n_previews, found.n_failed


def extract(manifest, table, model):
    """Extract the manifest's files into a table, as the command does."""
    paths = [identity(track.path) for track in read_manifest(manifest)]
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("".join(f"{path}\n" for path in paths))
        file.flush()
        status = artist_features(["extract", f"@{file.name}", "-o", str(table), "--model", model])
    if status > 1:
        raise SystemExit(status)


def lay_out(vectors):
    """Return the places of tracks on the map, float32 `(n, 2)` in [-1, 1]."""
    if len(vectors) == 1:
        return np.zeros((1, 2), np.float32)
    neighbours = ranking.neighbours(vectors, layout.tsne_neighbours(len(vectors)))
    return layout.place(vectors, *neighbours)[0]


def licence_of(track):
    """Return what the manifest says a track may be used under, "" for nothing."""
    return (track.extra.get("licence") or track.extra.get("license") or "").strip()


def may_be_cut(licence):
    """Say whether an excerpt of a work under this licence may be passed on.

    Example:
        >>> [may_be_cut(text) for text in ("CC-BY-SA-4.0", "CC BY-NC-ND 4.0", "")]
        [True, False, False]
    """
    licence = licence.upper()
    return bool(licence) and "ND" not in re.split(r"[^A-Z]+", licence) and "DERIV" not in licence


def write_previews(tracks, folder):
    """Write the middle of each track that may be cut as mono mp3, and whom to credit.

    Args:
        tracks: list of `IndexedTrack`, in the index's order.
        folder: for NUMBER.mp3 and CREDITS.csv; previews of an earlier run are removed.

    Returns:
        How many were written.
    """
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.mp3"):
        old.unlink()
    credits = io.StringIO()
    table = csv.writer(credits)
    table.writerow(["file", *_CREDITS, "changes"])
    n_previews = 0
    for row, track in enumerate(tracks):
        if not may_be_cut(licence_of(track)):
            continue
        name = f"{row:06d}.mp3"
        try:
            write_atomically(folder / name, preview(track))
        except AudioError as error:
            print(f"no preview: {error}", file=sys.stderr)
            continue
        n_previews += 1
        changes = f"{PREVIEW_S:g} s from the middle, mono, {RATE} Hz, mp3"
        values = track.artist, track.title, licence_of(track), track.extra.get("source", "")
        table.writerow([name, *values, changes])
    write_atomically(folder / "CREDITS.csv", credits.getvalue().encode())
    return n_previews


def preview(track):
    """Return the bytes of an mp3 of the middle of a track, faded in and out.

    Raises:
        AudioError: it cannot be read.
    """
    span = Span(max(0.0, (track.duration_s - PREVIEW_S) / 2), PREVIEW_S)
    with open_file(track.path, target_rate=RATE, span=span) as stream:
        samples = stream.read()
    n = min(len(samples) // 2, round(_FADE_S * RATE))
    fade = np.linspace(0, 1, n, dtype=np.float32)
    samples[:n] *= fade
    samples[len(samples) - n :] *= fade[::-1]
    soundfile.write(file := io.BytesIO(), samples, RATE, format="MP3")
    return file.getvalue()


def main(argv=None):
    """Make the folder, say what is in it, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", metavar="MANIFEST.csv")
    parser.add_argument("out", metavar="DATA", help="folder to make or to renew")
    parser.add_argument("--model", default="siamese", choices=("siamese", "basic"))
    parser.add_argument("--no-previews", action="store_true", help="index and map only")
    args = parser.parse_args(argv)
    try:
        n_tracks, n_previews, n_failed = prepare(
            args.manifest, args.out, model=args.model, with_previews=not args.no_previews
        )
    except (ArtistFeaturesError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    n_bytes = sum(path.stat().st_size for path in Path(args.out).rglob("*") if path.is_file())
    print(
        f"{n_tracks} tracks ({n_failed} recordings failed), {n_previews} previews, "
        f"{n_bytes / 1e6:.1f} MB in {display_path(args.out)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
