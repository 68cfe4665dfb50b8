"""`artist-features models`: the table of bundled models, or one model's card."""

import sys


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "models",
        help="the bundled models, or the card of one",
        description="Print the table of bundled models, or the card of one model.",
    )
    parser.add_argument("name", nargs="?", help="name, folder or hf://owner/name[@revision]")
    parser.set_defaults(command=run)


def run(args):
    """Print to standard output and return the exit code."""
    from artist_features.zoo import card_text, registry

    if args.name is not None:
        card, _ = registry.read_model(args.name)
        sys.stdout.write(card_text.card_summary(card))
        return 0
    print(card_text.models_table(registry.list_models().values()))
    return 0
