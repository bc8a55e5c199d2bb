import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwcolor_pipeline.crawling.licences import ALLOWED, read_licence

ALLOWING = {
    "public domain": [
        "Public domain",
        "PUBLIC DOMAIN.",
        "In the public domain",
        "This work is in the public domain",
        "This image is public domain.",
        "Public Domain Mark 1.0",
        "PD",
        "pd",
        "PD-old",
        "PD-old-70",
        "PD-old-auto",
        "PD-USGov",
        "PD-USGov-Military-Army",
        "PD-self",
        "cc-pd",
        "Gemeinfrei",
        "Domaine public",
        "Dominio público",
        "\uff30\uff55\uff42\uff4c\uff49\uff43 domain",
        "Public\u00a0domain",
    ],
    "CC0": [
        "CC0",
        "cc-zero",
        "CC0 1.0",
        "CC0 1.0 Universal",
        "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication",
        "Creative Commons CC0 License",
        "Creative Commons Zero, Public Domain Dedication",
        "Public Domain Dedication (CC0)",
    ],
    "CC BY": [
        "CC BY",
        "CC BY 4.0",
        "cc-by-4.0",
        "cc_by_4.0",
        "CC\u2013BY 2.0 kr",
        "CC BY 3.0 igo",
        "CC BY 3.0-2.0",
        "Creative Commons Attribution 4.0 International",
        "Creative Commons Attribution 4.0 International (CC BY 4.0)",
        "Creative Commons Attribution License",
        "Attribution 4.0 International (CC BY 4.0)",
        "Attribution 2.0 Generic",
    ],
    "CC BY-SA": [
        "CC BY-SA",
        "cc by sa",
        "CC BY-SA 4.0",
        "cc-by-sa-4.0",
        "CC BY-SA 3.0 de",
        "CC BY-SA 2.5-2.0-1.0",
        "CC BY-SA 4.0,3.0,2.5,2.0,1.0",
        "Creative Commons Attribution-Share Alike 3.0 Unported",
        "Creative Commons Attribution-Share Alike 3.0 Germany",
        "Creative Commons Attribution-ShareAlike 4.0 International License",
        "Creative Commons Attribution - ShareAlike 4.0",
        "Attribution-ShareAlike 2.0 Generic",
    ],
    "no known restrictions": [
        "No known restrictions",
        "No known restrictions on publication",
        "No known restrictions on publication.",
        "No known copyright restrictions",
        "No known rights restrictions",
        "There are no known copyright restrictions.",
        "No known restrictions on use, reproduction and publication",
        "No known restrictions. For information see U.S. Farm Security Administration/Office of War Information Color "
        "Photographs https://www.loc.gov/rr/print/res/071_fsab.html",
        "No known restrictions on publication. For more information, see (https://www.loc.gov/rr/print/res/071_fsab.html)",
        "No known restrictions on images made by the U.S. Government; images copied from other sources may be "
        "restricted.",
        "No restrictions",
    ],
}
ALL_ALLOWING = [(text, kind) for kind, texts in ALLOWING.items() for text in texts]
STATEMENTS = st.sampled_from([text for text, _ in ALL_ALLOWING])

