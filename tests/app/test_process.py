"""The server as a process: it starts, says where it is, ends in order, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

pytestmark = pytest.mark.anyio

LONG = "word " * 300


@dataclass(slots=True)
class Running:
    """A `sluice serve` of our own; `said` is what it printed before it was ready."""

    process: asyncio.subprocess.Process
    address: str
    said: str

    @property
    def key(self) -> str:
        found = re.search(r"#key=(\S+)", self.said)
        assert found is not None, self.said
        return found[1]

    async def ended(self, within_s: float) -> int:
        async with asyncio.timeout(within_s):
            return await self.process.wait()


@asynccontextmanager
async def process(state: Path, **settings: object) -> AsyncIterator[Running]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")} | {
        "SLUICE_ENGINE": "scripted",
        "SLUICE_SCRIPTED_TOKENS_PER_S": "20",
        "SLUICE_PORT": "0",
        "SLUICE_STATE_DIR": str(state),
        "PYTHONUNBUFFERED": "1",
        **{f"SLUICE_{name.upper()}": str(value) for name, value in settings.items()},
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", "serve", env=env, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        said = ""
        async with asyncio.timeout(60):
            while "Playground:" not in said:
                line = (await child.stdout.readline()).decode()
                assert line, f"it ended: {said}"
                said += line
        address = re.search(r"http://[\d.]+:\d+", said)
        assert address is not None
        yield Running(child, address[0], said)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


@asynccontextmanager
async def socket(running: Running, key: str) -> AsyncIterator[ClientConnection]:
    url = running.address.replace("http", "ws") + "/v1/responses"
    if key.startswith("ek_"):
        protocols = ["sluice.v1.json", f"openai-insecure-api-key.{key}"]
        async with connect(url, subprotocols=protocols) as connected:  # type: ignore[arg-type]
            yield connected
        return
    async with connect(url, additional_headers={"authorization": f"Bearer {key}"}) as connected:
        yield connected


async def begin(connected: ClientConnection, text: str) -> str:
    """Start a turn and wait for its first text; the response's id."""
    await connected.send(json.dumps({"type": "response.create", "input": text}))
    created = json.loads(await connected.recv())
    while json.loads(await connected.recv())["type"] != "response.output_text.delta":
        pass
    return str(created["response"]["id"])


async def rest(connected: ClientConnection) -> tuple[list[dict[str, object]], int]:
    """What still came, and the close code."""
    events = []
    try:
        while True:
            events.append(json.loads(await connected.recv()))
    except ConnectionClosed as closed:
        return events, closed.rcvd.code if closed.rcvd is not None else 1006


def children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    try:
        return (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]) != "Z"
    except OSError:
        return False


async def test_the_first_start_shows_a_key_and_the_next_one_a_way_in(tmp_path: Path) -> None:
    async with process(tmp_path / "state") as running:
        assert running.key.startswith("sluice_live_")
        first = running.key
        headers = {"authorization": f"Bearer {first}"}
        async with httpx.AsyncClient(base_url=running.address, headers=headers) as client:
            response = (await client.post("/v1/responses", json={"input": "kept"})).json()
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended(15) == 0
    async with process(tmp_path / "state") as running:
        assert running.key.startswith("ek_")
        assert first not in running.said
        async with httpx.AsyncClient(base_url=running.address, headers=headers) as client:
            assert (await client.get(f"/v1/responses/{response['id']}")).json() == response
        async with socket(running, running.key) as connected:
            assert await begin(connected, "hello")


async def test_ctrl_c_ends_running_answers_within_ten_seconds_and_leaves_no_process(tmp_path: Path) -> None:
    async with process(tmp_path / "state") as running, socket(running, running.key) as connected:
        await begin(connected, LONG)
        children = children_of(running.process.pid)
        assert children
        running.process.send_signal(signal.SIGINT)
        events, code = await rest(connected)
        assert events[-1]["type"] == "response.incomplete"
        assert events[-1]["response"]["status"] == "cancelled"  # type: ignore[index]
        assert code == 1012
        assert await running.ended(10) == 0
        assert not any(alive(pid) for pid in children)


