"""Files to measure on, cut from real recordings and encoded in a mixture of formats.

All are 44.1 kHz stereo. What a folder holds already is used again, so a second run starts
at once. Recordings that libsndfile cannot open, or of less than 1 s, are left out.
"""

import concurrent.futures
import json
import multiprocessing
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import soxr
from clips import CLIP_S, ENCODINGS, SAMPLE_RATE, encode, mp3_cbr
from measure import n_cores, progress

from artist_features.datasets.manifest import read_manifest, require_files
from artist_features.library.inputs import find_audio

MIXTURE = {
    "mp3 128k": mp3_cbr(128),
    "mp3 192k": mp3_cbr(192),
    "mp3 320k": mp3_cbr(320),
    "mp3 VBR": ENCODINGS["mp3 VBR"],
    "flac": ENCODINGS["flac"],
    "ogg Vorbis": ENCODINGS["ogg Vorbis"],
    "wav": (".wav", {"format": "WAV", "subtype": "PCM_16"}),
}
_TRACK_S = (120.0, 360.0)  # shortest and longest whole track
_SHORT_S = (1.0, 3.0)
_DELAY_S = 0.011  # of what makes the right channel of a mono recording another one
_PLAN = "recordings.json"


@dataclass(frozen=True)
class Recording:
    """One real recording.

    Attributes:
        path: as text.
        artist: its artist, or its folder where no manifest names one.
        seconds: its length.
    """

    path: str
    artist: str
    seconds: float


@dataclass
class Library:
    """The real recordings that everything is cut from.

    Attributes:
        recordings: list of `Recording`.
        name: manifest or folder, as given.
    """

    recordings: list
    name: str

    @classmethod
    def open(cls, place):
        """Read a manifest CSV, or search a folder."""
        place = Path(place)
        if place.is_dir():
            named = [(path, str(Path(path).parent)) for path in map(str, find_audio([place]))]
        else:
            tracks = read_manifest(place)
            require_files(place, tracks)
            named = [(str(track.path), track.artist) for track in tracks]
        found = []
        for path, artist in named:
            try:
                seconds = soundfile.info(path).duration
            except soundfile.LibsndfileError:
                progress(f"  left out, libsndfile cannot open it: {path}")
                continue
            if seconds >= _SHORT_S[0]:
                found.append(Recording(path, artist, seconds))
        if not found:
            raise SystemExit(f"no recordings that libsndfile reads in {place}")
        return cls(found, str(place))

    @property
    def artists(self):
        """Lists of recordings, one per artist, those with most music first."""
        groups = defaultdict(list)
        for recording in self.recordings:
            if recording.artist:
                groups[recording.artist].append(recording)
        groups = list(groups.values()) or [self.recordings]
        return sorted(groups, key=_total_s, reverse=True)


@dataclass
class Prepared:
    """What was cut, and how.

    Attributes:
        clips: paths of 30 s, all different, in all encodings.
        tracks: paths of whole tracks of 2 to 6 minutes, in all encodings.
        short: paths of 1 to 3 s, in all encodings.
        notes: what a reader must know, in sentences.
    """

    clips: list
    tracks: list
    short: list
    notes: list = field(default_factory=list)

    @property
    def mixed(self):
        """Clips and whole tracks in one order that mixes them, always the same."""
        paths = [*self.clips, *self.tracks]
        order = np.random.default_rng(0).permutation(len(paths))
        return [paths[number] for number in order]


@dataclass(frozen=True)
class _Piece:
    """A stretch of one recording."""

    path: str
    start_s: float
    seconds: float


@dataclass(frozen=True)
class _Wanted:
    """A file to make: pieces one after another, in one encoding."""

    path: Path
    encoding: str
    pieces: tuple


