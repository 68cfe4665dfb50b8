"""Render random band pieces: MMA plays the accompaniment, fluidsynth gives it sound.

    python render_styles.py OUT --n 300 --seed 1

Pieces have no artist: they serve only where no label is needed. Piece i depends on the
seed and i alone; a second run adds what is missing.
"""

import argparse
import random
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from compose import compose, find_grooves
from store import SAMPLE_RATE, add_rows, write_clip

LIBRARY = Path("/usr/share/mma/lib")
SOUNDFONTS = {
    "/usr/share/sounds/sf2/FluidR3_GM.sf2": ("fluid-soundfont-gm", "MIT"),
    "/usr/share/sounds/sf3/MuseScore_General_Lite.sf3": (
        "musescore-general-soundfont-small",
        "MIT",
    ),
    "/usr/share/sounds/sf2/TimGM6mb.sf2": ("timgm6mb-soundfont", "GPL-2"),
}
TICKS = 192  # per quarter note, as MMA writes it


class RenderError(Exception):
    """One piece cannot be rendered."""


def render_midi(midi, soundfont, folder, rng):
    """Render a MIDI file; return float32 samples `(n_samples, 2)` at 44,100 Hz."""
    wave = Path(folder) / "piece.wav"
    options = {
        "synth.reverb.room-size": rng.uniform(0.1, 0.9),
        "synth.reverb.level": rng.uniform(0.05, 0.8),
        "synth.chorus.level": rng.uniform(0.2, 2.5),
        "synth.gain": 0.4,
    }
    settings = [word for name, value in options.items() for word in ("-o", f"{name}={value:.2f}")]
    _call("fluidsynth", "-niq", *settings, "-r", "44100", "-F", wave, soundfont, midi)
    samples, _ = soundfile.read(wave, dtype="float32", always_2d=True)
    wave.unlink()
    return samples


def render_piece(piece, soundfont, rng, *, lead=True):
    """Play a `compose.Piece`; return float32 mono samples at 44,100 Hz.

    Args:
        lead: If False, leave the tune out (for a voice to sing).

    Raises:
        RenderError: MMA or fluidsynth refuses the piece.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, midi = Path(folder, "piece.mma"), Path(folder, "piece.mid")
        source.write_text(piece.text + "\n", encoding="utf-8")
        _call("mma", "-w", source, "-f", midi)
        midi.write_bytes(add_track(midi.read_bytes(), lead_track(piece, rng, lead=lead)))
        samples = render_midi(midi, soundfont, folder, rng)
    return samples[: int((piece.seconds + 2) * 44100)].mean(axis=1)


def lead_track(piece, rng, *, lead=True):
    """Make a MIDI track of the drum kit and the tune on channels 1 and 2."""
    events = [(0, bytes((0xC9, piece.drum_kit)))]
    for channel, program in enumerate(piece.leads):
        level = rng.randint(85, 127)
        events += [
            (0, bytes((0xC0 | channel, program))),
            (0, bytes((0xB0 | channel, 7, level))),
            (0, bytes((0xB0 | channel, 10, rng.randint(40, 88)))),
            (0, bytes((0xB0 | channel, 1, rng.choice((0, 0, 20, 50))))),
        ]
    second = rng.choice((0, 0, 3, 4, 12))  # semitones below the tune; 0: turns with it
    for start, length, pitch in piece.melody if lead else ():
        turn = int(start // (8 * piece.beats)) % 2
        first, last = round(start * TICKS), round((start + length) * TICKS)
        pitches = [(0, pitch), (1, pitch - second)] if second else [(turn, pitch)]
        for channel, note in pitches:
            events.append((first, bytes((0x90 | channel, note, rng.randint(75, 120)))))
            events.append((max(last, first + 12), bytes((0x80 | channel, note, 0))))
    track, now = b"", 0
    for tick, message in sorted(events, key=lambda event: event[0]):
        track += _variable(tick - now) + message
        now = tick
    return track + b"\0\xff\x2f\0"


def add_track(midi, track):
    """Append a track to a standard MIDI file's bytes."""
    n_tracks = struct.unpack(">H", midi[10:12])[0]
    head = midi[:8] + struct.pack(">HH", 1, n_tracks + 1) + midi[12:]
    return head + b"MTrk" + struct.pack(">I", len(track)) + track


