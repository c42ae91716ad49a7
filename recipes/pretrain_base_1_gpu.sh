#!/usr/bin/env bash
# Pre-train `base` on a public corpus, from its list of addresses to a report, on one GPU of 40 GiB.
#
#   recipes/pretrain_base_1_gpu.sh OUT LIST...   or OUT --toy; options as in pretrain_base_8_gpus.sh
#
# The batch is 512 pairs in four chunks: the contrast sees all of it, and the memory is that of 128.
set -euo pipefail
export GPUS=1 BATCH=${BATCH:-512} SETTINGS="system.accumulate=4 ${SETTINGS:-}"
exec bash "$(dirname "$0")/pretrain_base_8_gpus.sh" "$@"
