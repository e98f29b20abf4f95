"""What is said in a load test (pure): no two turns of a test share their first words, so no cache helps unasked."""

from __future__ import annotations

import random
from typing import Final

QUESTIONS: Final = (
    "What is the capital of France, and what is it known for?",
    "Explain in simple words how a bicycle stays upright.",
    "Write a short story about a lighthouse keeper.",
    "How do I cook rice so that it does not stick?",
    "What are the differences between a frog and a toad?",
    "Give me five ideas for a rainy afternoon with children.",
    "Describe how a letter travels from sender to receiver.",
    "Why is the sky blue and the sunset red?",
)
_SENTENCES: Final = (
    "The harbour lay quiet in the morning while the boats waited for the tide.",
    "A baker carried warm bread across the square before the shops had opened.",
    "Far above the valley the snow was already melting on the southern slopes.",
    "The old clock in the tower was always four minutes behind the station.",
    "Children ran along the wall and counted the gulls that sat on the roofs.",
    "In the library a student copied the names of rivers into a small notebook.",
    "The gardener said that the apple trees would need more water this summer.",
    "At noon the market was so full that the carts had to wait by the bridge.",
    "Nobody could remember who had painted the blue door at the end of the lane.",
    "A letter arrived on Thursday with news of the brother who had gone to sea.",
    "The teacher explained how the moon moves the water from shore to shore.",
    "When the rain stopped, the musicians came back and played until evening.",
)


def question(tag: str, place: int) -> str:
    return f"{tag}: {QUESTIONS[place % len(QUESTIONS)]}"


def recital(tag: str, words: int) -> str:
    """A text to be said again: a server that guesses ahead from what stands in the prompt guesses right."""
    return f"{tag}: Repeat the following text word for word.\n\n{prose(tag, words)}"


def prose(tag: str, words: int) -> str:
    """About so many words of plain text that begins with `tag` and is its own for each tag."""
    order = random.Random(tag)
    said = [tag + ":"]
    count = 0
    while count < words:
        sentence = order.choice(_SENTENCES)
        said.append(sentence)
        count += sentence.count(" ") + 1
    return " ".join(said)


def several(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
