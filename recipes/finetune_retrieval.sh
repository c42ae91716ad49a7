#!/usr/bin/env bash
# Fine-tune published towers with R2D2's ranking on MUGE or Flickr30k-CN; a report of before and after.
#
#   recipes/finetune_retrieval.sh OUT FOLDER   the set as it was downloaded (docs/formats.md)
#   recipes/finetune_retrieval.sh OUT --toy    the same path on a CPU, on emoji, in minutes
#
#   SET       muge (default), flickr30k-cn or any other of `r2d2 data formats`
#   MODEL     towers to start from: a hub id or a folder; Chinese-CLIP base if not given
#   SETTINGS  of the training, as "train.epochs=5 train.lr=2e-5"
#   GPUS (1), BATCH (of all GPUs; 64), SPLIT to measure (test; MUGE's answers are public for val)
#
# The same command goes on where it was stopped. Needs: pip install "zero-r2d2[hf]"
set -euo pipefail
usage="OUT FOLDER"
source "$(dirname "$0")/common.sh"
gpus=${GPUS:-1} batch=${BATCH:-64} layers=6 set_name=${SET:-muge}
model=${MODEL:-OFA-Sys/chinese-clip-vit-base-patch16}
read -r -a more <<<"${SETTINGS:-}"
if [ -n "$toy" ]; then source "$recipes/toy.sh" finetune; fi
split=${SPLIT:-$([ "$set_name" = muge ] && echo val || echo test)}
table=$out/$set_name.lance tables=("$out/$set_name.lance")
options train.batch_size="$batch" ${more[@]+"${more[@]}"}

step "$table" r2d2 data import "$set_name" "${inputs[@]}" --out "$table"
step "$out/start" r2d2 weights towers "$model" --cross-layers "$layers" --out "$out/start"
step "$out/run/model/config.json" r2d2 finetune retrieval "$table" --init "$out/start" "${set[@]}" \
    --processes "$gpus" --out "$out/run" --resume
measure "$model" before --split "$split"
measure "$out/run" after --split "$split"
report "$out/report.html"
