"""Public TFDS sets, without ever waiting for a network that is not there.

TFDS waits without end where a public data set has to be fetched and its server cannot be reached.
Here a set that is not prepared yet is asked for once, with a time limit, and prepared in a process
of its own, with a time limit too.
"""

import itertools
import subprocess
import sys

import requests
import tensorflow_datasets as tfds

CONNECT_SECONDS = 5
SERVERS_ASKED = 3
PREPARE_SECONDS = 3600


def builder(name, data_dir, default):
    """Returns the TFDS builder of a set, prepared.

    Args:
        name: of the set, with its configuration if it has several: "ted_hrlr_translate/pt_to_en".
        data_dir: folder of the prepared sets; None for the one of TFDS, `~/tensorflow_datasets`.
        default: what to give to `--data` in place of the name where there is no network.

    Raises:
        ConnectionError: if the set is not prepared, and no server of it answers.
    """
    made = tfds.builder(name, data_dir=data_dir, try_gcs=False)
    if made.is_prepared():
        return made
    _require_server(name, made.url_infos or {}, default)
    _prepare_in_process(name, made.data_dir_root)
    return tfds.builder(name, data_dir=data_dir, try_gcs=False)


def _require_server(name, urls, default):
    """Raises ConnectionError, which names the data set `default`, unless one of the first `urls` answers in time."""
    errors = []
    for url in itertools.islice(urls, SERVERS_ASKED):
        try:
            requests.head(url, timeout=CONNECT_SECONDS)
            return
        except requests.RequestException as error:
            errors.append(f"  {url}: {type(error).__name__}")
    raise ConnectionError(
        f"The data set {name!r} is not prepared on this machine, and none of its servers answers:\n"
        + "\n".join(errors or ["  (the set names no server)"])
        + f"\nThe default data set, `--data {default}`, needs only a pip registry."
    )


def prepare(builder):
    """Fetches and prepares the set, unless that is done, without asking for TFDS' own copy."""
    settings = tfds.download.DownloadConfig(try_download_gcs=False)
    builder.download_and_prepare(download_config=settings)


def _prepare_in_process(name, data_dir):
    """Fetches and prepares the set within `PREPARE_SECONDS`, or raises."""
    subprocess.run([sys.executable, __file__, name, data_dir], check=True, timeout=PREPARE_SECONDS)


if __name__ == "__main__":
    prepare(tfds.builder(sys.argv[1], data_dir=sys.argv[2], try_gcs=False))
