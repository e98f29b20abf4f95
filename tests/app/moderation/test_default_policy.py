"""The policy that ships: keys, cards and accounts are redacted, ordinary text passes untouched."""

from __future__ import annotations

import pytest

from app.moderation import compile_policy, load_policy
from scripts.bench_gate import PROSE
from tests.app.moderation.running import run

POLICY = compile_policy(load_policy())
PEM_LINE = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKB"


def pem(newline: str, lines: int = 30) -> str:
    body = newline.join([PEM_LINE] * lines)
    return newline.join(
        ["-----BEGIN RSA PRIVATE KEY-----", body, "AbCd+/==", "-----END RSA PRIVATE KEY-----"]
    )


@pytest.mark.parametrize(
    "secret",
    [
        "sluice_live_4fJk29sLm3Qp8vXz1Tb7",
        "sk-proj-4fJk29sLm3Qp8vXz1Tb7_aB-9",
        "sk-ant-api03-4fJk29sLm3Qp8vXz1Tb7",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "github_pat_11ABCDEFG0aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789",
        "glpat-4fJk29sLm3Qp8vXz1Tb7",
        "xoxb-123456789012-abcdefABCDEF",
        "sk_live_4fJk29sLm3Qp8vXz",
        "AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY",
        "npm_4fJk29sLm3Qp8vXz1Tb74fJk29sLm3Qp8vXz",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0." + "s" * 600,
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "5555555555554444",
        "3782 822463 10005",
        "30569309025904",
        "٤١١١ １１１１ 1111 1111",
        "DE89 3704 0044 0532 0130 00",
        "GB29NWBK60161331926819",
        "FR14 2004 1010 0505 0001 3M02 606",
        pem("\n"),
        pem("\\n"),
        pem("\r\n"),
        pem("\n    "),
    ],
)
@pytest.mark.parametrize("size", [1, 4, 10_000])
def test_a_secret_is_redacted_whole(secret: str, size: int) -> None:
    text = f"Here: {secret}, keep it."
    ran = run(POLICY, [text[index : index + size] for index in range(0, len(text), size)])
    assert ran.released == "Here: [redacted], keep it."
    assert ran.cut is None


def test_a_key_that_breaks_off_is_redacted_as_far_as_it_goes() -> None:
    for length in range(100, 700, 23):
        assert run(POLICY, list(pem("\n")[:length])).released.startswith("[redacted]")
        assert len(run(POLICY, list(pem("\n")[:length])).released) <= len("[redacted]\n")


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        "My order is 4111 1111 1111 1112, tracking 12345678901234567890, call +1 415 555 2671 on 2026-11-22.",
        "A UUID: 550e8400-e29b-41d4-a716-446655440000, a hash: da39a3ee5e6b4b0d3255bfef95601890afd80709.",
        "Use sk-learn or scikit-learn; task-force, risk-averse, desk-based-research-and-more-words.",
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30",
        "3.14159265358979323846264338327950288419716939937510",
        "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK\n-----END PUBLIC KEY-----",
        "eyJ is how base64 of a JSON object begins; eyJhIjoxfQ== is one.",
        "eyJ" + "a" * 2_000,
        "The prefix AKIA marks a key, as does ghp_ or sk- or sluice_live_.",
        "IBANs look like DE00 0000 0000 0000 0000 00; IT is a country, at 10 to 12.",
        "https://example.org/a/4111111111111112?x=1&y=2#top <b>bold</b> | a | b |\n|---|---|\n| 1 | 2 |",
        "def f(x: int = 3) -> str:\n    return f'{x:>10}'  # ok\n\n\n-------------------\n==========",
        "Grüße aus Köln! 你好,世界。 Привет, мир. नमस्ते दुनिया 👩‍👩‍👧 café e\u0301te\u0301",
    ],
)
@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_ordinary_text_passes_untouched(text: str, size: int) -> None:
    ran = run(POLICY, [text[index : index + size] for index in range(0, len(text), size)])
    assert ran.released == text
    assert ran.cut is None
    assert ran.summary.seen == ()


def test_a_mention_of_a_private_key_loses_only_its_header() -> None:
    text = "A key begins with -----BEGIN PRIVATE KEY----- and then base64."
    assert run(POLICY, list(text)).released == "A key begins with [redacted] and then base64."
