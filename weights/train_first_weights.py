"""Train the first bundled weights, `weights/siamese` and `weights/basic`.

    artist-features import-authors model_siamese_10000.h5 teacher
    python weights/train_first_weights.py MANIFEST --teacher teacher

Half an hour of training on two CPU cores. First one backbone learns to match the
authors' released Siamese-10000 embeddings (distillation) on random 3 s crops; then two
copies of it go on, each with its own artist-label loss beside the distillation: hinge
with in-batch negatives (siamese), softmax over the training artists (basic). Every
fourth artist with two or more tracks is held out and used for the check at the end.
"""

import argparse
import datetime
import hashlib
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from artist_features import extract
from artist_features.config import FrontEnd
from artist_features.training.cache import AudioCache
from artist_features.training.losses import MARGIN
from artist_features.training.manifest import read_manifest
from artist_features.zoo import folder as model_folder
from artist_features.zoo import models
from artist_features.zoo.registry import read_model

N_LABELLED_ARTISTS = 40  # per batch, two tracks each
N_FREE_CROPS = 176  # per batch, from any training track
N_NEGATIVES = 4
LABEL_WEIGHT = {"siamese": 0.1, "basic": 0.1}


def main():
    args = parse_args()
    keras.utils.set_random_seed(args.seed)
    tracks = read_manifest(args.manifest)
    train, held_out = split_by_artist(tracks)
    cache = AudioCache.build([t.path for t in tracks], args.cache, FrontEnd().sample_rate)
    print(f"{len(train)} tracks to train on, {len(held_out)} held out; {cache.failures}")
    card, weights = read_model(str(args.teacher))
    teacher = tail(model_folder.build(card, weights))

    shared = models.backbone()
    data = hashlib.sha256(args.manifest.read_bytes()).hexdigest()
    run = f"{args.steps}-{args.seed}-{card.weights_sha256[:8]}-{data[:8]}"
    saved = args.cache / f"shared-{run}.weights.h5"
    if saved.exists():  # an earlier run got this far
        shared.load_weights(saved)
    else:
        batches = Batches(cache, tracks, train, args.seed)
        fit("distil", shared, None, teacher, batches, args.steps, 4e-3)
        shared.save_weights(saved)
    results = {"authors": score(args.teacher, held_out)}
    for kind in ("siamese", "basic"):
        model = models.backbone(name=kind)
        model.set_weights(shared.get_weights())
        batches = Batches(cache, tracks, train, args.seed + 1)
        fit(kind, model, kind, teacher, batches, args.label_steps, 1e-3)
        # the score is part of the card, so the folder is written twice
        for scores in ({}, None):
            if scores is None:
                results[kind] = score(args.out / kind, held_out)
                scores = describe(results, kind, held_out)
            fields = card_fields(kind, args, card, cache, train, batches, scores)
            model_folder.write_folder(args.out / kind, model, fields)
    for name, value in results.items():
        print(f"{name:8s} artist MAP {value:.3f} on held-out artists")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--teacher", required=True, help="model folder of the authors' weights")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--cache", type=Path, default=Path(".cache/first_weights"))
    parser.add_argument("--steps", type=int, default=3000, help="of distillation alone")
    parser.add_argument("--label-steps", type=int, default=800, help="of each model's own")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def split_by_artist(tracks):
    """Hold out every fourth artist (by name) among those with two or more tracks."""
    names = sorted({t.artist for t in tracks if t.artist})
    several = [n for n in names if sum(t.artist == n for t in tracks) > 1]
    chosen = set(several[::4])
    return [t for t in tracks if t.artist not in chosen], [t for t in tracks if t.artist in chosen]


