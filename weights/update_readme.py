"""Write the table of models in README.md and docs/models.md from the cards of the bundled weights.

python weights/update_readme.py
"""

from pathlib import Path

from artist_features.zoo.card import models_table
from artist_features.zoo.registry import list_models

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs/models.md")
BEGIN, END = "<!-- models: written by weights/update_readme.py -->\n", "<!-- end of models -->\n"


# rows below the models': label, keys of the siamese card's scores
OTHERS = (
    ("the authors' Siamese-10000", 256, "authors"),
    ("musicnn, mean-pool layer", 753, "musicnn"),
    ("MFCC mean and deviation", 40, "mfcc"),
)


def other_rows():
    """Return the rows of what the models are compared with, from the siamese card."""
    scores = list_models()["siamese"].scores
    for label, dim, name in OTHERS:
        agreement = scores.get(f"{name}_agreement_with_both_teachers", "")
        yield f"| {label} | {dim} | | | {agreement} | {scores[f'{name}_artist_map']} | |"


def with_table(text):
    """Return a page's text with the current table between its two marks."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"The marks {BEGIN.strip()} and {END.strip()} must be on the page once.")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    table = "\n".join([models_table(list_models().values()), *other_rows()])
    return f"{before}{BEGIN}{table}\n{END}{after}"


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")
