"""Compose a random piece: groove, chords, tempo and melody, from one seed."""

import re
from dataclasses import dataclass, field
from pathlib import Path

NOTES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
BLUES, PENTATONIC = (0, 3, 5, 6, 7, 10), (0, 2, 4, 7, 9)

# Semitones above the key, then the chord's kind; one chord a bar.
PROGRESSIONS = {
    "pop": ("0 7 9:m 5", "9:m 5 0 7", "0 9:m 5 7", "0 5 0 7", "0 4:m 5 7", "5 7 4:m 9:m",
            "0 7 2:m 5", "0:M7 5:M7 0:M7 5:M7", "0 4:7 9:m 5", "0 2:m 9:m 5"),
    "rock": ("0:5 3:5 5:5 0:5", "0:m 8 3 10", "0:m 10 8 7", "0:m 8 10 0:m", "0 10 5 0",
             "0:5 0:5 10:5 5:5", "0:5 1:5 0:5 10:5", "0:m 3 10 5", "0:5 6:5 5:5 3:5"),
    "blues": ("0:7 5:7 0:7 0:7 5:7 5:7 0:7 0:7 7:7 5:7 0:7 7:7",
              "0:m7 0:m7 0:m7 0:m7 5:m7 5:m7 0:m7 0:m7 8:7 7:7 0:m7 7:7", "0:7 0:7 5:7 7:7"),
    "jazz": ("2:m7 7:7 0:M7 9:7", "0:M7 9:m7 2:m7 7:7", "0:M7 1:dim7 2:m7 7:9", "0:6 9:7 2:7 7:7",
             "2:m7 7:7 0:M7 0:M7 4:m7b5 9:7 2:m7 7:7", "0:m7 5:9 10:M7 3:M7 9:m7b5 2:7 7:m7 7:7",
             "0:m9 0:m9 1:M7 1:M7", "0:M7 3:M7 8:M7 1:M7"),
    "latin": ("0:m 7:7 7:7 0:m", "0:m7 5:9 0:m7 5:9", "0:m 10 8 7:7", "0:6 2:m7 7:7 0:6",
              "0:M7 0:M7 2:7 2:7 2:m7 7:7 0:M7 7:7"),
    "folk": ("0 0 5 0 7 7 0 0", "0 5 0 7 0 5 7 0", "0:m 10 0:m 7:m 0:m 10 7:m 0:m", "0 7 5 7"),
    "dance": ("0:m 0:m 8 10", "0:m7 0:m7 5:m7 5:m7", "9:m 5 0 7", "0:m 3 8 10", "0:m 0:m 0:m 0:m"),
}  # fmt: skip
# The first pattern found in a groove's name gives its progressions and tempi.
STYLES = (
    (r"metal|punk|hard", "rock", 105, 175),
    (r"ballad|slow|lullaby|hymn|ambient|serenade", "pop", 58, 88),
    (r"techno|trance|rave|house|dance|disco|electric|digital", "dance", 115, 142),
    (r"hip|trip|rb|r\+b|soul|funk|motown|k?funk", "dance", 82, 116),
    (r"blues|boog|shuffle|jive|twist|50s", "blues", 90, 165),
    (r"jazz|swing|bebop|big ?band|evans|basie|charleston|dixie|rag|foxtrot", "jazz", 95, 210),
    (r"bossa|samba|salsa|mambo|rhumba|cha|tango|latin|merengue|beguine|son$|cuban|calypso|bolero",
     "latin", 95, 185),
    (r"folk|country|western|polka|march|grass|zydeco|hill|waltz|west", "folk", 85, 170),
    (r"rock|beat|ska|metal|strut", "rock", 92, 155),
    (r"", "pop", 75, 140),
)  # fmt: skip
# General MIDI programs, from 0: what may carry the tune.
LEADS = (24, 25, 26, 27, 28, 29, 29, 30, 30, 30, 31, 56, 57, 59, 61, 62, 64, 65, 66, 67, 40, 42,
         110, 68, 71, 73, 75, 78, 79, 22, 21, 23, 52, 53, 53, 54, 85, 80, 81, 81, 82, 84, 86, 87,
         16, 17, 18, 0, 1, 4, 5, 7, 11, 12, 104, 105, 107)  # fmt: skip
