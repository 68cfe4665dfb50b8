"""One recording in, one vector out.

python examples/extract_one_file.py song.mp3
"""

import sys

import numpy as np

from artist_features import extract


def main(path):
    vector = extract(path)
    print(f"{path}: float32 {vector.shape}, length {np.linalg.norm(vector):.2f}")

    segments = extract(path, pool=None)
    directions = segments / np.linalg.norm(segments, axis=1, keepdims=True)
    similarity = directions @ directions[0]
    print(f"{len(segments)} segments of 3 s; cosine similarity of each to the first:")
    print(np.round(similarity, 2))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
