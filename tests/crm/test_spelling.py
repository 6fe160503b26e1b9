"""How a word may be written: numbers and abbreviations in one way, other letters by their sound, slips of the pen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.legal_forms import without_form
from crm.spelling import folded, in_latin, is_cut, is_slip, plain, sound, spelt_out


@pytest.mark.parametrize(
    ("text", "once", "twice"),
    [
        ("müller", "muller", "mueller"),
        ("søn", "son", "soen"),
        ("åkerblom", "akerblom", "aakerblom"),
        ("ab", "ab", "ab"),
    ],
)
def test_an_umlaut_is_one_letter_or_two(text, once, twice):
    assert (plain(text), spelt_out(text)) == (once, twice)


@pytest.mark.parametrize(
    ("word", "found"), [("seven", "7"), ("sieben", "7"), ("brothers", "bros"), ("saint", "st"), ("acme", "acme")]
)
def test_a_number_and_an_abbreviation_have_one_way_of_being_written(word, found):
    assert folded(word) == found


@pytest.mark.parametrize(
    ("word", "like"),
    [("млин", "mlyn"), ("папагеоргакис", "papageorgakis"), ("ромашка", "romashka"), ("ソニー", "sonii")],
)
def test_other_letters_are_compared_by_their_sound(word, like):
    assert sound(in_latin(word)) == sound(like)


def test_signs_are_no_letters():
    assert in_latin("🦄🚀") == ""


@pytest.mark.parametrize(
    ("word", "like", "found"),
    [("harbor", "harbour", True), ("grid", "grip", False), ("north", "south", False), ("pier17", "pier7", False)],
)
def test_a_slip_of_the_pen(word, like, found):
    assert is_slip(word, like) is is_slip(like, word) is found


@pytest.mark.parametrize(
    ("word", "like", "found"), [("chem", "chemistry", True), ("north", "northern", False), ("acme", "acmeworks", True)]
)
def test_the_beginning_of_a_word_stands_for_it(word, like, found):
    assert is_cut(word, like) is is_cut(like, word) is found


@pytest.mark.parametrize(
    ("words", "left", "form"),
    [
        ("ооо вектор", "вектор", "ooo"),
        ("lphd elstertal eg", "lphd elstertal", "eg"),
        ("ee limited", "ee", "ltd"),
        ("societe oakhurst", "oakhurst", ""),
        ("ofelia unipessoal lda", "ofelia", "ltda"),
        ("societe", "societe", ""),
    ],
)
def test_a_legal_form_in_whatever_letters(words, left, form):
    assert without_form(tuple(words.split())) == (tuple(left.split()), form)


@given(st.text(max_size=40))
def test_no_text_breaks_it(text):
    assert in_latin(plain(text.casefold())).isascii()
    assert sound(sound(in_latin(text))).isascii()
