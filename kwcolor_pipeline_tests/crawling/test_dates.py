import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwcolor_pipeline.crawling.dates import year_range

YEARS = st.integers(1500, 2099)


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
