"""Every key, its default and what it accepts; pure.

Values are texts, kept and returned as given. The check of ``general.meta_uri`` and the like is one of form: a value
acts, if at all, at the next start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mishards.errors import IllegalArgument

Check = Callable[[str], str | None]
"""What is wrong with a value, as the end of ``... is not``; None when nothing is."""

GB = 1 << 30

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": GB}
_SIZE = re.compile(r"([0-9]{1,18}) *([KMG]?)B?", re.IGNORECASE)
_BOOLS = {"true", "on", "yes", "1", "false", "off", "no", "0"}


@dataclass(frozen=True, slots=True)
class Key:
    """One key. ``settable`` is False for what can only be read; ``live`` keys act without a restart."""

    default: str
    check: Check
    settable: bool = True
    live: bool = False


def size_of(text: str) -> int | None:
    """Bytes of a size such as ``4GB``; None when it is none."""
    found = _SIZE.fullmatch(text.strip())
    return int(found[1]) * _UNITS[found[2].upper()] if found else None


def size_text(size: int) -> str:
    """Bytes as a size in the largest unit that divides them."""
    for unit in ("G", "M", "K"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}B"
    return str(size)


def _anything(_text: str) -> str | None:
    return None


def _boolean(text: str) -> str | None:
    return None if text.lower() in _BOOLS else "a boolean"


def _digits(text: str) -> str | None:
    return None if text.isascii() and text.isdecimal() else "a number"


def _between(low: int, high: int) -> Check:
    def check(text: str) -> str | None:
        fits = _digits(text) is None and low <= int(text) <= high
        return None if fits else f"in range [{low}, {high}]"

    return check


def _one_of(*choices: str) -> Check:
    return lambda text: None if text in choices else f"one of {', '.join(choices)}"


def _matching(pattern: str, what: str) -> Check:
    compiled = re.compile(pattern)
    return lambda text: None if len(text) <= 1024 and compiled.fullmatch(text) else what


def _size(low: int, high: int | None = None) -> Check:
    def check(text: str) -> str | None:
        size = size_of(text)
        if size is None or size < low or (high is not None and size > high):
            return f"a size of at least {low} bytes" + (f" and at most {high}" if high else "")
        return None

    return check


def _fraction(text: str) -> str | None:
    fits = re.fullmatch(r"0?\.[0-9]{1,12}", text) is not None and 0 < float(text) < 1
    return None if fits else "between 0 and 1"


def _ipv4(text: str) -> str | None:
    parts = text.split(".")
    fits = len(parts) == 4 and all(part.isascii() and part.isdecimal() and int(part) < 256 for part in parts)
    return None if fits else "an IPv4 address"


_PORT = _between(1025, 65534)
_PATH = _matching(r"(/[\w]+(-[\w]+)*)+/?", "an absolute path of word characters and single dashes")
_META_URI = _matching(
    r"(sqlite|mysql)://[^:@/]*:[^@]*@[^:/]*:[0-9]*/.*", "dialect://username:password@host:port/database"
)

KEYS: Mapping[str, Key] = {
    "version": Key("0.5", _one_of("0.5")),
    "cluster.enable": Key("false", _boolean),
    "cluster.role": Key("rw", _one_of("rw", "ro")),
    "general.timezone": Key("UTC+8", _matching(r"UTC[+-][0-9]+", "UTC, a sign and digits")),
    "general.meta_uri": Key("sqlite://:@:/", _META_URI),
    "network.bind.address": Key("0.0.0.0", _ipv4),  # noqa: S104 - the protocol's default text, bound nowhere by it
    "network.bind.port": Key("19530", _PORT),
    "network.http.enable": Key("true", _boolean, settable=False),
    "network.http.port": Key("19121", _PORT),
    "storage.path": Key("/var/lib/milvus", _PATH),
    "storage.auto_flush_interval": Key("1", _digits),
    "storage.file_cleanup_timeout": Key("10", _between(0, 3600), settable=False),
    "wal.enable": Key("true", _boolean),
    "wal.recovery_error_ignore": Key("false", _boolean),
    "wal.buffer_size": Key("256MB", _size(0)),
    "wal.path": Key("/var/lib/milvus/wal", _PATH),
    "cache.cache_size": Key("4GB", _size(1), live=True),
    "cache.cpu_cache_threshold": Key("0.7", _fraction, live=True),
    "cache.insert_buffer_size": Key("1GB", _size(1), live=True),
    "cache.cache_insert_data": Key("false", _boolean, live=True),
    "cache.preload_collection": Key("", _anything, live=True),
    "engine_config.use_blas_threshold": Key("1100", _digits, live=True),
    "engine_config.omp_thread_num": Key("0", _digits, live=True),
    "engine_config.simd_type": Key("auto", _one_of("avx512", "avx2", "sse", "auto"), live=True),
    "engine_config.search_combine_nq": Key("64", _digits, live=True),
    "engine_config.max_partition_num": Key("4096", _digits, live=True),
    "gpu.enable": Key("false", _boolean, settable=False),
    "gpu.cache_size": Key("1GB", _size(1), settable=False),
    "gpu.gpu_search_threshold": Key("1000", _digits, settable=False),
    "gpu.search_devices": Key("gpu0", _anything, settable=False),
    "gpu.build_index_devices": Key("gpu0", _anything, settable=False),
    "logs.level": Key("debug", _one_of("debug", "info", "warning", "error", "fatal")),
    "logs.trace.enable": Key("true", _boolean),
    "logs.path": Key("/var/lib/milvus/logs", _PATH),
    "logs.max_log_file_size": Key("1024MB", _size(512 << 20, 4 * GB)),
    "logs.log_rotate_num": Key("0", _between(0, 1024)),
    "logs.log_to_stdout": Key("false", _boolean),
    "logs.log_to_file": Key("true", _boolean),
    "metric.enable": Key("false", _boolean),
    "metric.address": Key("127.0.0.1", _ipv4),
    "metric.port": Key("9091", _PORT),
    "metric.cluster_label": Key("milvus_cluster", _anything),
    "metric.instance_label": Key("", _anything),
    "tracing_config.json_config_path": Key("", _anything),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """What values are checked against besides their form."""

    total_memory: int
    cores: int
    collections: Callable[[], frozenset[str]]


def check_value(name: str, value: str, current: Mapping[str, str], machine: Machine) -> None:
    """Check a value that ``set_config`` is to store; ``current`` has the values of all keys.

    Raises:
        IllegalArgument: the text names the key, the value and what it is not.
    """
    wrong = KEYS[name].check(value) or _wrong_for(name, value, current, machine)
    if wrong:
        last = name.rpartition(".")[2]
        raise IllegalArgument(f"Invalid {last}: {value}. Possible reason: {name} is not {wrong}.")


def _wrong_for(name: str, value: str, current: Mapping[str, str], machine: Machine) -> str | None:
    if name in ("cache.cache_size", "cache.insert_buffer_size"):
        other = "cache.insert_buffer_size" if name == "cache.cache_size" else "cache.cache_size"
        size, rest = size_of(value) or 0, size_of(current[other]) or 0
        if size >= machine.total_memory:
            return f"less than the system memory, {machine.total_memory} bytes"
        if size + rest >= machine.total_memory:
            return f"less than the system memory together with {other}, {machine.total_memory} bytes"
    elif name == "engine_config.omp_thread_num" and int(value) > machine.cores:
        return f"at most {machine.cores}, the number of cores"
    elif name == "cache.preload_collection" and value not in ("", "*"):
        wanted = value.split(",")
        if len(set(wanted)) != len(wanted):
            return "free of duplicates"
        unknown = sorted(set(wanted) - machine.collections())
        if unknown:
            return f"a list of collections: {unknown[0]} does not exist"
    return None
