#!/usr/bin/env bash
# Pre-train `base` on a public corpus, from its list of addresses to a report, on 8 GPUs.
#
#   recipes/pretrain_base_8_gpus.sh OUT LIST...   files or addresses (https, s3) of the list
#   recipes/pretrain_base_8_gpus.sh OUT --toy     the same path on a CPU, on emoji, in minutes
#
#   CORPUS    danqing (default), wukong or zero: which columns the list has
#   TABLES    pairs tables to measure on, made by `r2d2 data import` (docs/formats.md); default: none
#   SETTINGS  of the training, as "train.epochs=5 train.lr=2e-4"
#   GPUS, BATCH (of all GPUs), PAIRS (expected, for the plan), TEXT and IMAGE (weights to start from)
#
# The same command goes on where it was stopped. Needs: pip install "zero-r2d2[corpus]"
set -euo pipefail
usage="OUT LIST..."
source "$(dirname "$0")/common.sh"
preset=base gpus=${GPUS:-8} batch=${BATCH:-1024} filters=()
text=${TEXT:-hfl/chinese-roberta-wwm-ext} image=${IMAGE:-openai/clip-vit-base-patch16}
read -r -a tables <<<"${TABLES:-}"
read -r -a more <<<"${SETTINGS:-}"
if [ -n "$toy" ]; then source "$recipes/toy.sh" pretrain; fi
case ${CORPUS:=danqing} in
danqing) columns=(log.title=alt_text log.caption=recaption) ;;
wukong) columns=(log.caption=caption) ;;
zero) columns=(log.url=ImageUrl log.title=Title log.content=Content log.query=ImageQuery) ;;
*) echo "CORPUS is $CORPUS, which is not danqing, wukong or zero" >&2 && exit 2 ;;
esac
options train.batch_size="$batch" ${more[@]+"${more[@]}"}
training=("${set[@]}")
# Duplicates by meaning would need a model to compare pictures by: --model, and dedup.meaning=0.1.
options rank.enabled=false dedup.meaning=null "${columns[@]}" ${filters[@]+"${filters[@]}"}

r2d2 flops --preset "$preset" "${training[@]}" --gpus "$gpus" --plan --pairs "${PAIRS:-10000000}"
step "$out/corpus.lance" r2d2 corpus build ${inputs[@]+"${inputs[@]}"} --preset danqing "${set[@]}" \
    --memory "${MEMORY:-8GB}" --out "$out/corpus.lance"
step "$out/start" r2d2 weights import "$text" --and "$image" --preset "$preset" --out "$out/start"
step "$out/run/model/config.json" r2d2 pretrain "$out/corpus.lance" --init "$out/start" \
    "${training[@]}" --processes "$gpus" --out "$out/run" --resume
measure "$out/run" pretrained
report "$out/report.html"
