"""Validation during training: loss, artist retrieval and likeness to the teacher."""

import numpy as np

from artist_features import metrics
from artist_features.signal.segments import Segmenter
from artist_features.training.losses import MARGIN
from artist_features.training.sampling import Sampler

_BATCH = 128
_N_PLANS = 20
_N_ANCHORS = 64
_SEED = 0  # the same draws at every check of every run


class Validation:
    """The check of a run: the same tracks and draws each time.

    Tracks of held-out artists give the Siamese loss and the artist-retrieval MAP; kept
    tracks of trained artists give the classifier's loss.

    Args:
        data: `TrainingSet`.
        kind: "basic" or "siamese".
        recipe: `Recipe`.
        front_end: `FrontEnd`.
        teacher: function of waveforms like `embed` of `check`, or None.
    """

    def __init__(self, data, kind, recipe, front_end, teacher=None):
        self._data, self._kind, self._recipe = data, kind, recipe
        self._tracks = np.concatenate([data.held_out, data.known])
        self._segments = [_segments(data.cache.track(track), front_end) for track in self._tracks]
        self._targets = self._embed_all(teacher) if teacher else None
        by_artist = [np.flatnonzero(data.held_out_labels == n) for n in set(data.held_out_labels)]
        self._sampler = None
        if len(by_artist) > 1:
            self._sampler = Sampler(
                by_artist,
                np.zeros(0, int),
                n_anchors=_N_ANCHORS,
                n_negatives=recipe.n_negatives,
                seed=_SEED,
            )

    def check(self, embed, logits):
        """Measure a model.

        Args:
            embed: function from waveforms float32 `(n, n_samples, 1)` to embeddings.
            logits: function from embeddings to the classifier's logits.

        Returns:
            dict of floats: `map` (held-out artists), `label` (the kind's own loss),
            `accuracy` (classifier, per track), `cosine` (to the teacher); each only
            where the data allow it. `loss` is what the schedule watches: the label
            loss, or 1 - cosine where labels do not train.
        """
        by_track = self._embed_all(embed)
        n_held = len(self._data.held_out)
        found = {}
        if self._sampler:
            means = np.stack([rows.mean(0) for rows in by_track[:n_held]])
            found["map"] = metrics.retrieval(
                means, self._data.held_out_labels
            ).mean_average_precision
        if self._targets:
            found["cosine"] = float(
                np.mean([_cosine(a, b) for a, b in zip(by_track, self._targets, strict=True)])
            )
        if self._recipe.label_weight[self._kind]:
            if self._kind == "basic" and len(self._data.known):
                found |= self._entropy(by_track[n_held:], logits)
            if self._kind == "siamese" and self._sampler:
                found["label"] = self._hinge(by_track[:n_held])
        if "label" in found:
            found["loss"] = found["label"]
        elif "cosine" in found:
            found["loss"] = 1 - found["cosine"]
        return found

    def _embed_all(self, embed):
        counts = [len(rows) for rows in self._segments]
        rows = [row for rows in self._segments for row in rows]
        out = [
            np.asarray(embed(np.stack(rows[n : n + _BATCH]).astype(np.float32)[..., None] / 32767))
            for n in range(0, len(rows), _BATCH)
        ]
        return np.split(np.concatenate(out), np.cumsum(counts)[:-1]) if out else []

    def _hinge(self, by_track):
        """The paper's loss per anchor, one segment of each drawn track."""
        rng, total = np.random.default_rng(_SEED), 0.0
        for number in range(_N_PLANS):
            plan = self._sampler.plan(number)

            def pick(tracks):
                rows = [by_track[t][rng.integers(len(by_track[t]))] for t in tracks.ravel()]
                rows = np.stack(rows) / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
                return rows.reshape(*tracks.shape, -1)

            anchors = pick(plan.anchors)
            positive = np.sum(anchors * pick(plan.positives), -1, keepdims=True)
            negative = np.einsum("nd,nkd->nk", anchors, pick(plan.negatives))
            total += np.maximum(0.0, MARGIN - positive + negative).sum()
        return float(total / (_N_PLANS * _N_ANCHORS))

    def _entropy(self, by_track, logits):
        losses, right = [], []
        for rows, label in zip(by_track, self._data.known_labels, strict=True):
            scores = logits(rows)
            scores = scores - scores.max(-1, keepdims=True)
            log_p = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
            losses.append(-log_p[:, label].mean())
            right.append(log_p.mean(0).argmax() == label)
        return {"label": float(np.mean(losses)), "accuracy": float(np.mean(right))}


def _segments(samples, front_end):
    """Cut int16 samples; the scale does not matter to the padding."""
    segmenter = Segmenter(front_end)
    parts = [segmenter.push(samples.astype(np.float32)), segmenter.finish()]
    return np.concatenate(parts).astype(np.int16)


def _cosine(a, b):
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean(np.sum(a * b, axis=1) / norms.clip(1e-12)))
