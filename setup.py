"""Map the model folders of `weights/` into the wheel; all else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

WEIGHTS = Path(__file__).resolve().parent / "weights"
MODELS = ("basic", "siamese")
FILES = (
    "artist_features.json",
    "config.json",
    "metadata.json",
    "model.onnx",
    "model.weights.h5",
    "README.md",
)


class BuildWithWeights(build_py):
    """Copy each complete model folder into the built package."""

    def run(self):
        super().run()
        if self.editable_mode:  # the source tree is used as it lies
            return
        for model in MODELS:  # a missing file stops the build: no wheel without weights
            target = Path(self.build_lib) / "artist_features" / "weights" / model
            target.mkdir(parents=True, exist_ok=True)
            for name in FILES:
                shutil.copyfile(WEIGHTS / model / name, target / name)


setup(cmdclass={"build_py": BuildWithWeights})