def _variable(number):
    out = bytes((number & 0x7F,))
    while number := number >> 7:
        out = bytes((number & 0x7F | 0x80,)) + out
    return out


def master(samples, rng):
    """Treat a mix as a record might be: drive, tone, now and then noise or a narrow band."""
    samples = samples / (np.abs(samples).max() + 1e-9)
    drive = rng.choice((1, 1, 1.5, 2.5, 4))
    samples = np.tanh(samples * drive) / np.tanh(drive)
    spectrum = np.fft.rfft(samples)
    hz = np.fft.rfftfreq(len(samples), 1 / 44100)
    tilt = rng.uniform(-3, 3)  # dB per octave over 1 kHz, mirrored below
    gain = tilt * np.clip(np.log2(np.maximum(hz, 20) / 1000), -3, 3) / 2
    if rng.random() < 0.12:
        gain = gain - 60 * ((hz < rng.uniform(150, 350)) | (hz > rng.uniform(3000, 6000)))
    samples = np.fft.irfft(spectrum * 10 ** (gain / 20), len(samples)).astype("float32")
    if rng.random() < 0.15:
        noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(len(samples))
        samples = samples + rng.uniform(0.001, 0.01) * noise.astype("float32")
    return samples


def _call(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, check=False)
    if done.returncode:
        text = (done.stdout + done.stderr).decode(errors="replace").strip().splitlines()
        raise RenderError(f"{words[0]}: {text[-1] if text else 'failed'}")


def soundfonts():
    """The installed ones of `SOUNDFONTS`, as (path, package, licence)."""
    found = [(path, *facts) for path, facts in SOUNDFONTS.items() if Path(path).exists()]
    if not found:
        raise SystemExit(f"no soundfont found; install one of {', '.join(SOUNDFONTS)}.")
    return found


def draw(seed, index, grooves, fonts):
    """The choices of piece `index`: its rng, composition and soundfont."""
    rng = random.Random(f"{seed}:{index}")
    # Every groove comes once before one comes twice
    order = random.Random(seed).sample(range(len(grooves)), len(grooves))
    return rng, compose(grooves[order[index % len(order)]], rng), rng.choice(fonts)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for the pieces and manifest.csv")
    parser.add_argument("--n", type=int, default=300, help="number of pieces")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    grooves, fonts = find_grooves(LIBRARY), soundfonts()
    if not grooves:
        raise SystemExit(f"no grooves under {LIBRARY}; install the package mma.")
    failed = 0
    for index in range(args.n):
        name = f"{args.seed}-{index:04d}.ogg"
        if (args.out / name).exists():
            continue
        rng, piece, (font, package, licence) = draw(args.seed, index, grooves, fonts)
        try:
            samples = master(render_piece(piece, font, rng), rng)
        except RenderError as error:
            failed += 1
            print(f"{name}: {piece.title}: {error}", file=sys.stderr)
            continue
        samples = samples[: 60 * 44100]
        seconds = write_clip(args.out / name, samples, 44100, peak=rng.uniform(0.4, 0.95))
        row = {"file": name, "artist": "", "title": piece.title, "seconds": f"{seconds:.1f}"}
        row |= {"licence": f"rendered; grooves GPL-2+, sounds {licence}", "kind": "band"}
        add_rows(args.out / "manifest.csv", [row | {"source": f"rendered:mma+{package}"}])
    print(f"{args.n - failed} pieces in {args.out}, {failed} failed; {SAMPLE_RATE} Hz mono")
    return 0


if __name__ == "__main__":
    sys.exit(main())
