"""Rotten Tomatoes sentences with human ratings, as a TFDS data set that needs only a pip registry.

import movie_sentences                                    # registers the builder
data = tfds.load("movie_sentences", split="train", try_gcs=False)
"""

import io
import re
import tarfile

import numpy as np
import packages
import splits
import tensorflow_datasets as tfds

PACKAGE = "vaderSentiment==3.3.2"
SDIST = "vaderSentiment-3.3.2.tar.gz"
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
INNER_ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
TABLE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"

DESCRIPTION = """
10,568 sentences from Rotten Tomatoes reviews. Each was rated by about 20 people from -4 (most
negative) to 4 (most positive); `rating` is their mean and `label` its sign. Sentences with a mean
of exactly 0 are left out. The table is part of the source distribution of vaderSentiment 3.3.2.
"""

CITATION = """
@inproceedings{hutto2014vader,
  title={{VADER}: A Parsimonious Rule-Based Model for Sentiment Analysis of Social Media Text},
  author={Hutto, C. J. and Gilbert, Eric},
  booktitle={Proceedings of the Eighth International AAAI Conference on Weblogs and Social Media},
  pages={216--225},
  year={2014}
}
"""


def fetch(folder):
    """Returns the path of the package in `folder`, where pip puts it the first time; see `packages.fetch`."""
    name, version = PACKAGE.split("==")
    return packages.fetch(packages.Package("pypi", name, version, SDIST, SHA256), folder)


def read_table(archive):
    """Returns the text of the table inside the package `archive` (a path)."""
    with tarfile.open(archive) as package:
        inner = package.extractfile(INNER_ARCHIVE).read()
    with tarfile.open(fileobj=io.BytesIO(inner)) as tables:
        return tables.extractfile(TABLE).read().decode("utf-8")


def parse(table):
    """Yields (id, text, mean rating) of each line `id TAB rating TAB text`, but those rated 0.

    Raises:
        ValueError: if a line is not of this form.
    """
    for number, line in enumerate(table.splitlines(), start=1):
        fields = line.split("\t", 2)
        if len(fields) != 3:
            raise ValueError(f"line {number}: expected id, rating and text, received {line!r}")
        identifier, rating, text = fields
        if float(rating) != 0:
            yield identifier, text.strip(), float(rating)


def split_of(text):
    """Returns the split of a sentence: by a hash of its words, so that copies stay together.

    Of ten sentences about eight go to "train", one to "validation" and one to "test".
    """
    return splits.split_of(" ".join(re.findall(r"[\w']+", text.lower())))


class MovieSentences(tfds.core.GeneratorBasedBuilder):
    """The builder: `tfds.load("movie_sentences")` once this module is imported."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description=DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "text": tfds.features.Text(),
                    "label": tfds.features.ClassLabel(names=["negative", "positive"]),
                    "rating": tfds.features.Scalar(np.float32),
                }
            ),
            supervised_keys=("text", "label"),
            homepage="https://github.com/cjhutto/vaderSentiment",
            citation=CITATION,
        )

    def _split_generators(self, dl_manager):
        rows = list(parse(read_table(fetch(dl_manager.download_dir))))
        return {
            split: self._generate_examples([row for row in rows if split_of(row[1]) == split])
            for split in ("train", "validation", "test")
        }

    def _generate_examples(self, rows):
        for identifier, text, rating in rows:
            yield identifier, {"text": text, "label": int(rating > 0), "rating": rating}
