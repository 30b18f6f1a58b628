# RT-DeepLoc for the command line: docs/container.md says how to build and run it.
#
#   docker build -t rt-deeploc .                                   for the processor
#   docker build -t rt-deeploc:cuda --build-arg TORCH_INDEX= .     for NVIDIA GPUs: PyTorch as PyPI has it

ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
# PyTorch without CUDA is a tenth of the size; its makers have it on an index of their own.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_EXTRA_INDEX_URL=${TORCH_INDEX} PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/rt-deeploc
ENV PATH=/opt/rt-deeploc/bin:$PATH
WORKDIR /src
COPY setup.cfg pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY configs configs
COPY data data
COPY extractors extractors
COPY models models
COPY pipeline pipeline
RUN pip install -c constraints.txt '.[c2pa]'

FROM python:${PYTHON}
COPY --from=build /opt/rt-deeploc /opt/rt-deeploc
# Nothing is written outside of /tmp and of what is mounted, and nothing is fetched.
ENV PATH=/opt/rt-deeploc/bin:$PATH PYTHONDONTWRITEBYTECODE=1 HOME=/tmp RT_DEEPLOC_CACHE=/tmp/rt-deeploc HF_HUB_OFFLINE=1
WORKDIR /out
USER 10001:10001
ENTRYPOINT ["pipeline"]
CMD ["--help"]
