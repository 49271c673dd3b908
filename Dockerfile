# The connector as a container: the HTTP function by default, the loop of docker-compose.yml with `python main.py`.

FROM python:3.13-slim AS build

WORKDIR /connector
COPY requirements.txt .
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --require-hashes --only-binary=:all: -r requirements.txt
COPY main.py .
COPY cluster25 cluster25
# Byte code now, since the user below cannot write it: a start without it takes three times as long.
RUN /venv/bin/python -m compileall -q --invalidation-mode unchecked-hash main.py cluster25

FROM python:3.13-slim

RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin connector \
    && install -d -o connector -g connector -m 0700 /state
COPY --from=build /venv /venv
COPY --from=build /connector /connector

# gunicorn puts its control socket into the runtime folder; there is no home that it could use instead.
ENV PATH=/venv/bin:$PATH \
    PORT=8080 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STATE_SQLITE_PATH=/state/cluster25.db \
    XDG_RUNTIME_DIR=/tmp
WORKDIR /connector
USER 10001
VOLUME /state
EXPOSE 8080
STOPSIGNAL SIGTERM

# The status page reads the state only; it answers as long as the process is of use.
HEALTHCHECK --interval=60s --timeout=10s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['PORT'], timeout=8)"]

# exec: the function gets SIGTERM itself
CMD ["sh", "-c", "exec functions-framework --target=cluster25_connector --port=$PORT"]
