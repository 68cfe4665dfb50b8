"""Artist retrieval of the bundled models and the baselines, written to docs/results.md.

    python docs/results.py MANIFEST

The tracks are those of the manifest's test part (its column split, or the split by artist of
seed 0, which the bundled weights never heard where MANIFEST is the one they were trained on).
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent
MODELS = ("siamese", "basic")
BASELINES = ("mfcc", "mfcc-raw", "chance")


def main():
    args = parse_args()
    words = ["evaluate", "artists", args.manifest, "--split", "test"]
    for model in args.model or MODELS:
        words += ["--model", model]
    for baseline in BASELINES:
        words += ["--baseline", baseline]
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.json"
        table = evaluate([*words, "--json", record])
        measured = json.loads(record.read_text(encoding="utf-8"))
    args.out.write_text(report(args, words, table, measured), encoding="utf-8")
    print(f"written to {args.out}")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path, metavar="MANIFEST")
    parser.add_argument("--data", default="open music corpus", help="name of the data, to print")
    parser.add_argument("--model", action="append", help="instead of the bundled ones")
    parser.add_argument("--out", type=Path, default=DOCS / "results.md")
    return parser.parse_args()


def evaluate(words):
    """Run the command line in a process of its own; return what it prints."""
    words = [sys.executable, "-m", "artist_features.cli.main", *map(str, words)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    if done.returncode:  # also where some tracks were left out: the figures would not be whole
        sys.exit(done.returncode)
    return done.stdout


def report(args, words, table, measured):
    """Return the text of docs/results.md."""
    shown = [Path(word).name if word is args.manifest else str(word) for word in words]
    hashes = [
        f"{row['name']} {row['weights_sha256'][:12]}"
        for row in measured["models"]
        if row["weights_sha256"]
    ]
    versions = ", ".join(f"{name} {number}" for name, number in measured["versions"].items())
    return "\n".join(
        [
            "# Artist retrieval",
            "",
            f"Written by `python docs/results.py MANIFEST` on {measured['date'][:10]}, "
            f"{measured['device']}. Data: {args.data}, manifest sha256 "
            f"{measured['manifest_sha256'][:12]}, the test part of the split by artist "
            f"(seed {measured['split_seed']}) or of its own column. Every track asks once for the "
            "other tracks of its artist.",
            "",
            table.strip(),
            "",
            f"The same table: `artist-features {shlex.join(shown)}`. Weights (sha256): "
            f"{', '.join(hashes)}. {versions}.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
