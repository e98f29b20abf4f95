from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.machine import this_machine


def test_this_machine_is_described() -> None:
    machine = this_machine()
    assert 1 <= machine.cores <= machine.all_cores
    assert machine.processor
    assert all(torch.cpu.get_capabilities()[name] for name in machine.features)


def test_the_processors_own_name(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor : 0\nmodel name : Abacus 9\nmodel name : Abacus 9\n")
    assert this_machine(tmp_path).processor == "Abacus 9"
    (tmp_path / "proc/cpuinfo").unlink()
    assert this_machine(tmp_path).processor


def test_a_gpu_that_torch_does_not_see_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert this_machine(tmp_path).gpu == "none seen"
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "is built without CUDA" in this_machine(tmp_path).gpu
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "look at its driver" in this_machine(tmp_path).gpu


def test_the_gpus_that_torch_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Card {index}")
    assert this_machine().gpu == "Card 0, Card 1"
