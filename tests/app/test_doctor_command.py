"""`sluice doctor`: what a start would decide, and what stands in its way."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import trustme

from app.__main__ import main
from app.doctor import examine
from app.doctor_address import address_asked_for, server_there_is
from app.running_server import RunningServer, announce
from tests.app.policies import FORBIDDEN, write_policy
from tests.app.serving import config_for, serving
from tests.engine.adapters.test_reader import tensors, write
from tests.engine.tiny_chat import save_tiny_chat
from tests.engine.tiny_gguf import write_gguf
from tests.engine.tiny_models import save_tiny


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_chat(tmp_path_factory.mktemp("models") / "tiny")


class Doctor:
    """The command in an environment of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys

    def __call__(self, *words: str, code: int = 0) -> dict[str, Any]:
        """Run it and expect an exit code; its report."""
        usual = {"--state-dir": "state", "--cache-dir": "cache", "--port": "0"}
        argv = ["doctor", "--json"]
        for name, value in usual.items():
            argv += [] if name in words else [name, value]
        assert main([*argv, *words]) == code
        report: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        assert report["ok"] == (code == 0)
        assert bool(report["faults"]) == (code == 1)
        return report

    def text(self, *words: str, code: int = 0) -> str:
        assert main(["doctor", *words]) == code
        return self._capsys.readouterr().out


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where our own C is compiled, once for all tests here."""
    return tmp_path_factory.mktemp("native")


@pytest.fixture
def doctor(
    native: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Doctor:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/native").symlink_to(native)
    return Doctor(tmp_path, capsys)


def test_a_model_of_its_own_is_planned_and_nothing_is_left_behind(doctor: Doctor, chat_model: Path) -> None:
    report = doctor("--model", str(chat_model), "--dtype", "float32", "--kv-memory-mib", "16")
    assert report["model"]["id"] == chat_model.name
    assert report["model"]["architecture"] == "llama, on our own decoder"
    assert report["computing"]["dtype"] == "float32: asked for by dtype"
    assert report["computing"]["keys and values"] == "float32: as the model is computed"
    assert report["memory"]["keys and values"].endswith("tokens")
    assert report["machine"]["memory"].count("GiB") == 2
    assert report["versions"]["torch"] == torch.__version__
    assert report["service"]["address"] == "127.0.0.1:0 is free"
    assert not (doctor.folder / "state").exists()


def test_a_default_model_that_is_not_there_yet_is_no_fault(doctor: Doctor) -> None:
    report = doctor()
    assert report["model"]["id"] == "smollm2-135m-instruct"
    assert "the first start or `sluice models pull`" in report["model"]["folder"]


def test_a_gguf_that_is_not_converted_yet_is_no_fault(doctor: Doctor) -> None:
    gguf = write_gguf(save_tiny("llama", doctor.folder / "source"), doctor.folder / "tiny.gguf", "llama")
    assert f"converted from {gguf}" in doctor("--model", str(gguf))["model"]["folder"]


def test_a_model_of_transformers_own(doctor: Doctor) -> None:
    report = doctor("--model", str(save_tiny("gpt_neox", doctor.folder / "neox")), "--threads", "1")
    assert report["model"]["architecture"] == "gpt_neox, on transformers"
    assert report["computing"]["threads"] == "1"


@pytest.mark.native
def test_our_own_c_and_its_compiler_are_named(doctor: Doctor, chat_model: Path) -> None:
    report = doctor("--model", str(chat_model))
    assert "our own C, kept in " in report["computing"]["kernels"]
    assert "our own C, kept in " in report["computing"]["products"]
    narrow = doctor("--model", str(chat_model), "--dtype", "float16")
    assert narrow["computing"]["products"] == "torch: our own products are not for float16"


def test_without_what_our_own_c_needs_it_is_torch_and_the_report_says_why(
    doctor: Doctor,
    chat_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    report = doctor("--model", str(chat_model))
    assert report["computing"]["kernels"] == "torch: the processor lacks avx512_f"
    assert report["computing"]["products"] == "torch: the processor lacks avx512_f"
    assert report["computing"]["dtype"] == "float32: the processor has no bfloat16 products"
    assert report["machine"]["features"] == "none that is of use here"
    refused = doctor("--model", str(chat_model), "--dtype", "int4", code=1)
    assert "dtype int4 cannot be had" in refused["obstacle"]["model"]


def test_memory_that_will_not_do_is_a_fault_with_the_sums(doctor: Doctor, chat_model: Path) -> None:
    report = doctor("--model", str(chat_model), "--memory-bytes", str(2 << 20), code=1)
    assert "the memory will not do" in report["obstacle"]["model"]
    assert "2 MiB of 2 MiB are left (memory_bytes)" in report["faults"][0]


def test_what_is_no_model_is_a_fault(doctor: Doctor) -> None:
    (doctor.folder / "empty").mkdir()
    assert "neither .safetensors nor .gguf" in doctor("--model", "empty", code=1)["obstacle"]["model"]


def test_a_configuration_that_is_none_is_a_fault(doctor: Doctor) -> None:
    config = save_tiny_chat(doctor.folder / "bad") / "config.json"
    config.write_text("null")
    assert (
        f"{config}: not a JSON object" in doctor("--model", str(config.parent), code=1)["obstacle"]["model"]
    )


def test_a_redis_that_is_away_is_a_fault(doctor: Doctor) -> None:
    words = ("--engine", "scripted", "--redis-url")
    report = doctor(*words, "redis://127.0.0.1:1", code=1)
    assert "the Redis of SLUICE_REDIS_URL cannot be reached" in report["service"]["store"]
    report = doctor(*words, "redis+sentinel://127.0.0.1:1", code=1)
    assert "cannot be used" in report["service"]["store"]


def test_a_folder_that_cannot_be_made_is_a_fault(doctor: Doctor) -> None:
    (doctor.folder / "file").touch()
    report = doctor("--engine", "scripted", "--cache-dir", "file/cache", code=1)
    assert "set SLUICE_CACHE_DIR" in report["folders"]["cache"]


def test_a_folder_that_permissions_allow_and_that_cannot_be_made_is_a_fault(doctor: Doctor) -> None:
    report = doctor("--engine", "scripted", "--cache-dir", "/proc/x", code=1)
    assert "/proc/x cannot be written" in report["folders"]["cache"]


def test_further_models_are_looked_at(doctor: Doctor, chat_model: Path) -> None:
    gguf = write_gguf(save_tiny("llama", doctor.folder / "source"), doctor.folder / "tiny.gguf", "llama")
    asked = f"a={chat_model},b=scripted,c={gguf},d=smollm2-135m-instruct"
    models = doctor("--engine", "scripted", "--models", asked)["further models"]
    assert models["a"].startswith(f"{chat_model}, weights ")
    assert models["b"] == "the scripted engine"
    assert [models[name][:13] for name in "cd"] == ["not there yet"] * 2


def test_further_models_that_cannot_be_had_are_faults(doctor: Doctor) -> None:
    report = doctor("--engine", "scripted", "--models", "x=/nope,scripted=scripted", code=1)
    assert "SLUICE_MODELS: x=/nope: '/nope' is neither" in report["further models"]["x"]
    assert "is the default model's id" in report["further models"]["scripted"]


def test_adapters_are_checked(doctor: Doctor) -> None:
    write(doctor.folder / "poet", tensors())
    write(doctor.folder / "bad", tensors(), lora_alpha=10**400)
    words = ("--engine", "scripted", "--adapters")
    assert doctor(*words, "poet=poet")["adapters"]["poet"].endswith("poet, rank 2")
    report = doctor(*words, "poet=poet,bad=bad", code=1)
    assert "bad/adapter_config.json: lora_alpha is 10" in report["adapters"]["bad"]
    assert len(report["faults"]) == 1


def test_the_policy_is_read_as_a_start_reads_it(doctor: Doctor) -> None:
    words = ("--engine", "scripted")
    assert doctor(*words)["service"]["policy"].startswith("the one that ships: version ")
    policy = write_policy(doctor.folder, FORBIDDEN, version="of-mine")
    assert doctor(*words, "--policy", str(policy))["service"]["policy"].endswith("version of-mine, rules: 1")
    policy.write_text(policy.read_text().replace('"block"', '"blok"'))
    (fault,) = doctor(*words, "--policy", str(policy), code=1)["faults"]
    assert fault.startswith(f"service, policy: SLUICE_POLICY: {policy}: rule 1: action must be one of")


@pytest.mark.anyio
async def test_a_server_of_the_same_state_folder_is_told_wherever_it_listens(tmp_path: Path) -> None:
    async def told(port: int) -> list[str]:
        config = config_for(tmp_path, port=port)
        return [found.value for found in await asyncio.to_thread(lambda: list(server_there_is(config)))]

    assert await told(1) == []
    async with serving() as served:
        announce(tmp_path, RunningServer(served.http, "key"))
        assert await told(1) == [f"a server with this state folder, at {served.http}"]
        assert await told(served.server.port) == [], "the address says it"
    assert await told(1) == [], "it left word, but was ended"


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_a_server_of_ours_that_runs_at_the_address_is_recognised(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as served:
        config = config_for(tmp_path / "another", host=host, port=served.server.port)
        found = await address_asked_for(config)
        assert (found.value, found.fault) == (
            f"{host}:{config.port} is taken: a Sluice server is running there",
            False,
        )
        await served.service.hub.drain(0)
        found = await address_asked_for(config)
        assert found.value.endswith("running there, and not ready (engine ok, store ok, draining)")


@pytest.mark.anyio
async def test_a_server_with_tls_is_recognised_whatever_its_certificate_names(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("elsewhere.example")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes(issued.cert_chain_pems[0].bytes())
    key.write_bytes(issued.private_key_pem.bytes())
    tls = {"ssl_certfile": certificate, "ssl_keyfile": key}
    async with serving(**tls) as served:
        found = await address_asked_for(config_for(tmp_path / "another", port=served.server.port, **tls))
        assert found.value.endswith("is taken: a Sluice server is running there")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"220 mail.example ESMTP\r\n",
        b'HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{"status":"ok"}',
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000,
    ],
)
def test_another_program_at_the_address_is_told(answer: bytes, doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        answering = threading.Thread(target=answer_once, args=(other, answer))
        answering.start()
        report = doctor("--engine", "scripted", "--port", str(other.getsockname()[1]))
        answering.join()
    assert "is taken: by another program, or a server that does not answer;" in report["service"]["address"]


def test_a_program_that_says_nothing_holds_nobody_up(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        report = doctor("--engine", "scripted", "--port", str(other.getsockname()[1]))
    assert "is taken: by another program, or a server that does not answer;" in report["service"]["address"]


def answer_once(other: socket.socket, answer: bytes) -> None:
    connection, _ = other.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(answer)


def test_an_address_of_another_machine_is_a_fault(doctor: Doctor) -> None:
    away = doctor("--engine", "scripted", "--host", "192.0.2.1", code=1)
    assert "cannot listen on 192.0.2.1" in away["service"]["address"]


def test_for_people_it_is_a_page_with_the_faults_marked(doctor: Doctor) -> None:
    shown = doctor.text(
        "--engine", "scripted", "--state-dir", "state", "--redis-url", "redis://127.0.0.1:1", code=1
    )
    lines = shown.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "versions",
        "machine",
        "model",
        "folders",
        "service",
    ]
    assert [line.split()[0] for line in lines if "FAULT: " in line] == ["store"]


def test_its_help_and_a_wrong_word(doctor: Doctor, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.text("--help").startswith("usage: sluice doctor [--json]")
    assert main(["doctor", "--jason"]) == 2
    assert "--jason" in capsys.readouterr().err


@pytest.mark.anyio
async def test_beside_a_running_server_its_store_answers() -> None:
    async with serving() as served:
        folder = served.service.config.state_dir
        findings = await examine(config_for(folder, cache_dir=folder / "cache"))
    assert {one.name: one.value for one in findings}["store"] == "the embedded Valkey, which answers"
    assert not any(one.fault for one in findings)
