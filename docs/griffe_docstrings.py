"""Griffe extension: sets docstrings apart into paragraphs for the API pages.

In a docstring, equations and labelled lines (`Weights: ...`) follow each other without blank lines,
a star stands between dimensions (`G*H`), and angle brackets around a part of a name that varies
(`layer_<l>_kernel`). Markdown needs the blank lines, takes two stars for emphasis and brackets for HTML.
"""

import re

import griffe

LABEL = re.compile(r"^([A-Z][a-z]+(?: [a-z]+){0,3}):(?= |$)")
VERBATIM = re.compile(r"(`[^`]*`|\\\(.*?\\\)|\$\$.*?\$\$)")
VARIES = re.compile(r"(_?)<(\w+)>(_?)")
SECTIONS = ("Args", "Attributes", "Raises", "Returns", "Yields", "Warns")


def escaped(line):
    """The line with the stars and brackets of its names escaped, outside code and equations."""
    parts = VERBATIM.split(line)
    parts[::2] = [re.sub(r"(?<=[A-Z])\*(?=[A-Z])", r"\\*", part) for part in parts[::2]]
    parts[::2] = [VARIES.sub(_spelled, part) for part in parts[::2]]
    return "".join(parts)


def _spelled(found):
    before, name, after = ("\\_" if part == "_" else part for part in found.groups())
    return f"{before}&lt;{name}&gt;{after}"


def paragraphs(text):
    """The docstring with equations, labelled lines and sections apart, and its labels in bold."""
    for own, known in (("Class attributes:", "Attributes:"), ("Call:", "Args: Call:")):
        text = text.replace(f"\n{own}\n", f"\n{known}\n")
    lines, apart, fenced, equation = [], True, False, False
    for line in text.split("\n"):
        fenced ^= line.lstrip().startswith("```")
        label = None if fenced or equation else LABEL.match(line)
        opens = line.startswith("$$") and not (fenced or equation)
        if (opens or label or apart) and lines and lines[-1]:
            lines.append("")
        if label and label[1] not in SECTIONS:
            line = f"**{label[1]}:**{line[label.end() :]}"
        equation |= opens
        lines.append(line if fenced or equation else escaped(line))
        apart = equation and line.endswith("$$") and not (opens and line == "$$")
        equation &= not apart
    return "\n".join(lines)


class Paragraphs(griffe.Extension):
    """Applies `paragraphs` to every docstring."""

    def on_instance(self, *, obj, **kwargs):
        """Called for each module, class, function and attribute."""
        if not obj.is_alias and obj.docstring is not None:
            obj.docstring.value = paragraphs(obj.docstring.value)
