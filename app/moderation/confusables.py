"""Letters of other scripts that look like an ASCII letter: code points (hexadecimal) by what they fold to.

The facts are those of Unicode TR39, narrowed to single letters that NFKD leaves alone; small capitals by their names;
and of Cherokee, Canadian syllabics and Ethiopic also the letters that "fancy text" is written with. Where only one case
of a letter looks alike, both cases fold to it, so that the other script stays case-insensitive in itself.
No ASCII character is in the table: `0` stays a digit, `m` stays one letter.
"""

from __future__ import annotations

from string import ascii_lowercase
from typing import Final

_TWINS: Final[dict[str, str]] = {
    "a": "251 391 3b1 410 430 13aa 13d7 15c5 15e9 1d00 2c6d a4ee ab7a 102a0 16f40",
    "b": (
        "180 181 182 183 184 185 243 253 299 392 3b2 411 412 42c 431 432 44c 462 463 48c 48d 13cf 13f0 "
        "13f4 13fc 1472 1473 15af 15f7 1d03 a4d0 a7b4 a7b5 ab9f 10282 102a1 10301"
    ),
    "c": (
        "187 188 23b 23c 421 441 4aa 4ab 1348 13df 1455 1d04 2ca4 2ca5 a4da abaf 102a2 10302 10415 1043d "
        "1051c"
    ),
    "d": (
        "d0 f0 110 111 189 18a 18b 18c 256 257 500 501 13a0 13b4 13e7 146f 15de 15ea 1d05 a4d2 a4d3 ab70 abb7"
    ),
    "e": (
        "190 246 247 25b 395 3b5 415 435 4bc 4bd 4be 4bf 13ac 13cb 156e 15f4 1d07 2d39 a4f0 ab32 ab7c "
        "10286 118a6 118ae 118c6 118ce"
    ),
    "f": "191 192 3dc 3dd 554 584 13a6 15b4 1d6e 1e9d a4dd a730 a798 a799 ab35 10287 102a5 10525 118a2 118c2",
    "g": "18d 193 1e4 1e5 260 261 262 29b 50c 50d 551 581 13b6 13c0 13f3 13fb 1d83 a4d6 a7ac ab90",
    "h": (
        "126 127 266 29c 397 40b 41d 43d 45b 4a2 4a3 4ba 4bb 4c7 4c8 4c9 4ca 540 570 13bb 13c2 13f2 13fa "
        "157c 2c67 2c68 2c8e 2c8f a4e7 a694 a695 a7aa ab8b ab92 102cf"
    ),
    "i": (
        "131 196 197 268 269 26a 399 3b9 406 456 4c0 4cf 13a5 13c6 1d7b 1d7c 2c92 2c93 a646 a647 a7ae "
        "ab75 118c3"
    ),
    "j": "248 249 29d 37f 3f3 408 458 13ab 13e0 148d 1d0a a4d9 a7b2 ab7b",
    "k": (
        "198 199 39a 3ba 41a 43a 49a 49b 49e 49f 13e6 16d5 1d0b 2c69 2c6a 2c94 2c95 a4d7 a740 a741 abb6 10518"
    ),
    "l": (
        "141 142 19a 1c0 23d 26b 26d 29f 13dd 13de 14aa 16c1 18f3 1d0c 2c62 2cd0 2cd1 2d4f a4e1 a4f2 abae "
        "1028a 10309 1041b 10443 10526 118a3 118b2 118d2 16f16 16f28"
    ),
    "m": "271 39c 3bc 3fa 3fb 41c 43c 4cd 4ce 13b7 15f0 16d6 1d0d 2c6e 2c98 2c99 a4df ab51 ab87 102b0 10311",
    "n": "19d 19e 220 272 273 274 39d 3b7 548 54c 578 57c 13c1 144e 1d70 2c9a 2c9b a4e0 10513",
    "o": (
        "d8 f8 19f 275 398 39f 3a3 3b8 3bf 3c3 41e 43e 472 473 4e8 4e9 555 585 b20 d20 101d 10ff 12d0 "
        "13a4 13a7 13be 13eb 1cbf 1d0f 1d11 2c9e 2c9f 2d31 2d41 2d54 3007 a4f3 a74a a74b ab3d ab3e ab74 "
        "ab8e abbb 10292 102ab 10404 1042c 104c2 104ea 10516 118a8 118b5 118b7 118c8 118d5 118d7"
    ),
    "p": "1a4 1a5 3a1 3c1 420 440 13ae 13e2 146d 18d6 1d18 1d7d 2c63 2ca2 2ca3 a4d1 abb2 10295",
    "q": "2a0 51a 51b 533 536 563 566 146b 2d55 a7af",
    "r": (
        "1a6 24c 24d 27c 27d 27e 280 413 433 492 493 13a1 13b1 13d2 1587 18f4 1d26 1d72 2c64 2c84 2c85 "
        "a4e3 ab47 ab48 ab71 ab81 aba2 104b4 104dc 16f35"
    ),
    "s": (
        "1bc 1bd 282 405 455 54f 57f 13d5 13da 1511 1515 18f5 1d74 a4e2 a731 a7c5 aba5 abaa 10296 10420 "
        "10448 118a1 118c1 16f3a"
    ),
    "t": (
        "166 167 1ab 1ac 1ad 1ae 23e 288 3a4 3c4 422 442 4ac 4ad 13a2 13bf 13d6 1d1b 1d75 2c66 2ca6 2ca7 "
        "a4d4 ab72 10297 102b1 10315 118bc 16f0a"
    ),
    "u": (
        "1b2 244 289 28b 3c5 54d 57d 1200 13cc 13ec 144c 1d1c 1d7e a4f4 a79e a79f ab4e ab52 ab9c 104ce "
        "104f6 118b8 118d8 16f42"
    ),
    "v": "3bd 474 475 13c9 13d9 142f 1d20 2d38 a4e6 a6df aba9 1051d 11706 118a0 118c0 16f08",
    "w": (
        "19c 26f 460 461 47c 47d 51c 51d 531 561 13b3 13c7 13d4 15ef 1d21 a4ea a760 a761 ab83 aba4 114c5 "
        "1170a 1170e 1170f"
    ),
    "x": (
        "3a7 3c7 425 445 4b2 4b3 1300 1541 157d 166d 16b7 2cac 2cad 2d5d a4eb a7b3 ab53 10290 102b4 10317 "
        "10527"
    ),
    "y": (
        "194 1b3 1b4 24e 24f 263 28f 393 3a5 3b3 423 443 4ae 4af 4b0 4b1 10e7 13a9 13bd 1ca7 1d8c 1efe "
        "1eff 2ca8 2ca9 a4ec ab5a ab79 ab8d 102b2 118a4 118dc 16f43"
    ),
    "z": "1b5 1b6 224 225 290 396 3b6 135a 13c3 1614 1646 1d22 1d76 a4dc ab93 118a9 118c4 118c9",
}

# Apostrophes, primes and dashes that people and models type for the ASCII ones.
_PUNCTUATION: Final[dict[str, str]] = {
    "'": "2018 2019 201b 2032 2bc 2b9 ff07",
    '"': "201c 201d 201f 2033",
    "-": "2010 2011 2012 2013 2014 2015 2212 2043 fe58 fe63 ff0d",
}

# Capitals in filled circles and squares, A to Z in a row. Not the letters that flags are made of: a word and the flag
# behind it would be one word.
_FILLED: Final = (0x1F150, 0x1F170)

LOOKALIKES: Final[dict[str, str]] = {
    chr(int(code, 16)): ascii_
    for table in (_TWINS, _PUNCTUATION)
    for ascii_, codes in table.items()
    for code in codes.split()
} | {chr(first + place): letter for first in _FILLED for place, letter in enumerate(ascii_lowercase)}
