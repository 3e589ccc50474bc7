"""How this companion and the paper are cited, as CITATION.cff says, and which version of it a book was made from."""

import os
import shutil
import subprocess

import vaept

SERVER = "https://github.com"
KEYS = {"article": "andresterre2019perturbation", "software": "vaept"}


def citation(root):
    """What CITATION.cff in the checkout at this path says, as a dict."""
    import yaml  # of the extra `book`

    return yaml.safe_load((root / "CITATION.cff").read_text("utf-8"))


def made_from(root, profile):
    """What a book is made from: a dict with "version", "commit", "profile" and "repository", where it is published.

    The commit is that of the checkout at this path, followed by "-dirty" where files differ from it; "" outside git.
    The repository is an address, or "" for a book that is not published.
    """
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=10"]
    own = (root / ".git").exists() and shutil.which("git")  # git itself would also look in the folders above
    commit = subprocess.run(command, capture_output=True, text=True).stdout.strip() if own else ""
    where = os.environ.get("GITHUB_REPOSITORY")
    repository = f"{SERVER}/{where}" if where else ""
    return {"version": vaept.__version__, "commit": commit, "profile": profile, "repository": repository}


def bibtex(cited, made):
    """BibTeX entries of the paper and of this companion, from `citation` and `made_from`."""
    (paper,) = cited["references"]
    archive, _, eprint = paper["identifiers"][0]["value"].partition(":")
    where = {"eprint": eprint, "archiveprefix": archive, "url": f"https://arxiv.org/abs/{eprint}"}
    own = {"version": made["version"], "url": made["repository"], "note": f"profile {made['profile']}"}
    if made["commit"]:
        own["note"] = f"commit {made['commit']}, {own['note']}"
    entries = [_entry("misc", paper, paper["year"], where), _entry("software", cited, cited["date-released"].year, own)]
    return "\n\n".join(entries)


def _entry(kind, cited, year, more):
    fields = {"author": " and ".join(map(_name, cited["authors"])), "title": f"{{{cited['title']}}}", "year": year}
    lines = [f"  {name} = {{{value}}}" for name, value in (fields | more).items() if value]
    return f"@{kind}{{{KEYS[cited['type']]},\n" + ",\n".join(lines) + "\n}"


def _name(author):
    return f"{{{author['name']}}}" if "name" in author else f"{author['family-names']}, {author['given-names']}"


def page(cited, made):
    """The page on how to cite, in MyST Markdown."""
    commit = f", commit {made['commit']}" if made["commit"] else ""
    return f"""# How to cite

Cite the paper for the idea {{cite}}`{KEYS["article"]}`, and this companion, with its version, for what you use from it:
text, figures, numbers or code. This copy is version {made["version"]}{commit}, made with the profile {made["profile"]}.

```bibtex
{bibtex(cited, made)}
```
"""
