"""Every relative link of the documents leads to a file, and to a heading where it names one."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
_AT_THE_TOP = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCUMENTS = [path for path in (*_AT_THE_TOP, *REPOSITORY.glob("docs/*.md")) if path.exists()]
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)


def links(document: Path) -> set[str]:
    """The relative links of a document, those in code aside."""
    text = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", document.read_text("utf-8")))
    found = {inline or reference for inline, reference in _LINK.findall(text)}
    return {link for link in found if not re.match(r"[a-z][a-z0-9+.-]*:|//", link)}


def anchors(document: Path) -> set[str]:
    """The names by which GitHub makes a document's headings reachable."""
    headings = re.findall(r"^#{1,6} +(.+?) *$", _FENCE.sub("", document.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_there_are_documents() -> None:
    assert {"configuration.md", "counting.md", "ledger.md", "library.md", "tools.md"} <= {one.name for one in DOCUMENTS}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one.name)
def test_relative_links_lead_somewhere(document: Path) -> None:
    for link in links(document):
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), link
        assert target.resolve().is_relative_to(REPOSITORY), link
        assert not anchor or anchor in anchors(target), link
