import datetime
import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwcolor_pipeline.crawling.requesting import RequestRefused, pause_after, redirected, seconds_to_wait


def test_retry_after_as_seconds_and_as_date():
    assert seconds_to_wait("120") == 120
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=60)
    assert 59 <= seconds_to_wait(email.utils.format_datetime(later, usegmt=True)) <= 61
    assert seconds_to_wait("Wed, 21 Oct 2015 07:28:00 GMT") == 0


@given(st.one_of(st.none(), st.text(max_size=60)))
def test_any_retry_after_gives_seconds(text):
    assert seconds_to_wait(text) >= 0


def test_pauses_grow_and_are_bounded():
    assert 0 < pause_after(1) <= 1.0
    assert 15 <= pause_after(30) <= 30


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://a.org/x", "https://a.org/x"),
        ("//b.org/y", "http://b.org/y"),
        ("../z", "http://a.org/z"),
        ("?q=1", "http://a.org/x/y?q=1"),
    ],
)
def test_redirects_to_the_web(location, target):
    assert redirected("http://a.org/x/y", location) == target


@pytest.mark.parametrize(
    "location", ["ftp://a.org/", "file:///etc/passwd", "javascript:alert(1)", "http://a:x/", "http://[::1"]
)
def test_redirects_that_are_not_followed(location):
    with pytest.raises(RequestRefused, match="unsafe_redirect"):
        redirected("https://a.org/x", location)