FORBIDDING = [
    # hedged
    "probably public domain (US government work); not checked item by item",
    "Possibly public domain",
    "Public domain?",
    "Public domain (presumed)",
    "PD-old-assumed",
    "Rights status not evaluated.",
    "Copyright status unknown",
    "Copyright undetermined",
    "Publication may be restricted.",
    "May be restricted: Information on reproduction rights available in LC P&P Restrictions Statement.",
    "No known restrictions, but permission is required",
    "No known restrictions on reproduction. Publication may be restricted.",
    "No known restrictions. For information see the donor, whose permission is required",
    "No known restrictions on access",
    "No known restrictions on photographs by staff members; others are restricted",
    # negated, or about something else
    "Not in the public domain",
    "not public domain",
    "This work is not in the public domain",
    "No, this is not public domain",
    "Public domain: no",
    "Public domain status is disputed",
    "Known restrictions",
    "Restrictions",
    "Not CC0",
    # somewhere, or for some
    "Public domain in the United States",
    "PD-old-70 in the EU only",
    "PD-US",
    "PD-US-expired",
    "No known restrictions on publication in the U.S. Use elsewhere may be restricted by other countries' laws.",
    "Public domain for educational use",
    "CC0 for members",
    # not commercially, not changed
    "CC BY-NC 4.0",
    "CC BY NC 4.0",
    "CC BY 4.0 NC",
    "CC BY.NC",
    "CC BY\u2013NC\u2013SA 4.0",
    "cc_by_nd_2.0",
    "CC BY\u200b-NC 4.0",
    "CC BY-ND",
    "CC BY-SA 4.0, non-commercial",
    "CC BY-SA 4.0 / CC BY-NC 4.0",
    "Creative Commons Attribution-NonCommercial 4.0",
    "Creative Commons Attribution Noncommercial No Derivatives",
    "Creative Commons Attribution-NoDerivs 2.0",
    "Creative Commons Attribution - Pas d'utilisation commerciale 3.0",
    "Creative Commons Attribution-NonComercial 4.0",
    "Creative Commons Namensnennung - Nicht-kommerziell 4.0",
    "Namensnennung-NichtKommerziell",
    "Attribution-NonCommercial License",
    "non-commercial use only",
    # other licences
    "All rights reserved",
    "\u00a9 1943 Life",
    "Copyrighted",
    "Copyrighted free use",
    "Fair use",
    "Attribution",
    "Attribution only licence",
    "GFDL",
    "GFDL 1.2",
    "CC BY 4.0 / GFDL",
    "FAL",
    "OGL",
    "OGL 3.0",
    "Open Government Licence v3.0",
    "IWM Non-Commercial Licence",
    "Some rights reserved",
    "See below",
    "CC",
    "Creative Commons",
    "CC SA 1.0",
    "CC BY 9.9",
    "CC BY-SA-XX",
    "nicht gemeinfrei",
    "ne pas dans le domaine public",
    # rubbish
    "-",
    "...",
    "n/a",
    "0",
    "\u0421\u0421 BY 4.0",
    "Public domain " * 10_000,
    "No known restrictions. For information see the curator",
    "No known restrictions. For information see " + "a" * 100_000,
    "\ud800 public domain",
    "Public\x00domain",
]


@pytest.mark.parametrize(("text", "kind"), ALL_ALLOWING)
def test_statements_that_allow(text, kind):
    licence = read_licence(text)
    assert (licence.kind, licence.refusal, licence.text) == (kind, None, text)


@pytest.mark.parametrize("text", FORBIDDING, ids=lambda text: ascii(text[:50]))
def test_statements_that_do_not_allow(text):
    assert read_licence(text).kind is None
    assert read_licence(text, "https://creativecommons.org/publicdomain/zero/1.0/").kind is None


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://creativecommons.org/licenses/by/4.0/", "CC BY"),
        ("http://creativecommons.org/licenses/by/4.0", "CC BY"),
        ("https://creativecommons.org/licenses/by/2.0/kr/deed.en", "CC BY"),
        ("https://www.creativecommons.org/licenses/by-sa/3.0/de/", "CC BY-SA"),
        ("https://creativecommons.org/licenses/by-sa/3.0/igo/legalcode", "CC BY-SA"),
        ("https://CreativeCommons.org/publicdomain/zero/1.0/deed.zh-hans", "CC0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "public domain"),
        ("http://rightsstatements.org/vocab/NKC/1.0/", "no known restrictions"),
        ("https://rightsstatements.org/page/NKC/1.0/?language=en", "no known restrictions"),
    ],
)
def test_addresses_that_allow(url, kind):
    assert read_licence(None, url).kind == kind
    assert read_licence(" ", url).kind == kind
    assert read_licence(f"{url}.", url).kind == kind
    assert read_licence("Public domain", url).refusal is None


