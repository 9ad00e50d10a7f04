"""From the settings to the tracing of calls."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from mishards.plugins import load
from mishards.tracing.api import TracingPlugin
from mishards.tracing.options import NONE, TracingOptions

if TYPE_CHECKING:
    from mishards.tracing.handler import CallTracer

GROUP = "mishards.tracing"


def call_tracer_for(options: TracingOptions, program: str) -> CallTracer | None:
    """The tracer of calls that the settings name, None where it is off. Raises PluginError.

    Args:
        options: The settings.
        program: The service's name where they give none.
    """
    if options.plugin == NONE:
        return None
    plugin = cast("TracingPlugin", load(GROUP, options.plugin))
    tracing = plugin.tracing(replace(options, service_name=options.service_name or program))
    from mishards.tracing.handler import CallTracer  # imports opentracing, which only plugins bring

    return CallTracer(tracing)
