# The router. Build from the top of the project: docker build -f deploy/docker/router.Dockerfile -t mishards/router .
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS wheels
# What every search passes through is compiled here, not in the image that runs; with whichever compiler Debian has.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY setup.py setup.cfg pyproject.toml README.md ./
COPY mishards mishards
COPY milvus_node milvus_node
COPY plugins plugins
RUN MISHARDS_COMPILE=1 pip wheel --no-cache-dir --wheel-dir /wheels ".[zookeeper,etcd,consul,kubernetes,dns,jaeger,otlp]"

FROM python:${PYTHON}-slim-bookworm
# The version is that of the only wheel there is.
# hadolint ignore=DL3013
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels "mishards[zookeeper,etcd,consul,kubernetes,dns,jaeger,otlp]" \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin mishards
USER 10001
ENV PYTHONUNBUFFERED=1 \
    MISHARDS_NETWORK_ADDRESS=0.0.0.0:19530 \
    MISHARDS_NETWORK_HTTP_ADDRESS=0.0.0.0:19121
EXPOSE 19530 19121
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:19121/healthz', timeout=2)"]
ENTRYPOINT ["mishards"]
CMD ["serve"]
