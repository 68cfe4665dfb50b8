"""The command line's reference, written from its own parser whenever the site is built.

A hook of MkDocs (`hooks:` in mkdocs.yml): `<!-- commands -->` on a page becomes one section
a command, with every argument and option that the parser knows.
"""

import argparse
import html
import re

from artist_features.cli.main import build_parser

MARK = "<!-- commands -->"


def on_page_markdown(markdown, **_):
    """Put the reference in the place of its mark."""
    return markdown.replace(MARK, reference()) if MARK in markdown else markdown


def reference():
    """Return the Markdown of all commands."""
    return "\n\n".join(_section(parser) for parser in commands(build_parser()))


def commands(parser):
    """Yield the parsers of all commands, those of parts (`index build`) after their whole."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield command
                yield from commands(command)


def _section(parser):
    name = parser.prog.removeprefix("artist-features ")
    lines = [f"## {name} {{ #{name.replace(' ', '-')} }}"]
    if parser.description:
        lines.append(_text(parser.description))
    lines.append(f"```text\n{_usage(parser)}\n```")
    rows = [_row(parser, action) for action in parser._actions if _is_documented(action)]
    if rows:
        lines.append("\n".join(["| argument | meaning |", "|---|---|", *rows]))
    return "\n\n".join(lines)


def _usage(parser):
    # as wide as the page, not as the terminal of whoever builds it
    formatter = argparse.HelpFormatter(parser.prog, width=68)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups)
    return formatter.format_help().strip()


def _is_documented(action):
    return not isinstance(action, (argparse._HelpAction, argparse._SubParsersAction))


def _row(parser, action):
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    value = _value(parser, action)
    shown = " ".join(filter(None, [names, f"`{value}`" if value else ""]))
    meaning = _text(parser._get_formatter()._expand_help(action) if action.help else "")
    if action.option_strings and _has_plain_default(action) and "default" not in meaning:
        meaning = f"{meaning} (default: {action.default})".strip()
    return f"| {shown} | {meaning} |".replace("\n", " ")


def _value(parser, action):
    if action.option_strings and action.nargs == 0:
        return ""
    if action.choices:
        return " or ".join(map(str, action.choices))
    name = action.metavar or (action.dest.upper() if action.option_strings else action.dest)
    return f"[{name}]" if action.nargs == "?" and action.option_strings else name


def _has_plain_default(action):
    return isinstance(action.default, (str, int, float)) and not isinstance(action.default, bool)


def _text(help_text):
    """Escape what HTML and Markdown would take for themselves in a help text."""
    text = html.escape(help_text, quote=False).replace("|", "&#124;")
    return re.sub(r"([\\`*_\[\]])", r"\\\1", text)
