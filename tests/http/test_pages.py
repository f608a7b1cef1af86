"""The pages for people: templates that say so, each replaced by the operator's own, each with its version."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.http.pages import DOCUMENTS, load


def test_what_comes_with_helix_says_that_it_is_a_template() -> None:
    pages = load(None)

    for document in DOCUMENTS:
        assert "<strong>template</strong>" in pages[document].html
        assert pages[document].version in pages[document].html
        assert "<script" not in pages[document].html


def test_the_operators_own_page_stands_in_its_place_and_the_others_stay(tmp_path: Path) -> None:
    (tmp_path / "terms.html").write_text("<!-- version: 7 -->\n<h1>Ours</h1>")

    pages = load(tmp_path)

    assert (pages["terms"].version, "<h1>Ours</h1>" in pages["terms"].html) == ("7", True)
    assert pages["privacy"] == load(None)["privacy"]


@pytest.mark.parametrize("text", ["<h1>Ours</h1>", "<!-- version: -->", ""])
def test_a_page_without_a_version_stops_the_process_with_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "privacy.html").write_text(text)

    with pytest.raises(ValueError, match=r"^HELIX_PAGES: privacy.html does not begin with"):
        load(tmp_path)
