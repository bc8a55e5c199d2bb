import numpy as np
import pytest

from kwcolor_pipeline.photos.topic import ENOUGH_TO_COMPARE, Words, likeness, year_outside
from kwcolor_pipeline.settings import CurationSettings

WANTED = CurationSettings()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A TOY tank", "toy"),
        ("toys, 1944", "toys"),
        ("Toyota truck", None),
        ("File:Tank_toy_1.jpg", "toy"),
        ("Ré-enactment of the landing", "re enactment"),
        ("Reenactors at dawn", "reenactors"),
        ("Scale-model of a bridge", "scale model"),
        ("The scale of it; a model farm", None),
        ("Mapping the road, with mapmakers", None),
        ("Map of Korea", "map"),
        ("Posters in a window", "posters"),
        ("Модель игрушка", "игрушка"),
        ("", None),
        (None, None),
    ],
)
def test_whole_words_are_found_whatever_their_case_accents_and_hyphens(text: str | None, found: str | None) -> None:
    words = Words(["toy", "toys", "reenact*", "re enact*", "scale model*", "map", "poster*", "игрушка", "model tank"])
    assert words.first_in(text) == found


def test_words_may_have_to_stand_at_the_start() -> None:
    words = Words(["map", "poster*"])
    assert words.first_in("A large map of Korea", within=3) == "map"
    assert words.first_in("Instructor and students studying a map", within=3) is None
    assert words.first_in("Boys with posters", within=3) == "posters"


def test_words_without_letters_and_no_words_find_nothing() -> None:
    for words in ([], ["", "*", "- -"]):
        assert Words(words).first_in("anything - at all *") is None


@pytest.mark.parametrize(
    ("title", "refused"),
    [
        ("Tank, colorized by hand", True),
        ("Char colorisé", True),
        ("hand-tinted view", True),
        ("Hand coloured photograph", True),
        ("Photo, digitally restored", True),
        ("Retouched portrait", True),
        ("Color photograph of a tank", False),
        ("A restored aircraft", False),
        ("Tinted windows of a car", False),
    ],
)
def test_the_settings_words_for_colours_that_nobody_photographed(title: str, refused: bool) -> None:
    assert (Words(WANTED.refuse_words).first_in(title) is not None) == refused


@pytest.mark.parametrize(
    ("years", "outside"),
    [
        ({"year_taken": 1943}, None),
        ({"year_taken": 1960}, None),
        ({"year_taken": 1987}, (1987, 1960)),
        ({"year_taken": 1955, "year_taken_last": 1990}, None),
        ({"year_taken": 1900, "year_taken_last": 1950}, None),
        ({"year_taken": 1900, "year_taken_last": 1909}, (1909, 1930)),
        ({"year_published": 1899}, (1899, 1930)),
        ({"year_published": 2015}, None),
        ({}, None),
    ],
)
def test_only_certain_years_are_outside(years: dict[str, int], outside: tuple[int, int] | None) -> None:
    assert year_outside(years, WANTED) == outside


def test_publication_counts_where_the_settings_say_so() -> None:
    wanted = CurationSettings(last_year_published=1970)
    assert year_outside({"year_published": 2015}, wanted) == (2015, 1970)
    assert year_outside({"year_published": 1950}, wanted) is None


def test_what_is_like_no_other_has_the_least_likeness() -> None:
    random = np.random.default_rng(3)
    vectors = random.normal(0, 0.2, (ENOUGH_TO_COMPARE, 32)) + np.eye(32)[0]
    vectors[17] = np.eye(32)[5]
    # A pair of twins is like each other, and like no five.
    vectors[30] = vectors[31] = np.eye(32)[9]
    found = likeness((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))
    assert set(np.argsort(found)[:3].tolist()) == {17, 30, 31}
    assert (found <= 1).all()


def test_likeness_of_many_is_to_evenly_chosen_ones() -> None:
    vectors = np.ones((5000, 4), dtype=np.float32) / 2
    vectors[4321] = (0.5, 0.5, -0.5, -0.5)
    found = likeness(vectors)
    assert found.argmin() == 4321
    assert np.delete(found, 4321).min() == pytest.approx(1)


def test_the_sample_photographs_may_be_of_any_year() -> None:
    row = {"year_taken": 2015, "year_taken_last": 2015, "year_published": 2016}
    assert year_outside({**row, "source": "folder"}, CurationSettings()) is not None
    assert year_outside({**row, "source": "sample"}, CurationSettings()) is None
