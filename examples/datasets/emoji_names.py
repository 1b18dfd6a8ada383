"""Pictures of emoji and what they are called, for captions.

Origin: pictures drawn by Pillow with the Debian package fonts-noto-color-emoji (any version; the numbers below are
of 2.042); English names of the PyPI package emoji 2.16.0, which are those of Unicode's CLDR.
Licence: font SIL OFL 1.1, package BSD-3. Fetched, not part of this repository.
Size: 1,626 pictures of 32 x 32 pixels, 1,411 words, two thirds of them in one name alone. Left out are
skin tones (all have one name more than once), flags of countries and regions and keycaps (the name of a flag never
seen cannot be told), and the few emoji that are newer than the font.
Split: by what is shown: names that are alike but for `SIDE_WORDS` ("woman running", "man running facing right") are
in one split. Of seven groups about one is validation and one is test.
Baseline: the name of the training picture nearest in pixels, by the measure `word_f1`: 0.152 measured.
"""

import collections
import io
import json
import re
import typing
import zipfile

import numpy as np
import packages
import splits
from PIL import Image, ImageDraw, ImageFont, features

FONT = packages.Package("debian", "fonts-noto-color-emoji")
FONT_FILE = "NotoColorEmoji.ttf"
NAMES = packages.Package(
    "pypi",
    "emoji",
    "2.16.0",
    "emoji-2.16.0-py3-none-any.whl",
    "c4230d80640def9071599ff56b1b5950fe13a2a94c0da98c5deab12431b24330",
)
FULLY_QUALIFIED = 2  # the status of the form of an emoji that Unicode recommends
FONT_SIZE, CANVAS = 109, (136, 128)  # of the bitmaps in the font, in pixels
SIDE = 32  # of a picture, in pixels
SIDE_WORDS = set(
    "man woman men women person people boy girl adult child and with the facing left right up down".split()
)
LEFT_OUT = (
    (0x1F1E6, 0x1F1FF),  # letters of flags
    (0x1F3FB, 0x1F3FF),  # skin tones
    (0x20E3, 0x20E3),  # keycap
    (0xE0020, 0xE007F),  # tags of regional flags
)


class Captioned(typing.NamedTuple):
    """pictures: uint8 array (N, 32, 32, 3) on white. names: list of N texts. emoji: list of N texts."""

    pictures: np.ndarray
    names: list
    emoji: list


def load(folder=None):
    """Returns the `splits.Splits` of `Captioned`; `folder` as in `packages.fetch`.

    Raises:
        RuntimeError: if this Pillow was built without Raqm, which joins the parts of an emoji to one picture.
    """
    if not features.check("raqm"):
        raise RuntimeError("Expected a Pillow with Raqm, as in its wheels, to draw emoji of several signs.")
    with zipfile.ZipFile(packages.fetch(NAMES, folder)) as wheel:
        table = json.loads(wheel.read("emoji/unicode_codes/emoji.json"))
    fonts = packages.deb_files(packages.fetch(FONT, folder))
    (font,) = (content for path, content in fonts if path.endswith(FONT_FILE))
    font = ImageFont.truetype(io.BytesIO(font), FONT_SIZE)
    rows = [(draw(emoji, font), name, emoji) for emoji, name in named(table)]
    rows = [row for row in rows if (row[0] < 255).any()]  # the font draws nothing for what it lacks
    groups = [splits.split_of(shown(name), parts=7) for _, name, _ in rows]
    parts = splits.divide(rows, groups, Captioned)
    return splits.Splits(*(part._replace(pictures=np.stack(part.pictures)) for part in parts))


def named(table):
    """Yields (emoji, name) of the package's table, without what `LEFT_OUT` has."""
    for emoji, entry in table.items():
        usual = entry["status"] == FULLY_QUALIFIED
        if usual and not any(low <= ord(sign) <= high for sign in emoji for low, high in LEFT_OUT):
            yield emoji, entry["en"].strip(":").replace("_", " ")


def draw(emoji, font):
    """Returns the picture of an emoji, a uint8 array (32, 32, 3)."""
    image = Image.new("RGB", CANVAS, "white")
    ImageDraw.Draw(image).text((0, 0), emoji, font=font, embedded_color=True)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def shown(name):
    """Returns the words of a name without `SIDE_WORDS`, in alphabetical order."""
    return " ".join(sorted(set(words(name)) - SIDE_WORDS))


def words(name):
    """Returns the list of the words of a name, in lower case."""
    return re.findall(r"[\w’'&!?]+", name.lower())


def word_f1(names, references):
    """Returns the mean over names of the F1 of its words and those of its reference, from 0 to 1."""
    scores = []
    for name, reference in zip(names, references, strict=True):
        found, wanted = (collections.Counter(words(text)) for text in (name, reference))
        scores.append(2 * (found & wanted).total() / max(found.total() + wanted.total(), 1))
    return float(np.mean(scores))


def baseline(data):
    """Returns the `word_f1` of the name of the nearest picture in the training and validation split."""
    known = np.concatenate([data.train.pictures, data.validation.pictures])
    names = data.train.names + data.validation.names
    known, asked = (x.reshape(len(x), -1).astype("float32") for x in (known, data.test.pictures))
    distances = (known**2).sum(axis=1) - 2 * asked @ known.T  # and the square of asked, the same in a row
    return word_f1([names[place] for place in distances.argmin(axis=1)], data.test.names)
