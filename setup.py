"""Compiles what every search passes through to native code with mypyc; all else about the package is in setup.cfg.

The modules stay plain Python and do the same without being compiled, at about twice the CPU a search.
``MISHARDS_COMPILE=1`` insists on compiling, ``0`` leaves it; without it a C compiler and Python's headers decide.
An editable installation is never compiled: it would go on running what it was compiled from.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

COMPILED = (
    "milvus_node/catalog.py",
    "milvus_node/index/faiss_calls.py",
    "milvus_node/index/ivf.py",
    "milvus_node/index/ranking.py",
    "milvus_node/metrics/events.py",
    "milvus_node/search/batching.py",
    "milvus_node/search/cache.py",
    "milvus_node/search/searcher.py",
    "milvus_node/search/segment.py",
    "milvus_node/service/dispatch.py",
    "milvus_node/service/jobs.py",
    "milvus_node/service/plans.py",
    "milvus_node/service/pools.py",
    "milvus_node/service/searches.py",
    "milvus_node/service/stages.py",
    "milvus_node/service/threads.py",
    "mishards/admin/traffic.py",
    "mishards/answering.py",
    "mishards/catalog/cache.py",
    "mishards/catalog/snapshot.py",
    "mishards/cluster/fleet.py",
    "mishards/cluster/health.py",
    "mishards/cluster/latency.py",
    "mishards/cluster/leader.py",
    "mishards/cluster/node.py",
    "mishards/deadline.py",
    "mishards/logs/calls.py",
    "mishards/logs/notes.py",
    "mishards/memory.py",
    "mishards/metrics/calls.py",
    "mishards/metrics/instruments.py",
    "mishards/query/answer.py",
    "mishards/query/asked.py",
    "mishards/query/at_once.py",
    "mishards/query/choice.py",
    "mishards/query/hedge.py",
    "mishards/query/part.py",
    "mishards/query/plans.py",
    "mishards/query/prepare.py",
    "mishards/query/route.py",
    "mishards/query/scatter.py",
    "mishards/query/search.py",
    "mishards/query/share.py",
    "mishards/query/slow.py",
    "mishards/query/snapshots.py",
    "mishards/query/unflushed.py",
    "mishards/query/verdict.py",
    "mishards/query/vigil.py",
    "mishards/service/admission.py",
    "mishards/service/dispatch.py",
    "mishards/topk.py",
    "mishards/tracing/spans.py",
    "mishards/transport/api.py",
    "mishards/transport/h2/*.py",
    "mishards/transport/status.py",
    "mishards/wire/alike.py",
    "mishards/wire/extensions.py",
    "mishards/wire/limits.py",
    "mishards/wire/names.py",
    "mishards/wire/params.py",
    "mishards/wire/replies.py",
    "mishards/wire/results.py",
    "mishards/wire/scan.py",
    "mishards/wire/search.py",
    "mishards/wire/varints.py",
    "mishards/wire/vectors.py",
)
"""All of them are compiled as one, so that they call each other directly."""


def paths() -> list[str]:
    """The files to compile."""
    return [str(path) for pattern in COMPILED for path in sorted(Path().glob(pattern)) if path.name != "__init__.py"]


def is_wanted() -> bool:
    """Is there a reason to compile, and the means?"""
    asked = os.environ.get("MISHARDS_COMPILE", "")
    if asked:
        return asked != "0"
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    return shutil.which(compiler) is not None and Path(sysconfig.get_path("include"), "Python.h").exists()


class Compile(build_ext):
    """Puts what mypyc makes of the modules in the place of the one extension that is declared."""

    def run(self) -> None:
        """Translate and compile, unless the installation is editable."""
        if self.editable_mode or self.inplace:
            return
        from mypyc.build import mypycify

        # A class on a base that mypyc does not see would be laid out wrongly, and end the process.
        options = ["--config-file=", "--ignore-missing-imports", "--disallow-subclassing-any", *paths()]
        extensions = mypycify(options, opt_level="1", debug_level="0", group_name="mishards")
        for extension in extensions:  # looking for warnings takes longer than all the rest
            extension.extra_compile_args += ["-w", "-Wno-all"]
        self.distribution.ext_modules = extensions
        self.initialize_options()
        self.finalize_options()
        super().run()


if is_wanted():
    setup(ext_modules=[Extension("mishards.native", sources=[])], cmdclass={"build_ext": Compile})
else:
    setup()
