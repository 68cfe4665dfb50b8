"""Docstrings to pages: `Example:`, as this package writes it, is the section of examples.

An extension of Griffe, which knows only `Examples:` and would set doctests as prose.
"""

import re

import griffe

_HEADING = re.compile(r"^Example:$", re.MULTILINE)


class Examples(griffe.Extension):
    """Rename the heading before docstrings are parsed."""

    def on_object(self, *, obj, **_):
        """Change the docstring of a module, class or function."""
        if obj.docstring:
            obj.docstring.value = _HEADING.sub("Examples:", obj.docstring.value)
