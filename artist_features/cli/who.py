"""`artist-features who`: the artists of an index that a recording is most likely by."""

from artist_features.cli.similar import add_query_arguments, open_query, tell_artists


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "who",
        help="the artists of an index that a recording is most likely by",
        description="Print the K artists of an index whose mean embedding is nearest to that of "
        "TRACK, by cosine. TRACK itself does not count for its artist; an artist with no other "
        "recording is no candidate.",
    )
    add_query_arguments(parser)
    parser.set_defaults(command=run)


def run(args):
    """Search, print, and return the exit code."""
    index, query = open_query(args)
    matches = index.query_artists(query.vector, args.k, exclude_rows=query.own_rows)
    tell_artists(args, index, query, matches)
    return 0
