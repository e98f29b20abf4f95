"""`sluice` as typed: what it answers to a wrong word, and a whole `sluice serve` in this process."""

from __future__ import annotations

import json
import os
import re
import runpy
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

import app.__main__
from app.__main__ import main
from app.settings import ConfigError
from app.store.client import StoreUnavailable
from app.version import VERSION


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets `SLUICE_…` variables over those of a scripted server in a folder of its own."""
    for name in list(os.environ):
        if name.startswith("SLUICE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def set_all(**values: object) -> None:
        usual = {"engine": "scripted", "state_dir": tmp_path / "state", "scripted_tokens_per_s": 0}
        for name, value in (usual | values).items():
            monkeypatch.setenv(f"SLUICE_{name.upper()}", str(value))

    set_all()
    return set_all


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["help"]])
def test_help_shows_the_commands(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "serve" in shown
    assert "keys revoke" in shown


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_of_serve_shows_every_setting(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", flag]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: sluice serve")
    assert "--max-lanes" in shown
    assert "--ssl-certfile" in shown


@pytest.mark.parametrize("words", [["serve"], ["keys"], ["keys", "create"]])
def test_help_of_a_command_can_be_asked_for_first(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--help"]) == 0
    after = capsys.readouterr().out
    assert main(["help", *words]) == 0
    assert capsys.readouterr().out == after
    assert after.startswith(f"usage: sluice {' '.join(words)}")


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version_is_told(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([flag]) == 0
    assert capsys.readouterr().out == f"sluice {VERSION}\n"


def test_an_unknown_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sevre"]) == 2
    assert "'sevre'" in capsys.readouterr().err


def test_the_arguments_are_those_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["sluice", "help"])
    assert main() == 0
    assert "usage:" in capsys.readouterr().out


def test_the_file_itself_is_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["sluice", "sevre"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(Path(app.__main__.__file__)), run_name="__main__")
    assert ended.value.code == 2
    assert "'sevre'" in capsys.readouterr().err


def test_faults_of_several_tasks_are_told_a_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Task groups wrap what their tasks raise, as often as they stand in each other."""
    inner = ExceptionGroup("inner", [OSError("the disk is full"), StoreUnavailable("it went away")])

    def fail(argv: list[str], load: object) -> int:
        raise ExceptionGroup("outer", [inner, ConfigError("and a setting is wrong")])

    monkeypatch.setattr("app.keys_command.keys_command", fail)
    assert main(["keys", "list"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert sorted(line.startswith("sluice: ") for line in lines) == [True] * 3
    assert "the disk is full" in str(lines)
    assert "and a setting is wrong" in str(lines)


@pytest.mark.parametrize(
    ("arguments", "named", "code"),
    [
        (["--port", "many"], "--port", 2),
        (["--prot", "1"], "--prot", 2),
        (["--policy", "missing.toml"], "missing.toml", 2),
        (["--ssl-certfile", "."], "--ssl-keyfile", 2),
        (["--port", "0", "--redis-url", "redis://127.0.0.1:1"], "SLUICE_REDIS_URL", 2),
        (["--port", "0", "--engine", "torch", "--model", "."], ".safetensors", 2),
    ],
)
def test_a_start_that_cannot_be_is_told_in_a_line(
    settings: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    named: str,
    code: int,
) -> None:
    assert main(["serve", *arguments]) == code
    complaint = capsys.readouterr().err
    assert named in complaint
    assert complaint.startswith("sluice: ")
    assert "Traceback" not in complaint


def test_it_listens_beyond_this_machine_with_a_key_alone(
    settings: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", "create", "only"]) == 0
    key_id = capsys.readouterr().out.split("_")[2]
    assert main(["keys", "revoke", key_id]) == 0
    capsys.readouterr()
    assert main(["serve", "--host", "0.0.0.0", "--port", "0"]) == 2
    complaint = capsys.readouterr().err
    assert "beyond loopback and there are no keys" in complaint
    assert "sluice keys create" in complaint


def free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as found:
        return int(found.getsockname()[1])


class Visitor(threading.Thread):
    """Waits for the server, does something, and ends it by a signal to this process."""

    def __init__(self, address: str, visit: Callable[[str], None] = lambda address: None) -> None:
        super().__init__()
        self._address = address
        self._visit = visit
        self.fault: BaseException | None = None
        self.done = False  # nobody is there to be ended any more

    def run(self) -> None:
        try:
            if self._ready():
                self._visit(self._address)
        except BaseException as fault:
            self.fault = fault
        finally:
            while not self.done and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                time.sleep(
                    0.05
                )  # a server that is still starting takes no signal yet, and nobody else would end it
            if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
                os.kill(os.getpid(), signal.SIGTERM)

    def _ready(self) -> bool:
        for _ in range(600):
            if self.done:
                return False
            try:
                urllib.request.urlopen(self._address + "/readyz", timeout=5).close()
                return True
            except urllib.error.HTTPError as not_yet:
                not_yet.close()
                time.sleep(0.05)
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.05)
        raise AssertionError("it never got ready")


def serve(host: str, *arguments: str, visit: Callable[[str], None] = lambda address: None) -> int:
    port = free_port(host)
    shown = f"[{host}]" if ":" in host else host.replace("0.0.0.0", "127.0.0.1")
    visitor = Visitor(f"http://{shown}:{port}", visit)
    visitor.start()
    try:
        return main(["serve", "--host", host, "--port", str(port), *arguments])
    finally:
        visitor.done = True
        visitor.join(30)
        if visitor.fault is not None:
            raise visitor.fault


def test_the_first_start_shows_a_key_that_works_and_the_second_another_way_in(
    settings: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    said = ""

    def ask(address: str) -> None:
        nonlocal said
        while "Playground" not in said:
            said += capsys.readouterr().out
        found = re.search(r"#key=(\S+)", said)
        assert found is not None
        request = urllib.request.Request(
            address + "/v1/responses",
            b'{"input":"hello"}',
            {"authorization": f"Bearer {found[1]}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["status"] == "completed"

    assert serve("127.0.0.1", visit=ask) == 0
    assert "Sluice serves scripted at http://127.0.0.1:" in said
    first = re.search(r"Key \(shown this once.*\): (sluice_live_\S+)", said)
    assert first is not None
    assert f"#key={first[1]}" in said
    said = ""
    assert serve("127.0.0.1", visit=ask) == 0
    assert "#key=ek_" in said
    assert first[1] not in said


def test_a_bootstrap_key_is_never_printed(
    settings: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    settings(bootstrap_key="a-bootstrap-key-nobody-prints")
    assert serve("127.0.0.1") == 0
    said = capsys.readouterr()
    assert "#key=ek_" in said.out
    assert "a-bootstrap-key-nobody-prints" not in said.out + said.err


def test_beyond_loopback_without_tls_it_warns(
    settings: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    settings(bootstrap_key="a-bootstrap-key-nobody-prints")
    assert serve("0.0.0.0") == 0
    said = capsys.readouterr()
    assert "warning: 0.0.0.0 is beyond loopback without TLS" in said.err
    assert "It listens on 0.0.0.0, every address" in said.out
    assert "Playground: http://127.0.0.1:" in said.out


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_an_address_of_version_six_stands_in_brackets(
    settings: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    settings(bootstrap_key="a-bootstrap-key-nobody-prints")
    if has_ipv6():
        assert serve("::1") == 0
        assert "Playground: http://[::1]:" in capsys.readouterr().out
    else:
        assert main(["serve", "--host", "::1", "--port", "0"]) == 2
        assert "cannot listen on ::1" in capsys.readouterr().err


def test_ctrl_c_before_anything_runs_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.__main__.load_config", interrupt)
    assert main(["serve"]) == 130
    assert capsys.readouterr() == ("", "sluice: interrupted\n")
