#!/usr/bin/env bash
# The model that comes with the package, from CLDR's packages to the files that are shipped.
#
#   npm pack cldr-annotations-full cldr-annotations-derived-full    # version 48.2.0
#   for f in cldr-*.tgz; do mkdir "${f%.tgz}"; tar xzf "$f" -C "${f%.tgz}"; done
#   examples/emoji_checkpoint.sh OUT cldr-*/package
#
# OUT/model/shipped has the files. The model is trained on all pictures of both styles with all
# names and keywords. Its twin, OUT/twin, is trained before it in the same way, but without the
# splits `val`, `test` and `test_novel` and without a tenth of the keywords: what is measured on
# these says what the method reaches, and the weight of the match score is chosen on its `val`.
#
# Each is trained in five phases:
# 1. Both towers by the contrast, with 800 pictures composed of four. Half of the pictures are drawn
#    as if by another artist.
# 2. The text tower against fixed pictures, all of them as negatives (examples/tune_texts.py).
# 3. The image tower on partial pictures (FgD) and 3,000 composed ones, with fixed texts, so that it
#    knows what a part of a picture shows: `r2d2 explain` asks for it.
# 4. The text tower again, since the pictures have moved.
# 5. The cross encoders, on towers that stay as they are, on random pairs first and then on mined
#    ones. With names alone: of keywords, a picture that is mined as a hard negative is often right.
#    With pictures as they are: skin tones differ by nothing but colour.
#
# A run that was interrupted goes on when the command is given again. It takes about two hours of
# one core for the model, and two for its twin.
set -euo pipefail
out=$1
shift
examples=$(dirname "$0")

train() { # train FOLDER SPLIT...
    local folder=$1
    shift
    local splits
    splits=$(IFS=,; echo "$*")
    local settings=(--preset tiny --resume --set train.seed=0 --set system.threads=1
        --set model.vision.stem=conv --set model.vision.position_std=1
        --set "train.splits=[$splits]"
        --set objectives.tgd=false --set "objectives.widths=[32, 64]")
    local drawn=(--set train.augment=style --set "train.source_shares={title: 0.5, query: 0.5}")
    for count in 800 3000; do
        [ -e "$folder/grids-$count.lance" ] ||
            r2d2 data compose "$folder/texts.lance" --grids $count --out "$folder/grids-$count.lance"
    done
    r2d2 pretrain "$folder/grids-800.lance" --out "$folder/towers" "${settings[@]}" "${drawn[@]}" \
        --set objectives.fgd=false --set objectives.fgr=false --set objectives.mlm=false \
        --set objectives.et=false --set train.hard_batches=1 --set train.epochs=70
    tune "$folder" towers/model tuned 2400 "$@"
    r2d2 pretrain "$folder/grids-3000.lance" --out "$folder/parts" "${settings[@]}" \
        "${drawn[@]}" --init "$folder/tuned" --set objectives.fgr=false --set objectives.mlm=false \
        --set objectives.et=false --set train.freeze_text=true \
        --set train.epochs=10 --set train.lr=5e-4
    tune "$folder" parts/model tuned-again 1200 "$@"
    r2d2 pretrain "$out/emoji.lance" --out "$folder/run" "${settings[@]}" \
        --init "$folder/tuned-again" --set objectives.fgd=false --set objectives.mlm=false \
        --set objectives.et=false --set train.hard_batches=1 \
        --set objectives.second_stage_from=0 --set objectives.mining_from=0.35 \
        --set objectives.list_size=4 --set objectives.weight_listwise=1 \
        --set objectives.weight_fgr=1 --set train.epochs=8 --set train.lr=1e-3 \
        --set train.warmup_steps=50
}

tune() { # tune FOLDER MODEL NAME STEPS SPLIT...
    local folder=$1 model=$2 name=$3 steps=$4
    shift 4
    [ -e "$folder/$name" ] || python "$examples/tune_texts.py" "$folder/$model" \
        "$folder/texts.lance" --out "$folder/$name" "${@/#/--split=}" --steps "$steps" --threads 1
}

mkdir -p "$out/twin" "$out/model"
styles=(--styles twemoji,openmoji)
[ -e "$out/emoji.lance" ] || r2d2 data emoji "${styles[@]}" --out "$out/emoji.lance"
[ -e "$out/twin/texts.lance" ] || r2d2 data import cldr-annotations "$@" "${styles[@]}" \
    --out "$out/twin/texts.lance" --held-out "$out/twin/held.lance"
[ -e "$out/model/texts.lance" ] || r2d2 data import cldr-annotations "$@" "${styles[@]}" \
    --out "$out/model/texts.lance"
train "$out/twin" train
train "$out/model" train val test test_novel

python - "$out" <<'END'
"""Choose the weight on the twin's `val`, and write the files that are shipped."""
import sys
from pathlib import Path

import r2d2
from r2d2.evaluation.run import evaluate_run
from r2d2.search.shipped import write_shipped_index

out = Path(sys.argv[1])
twin, shipped = out / "twin" / "run", out / "model" / "shipped"
evaluate_run(twin, out / "emoji.lance", twin, keep_weight=True)
model = r2d2.load(out / "model" / "run", "cpu")
model.match_weight = r2d2.load(twin, "cpu").match_weight
model.save(shipped)
print(write_shipped_index(shipped, shipped))
END
