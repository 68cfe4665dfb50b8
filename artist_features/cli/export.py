"""`artist-features whiten | export`: a model made of another."""

import argparse
import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator

from artist_features.cli import Commands, add_root_option, train
from artist_features.cli.stopping import OrderlyStop
from artist_features.errors import ArtistFeaturesError, display_path
from artist_features.export import FORMATS, PRECISIONS, export_model

logger = logging.getLogger(__name__)


def add_parser(commands: Commands) -> None:
    """Add the commands to the parser."""
    parser = commands.add_parser(
        "whiten",
        help="compute the last block of a trained model anew, so that its embeddings are whitened",
        description="Write a copy of a model whose last block is not trained but computed: it "
        "whitens what the block before it makes of the manifests' tracks to train on. Cosines "
        "between embeddings then rest on all their directions, not on the few in which music "
        "varies most. No labels are used.",
    )
    parser.add_argument("model", metavar="MODEL", help="name, folder or hf://owner/name")
    parser.add_argument("manifests", nargs="+", metavar="MANIFEST", help="CSV: file,artist,title")
    add_root_option(parser)
    parser.add_argument(
        "-o", "--output", dest="out", required=True, metavar="DIR", help="folder of the new model"
    )
    parser.add_argument("--name", default="", help="of the new model (default: that of the folder)")
    parser.add_argument("--cache", metavar="DIR", help="prepared audio (default: DIR/cache)")
    parser.add_argument(
        "--split-seed", type=int, default=0, metavar="N", help="of the held-out artists"
    )
    parser.add_argument(
        "--force", action="store_true", help="also into a folder that has files: replace a model's"
    )
    parser.set_defaults(command=whiten)

    parser = commands.add_parser(
        "export",
        help="a model as ONNX, TFLite or SavedModel, its front end included",
        description="Write a model for another runtime: waveform segments (batch, 66560) at "
        "22,050 Hz to embeddings (batch, 256). What was written is compared with Keras before it "
        "is put in place. ONNX needs the extra [onnx].",
    )
    parser.add_argument("model", metavar="MODEL", help="name, folder or hf://owner/name[@revision]")
    parser.add_argument("--format", required=True, choices=tuple(FORMATS))
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT", help=".onnx, .tflite, or a new folder"
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="of the weights (default: float32); saved_model has float32 only",
    )
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    parser.set_defaults(command=export)


def whiten(args: argparse.Namespace) -> int:
    """Write a copy of a model with its last block whitened."""
    with OrderlyStop() as stop:
        from artist_features.training import whiten as whitening  # imports TensorFlow

        card = whitening.whiten(
            args.model,
            args.manifests,
            args.out,
            name=args.name,
            force=args.force,
            command=train.command_line(),
            cache=args.cache,
            split_seed=args.split_seed,
            root=args.root,
            between_batches=stop.check,
        )
    facts = card.training["whitened"]
    logger.info(
        "%s: last block whitened over %d segments of %d tracks; written to %s",
        *(card.name, facts["n_segments"], facts["n_tracks"], display_path(args.out)),
    )
    return 0


def export(args: argparse.Namespace) -> int:
    """Write a model for another runtime."""
    with _stderr_on_unknown_error():
        done = export_model(
            args.model, args.output, format=args.format, precision=args.precision, force=args.force
        )
    agreement = done.agreement
    print(
        f"{done.card.name}: {args.format}, {args.precision}, {done.n_bytes / 1e6:.2f} MB, licence "
        f"{done.card.license}, written to {display_path(args.output)}\n"
        f"against Keras, {len(agreement.cosines)} synthetic segments: least cosine "
        f"{agreement.cosine:.7f}, largest difference {agreement.max_difference:.2g} (of "
        f"{agreement.scale:.3g})",
        file=sys.stderr,
    )
    return 0


@contextlib.contextmanager
def _stderr_on_unknown_error() -> Iterator[None]:
    """Capture converters' output, also from C++; print it after an unexpected error."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 2)
        try:
            yield
        except (ArtistFeaturesError, ValueError, ImportError):
            raise  # their text is enough
        except Exception:
            printed.seek(0)
            os.write(terminal, printed.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
