"""Whole extraction against decoding alone, and against the way it is done by hand."""

import concurrent.futures
import itertools
import multiprocessing
import os
from contextlib import ExitStack

import numpy as np
from measure import at_least, at_most, interleaved, n_cores

from artist_features.audio.stream import open_file
from artist_features.extraction.extractor import Extractor

_LIMIT_OVER_DECODING = 1.6
_LIMIT_FASTER_THAN_BY_HAND = 4.0
_BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def mixed_order(files):
    """Interleave {encoding: paths} to one list, one of each encoding in turn."""
    rows = itertools.zip_longest(*files.values())
    return [path for row in rows for path in row if path is not None]


def decode_only(path, target_rate):
    """Decode, mix and resample one file; keep nothing; return the number of samples."""
    return sum(len(block) for block in open_file(path, target_rate=target_rate))


def decode_pool(kind, n_workers):
    """Return a warmed pool of "threads" or "processes" that decode."""
    if kind == "threads":
        pool = concurrent.futures.ThreadPoolExecutor(n_workers)
    else:
        # as the package's own processes: one thread for BLAS, started afresh
        os.environ.update(dict.fromkeys(_BLAS_VARIABLES, "1"))
        spawn = multiprocessing.get_context("spawn")
        pool = concurrent.futures.ProcessPoolExecutor(n_workers, mp_context=spawn)
        list(pool.map(abs, range(16 * n_workers)))
        for name in _BLAS_VARIABLES:
            del os.environ[name]
    return pool


def over_decoding(files, model, repeats, n_workers=None):
    """Measure extraction with threads and with processes against decoding alone.

    Args:
        files: {encoding: paths}.
        model: for `Extractor`.
        repeats: rounds.
        n_workers: decoders at once; None means all cores.

    Returns:
        list of `Figure`.
    """
    paths = mixed_order(files)
    n_workers = n_workers or n_cores()
    extractors = {
        "threads": Extractor(model, n_workers=n_workers, isolated=False),
        "processes": Extractor(model, n_workers=n_workers, isolated=True),
    }
    variants = {}
    with ExitStack() as stack:
        for kind, extractor in extractors.items():
            pool = stack.enter_context(decode_pool(kind, n_workers))
            rates = [extractor.front_end.sample_rate] * len(paths)
            variants[f"decode, {kind}"] = lambda pool=pool, rates=rates: list(
                pool.map(decode_only, paths, rates)
            )
            variants[f"extract, {kind}"] = lambda extractor=extractor: extractor.extract(paths)
        rounds = interleaved(variants, repeats)
    figures = []
    for kind in extractors:
        whole, alone = f"extract, {kind}", f"decode, {kind}"
        cpu_ms = {name: 1000 * rounds.median_cpu_s(name) / len(paths) for name in (whole, alone)}
        each_ms = {name: 1000 * rounds.median_s(name) / len(paths) for name in (whole, alone)}
        figures.append(
            at_most(
                f"whole extraction / decoding alone, {kind}",
                rounds.ratio(whole, alone),
                "x",
                _LIMIT_OVER_DECODING,
                f"{each_ms[whole]:.1f} / {each_ms[alone]:.1f} ms a file, {len(paths)} files, "
                f"{n_workers} {kind}, {1000 / each_ms[whole]:.0f} files/s; "
                f"CPU {cpu_ms[whole]:.1f} / {cpu_ms[alone]:.1f} ms a file; {rounds.remark()}",
            )
        )
    return figures


class ByHand:
    """What a user writes without this package: librosa for each file, then `predict`."""

    def __init__(self, extractor):
        import keras

        self._front_end = extractor.front_end
        whole = extractor.model
        log_mel = whole.get_layer("standardised").output
        self._cnn = keras.Model(log_mel, whole.output)

    def embed(self, path):
        """Return the embedding of one file, float32 `(dim,)`."""
        import librosa

        front_end = self._front_end
        samples, _ = librosa.load(path, sr=front_end.sample_rate)
        mel = librosa.feature.melspectrogram(
            y=samples,
            sr=front_end.sample_rate,
            n_fft=front_end.n_fft,
            hop_length=front_end.hop_length,
            n_mels=front_end.n_mels,
            power=1.0,
            pad_mode="reflect",
        )
        log_mel = (np.log10(1 + front_end.log_scale * mel.T) - front_end.mean) / front_end.std
        n_segments = len(log_mel) // front_end.segment_frames
        log_mel = log_mel[: n_segments * front_end.segment_frames]
        segments = log_mel.reshape(n_segments, front_end.segment_frames, front_end.n_mels)
        return self._cnn.predict(segments, verbose=0).mean(axis=0)


def against_by_hand(files, model, repeats):
    """Measure `Extractor.extract` against a loop with librosa and `model.predict`.

    Returns:
        list of `Figure`.
    """
    paths = mixed_order(files)
    extractor = Extractor(model)
    by_hand = ByHand(extractor)
    rows = [by_hand.embed(path) for path in paths]
    ours = extractor.extract(paths)
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(ours, axis=1)
    cosine = float(np.min(np.sum(rows * ours, axis=1) / norms))
    variants = {
        "librosa + predict": lambda: [by_hand.embed(path) for path in paths],
        "extract": lambda: extractor.extract(paths),
    }
    rounds = interleaved(variants, repeats)
    each_ms = {name: 1000 * rounds.median_s(name) / len(paths) for name in variants}
    return [
        at_least(
            "faster than librosa + `predict` in a loop",
            rounds.ratio("librosa + predict", "extract"),
            "x",
            _LIMIT_FASTER_THAN_BY_HAND,
            f"{each_ms['librosa + predict']:.1f} / {each_ms['extract']:.1f} ms a file, "
            f"{len(paths)} files; least cosine of the two vectors {cosine:.6f}; "
            f"{rounds.remark()}",
        )
    ]
