"""Settings from flags, environment, file and defaults, and what stops the start."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config import Config, ConfigError
from app.load_config import help_text, load_config
from app.settings import Given, Rule, Setting, parse, setting, settings_of

HOME = {"HOME": "/home/user"}
KEY = "a-bootstrap-key-of-24-ch"


def load(cwd: Path, *argv: str, **env: str) -> Config:
    return load_config(argv, HOME | env, cwd)


def fault(cwd: Path, *argv: str, **env: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(cwd, *argv, **env)
    return str(caught.value)


def test_the_defaults_need_nothing_but_a_home(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert (config.host, config.port, config.engine) == ("127.0.0.1", 8000, "torch")
    assert (config.max_body_bytes, config.max_lanes, config.max_active_responses) == (4 << 20, 32, 16)
    assert config.state_dir == Path("/home/user/.local/state/sluice")
    assert config.cache_dir == Path("/home/user/.cache/sluice")
    assert (config.config, config.tls) == (None, False)


def test_the_folders_follow_the_base_directories(tmp_path: Path) -> None:
    config = load(tmp_path, XDG_STATE_HOME="/s", XDG_CACHE_HOME="relative/is/ignored")
    assert config.state_dir == Path("/s/sluice")
    assert config.cache_dir == Path("/home/user/.cache/sluice")


def test_a_flag_beats_the_environment_and_that_the_file_and_that_the_default(tmp_path: Path) -> None:
    (tmp_path / "sluice.toml").write_text("port = 1\nmax_lanes = 2\nmax_turns = 3\n")
    config = load(tmp_path, "--port", "11", SLUICE_PORT="12", SLUICE_MAX_LANES="22")
    assert (config.port, config.max_lanes, config.max_turns) == (11, 22, 3)
    assert config.config == tmp_path / "sluice.toml"


@pytest.mark.parametrize("argv", [("--max-lanes", "7"), ("--max-lanes=7",)])
def test_a_flag_is_written_either_way(tmp_path: Path, argv: tuple[str, ...]) -> None:
    assert load(tmp_path, *argv).max_lanes == 7


def test_a_file_can_be_named_and_its_paths_are_relative_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "policy.toml").touch()
    (folder / "mine.toml").write_text('policy = "policy.toml"\nstate_dir = "~/state"\nreplay_s = 2\n')
    (tmp_path / "sluice.toml").write_text("this is not read")
    for config in (
        load(tmp_path, "--config", "etc/mine.toml"),
        load(tmp_path, SLUICE_CONFIG=str(folder / "mine.toml")),
    ):
        assert config.policy == folder / "policy.toml"
        assert config.state_dir == Path("/home/user/state")
        assert config.replay_s == 2.0


def test_lists_are_written_with_commas_or_as_toml(tmp_path: Path) -> None:
    origins = ("https://a.example", "http://localhost:3000")
    assert load(tmp_path, SLUICE_CORS_ORIGINS=", ".join(origins)).cors_origins == origins
    (tmp_path / "sluice.toml").write_text(f"cors_origins = {list(origins)}")
    assert load(tmp_path).cors_origins == origins
    assert load(tmp_path, "--cors-origins", "*").cors_origins == ("*",)


def test_folders_in_lists_are_placed_like_any_path(tmp_path: Path) -> None:
    (tmp_path / "a=b").mkdir()
    config = load(
        tmp_path, "--adapters", "poet=poet,a/b:sql=/x/sql, me=~/me", "--adapter-dirs", f"{tmp_path}/a=b,."
    )
    assert config.adapters == (f"poet={tmp_path}/poet", "a/b:sql=/x/sql", "me=/home/user/me")
    assert config.adapter_dirs == (f"{tmp_path}/a=b", str(tmp_path))


def test_a_further_models_path_is_relative_to_what_names_it_and_a_name_stays_one(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    (folder / "mine").mkdir(parents=True)
    (folder / "sluice.toml").write_text('models = ["org/a=mine", "b=a-name", "c=~/gone"]')
    config = load(tmp_path, "--config", "etc/sluice.toml")
    assert config.models == (f"org/a={folder}/mine", "b=a-name", "c=~/gone")
    assert load(tmp_path, SLUICE_MODELS="a=mine,b=etc/mine").models == ("a=mine", f"b={folder}/mine")
    with pytest.raises(ConfigError, match=r"--models: .* HOME is not set"):
        load_config(["--models", "a=~/mine"], {}, tmp_path)


def test_an_empty_variable_counts_as_absent(tmp_path: Path) -> None:
    assert load(tmp_path, SLUICE_REDIS_URL="", SLUICE_PORT="").port == 8000


def test_other_programs_variables_are_ignored(tmp_path: Path) -> None:
    assert load(tmp_path, PATH="/bin", SLUICEGATE="open").port == 8000


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (("--prot", "1"), ["--prot", "did you mean --port?"]),
        (("--max_lanes", "1"), ["--max_lanes", "did you mean --max-lanes?"]),
        (("--zzz", "1"), ["unknown flag --zzz", "sluice serve --help"]),
        (("serve",), ["unknown argument serve"]),
        (("--port",), ["--port needs a value", "--port=VALUE"]),
        (("--port", "--host", "x"), ["--port needs a value"]),
        (("--port", "1", "--port=2"), ["--port is given twice"]),
        (("--port", "http"), ["--port: 'http' is not a whole number from 0 to 65535", "default (8000)"]),
        (("--port", "65536"), ["--port: '65536'", "0 to 65535"]),
        (("--port", "-1"), ["--port: '-1'"]),
        (("--port", "1.5"), ["--port: '1.5'"]),
        (("--threads", "100000"), ["--threads: '100000' is not a whole number from 0 to 1024"]),
        (("--max-lanes", "0"), ["--max-lanes: '0' is not a whole number, 1 or more"]),
        (("--keepalive-s", "nan"), ["--keepalive-s: 'nan' is not a number, 1 or more"]),
        (("--total-timeout-s", "inf"), ["--total-timeout-s: 'inf'"]),
        (("--host", ""), ["--host: '' is not a text"]),
        (
            ("--dtype", "int3"),
            ["--dtype: 'int3' is not one of auto, float32, bfloat16, float16, int8, int4, fp8"],
        ),
        (("--engine", "vllm"), ["--engine: 'vllm' is not one of torch, scripted"]),
        (("--engine", "http://localhost:1"), ["--engine:", "cannot use yet"]),
        (("--model", "/no/such/model"), ["--model: /no/such/model does not exist", "or leave it out"]),
        (("--model", "x" * 4000), ["--model:", "does not exist"]),
        (("--memory-bytes", "1"), ["--memory-bytes: '1' is not a whole number, 1048576 or more"]),
        (("--config", "no.toml"), ["--config:", "no.toml does not exist"]),
        (
            ("--adapters", "poet"),
            ["--adapters:", "holds 'poet', which is neither NAME=FOLDER nor MODEL:NAME=FOLDER"],
        ),
        (("--adapters", "poet:=/x"), ["--adapters:", "cannot be asked for", "''"]),
        (("--adapters", "qwen:po et=/x"), ["--adapters:", "cannot be asked for", "'po et'"]),
        (("--adapter-dirs", "/tmp,/no/such"), ["--adapter-dirs: /no/such does not exist"]),
        (("--ssl-certfile", "/dev/null"), ["--ssl-certfile and --ssl-keyfile belong together"]),
        (("--cors-origins", "chat.example"), ["cors_origins: 'chat.example' is not an origin"]),
        (("--cors-origins", "https://a.example/path"), ["cors_origins: 'https://a.example/path'"]),
    ],
)
def test_a_bad_flag_names_itself_and_the_way_out(
    tmp_path: Path, argv: tuple[str, ...], named: list[str]
) -> None:
    message = fault(tmp_path, *argv)
    assert all(part in message for part in named), message


def test_a_bad_variable_names_itself(tmp_path: Path) -> None:
    assert "SLUICE_PROT; did you mean SLUICE_PORT?" in fault(tmp_path, SLUICE_PROT="1")
    assert "SLUICE_PORT: 'x' is not" in fault(tmp_path, SLUICE_PORT="x")
    assert "~, but HOME is not set" in fault_without_home(tmp_path, SLUICE_STATE_DIR="~/x")


def fault_without_home(cwd: Path, **env: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config([], env, cwd)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prot = 1", ["prot; did you mean port?"]),
        ("[server]\nport = 1", ["server"]),
        ("port = true", ["port in", "True is not a whole number"]),
        ("port = 1.5", ["port in", "1.5 is not a whole number"]),
        ("port = []", ["port in", "[] is not a whole number"]),
        ("host = 1", ["host in", "1 is not a text"]),
        ("cors_origins = [1]", ["cors_origins in", "is not a list of texts"]),
        ("cors_origins = 1", ["cors_origins in", "is not a list of texts"]),
        ("port = ", ["cannot be read"]),
    ],
)
def test_a_bad_line_names_itself_and_its_file(tmp_path: Path, text: str, named: list[str]) -> None:
    (tmp_path / "sluice.toml").write_text(text)
    message = fault(tmp_path)
    assert str(tmp_path / "sluice.toml") in message
    assert all(part in message for part in named), message


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_names_itself(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "sluice.toml"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    assert f"{file} cannot be read" in fault(tmp_path)


def test_without_a_home_the_folders_must_be_given(tmp_path: Path) -> None:
    assert "SLUICE_STATE_DIR" in fault_without_home(tmp_path)
    assert "SLUICE_CACHE_DIR" in fault_without_home(tmp_path, SLUICE_STATE_DIR="/s")
    config = load_config([], {"SLUICE_STATE_DIR": "/s", "SLUICE_CACHE_DIR": "c"}, tmp_path)
    assert (config.state_dir, config.cache_dir) == (Path("/s"), tmp_path / "c")


@pytest.mark.parametrize("key", ["x" * 24, "with space and / and $ signs", KEY])
def test_a_bootstrap_key_is_any_printable_text_long_enough(tmp_path: Path, key: str) -> None:
    assert load(tmp_path, SLUICE_BOOTSTRAP_KEY=key).bootstrap_key == key


@pytest.mark.parametrize("key", ["x" * 23, "x" * 30 + "\n", "x" * 30 + "é", " " + "x" * 30, "x\0" + "x" * 30])
def test_a_weak_bootstrap_key_stops_the_start_without_being_shown(tmp_path: Path, key: str) -> None:
    for name in ("SLUICE_BOOTSTRAP_KEY", "SLUICE_KEY_PEPPER"):
        message = fault(tmp_path, **{name: key})
        assert message.startswith(f"{name}: the value is not 24 or more printable")
        assert key.strip() not in message


def test_secrets_are_in_no_repr(tmp_path: Path) -> None:
    url = "redis://user:word@host"
    config = load(tmp_path, SLUICE_BOOTSTRAP_KEY=KEY, SLUICE_KEY_PEPPER=KEY[::-1], SLUICE_REDIS_URL=url)
    for secret in (KEY, KEY[::-1], "word"):
        assert secret not in repr(config)


@pytest.mark.parametrize("url", ["localhost:6379", "http://user:word@host", "memcached://x"])
def test_a_store_of_no_known_form_stops_the_start_without_its_password(tmp_path: Path, url: str) -> None:
    message = fault(tmp_path, SLUICE_REDIS_URL=url)
    assert message.startswith("SLUICE_REDIS_URL: the value is not a redis://")
    assert "word" not in message


@pytest.mark.parametrize(
    "url",
    ["redis://h", "rediss://h:1/2", "unix:///tmp/s", "redis+sentinel://h/m", "redis+cluster://h"],
)
def test_every_form_of_store_is_taken(tmp_path: Path, url: str) -> None:
    assert load(tmp_path, "--redis-url", url).redis_url == url


def test_a_certificate_with_its_key_is_tls(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").touch()
    (tmp_path / "key.pem").touch()
    assert load(tmp_path, "--ssl-certfile", "cert.pem", "--ssl-keyfile", "key.pem").tls


def test_the_help_shows_every_setting() -> None:
    text = help_text()
    for field in dataclasses.fields(Config):
        assert f"  --{field.name.replace('_', '-')} " in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_the_help_shows_the_settings_it_is_asked_for() -> None:
    flags = [line.strip() for line in help_text("port", "state_dir").splitlines() if line.startswith("  --")]
    assert flags == ["--port N", "--state-dir PATH"]


def test_every_default_passes_its_own_rule(tmp_path: Path) -> None:
    """What the table says must be what it would accept."""
    defaults = load(tmp_path)
    for one in settings_of(Config).values():
        value = getattr(defaults, one.name)
        if value is not None and one.kind in (int, float, str):
            assert getattr(load(tmp_path, one.flag, str(value)), one.name) == value


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_flag_ends_in_anything_but_a_config_or_a_config_error(flag: str, value: str) -> None:
    for argv in ([flag, value], [f"--port={value}"], [f"--cors-origins={value}"], [f"--replay-s={value}"]):
        with suppress(ConfigError):
            assert isinstance(load_config(argv, HOME, Path("/nowhere")), Config)


def test_a_table_of_settings_of_any_kind() -> None:
    @dataclasses.dataclass(frozen=True)
    class Table:
        name: str | None = setting(None, "a name")

        size: int = setting(1, "any number")

    table = settings_of(Table)
    assert table["name"] == Setting("name", str, True, None, Rule(help="a name"))
    assert parse(table["size"], Given("-5", "--size", Path()), None) == -5
    with pytest.raises(ConfigError, match="--size: 'x' is not a whole number; change it"):
        parse(table["size"], Given("x", "--size", Path()), None)
