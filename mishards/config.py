"""The settings of a router and where they come from; the only reader of ``os.environ`` in the router.

Flags beat ``MISHARDS_…`` variables, which beat the names that the first Mishards used, which beat the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from mishards.cluster.health import HealthOptions
from mishards.command.forward import WriteOptions
from mishards.logs.options import LogOptions
from mishards.options import Given, Layer, Loaded, about, environment_layer, file_layer, flag_layer, load
from mishards.query.options import RoutingOptions, SearchOptions
from mishards.security.options import NodeAccessOptions, SecurityOptions, TlsOptions
from mishards.service.admission import AdmissionOptions
from mishards.tracing.options import TracingOptions
from mishards.transport.choice import DEFAULT, TRANSPORTS
from mishards.transport.loop import LOOPS

ENVIRONMENT_PREFIX = "MISHARDS"
CLIENT_PREFIX = "MISHARDS_CLIENT"

RELOADABLE = frozenset(
    {
        "log.level",
        "admission.max_searches",
        "admission.max_writes",
        "admission.max_infos",
        "health.probe_interval_ms",
        "health.probe_timeout_ms",
        "health.probe_failures",
        "health.call_faults",
        "health.retry_min_ms",
        "health.retry_max_ms",
        "health.slow_start_ms",
        "health.patience_ms",
        "search.consistency",
        "search.deadline_ms",
        "search.graceful_time_ms",
        "search.metadata_wait_ms",
        "search.node_wait_ms",
        "search.max_results",
        "search.verify",
        "search.hedge.enabled",
        "search.hedge.percentile",
        "search.hedge.budget",
        "search.hedge.min_delay_ms",
        "write.wait_ms",
        "write.stall_ms",
        "write.probe_pause_ms",
        "write.max_held_bytes",
    }
)
"""Settings that can be changed while a router runs."""

FIRST_NAMES: Mapping[str, str] = {
    "SERVER_PORT": "network.address",
    "SQLALCHEMY_DATABASE_URI": "metadata.uri",
    "LOG_LEVEL": "log.level",
    "DISCOVERY_STATIC_HOSTS": "discovery.uri",
    "DISCOVERY_STATIC_PORT": "discovery.uri",
    "WOSERVER": "discovery.uri",
    "TRACER_CLASS_NAME": "tracing.plugin",
    "TRACING_SERVICE_NAME": "tracing.service_name",
    "TRACING_SAMPLER_TYPE": "tracing.sampler",
    "TRACING_SAMPLER_PARAM": "tracing.sampler_param",
    "TRACING_REPORTING_HOST": "tracing.endpoint",
    "TRACING_REPORTING_PORT": "tracing.endpoint",
}
"""Variables that the first Mishards read, and what they are settings of."""


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """Where the router listens."""

    address: str = field(default="127.0.0.1:19530", metadata=about("where to listen for gRPC; port 0 is any free one"))
    http_address: str = field(default="127.0.0.1:19121", metadata=about("where to listen for HTTP; empty is nowhere"))
    reuse_port: bool = field(default=False, metadata=about("share the gRPC port with other routers of this machine"))
    transport: str = field(
        default=DEFAULT, metadata=about("what speaks gRPC, to clients and to nodes", choices=TRANSPORTS)
    )
    loop: str = field(default="auto", metadata=about("event loop; auto is uvloop where it is installed", choices=LOOPS))
    drain_ms: int = field(default=5_000, metadata=about("time for calls under way to end when stopping", minimum=0))


@dataclass(frozen=True, slots=True)
class MetadataOptions:
    """The metadata database."""

    uri: str = field(default="", metadata=about("sqlite:////PATH/meta.sqlite or mysql://USER:PASSWORD@HOST:PORT/DB"))
    refresh_ms: int = field(default=500, metadata=about("between refreshes of the snapshot", minimum=10))


@dataclass(frozen=True, slots=True)
class DiscoveryOptions:
    """Who exists."""

    uri: str = field(default="", metadata=about("static://?writable=HOST:PORT&readonly=HOST:PORT or file:///FOLDER …"))
    grace_ms: int = field(
        default=30_000,
        metadata=about("a node that vanishes keeps its segments so long, should it come back", minimum=0),
    )


@dataclass(frozen=True, slots=True)
class RouterOptions:
    """A router, whole."""

    name: str = field(default="", metadata=about("name of this router in its log"))
    network: NetworkOptions = field(default_factory=NetworkOptions)
    metadata: MetadataOptions = field(default_factory=MetadataOptions)
    discovery: DiscoveryOptions = field(default_factory=DiscoveryOptions)
    routing: RoutingOptions = field(default_factory=RoutingOptions)
    search: SearchOptions = field(default_factory=SearchOptions)
    write: WriteOptions = field(default_factory=WriteOptions)
    health: HealthOptions = field(default_factory=HealthOptions)
    admission: AdmissionOptions = field(default_factory=AdmissionOptions)
    log: LogOptions = field(default_factory=LogOptions)
    tracing: TracingOptions = field(default_factory=TracingOptions)
    tls: TlsOptions = field(default_factory=TlsOptions)
    nodes: NodeAccessOptions = field(default_factory=NodeAccessOptions)
    security: SecurityOptions = field(default_factory=SecurityOptions)

    def __post_init__(self) -> None:
        for key, part in (("metadata.uri", self.metadata), ("discovery.uri", self.discovery)):
            if not part.uri:
                raise ValueError(f"{key} is not given; a router needs it")


def load_config(file: Path | None, flags: Mapping[str, tuple[str, object]]) -> Loaded[RouterOptions]:
    """Read every layer. ``flags``: key → (flag as typed, value or None). Raises ConfigError."""
    layers: list[Layer] = [] if file is None else [file_layer(file, RouterOptions)]
    layers += [
        first_names(os.environ),
        environment_layer(os.environ, ENVIRONMENT_PREFIX, RouterOptions),
        flag_layer(flags),
    ]
    return load(RouterOptions, *layers)


def client_access() -> NodeAccessOptions:
    """How our own commands show themselves to servers and know them, by ``MISHARDS_CLIENT_…``. Raises ConfigError."""
    return load(NodeAccessOptions, environment_layer(os.environ, CLIENT_PREFIX, NodeAccessOptions)).options


def quiet_libraries() -> None:
    """Keep gRPC's own log off stderr, unless it was asked for; must come before it is imported."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def first_names(environ: Mapping[str, str]) -> dict[str, Given]:
    """Settings under the names that the first Mishards read from its environment."""
    layer: dict[str, Given] = {}

    def give(key: str, variable: str, value: str) -> None:
        layer[key] = Given(value, f"environment variable {variable}")

    if port := environ.get("SERVER_PORT"):
        give("network.address", "SERVER_PORT", f"0.0.0.0:{port}")
    if uri := environ.get("SQLALCHEMY_DATABASE_URI"):
        give("metadata.uri", "SQLALCHEMY_DATABASE_URI", uri.replace("mysql+pymysql://", "mysql://", 1))
    if level := environ.get("LOG_LEVEL"):
        give("log.level", "LOG_LEVEL", level.lower())
    hosts, writer = environ.get("DISCOVERY_STATIC_HOSTS", ""), environ.get("WOSERVER", "")
    if hosts or writer:
        variable = "DISCOVERY_STATIC_HOSTS" if hosts else "WOSERVER"
        give("discovery.uri", variable, _static_uri(writer, hosts, environ.get("DISCOVERY_STATIC_PORT", "19530")))
    return {**layer, **first_tracing_names(environ)}


