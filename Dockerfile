# One image for web and workers. Built in two steps so that the result holds no compiler and no package index.
FROM python:3.12-slim-bookworm AS build
WORKDIR /srv/ledger
COPY requirements.txt .
RUN python -m venv .venv \
    && .venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.txt
COPY manage.py pyproject.toml ./
COPY billing billing
COPY config config
COPY crm crm
COPY dashboard dashboard
COPY mrr mrr
COPY templates templates
# Hashed names and brotli for static files, once; the keys are for this step alone.
RUN SECRET_KEY=build FIELD_ENCRYPTION_KEYS=YnVpbGQtYnVpbGQtYnVpbGQtYnVpbGQtYnVpbGQtYnU= \
    .venv/bin/python manage.py collectstatic --noinput -v 0 \
    && .venv/bin/python -m compileall -q billing config crm dashboard mrr \
    && rm -rf data

FROM python:3.12-slim-bookworm
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LOG_FORMAT=json \
    DATA_DIR=/var/lib/ledger
RUN useradd --system --uid 10001 --home-dir /var/lib/ledger --create-home --shell /usr/sbin/nologin ledger
COPY --from=build /srv/ledger /srv/ledger
WORKDIR /srv/ledger
USER ledger
VOLUME /var/lib/ledger
EXPOSE 8000
# serve stops its parts in order on SIGTERM, within ten seconds; as the first process it must get the signal itself.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 \
    CMD [".venv/bin/python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT [".venv/bin/python", "manage.py"]
CMD ["serve", "--bind", "0.0.0.0:8000"]