class Batches:
    """Batches of crops: (anchor, positive) pairs of artists, then free crops."""

    def __init__(self, cache, tracks, train, seed):
        self.cache, self.rng = cache, np.random.default_rng(seed)
        index = {id(t): i for i, t in enumerate(tracks)}
        usable = [t for t in train if cache.length(index[id(t)]) > FrontEnd().segment_samples]
        self.free = [index[id(t)] for t in usable]
        by_artist = {}
        for t in usable:
            if t.artist:
                by_artist.setdefault(t.artist, []).append(index[id(t)])
        self.artists = [ids for _, ids in sorted(by_artist.items()) if len(ids) > 1]

    def __iter__(self):
        n_samples = FrontEnd().segment_samples
        while True:
            chosen = self.rng.choice(len(self.artists), N_LABELLED_ARTISTS, replace=False)
            pairs = [self.rng.choice(self.artists[a], 2, replace=False) for a in chosen]
            ids = [p[0] for p in pairs] + [p[1] for p in pairs]
            ids += list(self.rng.choice(self.free, N_FREE_CROPS))
            crops = np.stack([self.cache.crop(t, n_samples, self.rng) for t in ids])
            shift = 1 + self.rng.permutation(N_LABELLED_ARTISTS - 1)[:N_NEGATIVES]
            yield crops, chosen.astype(np.int32), shift.astype(np.int32)

    def dataset(self):
        n = 2 * N_LABELLED_ARTISTS + N_FREE_CROPS
        return tf.data.Dataset.from_generator(
            lambda: iter(self),
            output_signature=(
                tf.TensorSpec((n, FrontEnd().segment_samples), tf.float32),
                tf.TensorSpec((N_LABELLED_ARTISTS,), tf.int32),
                tf.TensorSpec((N_NEGATIVES,), tf.int32),
            ),
        ).prefetch(4)


def tail(model):
    """The part of a backbone behind the mel filterbank."""
    return keras.Model(model.get_layer("drop_channel").output, model.output)


def augment_waveforms(crops):
    """Random gain -12 to +6 dB; 15 % mixed with another crop, 10 % with noise."""
    n = tf.shape(crops)[0]
    level = 10 ** (-tf.random.uniform((n, 1), 3, 18) / 20)
    mixed = tf.cast(tf.random.uniform((n, 1)) < 0.15, tf.float32)
    crops += mixed * level * tf.random.shuffle(crops)
    crops *= 10 ** (tf.random.uniform((n, 1), -12, 6) / 20)
    noisy = tf.cast(tf.random.uniform((n, 1)) < 0.1, tf.float32)
    noise = tf.random.normal((1, crops.shape[1]))  # one for the batch: drawing it is the cost
    return crops + noisy * 10 ** (tf.random.uniform((n, 1), -80, -35) / 20) * noise


def augment_mel(mel):
    """20 % smooth EQ within 9 dB; 30 % band-limited above 4 to 11 kHz."""
    n, bands = tf.shape(mel)[0], mel.shape[2]
    points = tf.random.uniform((n, 1, 6, 1), -9, 9)
    curve = tf.image.resize(points, (1, bands), method="bicubic")[:, :, :, 0]
    equalised = tf.cast(tf.random.uniform((n, 1, 1)) < 0.2, tf.float32)
    mel *= 10 ** (equalised * curve / 20)
    # Slaney bands from 4 kHz (band 86 of 128) up
    cutoff = tf.random.uniform((n, 1, 1), 0.67, 1.0) * bands
    limited = tf.random.uniform((n, 1, 1)) < 0.3
    above = tf.cast(tf.range(bands), tf.float32)[None, None] > cutoff
    return tf.where(limited & above, tf.zeros_like(mel), mel)


