"""A model that is served: its engine, and what makes prompts and turns for it."""

from __future__ import annotations

from dataclasses import dataclass

from app.prompts import Prompts
from app.turns import Turns
from engine.interface import Engine


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Model:
    engine: Engine
    prompts: Prompts
    turns: Turns

    @property
    def id(self) -> str:
        return self.engine.model.id
