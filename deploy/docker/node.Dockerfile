# The node. Build from the top of the project: docker build -f deploy/docker/node.Dockerfile -t mishards/node .
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS wheels
# annoy, and what every search passes through, is compiled here, not in the image that runs.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY setup.py setup.cfg pyproject.toml README.md ./
COPY mishards mishards
COPY milvus_node milvus_node
COPY plugins plugins
RUN MISHARDS_COMPILE=1 pip wheel --no-cache-dir --wheel-dir /wheels ".[annoy,zookeeper,etcd,consul,kubernetes,jaeger,otlp]"

FROM python:${PYTHON}-slim-bookworm
# The version is that of the only wheel there is.
# hadolint ignore=DL3013
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels "mishards[annoy,zookeeper,etcd,consul,kubernetes,jaeger,otlp]" \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin mishards \
    && install -d -o 10001 -g 10001 /var/lib/milvus
USER 10001
ENV PYTHONUNBUFFERED=1 \
    MILVUS_NODE_ADDRESS=0.0.0.0:19530 \
    MILVUS_NODE_HTTP_ADDRESS=0.0.0.0:19121 \
    MILVUS_NODE_STORAGE_PATH=/var/lib/milvus
VOLUME /var/lib/milvus
EXPOSE 19530 19121
STOPSIGNAL SIGTERM
# A writable node that leads applies its log first and answers only then; the longest log is some minutes.
HEALTHCHECK --interval=5s --timeout=3s --start-period=300s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:19121/healthz', timeout=2)"]
ENTRYPOINT ["milvus-node"]
CMD ["serve"]
