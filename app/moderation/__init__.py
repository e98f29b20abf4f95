"""Moderation, layer 1: a policy's terms and patterns, found in streamed and in whole text. All of it is pure.

compiled = compile_policy(load_policy(path))
gate = Gate(compiled)                    # one for each response
step = gate.push(delta)                  # step.released may be shown, step.cut ends the response
step = gate.finish()
verdict = check_input(compiled, text)
"""

from app.moderation.gate import Gate
from app.moderation.matcher import CompiledPolicy, compile_policy
from app.moderation.notes import Annotation
from app.moderation.outcome import Cut, GateStep, Summary
from app.moderation.policy import Policy, PolicyError, load_policy
from app.moderation.verdict import Abandoned, Verdict, category_scores, check_input

__all__ = [
    "Abandoned",
    "Annotation",
    "CompiledPolicy",
    "Cut",
    "Gate",
    "GateStep",
    "Policy",
    "PolicyError",
    "Summary",
    "Verdict",
    "category_scores",
    "check_input",
    "compile_policy",
    "load_policy",
]
