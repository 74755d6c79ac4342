# An HTTP server for many clients, or with `serve` alone as its command, one on standard input and output.
# docs/deploy.md says how to run it. Pin the base image by digest where builds must be the same for ever.
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY constraints.txt ./
RUN python -m pip install --constraint constraints.txt setuptools
COPY LICENSE NOTICE README.md pyproject.toml ./
COPY src src
COPY engine engine
COPY server server
COPY storage storage
COPY tools tools
RUN python -m pip wheel --no-build-isolation --no-deps --wheel-dir /build/wheels .
RUN python -m venv /opt/tokenward \
    && /opt/tokenward/bin/python -m pip install --constraint constraints.txt "$(echo /build/wheels/*.whl)[all]" \
    && /opt/tokenward/bin/python -m pip uninstall --yes pip

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/tokenward /opt/tokenward
# Numeric, so that an orchestrator can see that it is not root. Nothing but /data belongs to it.
RUN mkdir -m 0750 /data && chown 10001:10001 /data
# Settings come from TOKENWARD_… variables, else from /etc/tokenward/config.toml; without a store in them, the ledger is
# /data/tokenward/ledger.db.
ENV PATH=/opt/tokenward/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    XDG_CACHE_HOME=/data/cache \
    XDG_CONFIG_HOME=/etc \
    XDG_DATA_HOME=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8484
# Alive, not ready: a database that is away is no reason to start this container anew.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8484, timeout=4); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tokenward"]
CMD ["serve", "--transport", "http", "--host", "0.0.0.0", "--port", "8484"]
