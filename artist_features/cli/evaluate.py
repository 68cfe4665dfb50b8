"""`artist-features evaluate`: models and baselines side by side; one file a protocol."""

from artist_features.cli import evaluate_artists, evaluate_fma, evaluate_genre, evaluate_gtzan

_PROTOCOLS = (evaluate_artists, evaluate_genre, evaluate_gtzan, evaluate_fma)


def add_parser(commands):
    """Add the command and its protocols to the parser."""
    parser = commands.add_parser(
        "evaluate",
        help="score models and baselines on labelled tracks",
        description="Score models and baselines on labelled tracks.",
    )
    protocols = parser.add_subparsers(title="protocols", required=True, metavar="PROTOCOL")
    for module in _PROTOCOLS:
        module.add_parser(protocols)
