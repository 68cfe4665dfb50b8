"""`artist-features export`: a model for another runtime."""

import contextlib
import os
import sys
import tempfile

from artist_features.errors import ArtistFeaturesError, display_path
from artist_features.export import FORMATS, PRECISIONS, export_model


def add_parser(commands):
    """Add the command to the parser."""
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
    parser.set_defaults(command=run)


def run(args):
    """Export, report, and return the exit code."""
    with _without_chatter():
        done = export_model(
            args.model,
            args.output,
            format=args.format,
            precision=args.precision,
            force=args.force,
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
def _without_chatter():
    """Keep what converters print, from C++ too, until they fail in a way we have no words for."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except (ArtistFeaturesError, ValueError, ImportError):
            raise  # their text says it all
        except Exception:
            said.seek(0)
            os.write(terminal, said.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
