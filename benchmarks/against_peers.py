"""Other packages that make vectors of music, on the same files, in environments of their own."""

from contextlib import ExitStack
from pathlib import Path

from jobs import run_job
from measure import Figure, interleaved, progress
from turns import helper

from artist_features.extraction.extractor import Extractor

_DRIVERS = Path(__file__).parent / "peers"
PEERS = ("musicnn", "essentia")


def compare(paths, model, repeats, environments):
    """Measure jobs of this package against loops over the files with others.

    A peer handles one file after another in one process, as its manual has it, with all
    threads that it starts by itself. Its start is not counted.

    Args:
        paths: list of files.
        model: name or folder, of this package.
        repeats: rounds.
        environments: {name of a peer: its Python}.

    Returns:
        list of `Figure`, one for each peer.
    """
    extractor = Extractor(model, isolated=True)
    variants, about, figures = {"this package": lambda: run_job(paths, extractor)}, {}, []
    with ExitStack() as stack:
        for name in PEERS:
            if name not in environments:
                figures.append(_missing(name, "no environment was given"))
                continue
            driver = [environments[name], "-I", str(_DRIVERS / "serve.py"), name]
            try:
                peer = stack.enter_context(helper(driver))
                about[name] = peer.ask({"paths": paths[:1]})["about"]
            except (OSError, RuntimeError) as error:
                progress(f"  {name}: {error}")
                figures.append(_missing(name, "its environment does not run it"))
                continue
            variants[name] = lambda peer=peer: peer.ask({"paths": paths})
        rounds = interleaved(variants, repeats) if about else None
    for name, text in about.items():
        each_ms = [1000 * rounds.median_s(key) / len(paths) for key in (name, "this package")]
        figures.append(
            Figure(
                f"faster than {name}",
                rounds.ratio(name, "this package"),
                "x",
                detail=f"{each_ms[0]:.1f} / {each_ms[1]:.1f} ms a file, {len(paths)} files; "
                f"{text}; {rounds.remark()}",
            )
        )
    return figures


def _missing(name, why):
    text = f"{why}; --peer {name}=PYTHON, see benchmarks/README.md"
    return Figure(f"faster than {name}", None, "not installed", detail=text)
