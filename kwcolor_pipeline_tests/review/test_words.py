import pytest

from kwcolor_pipeline.review.words import explained, in_words


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"reason": None}, "Nothing speaks against it."),
        ({"reason": "not_colour", "review": None}, "Hardly any colour."),
        (
            {"reason": "not_colour", "review": "borderline", "number": 5.876, "threshold": 6.0},
            "Hardly any colour. Close to a bound (5.88; the bound is 6).",
        ),
        (
            {"reason": "off_topic", "review": "off_topic", "number": None, "threshold": 0.5},
            "Seems to be about something else.",
        ),
        (
            {"reason": "off_topic", "review": "off_topic", "number": 2003.0, "threshold": 1955.0},
            "Seems to be about something else (2003; the bound is 1955).",
        ),
        ({"reason": "some_new_rule"}, "Some new rule."),
    ],
)
def test_a_row_is_explained_in_plain_words(row: dict[str, object], says: str) -> None:
    assert explained(row) == says


def test_every_reason_has_words() -> None:
    assert in_words("toned") != "Toned"
    assert in_words("never_heard_of") == "Never heard of"
