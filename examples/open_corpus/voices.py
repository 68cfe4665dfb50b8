"""Make synthetic speech and songs: espeak-ng and flite speak, WORLD bends speech to a tune.

    python voices.py OUT --speech 40 --songs 80 --seed 1

Clips have no artist. Clip i depends on the seed and i alone; a second run adds what is
missing. Songs are pieces of compose.py, sung or spoken over.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyworld
import soundfile
import soxr
from compose import find_grooves
from mix import lay_over
from render_styles import LIBRARY, RenderError, draw, master, render_piece, soundfonts
from store import SAMPLE_RATE, add_rows, write_clip

LANGUAGES = ("en-gb", "en-us", "en-gb-scotland", "de", "fr-fr", "es", "es-419", "it", "pt", "pt-br",
             "nl", "sv", "da", "nb", "fi", "pl", "cs", "sk", "hu", "ro", "el", "tr", "ru", "uk",
             "bg", "hr", "hi", "id", "vi", "sw", "cmn", "ko", "eo", "la", "ca", "cy")  # fmt: skip
VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5",
            "klatt2", "klatt4", "croak", "whisper")  # fmt: skip
SINGERS = (("en-us", 6), ("en-gb", 3), ("fr-fr", 1), ("es", 1), ("it", 2), ("pt-br", 1), ("de", 1))
FLITE = ("awb", "rms", "slt", "kal16")
FRAME_S = 0.005  # WORLD's step
WORDS = (
    "river night summer window train shadow morning ocean fire garden winter road city mountain "
    "dancer stranger heart candle mirror island thunder paper letter engine sister brother",
    "silver broken little golden lonely hollow crimson gentle silent burning distant open",
    "runs waits falls turns sings burns leaves calls rises fades wanders returns sleeps",
    "under over beyond between around behind without through into against",
)


def line(rng):
    """Make one line of text, about nine syllables."""
    noun, adjective, verb, place = (words.split() for words in WORDS)
    first = f"the {rng.choice(adjective)} {rng.choice(noun)} {rng.choice(verb)}"
    return f"{first} {rng.choice(place)} the {rng.choice(noun)}"


def speak(text, rng, *, language="en-us", variant=None, flite=None):
    """Speak a text; return float64 mono samples at 22,050 Hz."""
    with tempfile.TemporaryDirectory() as folder:
        wave = f"{folder}/speech.wav"
        if flite:
            call = ["flite", "-voice", flite, "-t", text, "-o", wave]
        else:
            voice = f"{language}+{variant or rng.choice(VARIANTS)}"
            manner = ["-s", str(rng.randint(110, 190)), "-p", str(rng.randint(20, 80))]
            call = ["espeak-ng", "-v", voice, *manner, "-w", wave, text]
        subprocess.run(call, check=True, capture_output=True)
        samples, rate = soundfile.read(wave)
    return soxr.resample(samples, rate, SAMPLE_RATE)


def talk(seconds, rng):
    """Speak lines and numbers in one voice; return (samples, a description)."""
    flite = rng.choice(FLITE) if rng.random() < 0.2 else None
    language, variant = rng.choice(LANGUAGES), rng.choice(VARIANTS)
    english = flite or language.startswith("en")
    parts, length = [], 0
    while length < seconds * SAMPLE_RATE:
        text = line(rng) if english else f"{rng.randint(100, 99999999)}, {rng.randint(1, 9999)}"
        manner = random.Random(f"{language}{variant}")  # one speed and pitch through the clip
        said = speak(text, manner, language=language, variant=variant, flite=flite)
        pause = np.zeros(int(rng.uniform(0.1, 0.8) * SAMPLE_RATE))
        parts += [said, pause]
        length += len(said) + len(pause)
    name = f"flite {flite}" if flite else f"espeak-ng {language}+{variant}"
    return np.concatenate(parts)[: int(seconds * SAMPLE_RATE)], name


def phrases(piece):
    """Cut a tune into phrases of (start, length in s, MIDI pitch) notes."""
    beat, cut = 60 / piece.tempo, []
    for start, length, pitch in piece.melody:
        note = (start * beat, length * beat, pitch)
        if not cut or len(cut[-1]) >= 10 or note[0] - sum(cut[-1][-1][:2]) > 0.6:
            cut.append([])
        cut[-1].append(note)
    return [phrase for phrase in cut if sum(phrase[-1][:2]) - phrase[0][0] > 0.8]


def sing(phrase, spoken, octave, warp, rng):
    """Bend speech to a phrase of a tune: its length, and its pitch where it is voiced.

    Args:
        phrase: Notes from `phrases`.
        spoken: float64 speech at 22,050 Hz.
        octave: Semitones to move the tune by.
        warp: Factor on the spectral envelope's frequencies: below 1 a bigger singer.
    """
    pitch, times = pyworld.dio(spoken, SAMPLE_RATE)
    envelope = pyworld.cheaptrick(spoken, pitch, times, SAMPLE_RATE)
    breath = pyworld.d4c(spoken, pitch, times, SAMPLE_RATE)
    loud = np.flatnonzero(envelope.sum(axis=1) > envelope.sum(axis=1).max() * 1e-4)
    begin = phrase[0][0]
    n_frames = int((sum(phrase[-1][:2]) - begin) / FRAME_S)
    taken = np.linspace(loud[0], loud[-1], n_frames).round().astype(int)
    tune = np.zeros(n_frames)
    for start, length, note in phrase:
        first = int((start - begin) / FRAME_S)
        now = np.arange(n_frames - first) * FRAME_S
        shake = 0.4 * np.clip((now - 0.2) * 4, 0, 1) * (length > 0.35)
        rate = rng.uniform(4.8, 6.2)
        tune[first:] = note + octave + shake * np.sin(2 * np.pi * rate * now)
    width = 12  # frames a slide takes
    tune = np.convolve(np.pad(tune, width // 2, mode="edge"), np.ones(width) / width, "same")
    hz = 440 * 2 ** ((tune[width // 2 :][:n_frames] - 69) / 12)
    bins = np.arange(envelope.shape[1])
    envelope = np.array([np.interp(bins / warp, bins, row) for row in envelope[taken]])
    hz = np.where(pitch[taken] > 0, hz, 0.0)
    return pyworld.synthesize(hz, envelope, breath[taken], SAMPLE_RATE, FRAME_S * 1000)


def sing_piece(piece, rng):
    """Sing a piece's tune in one voice; return (samples, a description)."""
    languages, weights = zip(*SINGERS, strict=True)
    language, variant = rng.choices(languages, weights)[0], rng.choice(VARIANTS[:12])
    flite = rng.choice(FLITE) if rng.random() < 0.3 else None
    female = flite == "slt" or (not flite and variant.startswith("f"))
    middle = rng.randint(62, 70) if female else rng.randint(48, 58)
    centre = np.median([note[2] for note in piece.melody])
    octave = 12 * round((middle - centre) / 12)
    warp = rng.uniform(0.9, 1.15)
    voice = np.zeros(int((piece.seconds + 3) * SAMPLE_RATE))
    for phrase in phrases(piece):
        if rng.random() < 0.2:
            continue
        spoken = speak(line(rng), rng, language=language, variant=variant, flite=flite)
        for detune in (0, 0.12) if variant in ("m3", "f3") else (0,):
            sung = sing(phrase, spoken, octave + detune, warp, rng)
            first = int(phrase[0][0] * SAMPLE_RATE)
            sung = sung[: len(voice) - first]
            voice[first : first + len(sung)] += sung
    return voice, f"sung by {f'flite {flite}' if flite else f'espeak-ng {language}+{variant}'}"