DRUM_KITS = (0, 0, 0, 8, 16, 16, 24, 25, 32, 40)
# Which voices may stand in for a groove's own (MMA's names).
SWAPS = {
    ("Piano1", "Piano2", "Piano3", "ElectricPiano", "HonkyTonkPiano"): (
        "Piano1", "Piano2", "ElectricPiano", "ElectricPiano2", "Organ1", "Organ2", "Clavinet",
        "Harpsichord", "CleanGuitar", "OverdriveGuitar", "DistortionGuitar", "SynthVoice"),
    ("NylonGuitar", "SteelGuitar", "JazzGuitar", "CleanGuitar", "MutedGuitar"): (
        "NylonGuitar", "SteelGuitar", "JazzGuitar", "CleanGuitar", "MutedGuitar",
        "OverdriveGuitar", "DistortionGuitar", "Banjo"),
    ("AcousticBass", "FingeredBass", "PickedBass", "FretlessBass"): (
        "AcousticBass", "FingeredBass", "PickedBass", "FretlessBass", "SlapBass1", "SynthBass1",
        "SynthBass2"),
    ("Strings", "SlowStrings", "SynthStrings1", "ChoirAahs", "WarmPad"): (
        "Strings", "SynthStrings1", "ChoirAahs", "VoiceOohs", "WarmPad", "PolySynthPad",
        "BrassSection", "SynthBrass1", "Organ3", "Accordion"),
}  # fmt: skip


@dataclass(frozen=True)
class Groove:
    """One file of accompaniment patterns: their names and quarter notes per bar."""

    path: Path
    names: tuple
    fills: tuple
    beats: int


@dataclass
class Piece:
    """A piece: MMA's text and the melody as (start, length in beats, MIDI pitch)."""

    title: str
    text: str
    tempo: int
    beats: int
    n_bars: int
    melody: list = field(default_factory=list)
    leads: list = field(default_factory=list)
    drum_kit: int = 0

    @property
    def seconds(self):
        return self.n_bars * self.beats * 60 / self.tempo


def find_grooves(folder):
    """List the accompaniment files under MMA's library folder, in a fixed order."""
    grooves = []
    for path in sorted(Path(folder).glob("*/*.mma")):
        text = path.read_text(encoding="latin-1")
        names = re.findall(r"^\s*DefGroove\s+(\S+)", text, re.M | re.I)
        times = {int(beats) for beats in re.findall(r"^\s*Time\s+(\d+)\s*$", text, re.M | re.I)}
        parts = re.compile(r"intro|end|fill|metronome|none|plain|^test", re.I)
        main = tuple(name for name in names if not parts.search(name))
        fills = tuple(name for name in names if re.search("fill", name, re.I))
        if main and len(times) <= 1 and path.stem not in ("none", "stdpats", "count"):
            grooves.append(Groove(path, main, fills, times.pop() if times else 4))
    return grooves


