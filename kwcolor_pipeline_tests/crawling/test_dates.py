import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwcolor_pipeline.crawling.dates import read_date, year_range

YEARS = st.integers(1500, 2099)
MONTHS = ["Jan.", "Feb", "March", "Apr.", "May", "June", "Jul", "August", "Sept.", "October", "nov.", "DEC"]
PRECISIONS = {"day", "month", "year", "range", "decade", "century"}


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("1943", (1943, 1943)),
        ("194[3] Apr.?", (1943, 1943)),
        ("[between 1940 and 1946]", (1940, 1946)),
        ("[1943?]", (1943, 1943)),
        ("1943 Apr.", (1943, 1943)),
        ("[1942 or 1943]", (1942, 1943)),
        ("1939-44", (1939, 1944)),
        ("1939-1944", (1939, 1944)),
        ("1943-12", (1943, 1943)),
        ("1943-06-01", (1943, 1943)),
        ("1943-12-31T00:00:00Z", (1943, 1943)),
        ("[194-?]", (1940, 1949)),
        ("1940s", (1940, 1949)),
        ("19--", (1900, 1999)),
        ("194?", (1940, 1949)),
        ("[19??]", (1900, 1999)),
        ("194[3]?", (1943, 1943)),
        ("ca. 1940", (1940, 1940)),
        ("c1942, printed later", (1942, 1942)),
        ("0", None),
        ("", None),
        (None, None),
        ("n.d.", None),
        ("LC-USF35-193456", None),
    ],
)
def test_dates_as_catalogues_write_them(text, years):
    assert year_range(text) == years


@given(YEARS, st.sampled_from(["{}", "[{}]", "[{}?]", "{} Apr.", "Apr. 12, {}", "ca. {}", "<{}>", "{}-06-01"]))
def test_a_single_year_is_read_however_it_is_marked(year, form):
    assert year_range(form.format(year)) == (year, year)


@given(YEARS)
def test_a_year_whose_last_digit_is_guessed(year):
    text = str(year)
    assert year_range(f"{text[:3]}[{text[3]}] Jan.?") == (year, year)


@given(YEARS, YEARS, st.sampled_from(["[between {} and {}]", "{} or {}", "{}-{}", "{}/{}", "{}–{}"]))
def test_of_two_years_the_earliest_and_latest_count(one, other, form):
    assert year_range(form.format(one, other)) == (min(one, other), max(one, other))


@given(st.text(max_size=400))
def test_any_text_gives_an_ordered_range_or_none(text):
    years = year_range(text)
    assert years is None or 1500 <= years[0] <= years[1] <= 2099


@given(st.text(alphabet=st.characters(exclude_categories=["Nd"]), max_size=300))
def test_without_digits_there_is_no_year(text):
    assert year_range(text) is None


@pytest.mark.parametrize(
    ("text", "described"),
    [
        ("1943-06-01", "day"),
        ("1943:06:01 12:00:00", "day"),
        ("1943-06-01T10:00:00+01:00", "day"),
        ("Apr. 12, 1943", "day"),
        ("12 April 1943", "day"),
        ("1943 Apr. 12", "day"),
        ("6th of June, 1944", "day"),
        ("Taken on 6 June 1944", "day"),
        ("6.6.1944", "day"),
        ("1943-06", "month"),
        ("06/1944", "month"),
        ("1943 Apr.", "month"),
        ("June 1943", "month"),
        ("May 1943", "month"),
        ("June 5-7, 1943", "month"),
        ("1943-06-01/1943-06-30", "month"),
        ("1943-06-00", "month"),
        ("1943", "year"),
        ("1943-00-00", "year"),
        ("1943-13-40", "year"),
        ("Summer 1944", "year"),
        ("June or July 1943", "year"),
        ("March 1943 - April 1943", "year"),
        ("it may be of 1943", "year, uncertain"),
        ("the mayor 1943", "year"),
        ("1943 [Korea]", "year"),
        ("between 1940 and 1946", "range"),
        ("1939-44", "range"),
        ("1942 or 1943", "range"),
        ("1940-1949", "range"),
        ("1940s", "decade"),
        ("early 1940s", "decade"),
        ("194-", "decade"),
        ("19--", "century"),
        ("[194-?]", "decade, uncertain"),
        ("194?", "decade, uncertain"),
        ("19??", "century, uncertain"),
        ("194[1] Jan.?", "month, uncertain"),
        ("[1943]", "year, uncertain"),
        ("[1942 or 1943]", "range, uncertain"),
        ("1943?", "year, uncertain"),
        ("circa 1943", "year, uncertain"),
        ("ca. June 1943", "month, uncertain"),
        ("ca1943", "year, uncertain"),
        ("c. 1943", "year, uncertain"),
        ("c1942, printed later", "year, uncertain"),
        ("~1943", "year, uncertain"),
        ("About 1943", "year, uncertain"),
        ("around 1943", "year, uncertain"),
        ("approximately 1943", "year, uncertain"),
        ("probably 1943", "year, uncertain"),
        ("before 1945", "year, uncertain"),
        ("1943 or later", "year, uncertain"),
        ("World War II era", None),
        ("circa", None),
        ("n.d.", None),
        (None, None),
    ],
)
def test_how_exact_a_date_is(text, described):
    date = read_date(text)
    assert (date.described if date else None) == described


@given(st.text(max_size=300) | st.text(alphabet="0123456789-–/.:[]?<> acirdeUNJunMayst,", max_size=60))
def test_any_text_gives_a_date_of_known_precision_or_none(text):
    date, years = read_date(text), year_range(text)
    assert (date is None) == (years is None)
    if date:
        assert (date.first, date.last) == years
        assert date.precision in PRECISIONS
        assert (date.first == date.last) == (date.precision in {"day", "month", "year"})


@given(
    st.dates(datetime.date(1500, 1, 1), datetime.date(2099, 12, 31)),
    st.sampled_from(["{0:%d} {1} {0.year}", "{1} {0.day}, {0.year}", "{0.year} {1} {0.day}", "{0}"]),
)
def test_a_whole_date_is_a_day_however_it_is_written(day, form):
    text = form.format(day, MONTHS[day.month - 1])
    assert read_date(text).described == "day"
    assert year_range(text) == (day.year, day.year)


@given(YEARS, st.integers(1, 12), st.sampled_from(["{1} {0}", "{0} {1}", "{0} {1}", "{0}-{2:02d}", "{2:02d}/{0}"]))
def test_a_month_is_a_month_however_it_is_written(year, month, form):
    assert read_date(form.format(year, MONTHS[month - 1], month)).described == "month"


@given(YEARS, st.sampled_from(["[{}]", "{}?", "ca. {}", "circa {}", "c{}", "about {}", "before {}", "<{}?>"]))
def test_a_doubted_year_is_uncertain(year, form):
    date = read_date(form.format(year))
    assert (date.first, date.last, date.described) == (year, year, "year, uncertain")
