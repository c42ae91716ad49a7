#!/usr/bin/env bash
# Published weights measured on published sets, beside the rows that their papers print.
#
#   examples/published_models.sh OUT flickr30k-cna.lance coco-cn.lance ...
#
# For machines that have the network; HF_ENDPOINT names a mirror, HF_HUB_OFFLINE=1 takes only what
# was fetched before. The tables come from `r2d2 data import` (docs/formats.md), and are taken for
# the benchmark that they were imported as. MODELS lists what is measured, with spaces between: hub
# ids, folders, or files; NAME=MODEL gives one a name for its folder. R2D2's own weights are not on
# the hub: fetch them as github.com/yuxie11/R2D2 says, put RoBERTa-wwm-ext's vocab.txt beside them,
# and name the file. OPTIONS go to every `r2d2 evaluate`, as OPTIONS="--sample 500 --resamples 0".
#
# What was measured is not measured again: the same command goes on where it stopped. A model that
# cannot be had is told and left out; the exit code is then 1, when all the others are done.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: $0 OUT TABLE..." >&2
    exit 2
fi
out=$1
shift
default="OFA-Sys/chinese-clip-vit-base-patch16 OFA-Sys/chinese-clip-vit-large-patch14"
default+=" google/siglip2-base-patch16-224 google/siglip2-large-patch16-256"
default+=" qihoo360/fg-clip2-base qihoo360/fg-clip2-large"
read -r -a models <<<"${MODELS:-$default}"
read -r -a options <<<"${OPTIONS:-}"
mkdir -p "$out"

measured=() failed=()
for table in "$@"; do
    set_name=${table%/}
    set_name=${set_name//\//--}
    for entry in "${models[@]}"; do
        model=${entry#*=}
        name=${entry%%=*}
        [ "$name" = "$entry" ] && name=${model//\//--}
        folder=$out/$set_name/$name
        if [ ! -e "$folder/metrics.json" ] && ! r2d2 evaluate retrieval "$model" "$table" \
            --out "$folder" --overwrite ${options[@]+"${options[@]}"}; then
            failed+=("$model on $table")
            continue
        fi
        measured+=("$folder")
    done
done

if [ ${#measured[@]} -gt 0 ]; then
    r2d2 report "${measured[@]}" --out "$out/comparison.html" --overwrite
fi
for what in ${failed[@]+"${failed[@]}"}; do
    echo "not measured: $what" >&2
done
[ ${#failed[@]} -eq 0 ]