def compose(groove, rng, *, seconds=(40, 60)):
    """Compose one piece over a groove.

    Args:
        groove: A `Groove`.
        rng: A `random.Random`; it alone decides the piece.
        seconds: (least, most) length.
    """
    name = f"{groove.path.stem} {groove.names[0]}".lower()
    style, low, high = next(row[1:] for row in STYLES if re.search(row[0], name))
    if rng.random() < 0.2:
        style = rng.choice(sorted(PROGRESSIONS))
    tempo, key = rng.randint(low, high), rng.randrange(12)
    n_bars = max(4, round(rng.uniform(*seconds) * tempo / 60 / groove.beats))
    sections = [(rng.choice(groove.names), rng.choice(PROGRESSIONS[style])) for _ in range(2)]
    order = [sections["ab".index(letter)] for letter in rng.choice(("aaba", "abab", "aabb"))]
    chords, lines = [], _preamble(tempo, groove, rng)
    while len(chords) < n_bars:
        for pattern, progression in order:
            bars = [_chord(token, key) for token in progression.split()]
            bars *= max(1, 8 // len(bars))
            lines.append(f"Groove {pattern}")
            for index, (_, _, symbol) in enumerate(bars):
                if groove.fills and index == len(bars) - 1:
                    lines.append(f"Groove {rng.choice(groove.fills)}")
                lines.append(symbol)
            chords += bars
    piece = Piece("", "\n".join(lines), tempo, groove.beats, len(chords))
    piece.title = f"{groove.path.stem}: {sections[0][0]}, {NOTES[key]}, {tempo} bpm"
    piece.drum_kit = rng.choice(DRUM_KITS)
    piece.leads = [rng.choice(LEADS) for _ in range(2)]
    if rng.random() < 0.85:
        swing = bool(re.search(r"swing|jazz|blues|shuffle|boog|bebop", name))
        piece.melody = _melody(chords, key, style, groove.beats, swing, rng)
    return piece


def _preamble(tempo, groove, rng):
    # MMA varies volumes and timing: the same way each time
    lines = ["RndSeed 1", f"Tempo {tempo}", f"Use {groove.path.parent.name}/{groove.path.stem}"]
    swaps = []
    for voices, others in SWAPS.items():
        if rng.random() < 0.5:
            other = rng.choice(others)
            swaps += [f"{voice}={other}" for voice in voices if voice != other]
    return [*lines, f"VoiceTr {' '.join(swaps)}"] if swaps else lines


def _chord(token, key):
    """Turn "9:m" into (root pitch class, is minor, "Am")."""
    degree, _, kind = token.partition(":")
    root = (int(degree) + key) % 12
    return root, kind.startswith("m"), NOTES[root] + kind


def _melody(chords, key, style, beats, swing, rng):
    """Make a tune of repeated motifs, chord notes on the beats."""
    scale = {"blues": BLUES, "rock": rng.choice((BLUES, MINOR, PENTATONIC))}.get(style)
    scale = scale or (MINOR if chords[0][1] else MAJOR)
    motifs = [_rhythm(beats, rng) for _ in range(3)]
    pattern = rng.choice(((0, 0, 1, 2), (0, 1, 0, 2), (0, 1, 2, 2)))
    centre = rng.randint(60, 76)
    pitch, notes = centre, []
    for bar, (root, minor, _) in enumerate(chords):
        if bar % 16 >= 12 and rng.random() < 0.3:
            continue
        for start, length in motifs[pattern[bar % 4]]:
            pitch += rng.choice((-4, -3, -2, -2, -1, 1, 2, 2, 3, 4, 7)) + (centre - pitch) // 5
            strong = start == int(start)
            third = 3 if minor else 4
            allowed = {(root + step) % 12 for step in (0, third, 7)} if strong else \
                {(key + step) % 12 for step in scale}  # fmt: skip
            pitch = min(range(pitch - 6, pitch + 7),
                        key=lambda p: (p % 12 not in allowed, abs(p - pitch)))  # fmt: skip
            late = 1 / 6 if swing and not strong else 0
            notes.append((bar * beats + start + late, length - late, pitch))
    return notes


def _rhythm(beats, rng):
    """Cut one bar into (start, length) in beats; some rests."""
    notes, now = [], 0.0
    while now < beats:
        length = min(rng.choice((0.5, 0.5, 0.5, 1, 1, 1.5, 2, 3)), beats - now)
        if rng.random() < 0.85:
            notes.append((now, length * rng.choice((0.6, 0.9, 1))))
        now += length
    return notes