CONTRADICTING = [
    "https://creativecommons.org/licenses/by-nc/4.0/",
    "https://creativecommons.org/licenses/by-nd/4.0/",
    "https://creativecommons.org/licenses/by-nc-sa/2.0/",
    "https://creativecommons.org/licenses/by/nc/4.0/",
    "https://creativecommons.org/licenses/by/4.0/../../by-nc/4.0/",
    "https://creativecommons.org/licenses/by/3.0/nc/",
    "https://creativecommons.org./licenses/by-nc/4.0/",
    "https://creativecommons.org//licenses/by-nc/4.0/",
    "https://creativecommons.org/licenses/sampling+/1.0/",
    "http://rightsstatements.org/vocab/InC/1.0/",
    "http://rightsstatements.org/vocab/CNE/1.0/",
    "http://rightsstatements.org/vocab/NoC-US/1.0/",
    "http://rightsstatements.org/vocab/UND/1.0/",
]


@pytest.mark.parametrize("url", CONTRADICTING)
def test_addresses_that_forbid_whatever_the_text_says(url):
    for text in (None, "Public domain", "CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/"):
        assert read_licence(text, url).kind is None
    assert read_licence(url, "https://creativecommons.org/licenses/by/4.0/").kind is None
    assert read_licence(f"'{url}'.", "https://creativecommons.org/licenses/by/4.0/").kind is None


@pytest.mark.parametrize(
    "url",
    [
        "https://www.loc.gov/rr/print/res/071_fsab.html",
        "https://creativecommons.org@example.org/licenses/by/4.0/",
        "https://creativecommons.org.example.org/licenses/by/4.0/",
        "https://example.org/creativecommons.org/licenses/by/4.0/",
        "http://[::1",
        "mailto:a@b.c",
    ],
)
def test_addresses_that_say_nothing(url):
    assert read_licence(None, url).kind is None
    assert read_licence("Public domain", url).kind == "public domain"


def test_of_two_that_allow_the_one_that_asks_for_more_counts():
    by, by_sa = (f"https://creativecommons.org/licenses/{terms}/4.0/" for terms in ("by", "by-sa"))
    assert read_licence("CC0", by).kind == "CC BY"
    assert read_licence("CC BY", by_sa).kind == "CC BY-SA"
    assert read_licence("CC BY-SA", by).kind == "CC BY-SA"


def test_the_reason_names_what_was_said():
    assert read_licence(None).refusal == "licence: none is stated"
    assert read_licence("", "").refusal == "licence: none is stated"
    assert read_licence("All rights reserved").refusal == "licence: All rights reserved"
    assert read_licence(None, CONTRADICTING[0]).refusal == f"licence: {CONTRADICTING[0]}"
    assert len(read_licence("x" * 5000).refusal) < 300


@given(st.none() | st.text(), st.none() | st.text() | st.sampled_from(CONTRADICTING))
def test_any_text_is_read(text, url):
    licence = read_licence(text, url)
    assert licence.kind is None or licence.kind in ALLOWED
    assert (licence.refusal is None) == (licence.kind is not None)


@given(STATEMENTS, st.sampled_from(["probably", "possibly", "not", "presumed", "perhaps:", "wohl", "no longer", "was"]))
def test_a_hedge_before_a_statement_refuses(statement, hedge):
    assert read_licence(f"{hedge} {statement}").kind is None


@given(
    STATEMENTS,
    st.sampled_from(["?", " (unverified)", " only in the EU", ", but ask first", " unless renewed", "; not for sale"]),
)
def test_a_hedge_after_a_statement_refuses(statement, hedge):
    assert read_licence(statement + hedge).kind is None


@given(
    STATEMENTS,
    st.sampled_from(
        ["NC", "ND", "nc-sa", "NonCommercial", "non-commercial", "NoDerivs", "nicht kommerziell", "No Deriv"]
    ),
    st.sampled_from([" ", "-", "_", "\u2013", "/", ", ", ".", "\u200b-", " (", "+"]),
)
def test_non_commercial_and_no_derivatives_always_refuse(statement, terms, between):
    assert read_licence(f"{statement}{between}{terms}").kind is None
    assert read_licence(f"{terms}{between}{statement}").kind is None


@given(STATEMENTS, st.sampled_from([str.upper, str.lower, str.title]), st.sampled_from(["", " ", "\n", ".", "\u00a0"]))
def test_case_and_space_around_do_not_matter(statement, change, around):
    assert read_licence(around + change(statement) + around).kind == read_licence(statement).kind
