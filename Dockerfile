# r2d2 with its search server and the emoji model. Builds with a network, runs without one.
#
#   docker build -t r2d2 .
#   docker run --rm --network none r2d2 search 生日蛋糕
#   docker run --rm -p 127.0.0.1:8000:8000 -e R2D2_API_KEY=... r2d2 serve --host 0.0.0.0
#
# A model of your own: -v /path/to/run:/model:ro, then `... --model /model`.

FROM python:3.12-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/r2d2
ENV PATH=/opt/r2d2/bin:$PATH
# PyTorch for the CPU alone: the default one for Linux brings gigabytes of CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --index-url "$TORCH_INDEX" torch
WORKDIR /source
COPY pyproject.toml LICENSE README.md ./
COPY src ./src
ARG EXTRAS=onnx
RUN pip install ".[$EXTRAS]"

FROM python:3.12-slim
# The panel of `r2d2 explain` writes Chinese.
RUN apt-get update && apt-get install --no-install-recommends -y fonts-noto-cjk \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home r2d2
COPY --from=build /opt/r2d2 /opt/r2d2
ENV PATH=/opt/r2d2/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HUB_OFFLINE=1 \
    TRANSFORMERS_OFFLINE=1
USER r2d2
WORKDIR /home/r2d2
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["r2d2"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
