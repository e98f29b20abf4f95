# docker build -t sluice .                                    torch's CUDA build; runs without a GPU too
# docker build -t sluice --build-arg VARIANT=cpu --build-arg TORCH_INDEX_URL=… .      the small CPU build
# docker run -p 8000:8000 -v sluice-state:/var/lib/sluice -v sluice-cache:/var/cache/sluice [--gpus all] sluice
ARG PYTHON_VERSION=3.12
ARG VARIANT=cuda

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
ENV PATH=/opt/sluice/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY constraints.txt ./
RUN python -m venv /opt/sluice \
    && pip install --constraint constraints.txt --upgrade pip setuptools

FROM build AS torch-cuda
RUN pip install --constraint constraints.txt torch

# On Linux the registry's own torch is the CUDA build. The CPU build lies on an index of torch's, which whoever builds
# this variant names.
FROM build AS torch-cpu
ARG TORCH_INDEX_URL=""
RUN test -n "$TORCH_INDEX_URL" || { echo "VARIANT=cpu needs --build-arg TORCH_INDEX_URL=…" >&2; exit 1; }
RUN torch="$(grep '^torch==' constraints.txt)+cpu" \
    && pip install --constraint constraints.txt --extra-index-url "$TORCH_INDEX_URL" "$torch"

FROM torch-${VARIANT} AS package
COPY pyproject.toml README.md LICENSE ./
COPY protocol ./protocol
COPY engine ./engine
COPY app ./app
COPY loadtest ./loadtest
RUN pip install --constraint constraints.txt --no-build-isolation .

FROM python:${PYTHON_VERSION}-slim-bookworm
# The first start compiles the products of quantised weights into the cache volume, for the processor it meets.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin sluice \
    && install --directory --owner=sluice --group=sluice --mode=700 /var/lib/sluice /var/cache/sluice
COPY --from=package /opt/sluice /opt/sluice
# Beyond loopback because the container's own network is the border; keys are needed all the same.
ENV PATH=/opt/sluice/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SLUICE_HOST=0.0.0.0 \
    SLUICE_PORT=8000 \
    SLUICE_STATE_DIR=/var/lib/sluice \
    SLUICE_CACHE_DIR=/var/cache/sluice \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /var/lib/sluice
VOLUME ["/var/lib/sluice", "/var/cache/sluice"]
EXPOSE 8000
# The first start fetches and converts the default model into the cache volume before it listens.
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"SLUICE_PORT\"]}/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["sluice"]
CMD ["serve"]
