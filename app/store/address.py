"""From an address to a client of redis-py: one server, a Sentinel's master, or a Cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast
from urllib.parse import SplitResult, unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

_MAX_CONNECTIONS = 64  # far more than a hub has calls in flight; past it a call waits within its time limit


class Opened(NamedTuple):
    serving: Redis
    helping: Sequence[Redis] = ()  # Sentinels that were asked on the way; to be closed with it


def open_client(url: str, connect_timeout_s: float, command_timeout_s: float) -> Opened:
    """A client that connects on first use. Raises ValueError for an address of no known form.

    `redis://`, `rediss://` and `unix://` are redis-py's own; `redis+sentinel://host:port,host:port/master/db`
    asks Sentinels for the master; `redis+cluster://host:port,host:port` finds a cluster's nodes by any of its
    hosts.
    """
    timeouts: dict[str, Any] = {
        "socket_connect_timeout": connect_timeout_s,
        "socket_timeout": command_timeout_s,
    }
    # No second try: the pool sees by itself that an idle connection has died, and only a caller knows whether a
    # command may be repeated.
    single: dict[str, Any] = {**timeouts, "retry": Retry(NoBackoff(), 0), "protocol": 2}
    parts = urlsplit(url)
    match parts.scheme:
        case "redis" | "rediss" | "unix":
            pool = BlockingConnectionPool.from_url(
                url, max_connections=_MAX_CONNECTIONS, timeout=command_timeout_s, **single
            )
            return Opened(Redis.from_pool(pool))
        case "redis+sentinel":
            return _sentinel(parts, timeouts, single)
        case "redis+cluster":
            return Opened(_cluster(parts, timeouts))
        case _:
            raise ValueError(
                "the store's address must begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"
            )


def _sentinel(parts: SplitResult, timeouts: dict[str, Any], single: dict[str, Any]) -> Opened:
    master, _, db = parts.path.strip("/").partition("/")
    if not master:
        raise ValueError(
            "a redis+sentinel:// address ends with the master's name: redis+sentinel://host:26379/mymaster"
        )
    hosts = _hosts(parts, 26379)
    sentinel = Sentinel(hosts, sentinel_kwargs=timeouts, **single)  # type: ignore[no-untyped-call]
    serving = cast(Redis, sentinel.master_for(master, db=int(db or 0), **_credentials(parts)))
    return Opened(serving, sentinel.sentinels)


def _cluster(parts: SplitResult, timeouts: dict[str, Any]) -> Redis:
    nodes = [ClusterNode(host, port) for host, port in _hosts(parts, 6379)]
    cluster = RedisCluster(
        startup_nodes=nodes,
        max_connections=_MAX_CONNECTIONS,
        retry=Retry(NoBackoff(), 3),  # a slot that moved, a node that was replaced
        protocol=2,
        **timeouts,
        **_credentials(parts),
    )
    # Not a subclass of Redis, but it has the calls in use; every call's keys stand in one slot
    return cast(Redis, cluster)


def _hosts(parts: SplitResult, usual_port: int) -> list[tuple[str, int]]:
    hosts = []
    for one in parts.netloc.rpartition("@")[2].split(","):
        host, _, port = one.rpartition(":") if ":" in one else (one, "", "")
        if not host:
            raise ValueError("a host is missing in the store's address")
        hosts.append((host.strip("[]"), int(port or usual_port)))
    return hosts


def _credentials(parts: SplitResult) -> dict[str, Any]:
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    found = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in found.items() if value}
