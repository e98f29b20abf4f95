"""Every setting, its default and the reason for it. `sluice serve --help` is written from this table."""

# ruff: noqa: RUF009 - `setting` is `dataclasses.field` with our metadata

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from app.setting_faults import adapter_fault, engine_fault, key_fault, redis_fault
from app.settings import ConfigError, setting
from protocol.limits import MAX_INT32

__all__ = ["Config", "ConfigError"]

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Config:
    # where it listens
    host: str = setting("127.0.0.1", "address to listen on")  # nothing beyond this machine unless asked for
    port: int = setting(8000, "port to listen on; 0 takes a free one", low=0, high=65535)
    ssl_certfile: Path | None = setting(None, "TLS certificate chain, PEM", exists=True)
    ssl_keyfile: Path | None = setting(None, "TLS private key, PEM", exists=True)
    cors_origins: tuple[str, ...] = setting(
        (), "origins whose pages may call us, such as https://chat.example; * for any"
    )

    # where it keeps things
    config: Path | None = setting(
        None, "settings file; without it ./sluice.toml where there is one", exists=True
    )
    state_dir: Path = setting(
        Path("~/.local/state/sluice"), "folder for the embedded store, its log and the key pepper"
    )
    cache_dir: Path = setting(Path("~/.cache/sluice"), "folder for converted models")
    redis_url: str | None = setting(
        None, "Redis or Valkey to use; without it an embedded one runs", check=redis_fault, secret=True
    )

    # what it serves
    engine: str = setting("torch", "torch or scripted (echoes the last user message)", check=engine_fault)
    model: Path | None = setting(
        None, "folder or GGUF file of a model; without it SmolLM2-135M-Instruct", exists=True
    )
    models: tuple[str, ...] = setting(
        (), "further models: ID=PATH, or ID=NAME with a name of `sluice models list`", sources=True
    )
    # as adapter_dirs
    model_dirs: tuple[str, ...] = setting(
        (),
        "folders from which admins may load models over HTTP, besides those of `sluice models list`",
        folders=True,
        exists=True,
    )
    # cpu: nothing of the code for GPUs has run on one yet (docs/benchmarks.md)
    device: str = setting(
        "cpu", "what computes; auto: a GPU where there is one", choices=("cpu", "cuda", "auto")
    )
    # auto: what the file has where it is quantised (the default model is), a fifth of bfloat16's time; else bfloat16
    # where the processor multiplies it natively, half the time of a float32 step; float32 is exact
    dtype: str = setting(
        "auto",
        "number type of weights; fp8 on a GPU alone, int4 on a processor alone",
        choices=("auto", "float32", "bfloat16", "float16", "int8", "int4", "fp8"),
    )
    # auto: what the model is computed in
    kv_dtype: str = setting(
        "auto", "number type of keys and values; fp8 on a GPU alone", choices=("auto", "fp8")
    )
    # 0: what is fastest beside the event loop (engine/config.py)
    threads: int = setting(
        0, "threads that compute; 0: one for each core but one, two on two cores", low=0, high=1024
    )  # past what machines have, OpenMP ends the process
    adapters: tuple[str, ...] = setting(
        (),
        "LoRA adapters to load at the start, [MODEL:]NAME=FOLDER each; asked for as MODEL:NAME",
        check=adapter_fault,
        folders=True,
    )
    # a path from the network is a danger: without folders nobody can name one
    adapter_dirs: tuple[str, ...] = setting(
        (),
        "folders from which admins may load adapters over HTTP; without them nobody may",
        folders=True,
        exists=True,
    )
    # what a step's rows have is computed for all of them: some dozens cost as much as the model
    max_adapters: int = setting(16, "most adapters loaded at once", low=0, high=1024)
    adapter_memory_mib: int = setting(
        1024, "memory for adapters; those of one step take as much again", low=1
    )  # a dozen of rank 16 for a model of 8 billion parameters
    policy: Path | None = setting(
        None, "moderation policy, a TOML file that replaces the default one", exists=True
    )
    # 50: about the pace of a hosted model, and the pace at which the hub is measured
    scripted_tokens_per_s: float = setting(50.0, "pace of the scripted engine; 0 is as fast as asked", low=0)

    # keys
    bootstrap_key: str | None = setting(
        None,
        "an admin key to accept from the start, 24 or more printable characters",
        check=key_fault,
        secret=True,
    )
    key_pepper: str | None = setting(
        None,
        "secret that stored keys are hashed with, the same on all servers; without it a file in state_dir",
        check=key_fault,
        secret=True,
    )
    # 60 s: a browser needs it for the handshake alone
    ephemeral_key_ttl_s: int = setting(
        60, "seconds an ek_ key lives unless its maker says otherwise", low=10, high=7200
    )

    # what a client may send
    max_body_bytes: int = setting(
        4 * _MIB, "longest HTTP body and socket message", low=1024
    )  # 1 M tokens of English
    max_nesting: int = setting(
        64, "deepest JSON", low=4, high=512
    )  # requests use 6; json's recursion limit is 1,000
    max_containers: int = setting(
        65536, "most objects and arrays in a body, and most names in objects", low=16
    )  # 2,048 items use 8,000
    max_moderation_inputs: int = setting(256, "most texts in a moderation", low=1)
    max_input_items: int = setting(2048, "most items in an input", low=1)  # a thousand turns sent by value
    max_content_parts: int = setting(256, "most content parts in an item", low=1)
    max_tools: int = setting(128, "most functions offered in a request", low=1)  # as the hosted API has it
    max_tools_bytes: int = setting(
        262144, "most bytes of JSON of all functions offered", low=1024
    )  # 60,000 tokens: more than most contexts hold
    max_schema_bytes: int = setting(
        65536, "most bytes of JSON of a schema", low=64
    )  # three times what 1,000 plain properties take
    max_tool_nesting: int = setting(32, "deepest schema of a function", low=2)  # six times the hosted API's
    max_stop_strings: int = setting(16, "most stop strings", low=0)  # each is looked for after every token
    max_metadata_pairs: int = setting(16, "most metadata pairs", low=0)  # as the hosted API has it
    max_prompt_tokens: int | None = setting(
        None, "longest prompt; without it what the model's context holds", low=1
    )
    # none, as the hosted APIs have it; a small model that runs away may fill its context
    default_max_output_tokens: int | None = setting(
        None, "most tokens of a reply whose request names no limit; without it what the context holds", low=1
    )
    max_output_tokens: int | None = setting(
        None,
        "most tokens of any reply: requests that ask for more are refused, those that name no limit get it",
        low=1,
        high=MAX_INT32,
    )
    max_turns: int = setting(
        512, "most turns a context is rebuilt from", low=1
    )  # one read of a few MiB at the most

    # connections; the first three as the protocol's public servers have them
    max_lanes: int = setting(32, "most named lanes on a socket", low=1)
    max_active_responses: int = setting(16, "most unfinished responses on a socket", low=1)
    connection_lifetime_s: float = setting(3600.0, "longest life of a socket", low=1)
    max_connections: int = setting(4096, "most sockets", low=1)  # 60 KiB each: 240 MiB
    # a reply's end says its text three times, and its beginning the instructions twice: four messages of 4 MiB
    outbox_bytes: int = setting(16 * _MIB, "most bytes that wait for one slow client", low=1024)
    slow_client_deadline_s: float = setting(
        20.0, "how long a client may read nothing while its outbox holds data", low=0.1
    )
    ping_interval_s: float = setting(
        20.0, "how often a silent socket is probed", low=1
    )  # under proxies' usual 30-60 s
    ping_timeout_s: float = setting(20.0, "how long a probed socket may take to answer", low=1)
    keepalive_s: float = setting(15.0, "how often a silent event stream gets a comment line", low=1)
    drain_grace_s: float = setting(
        30.0, "how long running responses may go on after SIGTERM", low=0
    )  # what orchestrators allow

    # replay of live and just-ended responses
    replay_events: int = setting(
        16384, "most events kept of one response", low=16
    )  # 8,192 tokens, one event each, and room
    replay_bytes: int = setting(
        64 * _MIB, "most bytes kept of all responses", low=1024
    )  # forty of the longest
    replay_s: float = setting(
        300.0, "how long an ended response can be replayed", low=0
    )  # a reload, a lift, a tunnel

    # the store
    response_ttl_s: int = setting(
        30 * 86400, "how long a stored response lives after its last use", low=1
    )  # as the hosted API
    pending_writes: int = setting(1024, "most responses that wait in memory while the store is away", low=1)
    pending_bytes: int = setting(
        64 * _MIB, "most bytes that wait in memory while the store is away", low=1024
    )

    # the engine
    max_running: int = setting(
        32, "most sequences the torch engine runs at once", low=1
    )  # past it a CPU's steps only get longer
    scripted_max_running: int = setting(
        1024, "most sequences the scripted engine runs at once", low=1
    )  # a load test of the hub
    max_waiting: int = setting(
        1280, "most requests that wait for the engine, seven eighths of them one tenant's", low=0
    )  # with none of one tenant refused at 1,000 sockets
    first_token_timeout_s: float = setting(
        120.0, "longest wait for a first token", low=0.1
    )  # 8,192 tokens prefill in 40 s on 2 cores
    total_timeout_s: float = setting(900.0, "longest generation", low=0.1)  # 8,192 tokens at 10/s
    memory_bytes: int | None = setting(
        None,
        "memory that all models may take together; without it what the machine or its container has left",
        low=1 << 20,
    )
    kv_memory_mib: int | None = setting(
        None,
        "memory for keys and values of a model; without it 1 GiB or a whole context, as memory allows",
        low=16,
    )
    host_kv_mib: int | None = setting(
        None,
        "machine memory for what a GPU has no room to keep, 0: none; without it as much as the GPU's own",
        low=0,
    )
    chunk_tokens: int = setting(256, "most prompt tokens of one step", low=16)  # a cancel waits for so many
    gap_ms: int = setting(
        80, "longest step in milliseconds, as far as prompts are to blame, while replies run", low=1
    )  # people see a pause of a tenth of a second; shorter steps make prompts slower
    speculation: int = setting(
        7, "most tokens of one reply guessed in a step, where it repeats a text; 0: none", low=0, high=31
    )  # with the reply's own token 8 rows, which is a tile of our products
    keep_warm_s: float = setting(
        300.0, "how long a conversation keeps its pages while memory allows", low=0
    )  # a person's pause for thought

    log_level: str = setting(
        "info", "least serious message logged", choices=("debug", "info", "warning", "error")
    )

    @property
    def reply_tokens(self) -> int | None:
        """The most of a reply whose request names no limit; None where only the context bounds it."""
        limits = (self.default_max_output_tokens, self.max_output_tokens)
        return min((one for one in limits if one is not None), default=None)

    @property
    def tls(self) -> bool:
        return self.ssl_certfile is not None
