"""The suite of tests on every Python and TensorFlow that the package allows.

    nox                          # all environments; each brings docs/compatibility.md up to date
    nox -s compat -- full        # the slow tests, too
    nox -s compat -- core        # only those of the models, the extraction and the measures
    nox -s lite                  # artist-features-lite, on every Python
    nox -s "compat(python3.13-tf2.20)"
    nox -s compat -- -k hear     # other arguments go to pytest; nothing is recorded

A Python that is not on the PATH is left out, with a message; `nox --error-on-missing-interpreters`
makes it an error.
"""

import pathlib

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["compat", "tfio"]
nox.options.default_venv_backend = "venv"

# what TensorFlow has wheels for
PYTHONS = {
    "2.16": ("3.10", "3.11", "3.12"),
    "2.18": ("3.10", "3.11", "3.12"),
    "2.20": ("3.10", "3.11", "3.12", "3.13"),
    "2.21": ("3.12", "3.13"),
}
SELECTIONS = {  # by what is written in the table: arguments of pytest
    "not slow": ["-m", "not slow"],
    "full": [],
    "core": [
        "-m",
        "not slow",
        *(
            f"tests/test_{name}.py"
            for name in (
                *("golden_vectors", "config", "frontend", "segments", "models", "folder"),
                *("registry", "extractor", "tfio", "metrics", "losses", "search", "layering"),
            )
        ),
    ],
}
OLD_PYARROW = "pyarrow<26"  # 26 needs NumPy 2, TensorFlow 2.16 an older one, and pip can't tell
MATRIX = [
    nox.param(python, tensorflow, id=f"python{python}-tf{tensorflow}")
    for tensorflow, pythons in PYTHONS.items()
    for python in pythons
]


@nox.session
@nox.parametrize("python,tensorflow", MATRIX)
def compat(session, tensorflow):
    """Run the tests that are not slow (`-- full`, `-- core`: others); record the result."""
    old = [OLD_PYARROW] if tensorflow == "2.16" else []
    if tensorflow == "2.21":
        install(session, ".[test]")
        session.install("--upgrade", "-r", "docs/newest.txt")  # Kapre asks for older ones
    else:
        install(session, ".[test]", f"tensorflow=={tensorflow}.*", *old)
    run_tests(session, f"python{session.python}-tf{tensorflow}")


@nox.session(python=["3.10", "3.11"])  # tensorflow-io has no wheels for later ones
def tfio(session):
    """Do the same with the extra `[tfio]`, which holds TensorFlow at 2.16."""
    install(session, ".[test,tfio]", OLD_PYARROW)
    run_tests(session, f"python{session.python}-tfio")


@nox.session(python=["3.10", "3.11", "3.12", "3.13", "3.14"], default=False)
def lite(session):
    """Test artist-features-lite from its wheel, without TensorFlow."""
    session.install(
        "./packaging/lite[av]", "hypothesis", "pytest", "pytest-timeout", "pytest-xdist"
    )
    tests = [f"tests/test_{name}.py" for name in ("lite", "segments", "mp3", "stream", "search")]
    session.run("pytest", "-q", *tests)


def install(session, *wanted):
    """Install this checkout by the newest pip, not by the one that came with Python."""
    session.install("--upgrade", "pip")
    session.install("--editable", *wanted)


def run_tests(session, name):
    """Run pytest; write docs/compatibility/NAME.json and the table, also where tests fail."""
    tests = session.posargs[0] if session.posargs[:1] in (["full"], ["core"]) else "not slow"
    own = [argument for argument in session.posargs if argument != tests]
    junit = f"{session.virtualenv.location}/junit.xml"
    session.run(
        "python",
        "-m",
        "pytest",
        *["-q", "-n", "2", "--dist", "loadfile", f"--junit-xml={junit}", *SELECTIONS[tests], *own],
        env={"TF_CPP_MIN_LOG_LEVEL": "3"},
        success_codes=[0] if own else [0, 1],
    )
    if own:
        session.log("arguments for pytest: the result is not recorded")
        return
    command = ["docs/compatibility.py", name, "--junit", junit, "--tests", tests]
    session.run("python", *command, env={"TF_CPP_MIN_LOG_LEVEL": "3"})


@nox.session(default=False)
def citation(session):
    """Validate CITATION.cff by its schema."""
    session.install("cffconvert>=2,<3")
    session.run("cffconvert", "--validate")


@nox.session(default=False)
def workflows(session):
    """Validate the workflows and the forms of issues by GitHub's schemas."""
    session.install("check-jsonschema>=0.29")
    schemas = {"github-workflows": "workflows/*", "github-issue-forms": "ISSUE_TEMPLATE/*"}
    for schema, pattern in schemas.items():
        files = sorted(map(str, pathlib.Path(".github").glob(pattern)))
        session.run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files)