def prepare(library, folder, *, n_clips, n_tracks, n_short):
    """Cut and encode what `folder` does not hold yet.

    Args:
        library: `Library`.
        folder: `Path`, made if it is missing.
        n_clips, n_tracks, n_short: number of files of each kind.

    Returns:
        `Prepared`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_plan(library, folder)
    lengths_s = np.linspace(*_TRACK_S, n_tracks).tolist()
    wanted = {
        "clips": [_clip(library, folder, number) for number in range(n_clips)],
        "tracks": [
            _track(library, folder, number, length_s) for number, length_s in enumerate(lengths_s)
        ],
        "short": [_short(library, folder, number) for number in range(n_short)],
    }
    missing = [item for group in wanted.values() for item in group if not item.path.exists()]
    progress(f"  {len(missing)} files to cut and encode")
    # fresh processes: encoders hold the interpreter, and TensorFlow must not be forked
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(n_cores(), mp_context=spawn) as pool:
        for done, _ in enumerate(pool.map(_make, missing, chunksize=4), start=1):
            if done % 100 == 0:
                progress(f"  {done} of {len(missing)}")
    paths = {kind: [str(item.path) for item in group] for kind, group in wanted.items()}
    return Prepared(**paths, notes=_notes(library, wanted))


def _check_plan(library, folder):
    """Refuse a folder whose files were cut from other recordings."""
    plan = json.dumps([library.name, [vars(recording) for recording in library.recordings]])
    path = folder / _PLAN
    if path.exists() and path.read_text(encoding="utf-8") != plan:
        raise SystemExit(f"{folder} holds files cut from other recordings; choose another --work")
    path.write_text(plan, encoding="utf-8")


def _clip(library, folder, number):
    """30 s from a place drawn in one recording, or whole short ones in a row."""
    recordings = library.recordings
    first = recordings[number % len(recordings)]
    random = np.random.default_rng([1, number])
    if first.seconds >= CLIP_S:
        pieces = (_Piece(first.path, random.uniform(0, first.seconds - CLIP_S), CLIP_S),)
    else:
        pieces = _in_a_row(recordings, number, CLIP_S, random.uniform(0, first.seconds / 2))
    return _wanted(folder / f"clip {number:03d}", number, pieces)


def _track(library, folder, number, seconds):
    """Recordings of one artist in a row."""
    artists = [group for group in library.artists if _total_s(group) >= seconds]
    artists = artists or library.artists[:1]
    group = artists[number % len(artists)]
    pieces = _in_a_row(group, number // len(artists), seconds)
    return _wanted(folder / f"track {number:03d} {seconds:.0f}s", number, pieces)


def _short(library, folder, number):
    """1 to 3 s from a place drawn in one recording."""
    random = np.random.default_rng([2, number])
    recording = library.recordings[number % len(library.recordings)]
    seconds = min(random.uniform(*_SHORT_S), recording.seconds)
    start_s = random.uniform(0, recording.seconds - seconds)
    pieces = (_Piece(recording.path, start_s, seconds),)
    return _wanted(folder / f"short {number:04d}", number, pieces)


def _wanted(stem, number, pieces):
    encoding = tuple(MIXTURE)[number % len(MIXTURE)]
    ending = MIXTURE[encoding][0]
    return _Wanted(stem.with_name(f"{stem.name} {encoding}{ending}"), encoding, pieces)


def _in_a_row(recordings, first, seconds, start_s=0.0):
    """Return pieces of recordings one after another, from the beginning again at the end."""
    pieces, left_s, number = [], seconds, first
    while left_s > 1 / SAMPLE_RATE:
        recording = recordings[number % len(recordings)]
        pieces.append(_Piece(recording.path, start_s, min(left_s, recording.seconds - start_s)))
        left_s -= pieces[-1].seconds
        number, start_s = number + 1, 0.0
    return tuple(pieces)


def _total_s(recordings):
    return sum(recording.seconds for recording in recordings)


def _make(item):
    """Cut and encode one file; it appears whole or not at all."""
    samples = np.concatenate([_stereo(piece) for piece in item.pieces])
    partial = item.path.with_name(f"partial {item.path.name}")
    encode(samples, partial, MIXTURE[item.encoding][1])
    partial.replace(item.path)


def _stereo(piece):
    """Read a piece as float32 `(n_frames, 2)` at 44.1 kHz."""
    with soundfile.SoundFile(piece.path) as file:
        file.seek(round(piece.start_s * file.samplerate))
        samples = file.read(round(piece.seconds * file.samplerate), "float32", always_2d=True)
        sample_rate = file.samplerate
    if sample_rate != SAMPLE_RATE:
        samples = soxr.resample(samples, sample_rate, SAMPLE_RATE, quality="HQ")
    if samples.shape[1] == 1:
        delayed = np.zeros_like(samples)
        n_late = round(_DELAY_S * SAMPLE_RATE)
        delayed[n_late:] = samples[:-n_late] if len(samples) > n_late else 0
        samples = np.hstack([samples, np.float32(0.85) * samples + np.float32(0.15) * delayed])
    return np.clip(samples[:, :2], -1.0, 1.0)


def _notes(library, wanted):
    """Say what was put together from what."""
    n_joined = {kind: sum(len(item.pieces) > 1 for item in group) for kind, group in wanted.items()}
    n_looped = sum(
        len({piece.path for piece in item.pieces}) < len(item.pieces)
        for group in wanted.values()
        for item in group
    )
    used = {piece.path for item in wanted["clips"] for piece in item.pieces}
    kinds = {
        "clips": f"clips of {CLIP_S} s from {len(used)} of {len(library.recordings)} recordings "
        f"({n_joined['clips']} put together from short ones)",
        "tracks": f"whole tracks of 2 to 6 min ({n_joined['tracks']} of them recordings of one "
        "artist in a row)",
        "short": "files of 1 to 3 s",
    }
    return [
        *(f"{len(wanted[kind])} {note}" for kind, note in kinds.items() if wanted[kind]),
        f"{n_looped} files repeat a recording",
        "all encoded anew as " + ", ".join(MIXTURE) + " at 44.1 kHz stereo, mono ones with a "
        "slightly different right channel",
    ]
