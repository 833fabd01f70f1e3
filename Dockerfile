# lilm-search: a worker, or any other command. On a machine with a GPU and NVIDIA's container toolkit:
#
#   docker build --tag lilm-search .
#   docker run --gpus all --init --volume lilm:/data --env LILM_SEARCH_STORAGE lilm-search worker --study babylm
#
# torch's wheels bring CUDA along, so that no CUDA image is needed; the driver is the machine's. As they come they are
# built for CUDA 13, which needs driver 580 or later. For machines with an older one (525 or later):
#
#   docker build --tag lilm-search --build-arg TORCH_BUILD=cu126 .
FROM python:3.11-slim-bookworm

# torch.compile builds its kernels' launchers, and on a CPU its kernels, with a compiler and Python's headers (there).
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

# cu126 for drivers before 580, cpu for the build without CUDA: a folder of PyTorch's own address for wheels
ARG TORCH_BUILD=

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY search search
COPY model model
COPY storage storage
COPY studies studies
RUN python -m pip install --no-cache-dir --constraint constraints.txt ${TORCH_BUILD:+--extra-index-url "https://download.pytorch.org/whl/$TORCH_BUILD"} . \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /data lilm \
    && install --directory --owner lilm --group lilm --mode 0700 /data

WORKDIR /data
USER 10001:10001
ENV LILM_SEARCH_HOME=/data PYTHONUNBUFFERED=1
VOLUME /data
# Whether the study's server answers; nothing that would touch the GPU while it trains.
HEALTHCHECK --interval=5m --timeout=15s --start-period=2m --retries=3 CMD ["python", "-m", "storage.server.ping"]
ENTRYPOINT ["lilm-search"]
CMD ["--help"]
