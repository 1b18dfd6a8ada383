"""MkDocs hook: makes a page for each cell, its place in the navigation, and the tables of the catalogue.

What there is comes from `keras_rnnx.list_cells()`, so that a new cell needs no line here or in `mkdocs.yml`.
"""

import functools
import os
import re
import sys
from pathlib import Path

from mkdocs.structure.files import File

PAGE = "# {name}\n\n::: keras_rnnx.{name}\n\n::: keras_rnnx.{name}Cell\n"
CATALOGUE = "catalogue.md"
HEAD = "| Layer | What it is, and the paper | States | Steps |\n|---|---|---|---|\n"
MARK = "<!-- cells: {family} -->"


@functools.cache
def families():
    """The rows of `list_cells` by family."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this checkout, whatever is installed
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from keras_rnnx.catalogue import FAMILIES, list_cells

    rows = list_cells()
    return {family: [row for row in rows if row.family == family] for family in FAMILIES}


def address(row):
    """The page of a cell: `api/vanilla_rnn.md`. Short syllables stay together: `api/ligru.md`."""
    return f"api/{re.sub('(?<=[a-z]{3})(?=[A-Z])', '_', row.name).lower()}.md"


def on_config(config):
    """The families and their pages below the catalogue."""
    sections = [
        {family.capitalize(): [{row.name: address(row)} for row in rows]} for family, rows in families().items() if rows
    ]
    config.nav[config.nav.index({"Cells": CATALOGUE})] = {"Cells": [{"All cells": CATALOGUE}, *sections]}
    return config


def on_files(files, config):
    """A page for each cell."""
    for row in [row for rows in families().values() for row in rows]:
        if files.get_file_from_path(address(row)) is not None:
            raise ValueError(f"Expected no other page at {address(row)}, which is that of {row.name}")
        files.append(File.generated(config, address(row), content=PAGE.format(name=row.name)))
    return files


def on_page_markdown(markdown, page, **_):
    """The tables, in place of their marks."""
    if page.file.src_uri != CATALOGUE:
        return markdown
    for family, rows in families().items():
        mark = MARK.format(family=family)
        if markdown.count(mark) != 1:
            raise ValueError(f"Expected one line {mark} in {CATALOGUE}. Received: {markdown.count(mark)}")
        markdown = markdown.replace(mark, HEAD + "\n".join(line(row) for row in rows))
    return markdown


def line(row):
    """The line of one cell in the table of its family."""
    paper = re.sub(r"arXiv:(\d{4}\.\d{4,5}(?:v\d+)?)", r"[\g<0>](https://arxiv.org/abs/\1)", plain(row.reference))
    cells = [
        f"[`{row.name}`][keras_rnnx.{row.name}]",
        f"{plain(row.summary)}<br><small>{paper}</small>",
        f"`{' '.join(row.states)}`",
        ("parallel" if row.parallel else "one by one") + (", reads time" if row.timed else ""),
    ]
    return f"| {' | '.join(cells)} |"


def plain(text):
    """Text with what Markdown would read as markup escaped."""
    return re.sub(r"([\\|*_<>\[\]`])", r"\\\1", text)
