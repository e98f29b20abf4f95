"""Folding: as the eye reads it, a character at a time, ASCII left alone."""

from __future__ import annotations

import unicodedata
from string import ascii_lowercase

import pytest

from app.moderation.confusables import LOOKALIKES
from app.moderation.fold import FoldTable, fold_char, fold_text, is_word


def test_ascii_changes_in_case_and_white_space_only() -> None:
    for code in range(128):
        char = chr(code)
        expected = char.lower() if char.isprintable() else " " if char.isspace() else ""
        assert fold_char(char) == expected


def test_folding_twice_changes_nothing() -> None:
    planes = (range(0xD800), range(0xE000, 0x20000), range(0xE0000, 0xE1001))  # beyond: ideographs, nothing
    for codes in planes:
        for code in codes:
            once = fold_char(chr(code))
            assert "".join(map(fold_char, once)) == once, hex(code)


@pytest.mark.parametrize(
    ("char", "folded"),
    [
        ("Ａ", "a"),
        ("𝔸", "a"),
        ("é", "e"),
        ("İ", "i"),
        ("ø", "o"),
        ("ﬁ", "fi"),
        ("ß", "ss"),
        ("½", "1⁄2"),
        ("А", "a"),  # Cyrillic
        ("Н", "h"),  # Cyrillic
        ("ο", "o"),  # Greek
        ("Օ", "o"),  # Armenian
        ("\N{KELVIN SIGN}", "k"),
        ("٣", "3"),
        ("’", "'"),
        ("—", "-"),
        ("\u00a0", " "),
        ("\u2028", " "),
        ("\u200b", ""),
        ("\u0301", ""),
        ("\u20dd", ""),
        ("\u3164", ""),
        ("\ufe0f", ""),
        ("世", "世"),
        ("ж", "ж"),
    ],
)
def test_a_character_folds_to_what_it_looks_like(char: str, folded: str) -> None:
    assert fold_char(char) == folded


ALPHABETS = {
    "small capitals": "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡxʏᴢ",
    "squares": "🄰🄱🄲🄳🄴🄵🄶🄷🄸🄹🄺🄻🄼🄽🄾🄿🅀🅁🅂🅃🅄🅅🅆🅇🅈🅉",
    "filled squares": "🅰🅱🅲🅳🅴🅵🅶🅷🅸🅹🅺🅻🅼🅽🅾🅿🆀🆁🆂🆃🆄🆅🆆🆇🆈🆉",
    "filled circles": "🅐🅑🅒🅓🅔🅕🅖🅗🅘🅙🅚🅛🅜🅝🅞🅟🅠🅡🅢🅣🅤🅥🅦🅧🅨🅩",
    "Cherokee": "ᏗᏰፈᎴᏋᎦᎶᏂᎥᏠᏦᏝᎷᏁᎧᎮqᏒᏕᏖᏬᏉᏇጀᎩፚ",
    "Cherokee by its capitals": "ᎪᏴᏟᎠᎬFᏀᎻᏆᎫᏦᏞᎷNᎾᏢQᎡᏚᎢUᏙᎳXᎽᏃ",
    "Canadian syllabics": "ᗩᗷᑕᗪᕮᖴGᕼIᒍKᒪᗰᑎOᑭᑫᖇᔕTᑌᐯᗯ᙭Yᘔ",
}


@pytest.mark.parametrize("name", ALPHABETS)
def test_an_alphabet_of_lookalikes_is_read_as_it_is_meant(name: str) -> None:
    assert fold_text(ALPHABETS[name]) == ascii_lowercase
    assert fold_text(ALPHABETS[name].lower()) == ascii_lowercase


def test_a_flag_behind_a_word_is_no_part_of_it() -> None:
    assert not any(map(is_word, fold_text("🇫🇷")))


def test_lookalikes_are_of_other_scripts_and_look_like_one_ascii_character() -> None:
    for char, ascii_ in LOOKALIKES.items():
        assert not char.isascii()
        assert len(char) == len(ascii_) == 1
        assert ascii_.isascii()
        assert ascii_ == ascii_.lower()


def test_a_letter_that_looks_alike_in_one_case_folds_in_both() -> None:
    for char in LOOKALIKES:
        if char.isalpha() and len(char.lower()) == 1 and not char.lower().isascii():
            assert "".join(map(fold_char, char.lower())).isascii(), unicodedata.name(char)


def test_a_term_loses_outer_and_double_spaces() -> None:
    assert fold_text("  Two\n\u200b  WORDS ") == "two words"


def test_the_table_remembers_up_to_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.moderation.fold._MEMO_LIMIT", 1)
    table = FoldTable()
    assert [table["Á"], table["É"], table["Á"]] == ["a", "e", "a"]
    assert len(table) == 1
    assert "Á" not in repr(table)


def test_word_characters() -> None:
    assert all(is_word(char) for char in "a1_é世ा")
    assert not any(is_word(char) for char in " -.'’!")