async def test_sigterm_lets_a_running_response_finish_and_takes_no_new_one(tmp_path: Path) -> None:
    async with process(tmp_path / "state") as running, socket(running, running.key) as connected:
        await begin(connected, "word " * 40)
        running.process.send_signal(signal.SIGTERM)
        async with httpx.AsyncClient(base_url=running.address) as client:
            async with asyncio.timeout(5):
                while (await client.get("/readyz")).status_code != 503:
                    await asyncio.sleep(0.02)
        await connected.send('{"type":"response.create","input":"late","stream_id":"late"}')
        events, code = await rest(connected)
        late = [event for event in events if event.get("stream_id") == "late"]
        assert [event["error"]["code"] for event in late] == ["draining"]  # type: ignore[index]
        ends = [event for event in events if event["type"] == "response.completed"]
        assert ends[0]["response"]["output"][0]["content"][0]["text"] == "word " * 40  # type: ignore[index]
        assert code == 1012
        assert await running.ended(15) == 0


async def test_the_grace_time_ends(tmp_path: Path) -> None:
    async with process(tmp_path / "state", drain_grace_s=0.5) as running:
        async with socket(running, running.key) as connected:
            await begin(connected, LONG)
            running.process.send_signal(signal.SIGTERM)
            events, code = await rest(connected)
        assert events[-1]["response"]["status"] == "cancelled"  # type: ignore[index]
        assert code == 1012
        assert await running.ended(10) == 0


async def test_a_killed_server_leaves_nothing_that_the_next_start_does_not_clean(tmp_path: Path) -> None:
    async with process(tmp_path / "state") as running:
        headers = {"authorization": f"Bearer {running.key}"}
        async with httpx.AsyncClient(base_url=running.address, headers=headers) as client:
            response = (await client.post("/v1/responses", json={"input": "kept"})).json()
        await asyncio.sleep(1.1)  # the append-only file is flushed every second
        children = children_of(running.process.pid)
        running.process.kill()
        await running.ended(5)
        async with asyncio.timeout(10):
            while any(alive(pid) for pid in children):
                await asyncio.sleep(0.05)
    async with process(tmp_path / "state") as running:
        async with httpx.AsyncClient(base_url=running.address, headers=headers) as client:
            assert (await client.get(f"/v1/responses/{response['id']}")).json() == response


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"SLUICE_PORT": "many"}, "SLUICE_PORT"),
        ({"SLUICE_PROT": "8000"}, "SLUICE_PROT"),
        ({"SLUICE_BOOTSTRAP_KEY": "short"}, "SLUICE_BOOTSTRAP_KEY"),
        ({"SLUICE_POLICY": "missing.toml"}, "missing.toml"),
        ({"SLUICE_HOST": "192.0.2.1", "SLUICE_PORT": "8000"}, "192.0.2.1:8000"),  # an address nobody has here
        ({"SLUICE_REDIS_URL": "redis://127.0.0.1:1"}, "SLUICE_REDIS_URL"),
    ],
)
async def test_a_bad_setting_stops_the_start_and_is_named(
    tmp_path: Path, settings: dict[str, str], named: str
) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    env |= {"SLUICE_ENGINE": "scripted", "SLUICE_STATE_DIR": str(tmp_path / "state")} | settings
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", "serve", env=env, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        _, errors = await child.communicate()
    assert child.returncode in (1, 2)
    assert named in errors.decode()
    assert "Traceback" not in errors.decode()


async def test_a_second_server_on_the_same_folder_says_so_at_once(tmp_path: Path) -> None:
    async with process(tmp_path / "state"):
        env = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
        env |= {
            "SLUICE_PORT": "0",
            "SLUICE_STATE_DIR": str(tmp_path / "state"),
        }  # the torch engine: not even begun
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app", "serve", env=env, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(30):
            _, errors = await child.communicate()
    assert child.returncode == 1
    assert "SLUICE_STATE_DIR" in errors.decode()
    assert "Traceback" not in errors.decode()


async def test_a_bad_policy_is_one_line(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('version = "1"\n[[rule]]\ncategory = "pii"\naction = "blok"\nterms = ["x"]\n')
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    env |= {"SLUICE_STATE_DIR": str(tmp_path / "state"), "SLUICE_POLICY": str(policy)}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", "serve", env=env, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        _, errors = await child.communicate()
    assert child.returncode == 2
    assert "SLUICE_POLICY" in errors.decode()
    assert "action" in errors.decode()
    assert "Traceback" not in errors.decode()
