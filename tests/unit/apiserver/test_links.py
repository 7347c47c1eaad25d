"""Which links of a proxied page are led back through the proxy; and that nothing else of the page changes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from knarr.apiserver.subresources import links
from knarr.apiserver.subresources.links import LinkRewriter, Links

PREFIX = "/api/v1/namespaces/ns/pods/web:1080/proxy"
LINKS = Links(PREFIX, frozenset({"10.0.0.1:1080"}), "cluster:6443")


def rewritten(chunks: Iterable[bytes]) -> bytes:
    rewriter = LinkRewriter(LINKS.through)
    return b"".join([*map(rewriter.feed, chunks), rewriter.end()])


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("/x", f"{PREFIX}/x"),
        ("/", f"{PREFIX}/"),
        ("/a/?b=/c#/d", f"{PREFIX}/a/?b=/c#/d"),
        ("http://10.0.0.1:1080/x", f"{PREFIX}/x"),
        ("//10.0.0.1:1080/x", f"{PREFIX}/x"),
        ("https://cluster:6443/x", f"https://cluster:6443{PREFIX}/x"),
        (f"https://cluster:6443{PREFIX}/x", f"https://cluster:6443{PREFIX}/x"),
        (f"{PREFIX}/x", f"{PREFIX}/x"),
        (PREFIX, PREFIX),
        (f"{PREFIX}?x", f"{PREFIX}?x"),
        # Begins like the proxy's path and is another.
        (f"{PREFIX}2/x", f"{PREFIX}{PREFIX}2/x"),
        ("x/y", "x/y"),
        ("", ""),
        ("#/top", "#/top"),
        ("?q=/x", "?q=/x"),
        ("//example.com/x", "//example.com/x"),
        ("https://example.com/x", "https://example.com/x"),
        ("http://10.0.0.1:1080", "http://10.0.0.1:1080"),
        ("http://10.0.0.1:10801/x", "http://10.0.0.1:10801/x"),
        ("http://10.0.0.1:1080@evil/x", "http://10.0.0.1:1080@evil/x"),
        ("mailto:a@b", "mailto:a@b"),
        ("javascript:/x/.test()", "javascript:/x/.test()"),
    ],
)
def test_a_url_leads_through_the_proxy_if_it_meant_the_page_s_server(url: str, wanted: str) -> None:
    assert LINKS.through(url) == wanted


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('<a href="/x">', f'<a href="{PREFIX}/x">'),
        ("<A HREF='/x'>", f"<A HREF='{PREFIX}/x'>"),
        ("<a class=b href=/x>", f"<a class=b href={PREFIX}/x>"),
        ('<img\n src = "/x"\talt="<a href=\'/y\'>"/>', f'<img\n src = "{PREFIX}/x"\talt="<a href=\'/y\'>"/>'),
        ('<form action="/x" method=post>', f'<form action="{PREFIX}/x" method=post>'),
        ('<a href="/x?a=1&copy=2&amp;b">', f'<a href="{PREFIX}/x?a=1&copy=2&amp;b">'),
        ('<a title=a>b href="/x">', '<a title=a>b href="/x">'),
        ('<a title=a"b href="/x">', f'<a title=a"b href="{PREFIX}/x">'),
        ("<a <b href=/x>", f"<a <b href={PREFIX}/x>"),
        ("<a href= ><a href>", "<a href= ><a href>"),
        ("<p href=/x><xa href=/x></a href=/x>", "<p href=/x><xa href=/x></a href=/x>"),
        ('<script src="/x">"<a href=/y>"</Script ><a href=/z>', f'<script src="{PREFIX}/x">"<a href=/y>"</Script ><a href={PREFIX}/z>'),
        ("<title><a href=/x></titles></title>", "<title><a href=/x></titles></title>"),
        ("<plaintext><a href=/x></plaintext><a href=/x>", "<plaintext><a href=/x></plaintext><a href=/x>"),
        ("<!-- > <a href=/x> --!><a href=/y>", f"<!-- > <a href=/x> --!><a href={PREFIX}/y>"),
        ("<!--><a href=/x><!---><a href=/y>", f"<!--><a href={PREFIX}/x><!---><a href={PREFIX}/y>"),
        ("<!doctype <a href=/x><? <a href=/x></ <a href=/x>", "<!doctype <a href=/x><? <a href=/x></ <a href=/x>"),
        ("1 < 2 <3 <a href=/x>", f"1 < 2 <3 <a href={PREFIX}/x>"),
        ('<a href="/x" title="never closed', '<a href="/x" title="never closed'),
    ],
)
def test_the_links_of_a_page_are_found_where_a_browser_sees_them(before: str, after: str) -> None:
    assert rewritten([before.encode()]) == after.encode()


_SIGNS = [b"<", b">", b"</", b"/", b"<!--", b"-->", b"--!>", b"<!", b"?", b"=", b'"', b"'", b" ", b"\n", b"a", b"A", b"img", b"href"]
_TAGS = [b"<a ", b"<script", b"</script", b"<title>", b"</title>", b"style", b"href=/x", b'href="/x"', b"/x", b"x", b"\xff", b"&amp;"]
MARKUP = st.lists(st.sampled_from([*_SIGNS, *_TAGS]), max_size=40).map(b"".join)


@given(MARKUP, st.lists(st.integers(0, 200), max_size=10))
@example(b"<!--><a href=/x>", [3])
@example(b"<script></script><a href=/x>", [9])
def test_a_page_is_the_same_however_it_arrives(page: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(page)) for cut in cuts), len(page)]
    pieces = [page[start:end] for start, end in pairwise(edges)]
    assert rewritten(pieces) == rewritten([page]) == rewritten(page[i : i + 1] for i in range(len(page)))


@given(MARKUP)
@example(b"<a href=/x>")
def test_what_is_no_link_stays_byte_for_byte(page: bytes) -> None:
    after = rewritten([page])
    # Nothing is added but the prefix, and that only before a path.
    assert after.replace(PREFIX.encode(), b"") == page
    assert all(after.startswith(b"/", found.end()) for found in re.finditer(re.escape(PREFIX.encode()), after))


@given(st.binary(max_size=200).filter(lambda data: b"<" not in data))
def test_text_is_passed_on_at_once(text: bytes) -> None:
    assert LinkRewriter(LINKS.through).feed(text) == text


def test_a_tag_without_end_is_passed_on_and_the_page_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "MAX_TAG_BYTES", 10_000)
    rewriter = LinkRewriter(LINKS.through)
    passed = b""
    chunks = [b'<a href=/x><img alt="', *[b"<a href=/y>" * 100] * 20]
    for chunk in chunks:
        passed += rewriter.feed(chunk)
        assert len(rewriter._held) <= 10_000
    assert rewriter.feed(b'"><a href=/z>') == b'"><a href=/z>'
    assert passed == f"<a href={PREFIX}/x>".encode() + b"".join(chunks)[len(b"<a href=/x>") :]


def test_a_long_tag_in_many_pieces_costs_no_more_than_its_length() -> None:
    page = b'<img src="/x" alt="' + b">" * 500_000 + b'">'
    rewriter = LinkRewriter(LINKS.through)
    looked: list[int] = []
    read = rewriter._read

    def counted(out: list[bytes]) -> int:
        looked.append(len(rewriter._held))
        return read(out)

    rewriter._read = counted  # type: ignore[method-assign]
    after = b"".join(rewriter.feed(page[i : i + 100]) for i in range(0, len(page), 100)) + rewriter.end()
    assert len(after) in (len(page), len(page) + len(PREFIX))
    assert sum(looked) < 5 * len(page)
