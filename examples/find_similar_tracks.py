"""What in a folder of music sounds like what?

python examples/find_similar_tracks.py ~/Music              # three neighbours of each track
python examples/find_similar_tracks.py ~/Music song.mp3     # ten of one track, in it or not

For large libraries: `artist-features extract`, `index build`, `similar`.
"""

import os
import sys

import numpy as np

from artist_features import Extractor, Index
from artist_features.library.inputs import find_audio


def build_index(folder, extractor):
    """Extract every track of a folder that can be read; return their index."""
    found = find_audio([os.path.realpath(folder)])
    paths = [path for path in found if isinstance(path, str)]
    vectors = extractor.extract(paths, on_error="nan")
    usable = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
    if not usable.any():
        sys.exit(f"no track in {folder} could be used")
    return Index.build(vectors[usable], np.array(paths)[usable].tolist(), extractor)


def show(name, matches):
    print(name)
    for match in matches:
        print(f"  {match.similarity:.3f}  {match.track.path}")


def main(folder, song=None):
    extractor = Extractor()
    index = build_index(folder, extractor)
    if song is not None:
        row = index.row_of(os.path.realpath(song))
        vector = extractor.extract(song) if row is None else index.vector(row)
        show(song, index.query(vector, k=10, exclude_rows=[] if row is None else [row]))
        return
    for row in range(len(index)):
        matches = index.query(index.vector(row), k=3, exclude_rows=[row])
        show(index.track(row).path, matches)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
