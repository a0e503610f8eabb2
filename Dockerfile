# One image for every process: the command says which (api, worker, migrate, doctor ...).
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG NODE_IMAGE=node:22-bookworm-slim

# ── The dashboard's files ────────────────────────────────────────────────────────────────────────
FROM ${NODE_IMAGE} AS dashboard
WORKDIR /src/dashboard
# The pattern also fits a checkout without a dashboard, which then has an API and no pages.
COPY LICENSE dashboar[d]/package.json dashboar[d]/package-lock.json dashboar[d]/.npmrc ./
RUN if [ -f package-lock.json ]; then npm ci --no-audit --no-fund; fi
COPY LICENSE dashboar[d] ./
RUN mkdir -p /built && if [ -f package.json ]; then npm run build -- --outDir /built --emptyOutDir; fi

# ── The installed program ────────────────────────────────────────────────────────────────────────
FROM ${PYTHON_IMAGE} AS program
ARG UV_VERSION=0.13.8
ARG HATCHLING_VERSION=1.33.0
RUN python -m venv /build && /build/bin/python -m pip install --quiet --no-cache-dir \
      --disable-pip-version-check "uv==${UV_VERSION}" "hatchling==${HATCHLING_VERSION}" \
    && python -m venv --without-pip /opt/postroom
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 VIRTUAL_ENV=/opt/postroom
COPY requirements-runtime.lock /src/
RUN --mount=type=cache,target=/root/.cache/uv \
    /build/bin/uv pip install --compile-bytecode --require-hashes -r /src/requirements-runtime.lock
COPY pyproject.toml README.md LICENSE alembic.ini /src/
COPY migrations /src/migrations
COPY src /src/src
COPY --from=dashboard /built /src/src/postroom/dashboard/static
RUN cd /src && /build/bin/python -m hatchling build -t wheel -d /wheel \
    && /build/bin/uv pip install --compile-bytecode --no-cache --no-deps /wheel/*.whl

# ── What runs ────────────────────────────────────────────────────────────────────────────────────
FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin postroom
COPY --from=program /opt/postroom /opt/postroom
ENV PATH=/opt/postroom/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /tmp
USER 10001
EXPOSE 8000
# For the API; a worker has no port, and says by its exit that something is wrong.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('PORT', '8000') + '/health/live', timeout=4)"]
ENTRYPOINT ["postroom"]
CMD ["api", "--host", "0.0.0.0"]
