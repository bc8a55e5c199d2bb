import pytest

from kwcolor_pipeline.photos.rules import RULES, TITLE_SAYS_COLORIZED, UNREADABLE
from kwcolor_pipeline.review.words import explained, in_words


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"reason": None}, "Nothing speaks against it."),
        ({"reason": "not_colour", "review": None}, "Hardly any colour."),
        (
            {"reason": "not_colour", "review": "Perhaps grey", "number": 5.876, "threshold": 6.0},
            "Hardly any colour. Perhaps grey (5.88; the bound is 6).",
        ),
        (
            {"reason": "off_topic", "review": 'The title says "toy"', "number": None, "threshold": None},
            'Seems to be about something else. The title says "toy".',
        ),
        (
            {"reason": "off_topic", "review": None, "number": 2003.0, "threshold": 1955.0},
            "Seems to be about something else (2003; the bound is 1955).",
        ),
        ({"reason": "some_new_rule"}, "Some new rule."),
    ],
)
def test_a_row_is_explained_in_plain_words(row: dict[str, object], says: str) -> None:
    assert explained(row) == says


def test_every_reason_of_a_rule_has_a_sentence() -> None:
    reasons = {rule.reason for rule in RULES} | {UNREADABLE, TITLE_SAYS_COLORIZED}
    # What has no sentence is said as it is written.
    assert [reason for reason in reasons if in_words(reason) == reason.replace("_", " ").capitalize()] == ["too_small"]
