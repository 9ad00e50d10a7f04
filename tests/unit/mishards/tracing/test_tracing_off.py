"""Nothing of tracing is there where it is off."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mishards.config import first_tracing_names
from mishards.errors import ConfigError, PluginError
from mishards.options import flag_layer, load
from mishards.tracing.options import Sampler, TracingOptions
from mishards.tracing.select import call_tracer_for

_LIBRARIES = ("opentracing", "jaeger_client", "opentelemetry", "thrift", "tornado")

_PROGRAM = f"""
import sys
{{imports}}
from mishards.tracing.options import TracingOptions
from mishards.tracing.select import call_tracer_for
assert call_tracer_for(TracingOptions(), "program") is None
print(sorted({{{{name.partition(".")[0] for name in sys.modules}}}} & set({_LIBRARIES})))
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program; its coverage is not measured, which would take longer than all the rest."""
    command = [sys.executable, "-c", program]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=environment)


@pytest.mark.parametrize(
    "imports", ["import mishards.cli, mishards.assembly", "import milvus_node.cli, milvus_node.server"]
)
def test_a_program_that_does_not_trace_loads_no_library_of_tracing(imports: str) -> None:
    program = _PROGRAM.format(imports=imports)
    answer = run(program)
    assert (answer.returncode, answer.stdout.strip()) == (0, "[]"), answer.stderr


def test_a_plugin_that_nobody_has_is_named() -> None:
    with pytest.raises(PluginError, match=r"no tracing plugin named 'jager'.*did you mean jaeger"):
        call_tracer_for(TracingOptions(plugin="jager"), "program")


@pytest.mark.parametrize(("plugin", "library"), [("jaeger", "jaeger_client"), ("otlp", "opentelemetry")])
def test_a_missing_library_names_the_extra(plugin: str, library: str) -> None:
    program = f"""
import sys
sys.modules[{library!r}] = None
from mishards.tracing.options import TracingOptions
from mishards.tracing.select import call_tracer_for
call_tracer_for(TracingOptions({plugin!r}), "program")
"""
    answer = run(program)
    assert f"tracing plugin '{plugin}' needs the package {library}, which is not installed" in answer.stderr
    assert f"pip install 'mishards[{plugin}]'" in answer.stderr


@pytest.mark.parametrize(
    ("sampler", "param", "expected"),
    [("const", 0.5, "0 or 1"), ("probabilistic", 1.5, "0 to 1"), ("rate_limiting", -1, "at least 0")],
)
def test_a_samplers_parameter_must_fit_it(sampler: str, param: float, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        load(TracingOptions, flag_layer({"sampler": ("--sampler", sampler), "sampler_param": ("--param", param)}))


def test_a_rate_may_be_large() -> None:
    assert TracingOptions(sampler=Sampler.RATE_LIMITING, sampler_param=250).sampler_param == 250


def test_the_names_of_the_first_mishards_turn_it_on() -> None:
    environment = {
        "TRACER_CLASS_NAME": "Jaeger",
        "TRACING_SERVICE_NAME": "fortest",
        "TRACING_SAMPLER_TYPE": "probabilistic",
        "TRACING_SAMPLER_PARAM": "0.5",
        "TRACING_REPORTING_HOST": "agent",
        "TRACING_REPORTING_PORT": "5775",
        "TRACER_PLUGIN_PATH": "",
    }
    found = {key: given.value for key, given in first_tracing_names(environment).items()}
    assert found == {
        "tracing.plugin": "jaeger",
        "tracing.service_name": "fortest",
        "tracing.sampler": "probabilistic",
        "tracing.sampler_param": "0.5",
        "tracing.endpoint": "agent:5775",
    }
    assert first_tracing_names({"TRACER_CLASS_NAME": "", "TRACING_REPORTING_PORT": "5775"}) == {}
    assert first_tracing_names({"TRACING_REPORTING_HOST": "agent"})["tracing.endpoint"].value == "agent:6831"
