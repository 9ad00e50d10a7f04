"""What is wrong, the worst first, in words that say what follows from it and what to do; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

CRITICAL, WARNING = "critical", "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong. ``severity`` is ``critical`` where calls fail because of it, else ``warning``."""

    severity: str
    what: str
    effect: str
    advice: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """What problems are found in."""

    unready: tuple[str, ...] = ()
    """Why no search can be served."""
    nodes: tuple[tuple[str, str, str, str, int], ...] = ()
    """Name, state in discovery, health, reason of the health, segments that the node is given."""
    drained: frozenset[str] = field(default_factory=frozenset)
    has_leader: bool = True
    standbys: tuple[str, ...] = ()
    catalog_error: str = ""
    snapshot_age_s: float = 0.0
    discovery_error: str = ""
    replica_deficit: int = 0


def problems_of(trouble: Trouble) -> list[Problem]:
    """The problems, critical ones first."""
    found = [*_of_service(trouble), *_of_nodes(trouble), *_of_backends(trouble)]
    return sorted(found, key=lambda problem: problem.severity != CRITICAL)


def _of_service(trouble: Trouble) -> Iterator[Problem]:
    for reason in trouble.unready:
        yield Problem(CRITICAL, "Searches cannot be served", reason, "Start what is missing; nothing else is needed.")
    if not trouble.has_leader and trouble.standbys:
        names = ", ".join(trouble.standbys)
        yield Problem(
            CRITICAL, "No writable node leads", f"Writes fail; {names} stand by.", "An election takes a few seconds."
        )
    elif not trouble.has_leader:
        yield Problem(CRITICAL, "There is no writable node", "Writes fail; searches go on.", "Start a writable node.")


def _of_nodes(trouble: Trouble) -> Iterator[Problem]:
    for name, state, health, reason, segments in trouble.nodes:
        holds = f"Others answer for its {_segments(segments)}." if segments else "It holds no segment."
        why = f"{reason[:1].upper()}{reason[1:]}. " if reason else ""
        if state == "absent":
            advice = "It keeps its place for a while, should it come back; start it again or let it go."
            yield Problem(WARNING, f"{name} has vanished from discovery", why + holds, advice)
        elif health == "down":
            yield Problem(WARNING, f"{name} is down", why + holds, "Look at its log, and start it again.")
        elif state == "draining":
            by = "an operator" if name in trouble.drained else "itself"
            yield Problem(WARNING, f"{name} is drained by {by}", "It gets no new calls.", "Stop it, or take it back.")
    if trouble.replica_deficit:
        yield Problem(
            WARNING,
            f"{trouble.replica_deficit} {'copy' if trouble.replica_deficit == 1 else 'copies'} of segments missing",
            "Nodes that should hold them are not in service.",
            "They are loaded elsewhere after a while, or come back with their node.",
        )


def _of_backends(trouble: Trouble) -> Iterator[Problem]:
    if trouble.catalog_error:
        age = "" if trouble.snapshot_age_s == float("inf") else f"The snapshot is {trouble.snapshot_age_s:.0f} s old. "
        effect = f"{age}Searches go on with it; strong ones fail: {trouble.catalog_error}"
        yield Problem(WARNING, "The metadata database is away", effect, "Bring the database back.")
    if trouble.discovery_error:
        effect = f"Nodes that come or go are not noticed: {trouble.discovery_error}"
        yield Problem(WARNING, "Discovery is lost", effect, "Bring the discovery backend back.")


def _segments(number: int) -> str:
    return "one segment" if number == 1 else f"{number} segments"
