from __future__ import annotations

import pytest

from app.moderation.verify import IBAN_LENGTHS, VERIFIERS, iban, luhn, mixed


@pytest.mark.parametrize("number", ["4111 1111 1111 1111", "5500-0000-0000-0004", "340000000000009", "18"])
def test_a_valid_check_digit(number: str) -> None:
    assert luhn(number)


@pytest.mark.parametrize("number", ["4111 1111 1111 1112", "4111 1111 1111 1171", "0", "", "abc"])
def test_a_wrong_check_digit(number: str) -> None:
    assert not luhn(number)


@pytest.mark.parametrize(
    "account",
    [
        "de89 3704 0044 0532 0130 00",
        "de89-3704-0044-0532-0130-00",
        "gb29nwbk60161331926819",
        "no9386011117947",
        "fr1420041010050500013m02606",
    ],
)
def test_a_valid_account(account: str) -> None:
    assert iban(account)


@pytest.mark.parametrize(
    "account",
    [
        "de88 3704 0044 0532 0130 00",
        "de8937040044053201300",
        "xx89370400440532013000",
        "gb29nwbk6016133192681é",
    ],
)
def test_an_invalid_account(account: str) -> None:
    assert not iban(account)


def test_countries_stand_in_the_table_once() -> None:
    assert len(IBAN_LENGTHS) == 89
    assert all(len(country) == 2 and country.islower() for country in IBAN_LENGTHS)


def test_a_random_key_has_letters_and_digits() -> None:
    assert mixed("sk-a1")
    assert not mixed("sk-words-only")
    assert not mixed("123-456")
    assert set(VERIFIERS) == {"luhn", "iban", "mixed"}
