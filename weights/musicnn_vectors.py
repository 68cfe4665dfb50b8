"""Compute musicnn's vectors of tracks: targets for `artist-features train --targets`.

    pip download --no-deps musicnn
    python weights/musicnn_vectors.py musicnn-0.1.0-py3-none-any.whl MANIFEST... -o musicnn.npz

Of each track the mean-pool layer (753 numbers) of MSD_musicnn for 10 patches of 3 s that begin
at equal distances. Only the numbers of the wheel's checkpoint are read; none of its
code runs. Needs the extra [evaluate] (librosa).

Source: J. Pons, X. Serra, musicnn: pre-trained convolutional neural networks for music audio
tagging, ISMIR 2019 late-breaking; the package musicnn 0.1.0 (ISC licence, Copyright (c) 2019
Music Technology Group, Universitat Pompeu Fabra) for layers, sizes and signal chain.
"""

import argparse
import tempfile
import zipfile
from pathlib import Path

import librosa
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from artist_features.errors import AudioError
from artist_features.signal.audio import Clip, read_file
from artist_features.training.manifest import read_manifest

# musicnn's signal chain
SAMPLE_RATE, N_FFT, HOP, N_MELS = 16000, 512, 256, 96
PATCH_FRAMES = 187  # 3 s
N_PATCHES = 10  # of a track
MODEL = "musicnn/MSD_musicnn/"
BATCH_NORM_EPSILON = 1e-3  # TensorFlow's default, which musicnn keeps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path, help="musicnn's wheel")
    parser.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST")
    parser.add_argument("-o", "--out", type=Path, required=True, help=".npz")
    args = parser.parse_args()
    if args.out.suffix != ".npz":
        parser.error(f"-o {args.out}: the name must end in .npz")
    paths = [track.path for manifest in args.manifests for track in read_manifest(manifest)]
    network = tf.function(
        Musicnn(args.wheel), [tf.TensorSpec((None, PATCH_FRAMES, N_MELS), tf.float32)]
    )
    vectors = np.full((len(paths), N_PATCHES, 753), np.nan, np.float32)
    for row, path in enumerate(tqdm(paths, unit="track")):
        try:
            vectors[row] = network(patches(path)).numpy()
        except AudioError as error:
            tqdm.write(str(error))
    names = np.array([str(path) for path in paths])
    np.savez(args.out, paths=names, embeddings=vectors)
    n_missing = int(np.isnan(vectors[:, 0, 0]).sum())
    print(f"{args.out}: {len(paths)} tracks, {n_missing} of them without a vector")


def patches(path):
    """Return the log-mel of patches spread over a track, float32 `(10, 187, 96)`.

    Raises:
        AudioError: it cannot be read, or is shorter than a patch.
    """
    samples = np.concatenate(list(read_file(path, Clip(), target_rate=SAMPLE_RATE)))
    mel = librosa.feature.melspectrogram(
        y=samples, sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP, n_mels=N_MELS
    ).T
    if len(mel) < PATCH_FRAMES:
        raise AudioError("out_of_range", "is shorter than 3 s, a patch of musicnn.", path)
    log_mel = np.log10(10000 * mel + 1).astype(np.float32)
    starts = np.linspace(0, len(mel) - PATCH_FRAMES, N_PATCHES).astype(int)
    return np.stack([log_mel[start : start + PATCH_FRAMES] for start in starts])


class Musicnn:
    """The network up to its mean-pool layer, with the numbers of the wheel's checkpoint.

    Args:
        wheel: path of the wheel.
    """

    def __init__(self, wheel):
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
            for part in (".index", ".data-00000-of-00001"):
                archive.extract(MODEL + part, folder)
            reader = tf.compat.v1.train.NewCheckpointReader(f"{folder}/{MODEL}")
            self._values = {
                name: tf.constant(reader.get_tensor(name))
                for name in reader.get_variable_to_shape_map()
                if "Adam" not in name and name.startswith(("conv2d", "batch_normalization"))
            }

    def __call__(self, log_mel):
        """Return mean-pool vectors float32 `(n, 753)` of patches `(n, n_frames, 96)`."""
        image = self._norm(log_mel[..., None], 0)  # (batch, time, mel, 1)
        front = [self._timbral(image, number) for number in (0, 1)]
        front += [self._temporal(image, number) for number in (2, 3, 4)]
        front = tf.concat(front, -1)  # (batch, time, 561)
        first = self._middle(front, 5)
        second = self._middle(first, 6) + first
        third = self._middle(second, 7) + second
        return tf.reduce_mean(tf.concat([front, first, second, third], -1), axis=1)

    def _timbral(self, image, number):
        padded = tf.pad(image, [[0, 0], [3, 3], [0, 0], [0, 0]])
        return tf.reduce_max(self._convolve(padded, number, "VALID"), axis=2)

    def _temporal(self, image, number):
        return tf.reduce_max(self._convolve(image, number, "SAME"), axis=2)

    def _middle(self, rows, number):
        padded = tf.pad(rows, [[0, 0], [3, 3], [0, 0]])[..., None]
        return self._convolve(padded, number, "VALID")[:, :, 0]

    def _convolve(self, image, number, padding):
        name = f"conv2d_{number}" if number else "conv2d"
        kernel, bias = self._values[f"{name}/kernel"], self._values[f"{name}/bias"]
        found = tf.nn.relu(tf.nn.conv2d(image, kernel, 1, padding) + bias)
        return self._norm(found, number + 1)

    def _norm(self, values, number):
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        mean, variance, beta, gamma = (
            self._values[f"{name}/{part}"]
            for part in ("moving_mean", "moving_variance", "beta", "gamma")
        )
        return tf.nn.batch_normalization(values, mean, variance, beta, gamma, BATCH_NORM_EPSILON)


if __name__ == "__main__":
    main()
