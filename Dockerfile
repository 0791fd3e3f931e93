# Seamline's images, from the root of a checkout:
#   docker build --tag seamline:0.1.0 .
#     all of it: a pipeline's steps, Beam's workers, tune-worker and train-worker, the model server;
#     whoever starts it says which
#   docker build --tag seamline-app:0.1.0 --target app .
#     the search's API and page, which need no TensorFlow
#   docker build --tag seamline-dataflow:0.1.0 --target dataflow .
#     all of it as Dataflow wants it
# Every package is held to its hash in requirements.lock. Bytecode is written here, for nobody may
# later: an eighth of the image, and two thirds of the time in which a process imports TFX.
# tests/image builds the images where no container engine is.

FROM python:3.11-slim-trixie AS builder
# For pyfarmhash, which has no wheel. Its version is Debian's to say.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
ENV VIRTUAL_ENV=/opt/seamline UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1
COPY environment/bootstrap.lock requirements.lock ./
RUN pip install --no-cache-dir --require-hashes --requirement bootstrap.lock \
    && python -m venv --without-pip /opt/seamline

FROM builder AS wheel
COPY . .
RUN uv build --wheel --require-hashes --build-constraints requirements.lock \
    && uv pip install --no-deps --prefix /installed dist/*.whl \
    && rm /installed/.lock

# What is needed, each package once, of the lock's version. While this list stays, the layers of
# packages stay, whatever else there is to a new version.
FROM builder AS needs
COPY setup.py serving/deploy/app_requirements.txt ./
COPY schema/version.py schema/
RUN touch README.md \
    && uv pip compile --constraints requirements.lock --no-annotate --no-header \
        --extra imagenet --extra s3 --extra search-qdrant setup.py > needs.txt \
    && uv pip compile --constraints requirements.lock --no-annotate --no-header \
        app_requirements.txt > app_needs.txt

FROM builder AS environment
COPY --from=needs /build/needs.txt ./
RUN uv pip sync --require-hashes --constraints requirements.lock \
        --build-constraints requirements.lock needs.txt \
    && rm /opt/seamline/.lock

FROM builder AS app-environment
COPY --from=needs /build/app_needs.txt ./
RUN uv pip sync --require-hashes --constraints requirements.lock --only-binary :all: app_needs.txt \
    && rm /opt/seamline/.lock

FROM golang:1.26-trixie AS boot
ENV CGO_ENABLED=0
RUN go install github.com/apache/beam/sdks/v2/python/container@v2.77.0

FROM python:3.11-slim-trixie AS base
LABEL org.opencontainers.image.title="Seamline" \
    org.opencontainers.image.description="Names a fashion catalog's pictures" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="0.1.0"
# Any user will do: nothing but /tmp is written, and who has no name here is called seamline.
ENV PATH=/opt/seamline/bin:$PATH HOME=/tmp USER=seamline \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 1000:1000

FROM base AS app
COPY --from=app-environment /opt/seamline /opt/seamline
COPY --from=wheel /installed/lib/python3.11/site-packages/schema \
    /opt/seamline/lib/python3.11/site-packages/schema
COPY --from=wheel /installed/lib/python3.11/site-packages/serving \
    /opt/seamline/lib/python3.11/site-packages/serving
EXPOSE 8080
# Healthy when there is an index and the model server answers. The image has no curl.
HEALTHCHECK --interval=10s --timeout=5s --retries=3 --start-period=5m --start-interval=2s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=4)"]
ENTRYPOINT ["python", "-m", "serving.app"]

# It has no health check: what is healthy depends on what is started, and who starts it knows.
FROM base AS all
COPY --from=environment /opt/seamline /opt/seamline
COPY --from=wheel /installed /opt/seamline
CMD ["seamline", "--help"]

# Dataflow starts Beam's boot, which starts the worker, in this very environment.
FROM all AS dataflow
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
COPY --from=boot /go/bin/container /opt/apache/beam/boot
ENTRYPOINT ["/opt/apache/beam/boot"]

FROM all
