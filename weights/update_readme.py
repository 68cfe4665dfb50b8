"""Write the README's table of models from the cards of the bundled weights.

python weights/update_readme.py
"""

from pathlib import Path

from artist_features.zoo.card_text import models_table
from artist_features.zoo.registry import list_models

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- models: written by weights/update_readme.py -->\n", "<!-- end of models -->\n"


def with_table(text):
    """Return the README's text with the current table between its two marks."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(
            f"{README}: the marks {BEGIN.strip()} and {END.strip()} must be there once."
        )
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{models_table(list_models().values())}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