def first_tracing_names(environ: Mapping[str, str]) -> dict[str, Given]:
    """Those of tracing; a tracer's class was chosen by its name, in any case of letters."""
    names = {
        "TRACER_CLASS_NAME": "tracing.plugin",
        "TRACING_SERVICE_NAME": "tracing.service_name",
        "TRACING_SAMPLER_TYPE": "tracing.sampler",
        "TRACING_SAMPLER_PARAM": "tracing.sampler_param",
        "TRACING_REPORTING_HOST": "tracing.endpoint",
    }
    layer = {
        key: Given(environ[variable], f"environment variable {variable}")
        for variable, key in names.items()
        if environ.get(variable)
    }
    if plugin := layer.get("tracing.plugin"):
        layer["tracing.plugin"] = Given(str(plugin.value).lower(), plugin.source)
    if agent := layer.get("tracing.endpoint"):
        port = environ.get("TRACING_REPORTING_PORT") or "6831"
        layer["tracing.endpoint"] = Given(f"{agent.value}:{port}", agent.source)
    return layer


def _static_uri(writer: str, hosts: str, port: str) -> str:
    parts = []
    if writer:
        parts.append("writable=" + (urlsplit(writer).netloc if "://" in writer else writer))
    readonly = [host.strip() for host in hosts.split(",") if host.strip()]
    if readonly:
        parts.append("readonly=" + ",".join(host if ":" in host else f"{host}:{port}" for host in readonly))
    return "static://?" + "&".join(parts)
