"""Keys as text: forms, checksums, digests, the pepper's file."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import keys
from app.keys import (
    ENTROPY_BYTES,
    NONCE_BYTES,
    digest,
    id_of,
    load_pepper,
    make_ephemeral,
    make_key,
    parse_ephemeral,
    parse_key,
)

PEPPER = b"pepper"
ENTROPY = st.binary(min_size=ENTROPY_BYTES, max_size=ENTROPY_BYTES)


@given(ENTROPY)
def test_a_key_has_its_form_and_its_parts_come_back(entropy: bytes) -> None:
    key = make_key(entropy)
    match = re.fullmatch(r"sluice_live_(\w{8})_([0-9A-Za-z]{40})[0-9A-Za-z]{6}", key)
    assert match is not None
    assert parse_key(key) == match.groups()


@given(ENTROPY, st.data())
def test_a_mistyped_key_is_no_key(entropy: bytes, data: st.DataObject) -> None:
    key = make_key(entropy)
    place = data.draw(st.integers(0, len(key) - 1))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126).filter(lambda c: c != key[place]))
    assert parse_key(key[:place] + other + key[place + 1 :]) is None


@pytest.mark.parametrize("text", ["", "sk-x", "sluice_live_", "sluice_live_12345678_" + "0" * 46, "ek_x"])
def test_what_is_no_key(text: str) -> None:
    assert parse_key(text) is None


@given(st.text())
def test_any_text_is_parsed_or_not_and_never_an_error(text: str) -> None:
    assert parse_key(text) is None
    assert parse_ephemeral(PEPPER, text) is None


def test_a_known_key_stays_as_it_is_made() -> None:
    """The form is on disk and in people's files: it must not change."""
    body = "sluice_live_01234567_89ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijkl"
    assert make_key(bytes(range(48))) == body + "3mdhFl"


def test_a_digest_depends_on_key_and_pepper() -> None:
    assert len({digest(p, k) for p in (b"a", b"b") for k in ("x", "y")}) == 4
    golden = "23e49db7721548ac8aa1dfcce7a931f57b045fb1b72bf44c1eefa9f60a7bc3f8"
    assert digest(PEPPER, "key").hex() == golden  # HMAC-SHA-256, as any other tool computes it


def test_an_id_of_a_bootstrap_key_is_stable_and_tells_nothing_of_it() -> None:
    assert id_of(PEPPER, "key") == id_of(PEPPER, "key")
    assert len(id_of(PEPPER, "key")) == 8
    assert len({id_of(p, k) for p in (b"a", b"b") for k in ("x", "y")}) == 4


def test_an_ephemeral_key_carries_its_maker_and_its_end() -> None:
    key = make_ephemeral(PEPPER, "abcd1234", 1_700_000_000, bytes(NONCE_BYTES))
    assert re.fullmatch(r"[A-Za-z0-9_]+", key)  # it travels as a WebSocket subprotocol
    assert parse_ephemeral(PEPPER, key) == ("abcd1234", 1_700_000_000)


@given(st.data())
def test_an_ephemeral_key_changed_anywhere_is_refused(data: st.DataObject) -> None:
    key = make_ephemeral(PEPPER, "abcd1234", 1_700_000_000, bytes(NONCE_BYTES))
    place = data.draw(st.integers(0, len(key) - 1))
    other = data.draw(st.sampled_from("0123456789abcdefXYZ_").filter(lambda c: c != key[place]))
    assert parse_ephemeral(PEPPER, key[:place] + other + key[place + 1 :]) is None


def test_an_ephemeral_key_of_another_server_is_refused() -> None:
    assert parse_ephemeral(b"other", make_ephemeral(PEPPER, "abcd1234", 1, bytes(NONCE_BYTES))) is None


def test_the_pepper_is_made_once_and_is_private(tmp_path: Path) -> None:
    state = tmp_path / "not" / "there"
    pepper = load_pepper(state, None)
    assert len(pepper) == 64
    assert load_pepper(state, None) == pepper
    assert (state / "key-pepper").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in state.iterdir()] == ["key-pepper"]


def test_a_pepper_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    pepper = load_pepper(tmp_path, None)
    (tmp_path / "key-pepper").chmod(0o644)
    assert load_pepper(tmp_path, None) == pepper
    assert (tmp_path / "key-pepper").stat().st_mode & 0o777 == 0o600


def test_a_pepper_that_is_given_needs_no_file(tmp_path: Path) -> None:
    assert load_pepper(tmp_path, "given") == b"given"
    assert list(tmp_path.iterdir()) == []


def test_processes_that_start_at_once_agree_on_the_pepper(tmp_path: Path) -> None:
    for _ in range(20):
        barrier = threading.Barrier(4)
        found: list[bytes] = []

        def start(barrier: threading.Barrier = barrier, found: list[bytes] = found) -> None:
            barrier.wait()
            found.append(load_pepper(tmp_path, None))

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(found)) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["key-pepper"]
        (tmp_path / "key-pepper").unlink()


def test_whoever_comes_second_keeps_the_first_ones_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    keys._create_privately(path, "first")
    keys._create_privately(path, "second")
    assert path.read_text() == "first"
    assert [one.name for one in tmp_path.iterdir()] == ["secret"]
