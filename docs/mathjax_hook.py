r"""MkDocs hook: copies MathJax from the installed package `django-static-mathjax` into the site.

`tex-svg.js` has its fonts inside; `textmacros` lets `\texttt{a\_name}` be written in an equation.
"""

from importlib.resources import files as resources

from mkdocs.structure.files import File


def on_files(files, config):
    mathjax = resources("mathjax") / "static" / "mathjax"
    for name in ("LICENSE", "es5/tex-svg.js", "es5/input/tex/extensions/textmacros.js"):
        source = str(mathjax / name)
        files.append(File.generated(config, f"assets/mathjax/{name}", abs_src_path=source))
    return files
