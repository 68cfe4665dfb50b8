"""Configuration: front-end and network hyperparameters, model card.

Standard library only. Nothing else in the package restates these values.

Sources: P = Park, Lee, Park, Ha, Nam, "Representation Learning of Music Using Artist
Labels", ISMIR 2018 (arXiv 1710.06648); C = the authors' published code,
`jongpillee/ismir2018-artist` (MIT).
"""

import dataclasses
import hashlib
import json
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

SCHEMA_VERSION = 1
LEVEL_DB = -17.0  # RMS of segments of our own models, dB re full scale: that of mastered music
MIN_RATE_HZ, MAX_RATE_HZ = 4000, 384_000  # sample rates of recordings
MAX_CHANNELS = 32
MAX_SEGMENT_SAMPLES = 1 << 24  # 12 minutes at 22,050 Hz, 64 MiB
MAX_SEGMENT_VALUES = 1 << 24  # of any array that a segment becomes on its way to an embedding
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")  # what Keras and TensorFlow take


@dataclass(frozen=True)
class FrontEnd:
    """Front-end settings: STFT, mel bands, level, normalisation. Defaults: the authors' (C).

    Attributes:
        sample_rate: of the mono input, in Hz.
        n_fft: STFT and window length in samples (periodic Hann window).
        hop_length: samples between STFT frames.
        n_mels: mel bands (Slaney scale, Slaney area norm, on the magnitude).
        f_min_hz, f_max_hz: edges of the filterbank in Hz.
        segment_frames: STFT frames in one model input.
        log_scale: c in the compression log10(1 + c x).
        mean, std: the log-mel is standardised as (x - mean) / std.
        level_db: RMS that every segment is brought to, in dB re full scale; None leaves the
            level as it is (C). The bundled models have -17.
        level_floor_db: RMS from which a segment counts as this loud and no softer, so that
            silence is not made music.
    """

    sample_rate: int = 22050
    n_fft: int = 1024
    hop_length: int = 512
    n_mels: int = 128
    f_min_hz: float = 0.0
    f_max_hz: float = 11025.0
    segment_frames: int = 129
    log_scale: float = 10.0
    mean: float = 0.22620339
    std: float = 0.25794547
    level_db: float | None = None
    level_floor_db: float = -70.0

    def __post_init__(self) -> None:
        _check_ints(self, "sample_rate", MIN_RATE_HZ, MAX_RATE_HZ)
        _check_ints(self, "n_fft", 16, 65536)
        _check_ints(self, "hop_length", 1, self.n_fft)
        _check_ints(self, "n_mels", 1, 1024)
        _check_ints(self, "segment_frames", 1, 100_000)
        for name in ("f_min_hz", "f_max_hz", "mean"):
            _check_real(self, name, -1e6, 1e6)
        for name in ("log_scale", "std"):
            _check_real(self, name, 1e-6, 1e6)
        if self.level_db is not None:
            _check_real(self, "level_db", -60, 0)
        _check_real(self, "level_floor_db", -120, -20)
        if not 0 <= self.f_min_hz <= self.f_max_hz - 1 <= self.sample_rate / 2 - 1:
            raise ValueError(
                f"FrontEnd: mel bands from {self.f_min_hz} to {self.f_max_hz} Hz; allowed is "
                f"0 <= f_min_hz <= f_max_hz - 1 Hz, f_max_hz <= {self.sample_rate / 2} Hz (half "
                "the sample rate)."
            )
        if self.segment_samples > MAX_SEGMENT_SAMPLES:
            raise ValueError(
                f"FrontEnd: a segment of {self.segment_samples} samples; allowed are up to "
                f"{MAX_SEGMENT_SAMPLES}. Lower segment_frames or hop_length."
            )
        _check_values("FrontEnd", self.segment_frames, max(self.n_fft // 2 + 1, self.n_mels))

    def record(self) -> dict[str, Any]:
        """Return the fields as plain data; those of the level only where there is one."""
        fields = dataclasses.asdict(self)
        if self.level_db is None:
            fields = {name: value for name, value in fields.items() if name not in _LEVEL}
        return fields

    @property
    def pad_samples(self) -> int:
        """Samples of reflection at each end of a clip (a centred STFT)."""
        return self.n_fft // 2

    @property
    def segment_samples(self) -> int:
        """Samples of the padded clip that one segment needs (66,560)."""
        return (self.segment_frames - 1) * self.hop_length + self.n_fft

    @property
    def segment_hop_samples(self) -> int:
        """Samples between the starts of two segments (66,048)."""
        return self.segment_frames * self.hop_length

    @property
    def segment_hop_s(self) -> float:
        """Seconds between the starts of two segments (2.995)."""
        return self.segment_hop_samples / self.sample_rate

    def starts_s(self, n: int, offset_s: float = 0.0) -> list[float]:
        """Return where `n` segments begin, in seconds, the first at `offset_s`."""
        return [offset_s + number * self.segment_hop_s for number in range(n)]


_LEVEL = {"level_db", "level_floor_db"}  # absent in the record of a front end that keeps levels


@dataclass(frozen=True)
class Network:
    """The convolutional backbone of both models (P section 3, C `model.py`).

    Attributes:
        filters, kernel_sizes, pool_sizes: one entry per block, along time.
        l2: weight of the L2 penalty on each convolution kernel.
    """

    filters: tuple[int, ...] = (128, 128, 128, 128, 256)
    kernel_sizes: tuple[int, ...] = (4, 4, 4, 2, 1)
    pool_sizes: tuple[int, ...] = (4, 4, 4, 2, 1)
    l2: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("filters", "kernel_sizes", "pool_sizes"):
            values = getattr(self, name)
            if not isinstance(values, (list, tuple)):
                _refuse(self, name, "lists of integers")
            values = tuple(values)
            if not 1 <= len(values) <= 32 or len(values) != len(self.filters):
                raise ValueError(
                    f"Network: {name} has {len(values)} entries, filters {len(self.filters)}; "
                    "each block (1 to 32) needs one of each."
                )
            if not all(type(v) is int and 1 <= v <= 4096 for v in values):
                raise ValueError(
                    f"Network: {name} = {shown(values)}; allowed are integers 1 to 4096."
                )
            object.__setattr__(self, name, values)
        _check_real(self, "l2", 0.0, 1e6)

    @property
    def embedding_dim(self) -> int:
        """Length of an embedding: the filters of the last block."""
        return self.filters[-1]

    def frames_out(self, n_frames: int) -> int:
        """Return how many frames the pools leave of `n_frames`; 0 means none."""
        for pool_size in self.pool_sizes:
            n_frames //= pool_size
        return n_frames


@dataclass(frozen=True)
class ModelCard:
    """Model card: front end, network, training data, licence, scores, sha256 of the weights.

    Attributes:
        name: registry key or the folder's own name, without settings in it; up to 100
            letters, digits, "_", "." and "-".
        kind: "basic" (artist classifier) or "siamese" (negative sampling, hinge).
        description: one sentence for the table of models.
        license: SPDX id of the weights' licence.
        credit: who made the weights or what they were made from.
        weights_sha256: of `model.weights.h5`, 64 hexadecimal digits.
        training: data, hours, artists, recipe, seed, versions, command.
        scores: measured results, each with the command that printed it.
        pooling: how segment embeddings become one track vector; "mean" (C). A record, which
            `extract(pool=...)` does not look at.
    """

    name: str
    kind: str
    description: str
    license: str
    credit: str
    weights_sha256: str
    front_end: FrontEnd = field(default_factory=FrontEnd)
    network: Network = field(default_factory=Network)
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    pooling: str = "mean"

    def __post_init__(self) -> None:
        for name in ("name", "description", "license", "credit"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise ValueError(f"ModelCard: {name} must be a non-empty string.")
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"ModelCard: name {shown(self.name)}; allowed are up to 100 letters, "
                "digits, '_', '.' and '-', a letter or digit first."
            )
        for name, allowed in (("kind", ("basic", "siamese")), ("pooling", ("mean",))):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"ModelCard: {name} {shown(getattr(self, name))}; "
                    f"allowed is {' or '.join(map(repr, allowed))}."
                )
        if not isinstance(self.weights_sha256, str) or not _SHA256.fullmatch(self.weights_sha256):
            raise ValueError(
                f"ModelCard: weights_sha256 {shown(self.weights_sha256)}; "
                "allowed are 64 hexadecimal digits."
            )
        if not self.network.frames_out(self.front_end.segment_frames):
            raise ValueError(
                f"ModelCard: pool_sizes {self.network.pool_sizes} leave nothing of a segment of "
                f"{self.front_end.segment_frames} frames."
            )
        n_frames = self.front_end.segment_frames
        for filters, pool_size in zip(self.network.filters, self.network.pool_sizes, strict=True):
            _check_values("ModelCard", n_frames, filters)
            n_frames //= pool_size
        for name in ("training", "scores"):
            if not isinstance(getattr(self, name), dict):
                raise ValueError(f"ModelCard: {name} must be an object.")

    @property
    def embedding_dim(self) -> int:
        """Length of an embedding."""
        return self.network.embedding_dim

    @property
    def graph_sha256(self) -> str:
        """Hash of all that decides an embedding besides the weights."""
        graph = [self.front_end.record(), dataclasses.asdict(self.network), self.pooling]
        return hashlib.sha256(json.dumps(graph, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """Return the text of `artist_features.json`."""
        record = {"schema_version": SCHEMA_VERSION, "weights": "model.weights.h5"}
        record |= {"graph_sha256": self.graph_sha256} | dataclasses.asdict(self)
        record["front_end"] = self.front_end.record()
        return json.dumps(record, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "ModelCard":
        """Build a card from the parsed `artist_features.json`.

        Raises:
            ValueError: a field is missing, unknown, or outside what is allowed.
        """
        record = dict(record)
        for name in ("schema_version", "weights", "graph_sha256"):  # the reader's own
            record.pop(name, None)
        for name, kind in (("front_end", FrontEnd), ("network", Network)):
            if not isinstance(record.get(name), dict):
                raise ValueError(f"ModelCard: {name} must be an object.")
            record[name] = _build(kind, record[name])
        return _build(cls, record)


def _build(kind: type[Any], values: dict[str, Any]) -> Any:
    fields = dataclasses.fields(kind)
    names = {f.name for f in fields}
    if unknown := sorted(set(values) - names):
        raise ValueError(f"{kind.__name__}: unknown field {shown(unknown[0])}.")
    required = names - _LEVEL  # a file never relies on this version's defaults
    if kind is ModelCard:
        without = [f for f in fields if f.default is f.default_factory is dataclasses.MISSING]
        required = {f.name for f in without}
    if missing := sorted(required - set(values)):
        raise ValueError(f"{kind.__name__}: field {missing[0]!r} is missing.")
    return kind(**values)


def _check_ints(config: object, name: str, low: int, high: int) -> None:
    value = getattr(config, name)
    if type(value) is not int or not low <= value <= high:
        _refuse(config, name, f"integers {low} to {high}")


def _check_real(config: object, name: str, low: float, high: float) -> None:
    value = getattr(config, name)
    if type(value) not in (int, float) or not low <= value <= high:  # NaN is refused too
        _refuse(config, name, f"numbers {low:g} to {high:g}")


def _check_values(kind: str, n_frames: int, width: int) -> None:
    if n_frames * width > MAX_SEGMENT_VALUES:
        raise ValueError(
            f"{kind}: a segment becomes {n_frames} frames of {width} values; allowed are up to "
            f"{MAX_SEGMENT_VALUES} values in all. Lower segment_frames, or make it narrower."
        )


def _refuse(config: object, name: str, allowed: str) -> NoReturn:
    value = shown(getattr(config, name))
    raise ValueError(f"{type(config).__name__}: {name} = {value}; allowed are {allowed}.")


def shown(value: object) -> str:
    """Return a short `repr` for a message; a file may hold a megabyte in any field."""
    text = reprlib.repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
