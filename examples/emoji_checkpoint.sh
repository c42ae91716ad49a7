#!/usr/bin/env bash
# The model that comes with the package, from CLDR's packages to the files that are shipped.
#
#   npm pack cldr-annotations-full cldr-annotations-derived-full    # version 48.2.0
#   for f in cldr-*.tgz; do mkdir "${f%.tgz}"; tar xzf "$f" -C "${f%.tgz}"; done
#   examples/emoji_checkpoint.sh OUT cldr-*/package
#
# Names and keywords of emoji in both styles of the embedded corpus. Two models are trained by the
# same commands. The twin learns from split `train` with a tenth of the keywords held out; it is
# measured, and the weight of the match score is chosen on its `val`. The shipped model learns from
# all rows and keywords, and takes over that weight. Each has two runs: the towers, by the
# contrast alone; then the cross encoders, while the towers stay as they are.
#
# About 45 minutes of one core for each model. A stopped script goes on where it was; PARTS=twin or
# PARTS=shipped runs one half.
set -euo pipefail
out=$1
shift
mkdir -p "$out"

written() { [ -e "$out/$1" ]; }

# An eighth more pictures, each composed of four: the towers see more than one thing in a picture.
tables() { # NAME, then options and paths of the import
    local name=$1
    shift
    written "$name.lance" || r2d2 data import cldr-annotations "$@" \
        --styles twemoji,openmoji --out "$out/$name.lance"
    written "$name-grids.lance" ||
        r2d2 data compose "$out/$name.lance" --grids 800 --out "$out/$name-grids.lance"
}

train() { # NAME SPLITS EPOCHS
    local settings=(--preset tiny --resume --set train.seed=0 --set system.threads=1
        --set model.vision.stem=conv --set model.vision.position_std=1 --set train.augment=style
        --set "train.splits=$2" --set "train.source_shares={title: 0.5, query: 0.5}"
        --set train.hard_batches=1 --set "objectives.widths=[32, 64]"
        --set objectives.tgd=false --set objectives.fgd=false --set objectives.mlm=false
        --set objectives.et=false)
    written "$1-towers/training.json" || r2d2 pretrain "$out/$1-grids.lance" \
        --out "$out/$1-towers" "${settings[@]}" --set train.epochs="$3" \
        --set objectives.fgr=false --set objectives.mlm=false --set objectives.et=false
    written "$1-run/training.json" || r2d2 pretrain "$out/$1.lance" \
        --out "$out/$1-run" "${settings[@]}" --init "$out/$1-towers/model" \
        --set objectives.second_stage_from=0 --set objectives.list_size=8 \
        --set objectives.weight_listwise=1 --set objectives.weight_fgr=0 \
        --set train.epochs=4 --set train.lr=5e-4 --set train.warmup_steps=20
}

index() { # NAME: the vectors of the emoji, beside the weights
    python -c 'import sys; from r2d2.search.shipped import write_shipped_index
print(write_shipped_index(sys.argv[1], sys.argv[1]))' "$out/$1-run/model"
}

case ${PARTS:-both} in both | twin)
    tables twin --held-out "$out/held.lance" "$@"
    train twin "[train]" 70
    for style in twemoji openmoji; do
        written "$style.lance" || r2d2 data emoji --styles $style --out "$out/$style.lance"
    done
    # The weight is chosen on the names of `val`, each against the whole corpus of Twemoji.
    python -c 'import sys; from pathlib import Path; from r2d2.evaluation.run import evaluate_run
run, table = map(Path, sys.argv[1:])
print(evaluate_run(run, table, run, keep_weight=True))' "$out/twin-run" "$out/twemoji.lance"
    index twin
    ;;
esac
case ${PARTS:-both} in both | shipped)
    tables shipped "$@"
    train shipped "[train, val, test, test_novel]" 60
    python -c 'import sys, r2d2
twin, shipped = (r2d2.load(folder) for folder in sys.argv[1:])
shipped.match_weight = twin.match_weight
shipped.save(sys.argv[2])' "$out/twin-run/model" "$out/shipped-run/model"
    index shipped
    ;;
esac
