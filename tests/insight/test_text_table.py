"""Columns line up, wide characters and all."""

from groundup.insight.text_table import text_table


def test_columns_are_as_wide_as_their_content():
    table = text_table(("kind", "n", "share"), [("中文", "1,000", "5%"), ("a", "2", "100%")])
    assert table.splitlines() == ["kind      n  share", "中文  1,000     5%", "a         2   100%"]


def test_a_table_without_rows_is_its_header():
    assert text_table(("a", "b"), []) == "a  b"
