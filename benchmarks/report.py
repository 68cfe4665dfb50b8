"""Figures as one Markdown table on standard output."""

from measure import device

_MET = {True: "yes", False: "**no**", None: ""}


def print_figures(figures, about):
    """Print the machine, then a row for each figure.

    Args:
        figures: list of `Figure`.
        about: model and files, in words, for the first line.
    """
    print(f"{device()}; {about}\n")
    if not figures:
        return
    print("| figure | measured | target | met | from |\n|---|---|---|---|---|")
    for figure in figures:
        value = f"{_number(figure.value)} {figure.unit}".strip()
        met = _MET[figure.met]
        print(f"| {figure.name} | {value} | {figure.target} | {met} | {figure.detail} |")
    print()


def _number(value):
    if value is None:
        return ""
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
