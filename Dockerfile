# r2d2 with its search server and the emoji model. Builds with a network, runs without one.
#
#   docker build -t r2d2 .
#   docker run --rm --network none r2d2 search 生日蛋糕
#   docker run --rm -p 127.0.0.1:8000:8000 -e R2D2_API_KEY=... r2d2
#
# Another port: -e R2D2_PORT=9000, which the server and its health check read; not --port.
# A name that people call it by: `... r2d2 serve --host 0.0.0.0 --allow-host search.example`.
# A model of your own: -v /path/to/run:/model:ro, then `... --model /model`.

# A version of Python that the pins in constraints.txt were tested with, so that the image built
# next year is the one built today.
ARG PYTHON=3.11.13-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/r2d2
ENV PATH=/opt/r2d2/bin:$PATH
# PyTorch for the CPU alone: the default one for Linux brings gigabytes of CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /source
COPY constraints.txt ./
# Its version is the pinned one; what it needs comes with the rest, from PyPI, pinned as well.
RUN pip install --no-deps --index-url "$TORCH_INDEX" --constraint constraints.txt torch
COPY pyproject.toml LICENSE README.md ./
COPY src ./src
ARG EXTRAS=onnx
RUN pip install --constraint constraints.txt ".[demo,serve,$EXTRAS]" && pip check

FROM python:${PYTHON}
# The panel of `r2d2 explain` writes Chinese.
RUN apt-get update && apt-get install --no-install-recommends -y fonts-noto-cjk \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home r2d2
COPY --from=build /opt/r2d2 /opt/r2d2
ENV PATH=/opt/r2d2/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HUB_OFFLINE=1 \
    TRANSFORMERS_OFFLINE=1 \
    R2D2_PORT=8000
USER r2d2
WORKDIR /home/r2d2
EXPOSE 8000
# Of the port that the server listens at, and past any proxy that the environment names.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['R2D2_PORT']), timeout=4); c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["r2d2"]
CMD ["serve", "--host", "0.0.0.0"]
