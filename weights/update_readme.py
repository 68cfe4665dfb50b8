"""Write the table of models in README.md and docs/models.md from the cards of the bundled weights.

python weights/update_readme.py
"""

from pathlib import Path

from artist_features.zoo.card_text import models_table
from artist_features.zoo.registry import list_models

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs/models.md")
BEGIN, END = "<!-- models: written by weights/update_readme.py -->\n", "<!-- end of models -->\n"


def with_table(text):
    """Return a page's text with the current table between its two marks."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"The marks {BEGIN.strip()} and {END.strip()} must be on the page once.")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{models_table(list_models().values())}\n{END}{after}"


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")
