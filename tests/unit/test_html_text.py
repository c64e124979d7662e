"""HTML to text: what a reader sees, and nothing that takes long."""

from __future__ import annotations

import time

import pytest

from tuner.conversations.html_text import text_of_html


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>a</p><p>b</p>", "a\n\nb"),
        ("<p>a</p>\n\n<p>b</p>\n", "a\n\nb"),
        ("a<br>b<br><br>c", "a\nb\n\nc"),
        ("a\n  b\t c", "a b c"),
        ("a <b>b</b> c, <i>d</i>", "a **b** c, *d*"),
        ("<h2>a</h2><p>b</p>", "## a\n\nb"),
        ("<p>a:</p><ul><li>b</li><li><p>c</p></li></ul><p>d</p>", "a:\n\n- b\n- c\n\nd"),
        ("<ol><li>a<ul><li>b</li></ul></li><li>c</li></ol>", "1. a\n   - b\n2. c"),
        ("see <code>x &lt; 1</code>", "see `x < 1`"),
        (
            "<p>a</p><pre><code>if x:\n    <span>y</span>\n</code></pre><p>b</p>",
            "a\n\n```\nif x:\n    y\n```\n\nb",
        ),
        ("<table><tr><th>a</th><th>b</th></tr><tr><td>1</td></tr></table>", "a | b\n1"),
        ("a<script>x < 1</script><style>p {}</style>b", "ab"),
        ("<!-- x -->a<!-- > -->b", "ab"),
        ("&lt;b&gt; &amp; &#8220;q&#8221;", "<b> & “q”"),
        ("1 < 2 and 2 > 1", "1 < 2 and 2 > 1"),
        ("<a href='https://example.org'>the page</a>", "the page"),
        ("<li>a</li></ul></pre></p>b", "- a\n\nb"),
        ("<![foo[x]]> <?php ?> <!DOCTYPE html>", "<![foo[x]]> <?php ?> <!DOCTYPE html>"),
        ("<pre>a", "```\na\n```"),
        ("", ""),
    ],
)  # fmt: skip
def test_html_becomes_the_text_that_a_reader_sees(html: str, text: str) -> None:
    assert text_of_html(html)[0].strip() == text


def test_pictures_are_counted() -> None:
    assert text_of_html("<p><img src='a'>a<img></p>") == ("a", 2)


@pytest.mark.parametrize(
    "bit",
    ["<", "<a ", "<a b='", "<a b='>", '<a b=">\'', "<!--", "<!", "<!--x--!>", "<?", "</", "</a'>",
     "<ul><li>", "<b>", "&#", "<script></scrip", "<a/>", "<pre>"],
)  # fmt: skip
def test_hostile_pages_take_no_time_and_no_room(bit: str) -> None:
    page = bit * 30_000
    begun = time.process_time()
    text, _ = text_of_html(page)
    assert time.process_time() - begun < 5
    assert len(text) <= 5 * len(page)