def song(rng, piece, font):
    """Render a piece with a voice over it; return (samples at 22,050 Hz, a description)."""
    spoken = not piece.melody or rng.random() < 0.2
    backing = master(render_piece(piece, font, rng, lead=rng.random() < 0.3), rng)
    backing = soxr.resample(backing, 44100, SAMPLE_RATE)[: 60 * SAMPLE_RATE]
    if spoken:
        voice, name = talk(len(backing) / SAMPLE_RATE, rng)
    else:
        voice, name = sing_piece(piece, rng)
    return lay_over(voice, backing, rng), f"{piece.title}, {name}"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for the clips and manifest.csv")
    parser.add_argument("--speech", type=int, default=0, help="number of speech clips")
    parser.add_argument("--songs", type=int, default=0, help="number of songs")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    clips = [("speech", index) for index in range(args.speech)]
    clips += [("song", index) for index in range(args.songs)]
    grooves, fonts = (find_grooves(LIBRARY), soundfonts()) if args.songs else ([], [])
    failed = 0
    for kind, index in clips:
        name = f"{kind}-{args.seed}-{index:04d}.ogg"
        if (args.out / name).exists():
            continue
        rng, licence, source = random.Random(f"{kind}:{args.seed}:{index}"), "rendered", "espeak-ng"
        try:
            if kind == "song":
                rng, piece, (font, package, sounds) = draw(
                    f"song{args.seed}", index, grooves, fonts
                )
                samples, title = song(rng, piece, font)
                licence = f"rendered; grooves GPL-2+, sounds {sounds}"
                source = f"mma+{package}+{source}"
            else:
                samples, title = talk(60, rng)
        except (RenderError, subprocess.CalledProcessError) as error:
            failed += 1
            print(f"{name}: {error}", file=sys.stderr)
            continue
        seconds = write_clip(args.out / name, samples, SAMPLE_RATE, peak=rng.uniform(0.4, 0.95))
        row = {"file": name, "artist": "", "title": title, "seconds": f"{seconds:.1f}"}
        row |= {"kind": kind, "licence": licence, "source": f"rendered:{source}"}
        add_rows(args.out / "manifest.csv", [row])
    print(f"{len(clips) - failed} clips in {args.out}, {failed} failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
