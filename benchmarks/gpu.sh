#!/usr/bin/env bash
# benchmarks/gpu.py on a machine with one CUDA GPU, PyTorch 2.11 or newer, and perhaps no network.
#
#   benchmarks/gpu.sh OUT [WHEELS]
#
# What PyTorch's environment lacks is installed into it from WHEELS, a folder of wheels; without it
# pip asks the network. PyTorch itself stays as it is. PYTHON names its interpreter. OPTIONS go to
# gpu.py, as OPTIONS="--toy". Takes at most eight minutes; OUT/gpu.json and OUT/gpu.md are the result.
# To make the folder elsewhere: pip download -r OUT/requirements.txt -c constraints.txt -d WHEELS.
set -euo pipefail
[ $# -ge 1 ] || { echo "usage: $0 OUT [WHEELS]" >&2 && exit 2; }
out=$(mkdir -p "$1" && cd "$1" && pwd)
wheels=${2:+$(cd "$2" && pwd)}
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
"$python" -P - <<'EOF'
import sys

import torch

version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
if version < (2, 11):
    sys.exit(f"PyTorch is {torch.__version__}, and 2.11 or newer is needed")
EOF
"$python" -P - >"$out/requirements.txt" <<'EOF'
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = [project["optional-dependencies"][name] for name in ("demo", "train", "report", "search")]
names = {name for group in (project["dependencies"], *extras) for name in group}
print("\n".join(sorted(name for name in names if not name.startswith(("torch", "zero-r2d2")))))
EOF
"$python" -m pip install --quiet --disable-pip-version-check -r "$out/requirements.txt" \
    ${wheels:+--no-index --find-links "$wheels"}
read -r -a options <<<"${OPTIONS:-}"
export PYTHONPATH=src
exec timeout 480 "$python" -m benchmarks.gpu --out "$out" ${options[@]+"${options[@]}"}
