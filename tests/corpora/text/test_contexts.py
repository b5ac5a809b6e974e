"""English that is read by what stands beside it: years and counts, numbers of rooms and telephones, dates."""

import pytest

from spiritlm_pl.corpora.text.transcripts import spoken_form, unreadable


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("in 1984", "in nineteen eighty four"),
        ("In 1950, he left.", "in nineteen fifty he left"),
        ("in 1066 they came", "in ten sixty six they came"),
        ("the summer of 1950", "the summer of nineteen fifty"),
        ("from 1914 to 1918", "from nineteen fourteen to nineteen eighteen"),
        ("in 1990, 1992 and 1994.", "in nineteen ninety nineteen ninety two and nineteen ninety four"),
        ("since mid-1950", "since mid nineteen fifty"),
        ("May 5th, 1999", "may fifth nineteen ninety nine"),
        ("in May 1950 and 1200 BC", "in may nineteen fifty and twelve hundred bc"),
        ("1987's hit of the 1980s", "nineteen eighty seven's hit of the nineteen eighties"),
        ("the 1950 World Cup", "the nineteen fifty world cup"),
        ("1950 people", "one thousand nine hundred fifty people"),
        ("1024 bytes", "one thousand twenty four bytes"),
        ("Copyright (C) 1989", "copyright c nineteen eighty nine"),
        ("Over 1950 people", "over one thousand nine hundred fifty people"),
        ("1,500 men", "one thousand five hundred men"),
    ],
)
def test_years_and_counts_are_told_apart_by_their_context(written: str, said: str) -> None:
    assert spoken_form(written) == said and unreadable(written, "en") is None


@pytest.mark.parametrize(
    ("written", "token"),
    [
        ("1905", "1905"),
        ("1500 people", "1500"),  # fifteen hundred
        ("the 1950 elections", "1950"),
        ("in 1950 new houses", "1950"),
        ("in 1950 houses", "1950"),
        ("by Windows 2012 features", "2012"),
        ("a total of 1950", "1950"),
        ("it rose from 1200 to 1500", "1200"),
        ("1200–1500 people", "1200–1500"),
        ('he read "1984"', '"1984"'),
    ],
)
def test_numbers_that_may_be_years_or_counts_are_told(written: str, token: str) -> None:
    assert unreadable(written, "en") == token


@pytest.mark.parametrize(
    ("written", "token"),
    [
        ("call 911", "911"),
        ("a 911 call", "911"),
        ("room 101", "101"),
        ("room No. 101", "101"),
        ("call us at 555 now", "555"),
        ("flight 237", "237"),
        ("ext. 204", "204"),
        ("the I-405", "I-405"),
    ],
)
def test_numbers_that_are_said_digit_by_digit_or_whole_are_told(written: str, token: str) -> None:
    assert unreadable(written, "en") == token


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Dial 500 or 42", "dial five hundred or forty two"),
        ("flight 1549, Route 66", "flight fifteen forty nine route sixty six"),
        ("call 250 people", "call two hundred fifty people"),
    ],
)
def test_numbers_of_rooms_and_flights_with_one_reading_are_said(written: str, said: str) -> None:
    assert spoken_form(written) == said and unreadable(written, "en") is None


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("in Jan. 2020", "in january twenty twenty"),
        ("since Feb. and on Thurs. at 5", "since february and on thursday at five"),
        ("on Sat. we went", "on saturday we went"),
        ("Jan said so", "jan said so"),
        ("Sept 2020", "september twenty twenty"),
        ("the 5th of May", "the fifth of may"),
        ("1st Ave., 5th Ave and Sunset Blvd", "first avenue fifth avenue and sunset boulevard"),
        ("kings &c.", "kings et cetera"),
        (".NET, ASP.NET and .com", "dot net asp dot net and dot com"),
        ("wait ...and see", "wait and see"),
    ],
)
def test_dates_and_short_words_with_one_reading_are_said(written: str, said: str) -> None:
    assert spoken_form(written) == said and unreadable(written, "en") is None


@pytest.mark.parametrize(
    ("written", "token"),
    [
        ("5 Jan 2020", "5 Jan"),
        ("on 3 March he left", "3 March"),
        ("5th January", "5th January"),
        ("on January 5", "5"),
        ("look at the Sun.", "Sun."),
        ("Main St and others", "St"),
        ("an .exe file", ".exe"),
        ("it ends with .t.", ".t."),
        ("open readme.txt", "readme.txt"),
        ("cf. the others", "cf."),
    ],
)
def test_dates_and_short_words_with_several_readings_are_told(written: str, token: str) -> None:
    assert unreadable(written, "en") == token
