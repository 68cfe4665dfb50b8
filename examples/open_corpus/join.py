"""Join the manifests of a folder's sub-folders into the folder's own.

python join.py OUT
"""

import argparse
import sys
from pathlib import Path

from store import read_rows, write_rows


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder whose OUT/*/manifest.csv are joined")
    out = parser.parse_args(argv).out
    rows = []
    for part in sorted(out.glob("*/manifest.csv")):
        kept = [row for row in read_rows(part) if (part.parent / row["file"]).exists()]
        rows += [row | {"file": f"{part.parent.name}/{row['file']}"} for row in kept]
    write_rows(out / "manifest.csv", rows)
    for kind in sorted({row["kind"] for row in rows}):
        lengths = [float(row["seconds"]) for row in rows if row["kind"] == kind]
        print(f"{kind}: {len(lengths)} files, {sum(lengths) / 3600:.2f} h")
    return 0


if __name__ == "__main__":
    sys.exit(main())
