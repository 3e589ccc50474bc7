"""The whole book as one PDF: the articles of its pages, one after the other, printed by headless Chromium."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path, PurePosixPath

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FILE = "vaept-book.pdf"
NO_PAPER = (None, "book/explore")  # the reference, which is a pattern, and what only moves
STYLE = """
@page { size: A4; margin: 18mm 16mm; }
html { font-size: 11px; }
.headerlink { display: none; }
.highlight pre { white-space: pre-wrap; }
.bd-article div.math { overflow: visible; }
mjx-container g { stroke: none; } /* outlines of width 0 are drawn as lines in a PDF */
.bd-article { padding: 0; break-before: page; }
.bd-article:first-of-type { break-before: auto; }
figure, .math { break-inside: avoid; }
"""


def browser():
    """The command of a Chromium that prints, as a list; None if there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        return None
    command = [found, "--headless", "--disable-gpu", "--no-first-run", "--no-pdf-header-footer"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND"]  # as everywhere in the book, no other host is asked
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--no-sandbox")  # which a superuser cannot have
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "page.html").write_text("<p>A page.</p>")
        return command if _printed(command, Path(folder) / "page.html", Path(folder) / "page.pdf") else None


def write(html, toc, command):
    """Print a built book into its folder; whether that went well.

    Parameters
    ----------
    html : Path
        The folder of the book.
    toc : Path
        Of the table of contents, _toc.yml.
    command : list of str
        From `browser`.
    """
    import yaml  # of the extra `book`

    contents = yaml.safe_load(toc.read_text("utf-8"))
    chapters = [chapter for part in contents["parts"] for chapter in part["chapters"]]
    pages = [contents["root"], *(each["file"] for each in chapters if each.get("file") not in NO_PAPER)]
    page = html / "book" / "whole.html"  # as deep as every page, so that addresses of images hold
    page.write_text(joined(html, pages), "utf-8")
    try:
        return _printed(command, page, html / FILE)
    finally:
        page.unlink()


def joined(html, pages):
    """A page of HTML with the articles of pages, which are named without ".html".

    Links from one to another lead to places in it; to what else is in the folder there are none.
    """
    texts = {page: (html / f"{page}.html").read_text("utf-8") for page in pages}
    head = next(iter(texts.values())).partition("</head>")[0]
    styles = re.findall(r'<link [^>]*rel="stylesheet"[^>]*>|<script>window\.MathJax.*?</script>', head)
    scripts = re.findall(r"<script [^>]*mathjax/[^>]*></script>", "".join(texts.values()))[:1]
    articles = []
    for page, text in texts.items():
        article = text.partition('<article class="bd-article">')[2].partition("</article>")[0]
        article = re.sub(r"<script.*?</script>", "", article, flags=re.DOTALL)
        article = re.sub(r'<details class="sd-', '<details open class="sd-', article)  # solutions
        article = re.sub(r'href="([^"]*)"', lambda link, page=page: _place(link[1], page, texts), article)
        articles.append(f'<article class="bd-article" id="{_name(page)}">{article}</article>')
    head = "\n".join([*styles, f"<style>{STYLE}</style>", *scripts])
    return f'<!doctype html><html lang="en" data-theme="light"><meta charset="utf-8">{head}\n' + "\n".join(articles)


def _place(link, page, pages):
    """What a link becomes, as an attribute."""
    if re.match(r"(https?|mailto):", link):
        return f'href="{link}"'
    path, _, fragment = link.partition("#")
    target = os.path.normpath(PurePosixPath(page).parent / path.removesuffix(".html")) if path else page
    if fragment:
        return f'href="#{fragment}"' if target in pages else ""
    return f'href="#{_name(target)}"' if target in pages else ""


def _name(page):
    return "page-" + page.replace("/", "-")


def _printed(command, page, pdf):
    """Whether a browser has printed a page."""
    with tempfile.TemporaryDirectory() as profile:
        how = [f"--user-data-dir={profile}", "--virtual-time-budget=120000", f"--print-to-pdf={pdf}", page.as_uri()]
        run = subprocess.run([*command, *how], capture_output=True)
    return run.returncode == 0 and pdf.is_file()