def fit(title, model, kind, teacher, batches, steps, rate):
    front = keras.Model(model.input, model.get_layer("drop_channel").output)
    student = tail(model)
    head = keras.layers.Dense(len(batches.artists), name="artist")
    head.build((None, 256))
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps, alpha=0.0, warmup_target=rate, warmup_steps=min(200, steps // 5)
    )
    optimizer = keras.optimizers.Adam(schedule)
    variables = student.trainable_variables
    if kind == "basic":
        variables = variables + head.trainable_variables
    optimizer.build(variables)

    @tf.function
    def step(crops, artists, shift):
        mel = augment_mel(front(augment_waveforms(crops)[..., None], training=False))
        target = teacher(mel, training=False)
        with tf.GradientTape() as tape:
            out = student(mel, training=True)
            cosine = tf.reduce_sum(unit(out) * unit(target), -1)
            loss = tf.reduce_mean((out - target) ** 2) + 2 * tf.reduce_mean(1 - cosine)
            label = tf.constant(0.0)
            n = N_LABELLED_ARTISTS
            if kind == "siamese":
                similarity = tf.matmul(unit(out[:n]), unit(out[n : 2 * n]), transpose_b=True)
                positive = tf.linalg.diag_part(similarity)[:, None]
                columns = (tf.range(n)[:, None] + shift[None]) % n
                negatives = tf.gather(similarity, columns, batch_dims=1)
                label = tf.reduce_sum(tf.maximum(0.0, MARGIN - positive + negatives)) / n
            elif kind == "basic":
                logits = head(out[: 2 * n])
                targets = tf.concat([artists, artists], 0)
                label = tf.reduce_mean(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
                )
            loss += LABEL_WEIGHT.get(kind, 0.0) * label + tf.add_n(student.losses)
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), 1.0)
        optimizer.apply(gradients, variables)
        return tf.reduce_mean(cosine), label

    start, seen = time.monotonic(), []
    for number, batch in enumerate(batches.dataset().take(steps), start=1):
        seen.append([float(v) for v in step(*batch)])
        if number % 100 == 0 or number == steps:
            cosine, label = np.mean(seen[-100:], axis=0)
            minutes = (time.monotonic() - start) / 60
            print(
                f"{title} {number}/{steps} cosine {cosine:.4f} label {label:.3f} {minutes:.1f} min",
                flush=True,
            )


def unit(x):
    return tf.math.l2_normalize(x, -1)


def score(model, held_out):
    """Mean average precision of finding the other tracks of a held-out artist."""
    vectors = extract([t.path for t in held_out], model=str(model))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    artists = np.array([t.artist for t in held_out])
    precisions = []
    for row in range(len(vectors)):
        order = np.argsort(-vectors @ vectors[row], kind="stable")
        hits = (artists == artists[row])[order[order != row]]
        ranks = np.flatnonzero(hits) + 1
        precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return float(np.mean(precisions))


def describe(results, kind, held_out):
    n_artists = len({t.artist for t in held_out})
    return {
        "held_out_artist_map": round(results[kind], 3),
        "authors_siamese_10000_artist_map": round(results["authors"], 3),
        "measured": (
            f"finding the other tracks of an artist among {len(held_out)} tracks of {n_artists} "
            f"artists not labelled in training; {datetime.date.today()}, CPU, by the command above"
        ),
    }


def card_fields(kind, args, teacher, cache, train, batches, scores):
    hours = sum(cache.length(t) for t in batches.free) / cache.sample_rate / 3600
    label = {"siamese": "hinge, margin 0.4, 4 in-batch negatives", "basic": "softmax over artists"}
    command = "python weights/train_first_weights.py " + " ".join(
        shlex.quote(Path(a).name if "/" in a else a) for a in sys.argv[1:]
    )
    return {
        "name": kind,
        "kind": kind,
        "description": f"First weights: distilled from the authors' model, then {label[kind]}.",
        "license": "MIT",
        "credit": (
            "Trained by artist_features on freely licensed music (CC BY, CC BY-SA, CC0, GPL, "
            "public domain). Teacher: the weights of Park et al., ISMIR 2018 "
            "(jongpillee/ismir2018-artist, MIT, Copyright (c) 2018 Jongpil Lee)."
        ),
        "training": {
            "data": "open corpus of game music and net albums, at most 60 s a track",
            "hours": round(hours, 2),
            "n_tracks": len(train),
            "n_artists": len(batches.artists),
            "recipe": (
                f"{args.steps} steps of distillation alone, then {args.label_steps} with "
                f"{label[kind]} (weight {LABEL_WEIGHT[kind]}); 256 crops a step, Adam, cosine decay"
            ),
            "teacher": f"{teacher.name}, sha256 {teacher.training.get('source_file_sha256', '')}",
            "seed": args.seed,
            "date": str(datetime.date.today()),
            "device": "2 CPU cores",
            "versions": {name: version(name) for name in ("tensorflow", "keras", "kapre", "numpy")},
            "command": command,
            "limits": "little singing, no speech, few artists: a first set, to be replaced",
        },
        "scores": scores,
    }


if __name__ == "__main__":
    main()
