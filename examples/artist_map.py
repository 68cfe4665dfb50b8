"""A folder or a manifest of music in, a page on which every track is a point out.

python examples/artist_map.py ~/Music music.html
python examples/artist_map.py ~/Music/manifest.csv music.html
"""

import sys
from pathlib import Path

from artist_features.cli.main import main as artist_features


def main(source, page):
    source, vectors = Path(source), Path(page).with_suffix(".npz")
    if source.suffix == ".csv":
        folder, how = source.parent, ["--manifest", source, "--color", "artist"]
    else:
        folder, how = source, ["--color", "folder"]

    # a second run extracts only what is new
    failed = artist_features(["extract", str(folder), "-o", str(vectors)])
    if failed > 1:
        return failed
    return artist_features(["map", str(vectors), "-o", str(page), "--force", *map(str, how)])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
