"""HTML to text in Markdown: paragraphs, lists, headings, tables and code stay what they are."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_BLOCKS = frozenset(
    {"p", "div", "section", "article", "blockquote", "table", "hr", "ul", "ol", "dl", *_HEADINGS}
)
_MARKS = {"b": "**", "strong": "**", "i": "*", "em": "*", "code": "`"}
#: What is in these is not shown.
_UNSEEN = frozenset({"script", "style"})
#: Deeper lists are not indented further: the text of a hostile page may not outgrow the page.
_MAX_INDENTS = 8
_SPACE = re.compile(r"[ \t\r\n\f]+")
# For each beginning of a tag without an end html.parser looks through all of the rest, and then
# again: a minute for 60 kB. Such beginnings, and declarations, are made text before it sees them.
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.S)
_NO_TAG = re.compile(r"<(?=[!?]|[^<>]*(?:<|\Z))")


def text_of_html(html: str) -> tuple[str, int]:
    """What a reader sees of `html`, and how many pictures were in it."""
    writer = _Writer()
    writer.feed(_NO_TAG.sub("&lt;", _COMMENT.sub("", html)))
    writer.close()
    return writer.text(), writer.images


class _Writer(HTMLParser):
    """Writes text while the page is read; blank lines are only written before something."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.images = 0
        self._out: list[str] = []
        #: How many newlines are due before the next text, and whether a space is.
        self._newlines = 0
        self._space = False
        #: Whether a bullet or the sign of a heading was the last thing written.
        self._at_item = False
        #: Open lists: the number of the next item, or None for bullets.
        self._lists: list[int | None] = []
        self._pre = 0
        self._unseen = 0
        self._cells = 0

    def text(self) -> str:
        if self._pre:
            self._end_code()
        return "".join(self._out)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen += 1
        elif tag in ("ul", "ol"):
            self._break(1 if self._lists else 2)
            self._lists.append(1 if tag == "ol" else None)
        elif tag == "li":
            self._begin_item()
        elif tag == "pre":
            self._break(2)
            if not self._pre:
                self._write("```\n")
            self._pre = 1
        elif tag == "br":
            self._newlines = min(self._newlines + 1, 2)
        elif tag == "img":
            self.images += 1
        elif tag == "tr":
            self._break(1)
            self._cells = 0
        elif tag in ("td", "th"):
            if self._cells:
                self._write(" | ")
            self._cells += 1
        elif tag in _BLOCKS:
            self._break(1 if self._lists else 2)
            if tag in _HEADINGS:
                self._write(_HEADINGS[tag])
                self._at_item = True
        elif tag in _MARKS and not self._pre:
            self._write(_MARKS[tag])

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen = max(self._unseen - 1, 0)
        elif tag in ("ul", "ol"):
            if self._lists:
                self._lists.pop()
            self._break(1 if self._lists else 2)
        elif tag == "pre":
            if self._pre:
                self._end_code()
            self._break(2)
        elif tag in _BLOCKS:
            self._break(1 if self._lists else 2)
        elif tag in _MARKS and not self._pre:
            self._out.append(_MARKS[tag])

    def handle_data(self, data: str) -> None:
        if self._unseen:
            return
        if self._pre:
            self._write(data)
            return
        text = _SPACE.sub(" ", data)
        if text == " ":
            self._space = True
            return
        if text.startswith(" "):
            self._space, text = True, text[1:]
        ends_with_space = text.endswith(" ")
        self._write(text.rstrip(" "))
        self._space = ends_with_space

    def _end_code(self) -> None:
        self._pre = 0
        if not self._out[-1].endswith("\n"):
            self._out.append("\n")
        self._out.append("```")

    def _begin_item(self) -> None:
        self._break(1)
        number = self._lists[-1] if self._lists else None
        indent = "   " * min(max(len(self._lists) - 1, 0), _MAX_INDENTS)
        if number is None:
            self._write(indent + "- ")
        else:
            self._lists[-1] = number + 1
            self._write(f"{indent}{number}. ")
        self._at_item = True

    def _break(self, newlines: int) -> None:
        self._newlines = max(self._newlines, newlines)

    def _write(self, text: str) -> None:
        if not text:
            return
        out = self._out
        if self._newlines:
            if out and not self._at_item:
                out.append("\n" * self._newlines)
        elif self._space and out and not self._at_item:
            out.append(" ")
        self._newlines, self._space, self._at_item = 0, False, False
        out.append(text)
