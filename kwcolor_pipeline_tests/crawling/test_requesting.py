import datetime
import email.utils
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwcolor_pipeline.crawling.requesting import (
    RateLimiter,
    RequestRefused,
    Stopped,
    pause_after,
    redirected,
    seconds_to_wait,
)


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


def test_a_stop_ends_the_waiting():
    stop = threading.Event()
    limiter = RateLimiter(1)
    limiter.close("a", 3600)
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(Stopped):
        limiter.wait("a", stop)


def test_a_closed_host_closes_no_other():
    limiter = RateLimiter(1)
    limiter.close("a", 3600)
    before = time.monotonic()
    limiter.wait("b", threading.Event())
    assert time.monotonic() - before < 60


def test_from_http_to_https_of_the_same_host():
    assert redirected("http://a.org/x", "https://a.org/x") == "https://a.org/x"
    assert redirected("https://a.org/x/y", "../z") == "https://a.org/z"


@pytest.mark.parametrize(
    "location",
    ["http://a.org/x", "https://b.org/", "//b.org/", "https://a.org:8443/", "ftp://a.org/", "https://a.org:x/"],
)
def test_redirects_that_are_not_followed(location):
    with pytest.raises(RequestRefused, match="unsafe_redirect"):
        redirected("https://a.org/x", location)
