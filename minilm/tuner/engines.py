"""Chooses the engine of the trials: processes on this machine, or the cluster that `--workers dask://host:port` names.

An engine is anything with the methods of `workers.Pool`. This file makes them and says what is wrong with an address.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from minilm.errors import ConfigError, EngineError
from minilm.tuner.dask_pool import DaskPool
from minilm.tuner.travel import version
from minilm.tuner.workers import Workers

Engine = Workers | DaskPool
SCHEME = "dask"
ANSWER, ARRIVE = 5.0, 20.0  # seconds in which a scheduler must answer, and have a worker


def pool_for(workers: int | str, threads: int = 1, background: bool = False) -> Engine:
    """So many local processes, or the cluster behind `dask://host:port`.

    Raises ConfigError for anything else and EngineError where no cluster answers. Close it, or use it in `with`.

    >>> pool_for(2).count
    2
    """
    if isinstance(workers, int) and not isinstance(workers, bool):
        return Workers(workers, threads, background)
    return connect(address_of(workers))


def address_of(workers: Any) -> str:
    """The host and port that `dask://host:port` names.

    >>> address_of("dask://192.168.1.9:8786")
    '192.168.1.9:8786'
    """
    try:
        parts = urlsplit(str(workers))
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is no number, brackets that do not close
        host = port = None
    extra = (
        "" if port is None else parts.path.strip("/") + parts.query + parts.fragment + (parts.username or "")
    )
    if port is None or host is None or parts.scheme != SCHEME or extra:
        raise ConfigError(
            f"workers must be a number or dask://host:port, got {workers!r}; the scheduler says its host and port "
            "when it starts, tcp://192.168.1.9:8786 is dask://192.168.1.9:8786 here"
        )
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def connect(address: str) -> DaskPool:
    """The workers that the scheduler at `host:port` has now; others may join later in place of lost ones."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError(
            'dask:// needs the package distributed, which is not installed; run pip install "minilm[dask]"'
        ) from error
    try:
        client = Client(f"tcp://{address}", timeout=ANSWER, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise EngineError(
            f"a Dask scheduler must answer at {address}, and none did within {ANSWER:g} s; start one with "
            "`dask scheduler`, or mend host and port"
        ) from error
    try:
        _check(client, address)
        return DaskPool(client, address)
    except BaseException:
        client.close(timeout=ANSWER)
        raise


def _check(client: Any, address: str) -> None:
    """Every worker must be there and have this package, in this version."""
    try:
        client.wait_for_workers(1, timeout=ARRIVE)
        found = client.run(version)
    except TimeoutError as error:
        raise EngineError(
            f"the Dask scheduler at {address} has no workers; start some with `dask worker {address} --nthreads 1`"
        ) from error
    except ModuleNotFoundError as error:
        raise EngineError(
            f"every Dask worker must have minilm installed, and one says: {error}; install it there"
        ) from error
    if others := {where: other for where, other in found.items() if other != version()}:
        where, other = min(others.items())
        raise EngineError(
            f"every Dask worker must have minilm {version()}, got {other} at {where}; install the same everywhere"
        )
