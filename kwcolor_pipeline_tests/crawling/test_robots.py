import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwcolor_pipeline.crawling.robots import LARGEST_ROBOTS, NO_RULES, RobotsRules, opt_out


@pytest.mark.parametrize(
    ("rules", "path", "allowed"),
    [
        ("User-agent: *\nDisallow: /private/", "/private/a.jpg", False),
        ("User-agent: *\nDisallow: /private/", "/public/a.jpg", True),
        ("User-agent: *\nDisallow: /\nAllow: /image/", "/image/a.jpg", True),
        ("User-agent: *\nDisallow: /a\nAllow: /a", "/a", True),
        ("User-agent: *\nDisallow: /*.gif$", "/x/y.gif", False),
        ("User-agent: *\nDisallow: /*.gif$", "/x/y.gif?z", True),
        ("User-agent: *\nDisallow:", "/a", True),
        ("User-agent: other\nDisallow: /", "/a", True),
        ("User-agent: *\nAllow: /\n\nUser-agent: KWColor_Pipeline\nDisallow: /", "/a", False),
        ("User-agent: *\nDisallow: /\n\nUser-agent: kwcolor_pipeline\nAllow: /", "/a", True),
        ("\ufeffUser-agent: *\r\nDisallow: /", "/a", False),
        ("User-agent: *\nDisallow: /caf%C3%A9", "/caf\u00e9/x", False),
        ("<html>not here</html>", "/a", True),
    ],
)
def test_rules_as_rfc_9309_reads_them(rules, path, allowed):
    assert RobotsRules(rules.encode()).allows(f"https://archive.org{path}") is allowed


def test_no_rules_allow_everything():
    assert NO_RULES.allows("https://archive.org/a?b=c")


def test_only_the_first_half_mebibyte_is_read():
    rules = b"User-agent: *\nDisallow: /early\n" + b"#" * LARGEST_ROBOTS + b"\nDisallow: /late\n"
    assert not RobotsRules(rules).allows("https://a.org/early")
    assert RobotsRules(rules).allows("https://a.org/late")


@given(st.binary(max_size=400), st.text(max_size=40))
def test_any_bytes_are_rules(body, path):
    assert RobotsRules(body).allows(f"https://a.org/{path}") in (True, False)


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ([], None),
        (["noai, noimageai"], "noai"),
        (["NoImageAI"], "noimageai"),
        (["all"], None),
        (["nofollow"], None),
        (["none"], "none"),
        (["noindex"], "noindex"),
        (["nofollow, noimageindex"], "noimageindex"),
        (["noml"], "noml"),
        (["googlebot: noindex"], None),
        (["googlebot: nofollow, noindex"], None),
        (["googlebot: noindex", "noml"], "noml"),
        (["googlebot: noindex, kwcolor_pipeline: noai"], "noai"),
        (["kwcolor_pipeline: noindex"], "noindex"),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST, noindex"], "noindex"),
        (["max-image-preview: large, noai"], "noai"),
        (["noarchive"], None),
    ],
)
def test_what_x_robots_tag_forbids(headers, word):
    assert opt_out(headers) == word


@given(st.lists(st.text(max_size=80), max_size=4))
def test_any_header_forbids_or_does_not(headers):
    assert opt_out(headers) in (None, "noai", "noimageai", "noml", "noindex", "noimageindex", "none")
