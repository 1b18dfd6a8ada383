"""Griffe extension: sets docstrings apart into paragraphs for the API pages.

In a docstring, equations and labelled lines (`Weights: ...`) follow each other without blank lines,
and a star stands between dimensions (`G*H`). Markdown needs the blank lines, and takes two stars
for emphasis.
"""

import re

import griffe

EQUATION = re.compile(r"^\$\$.+\$\$$")
LABEL = re.compile(r"^([A-Z][a-z]+(?: [a-z]+){0,3}):(?= |$)")
VERBATIM = re.compile(r"(`[^`]*`|\\\(.*?\\\)|\$\$.*?\$\$)")
SECTIONS = ("Args", "Attributes", "Raises", "Returns", "Yields", "Warns")


def escaped(line):
    """The line with the stars between its dimensions escaped, outside code and equations."""
    parts = VERBATIM.split(line)
    parts[::2] = [re.sub(r"(?<=[A-Z])\*(?=[A-Z])", r"\\*", part) for part in parts[::2]]
    return "".join(parts)


def paragraphs(text):
    """The docstring with equations, labelled lines and sections apart, and its labels in bold."""
    for own, known in (("Class attributes:", "Attributes:"), ("Call:", "Args: Call:")):
        text = text.replace(f"\n{own}\n", f"\n{known}\n")
    lines, apart, fenced = [], True, False
    for line in text.split("\n"):
        fenced ^= line.lstrip().startswith("```")
        label = None if fenced else LABEL.match(line)
        starts = label is not None or EQUATION.match(line) is not None
        if (starts or apart) and lines and lines[-1]:
            lines.append("")
        if label and label[1] not in SECTIONS:
            line = f"**{label[1]}:**{line[label.end() :]}"
        lines.append(line if fenced else escaped(line))
        apart = EQUATION.match(line) is not None
    return "\n".join(lines)


class Paragraphs(griffe.Extension):
    """Applies `paragraphs` to every docstring."""

    def on_instance(self, *, obj, **kwargs):
        """Called for each module, class, function and attribute."""
        if not obj.is_alias and obj.docstring is not None:
            obj.docstring.value = paragraphs(obj.docstring.value)
