#!/usr/bin/env bash
# The model that comes with the package, from CLDR's packages to the files that are shipped.
#
#   npm pack cldr-annotations-full cldr-annotations-derived-full    # version 48.2.0
#   for f in cldr-*.tgz; do mkdir "${f%.tgz}"; tar xzf "$f" -C "${f%.tgz}"; done
#   examples/emoji_checkpoint.sh OUT cldr-*/package
#
# Names and keywords of emoji, a tenth of the keywords held out; 600 pictures composed of four, so
# that the cross encoders learn where a thing is. First 60 epochs, then 40 more at a lower rate with
# more keywords and negatives that are hard from the start. About 40 minutes on one core.
set -euo pipefail
out=$1
shift
mkdir -p "$out"
[ -e "$out/emoji.lance" ] || r2d2 data emoji --out "$out/emoji.lance"
[ -e "$out/held.lance" ] ||
    r2d2 data import cldr-annotations "$@" --out "$out/kw.lance" --held-out "$out/held.lance"
[ -e "$out/train.lance" ] || r2d2 data compose "$out/kw.lance" --grids 600 --out "$out/train.lance"

first=(--preset tiny --set train.epochs=60 --set train.seed=0
    --set objectives.ranking_from=0.4 --set objectives.uniform_until=0.8
    --set "train.source_shares={title: 0.6, query: 0.4}" --set system.threads=1)
r2d2 pretrain "$out/train.lance" --out "$out/first" "${first[@]}" --resume

second=(--preset tiny --init "$out/first" --set train.epochs=40 --set train.seed=1
    --set train.lr=0.0007 --set objectives.ranking_from=0.3 --set objectives.uniform_share=0.2
    --set train.neighbours_from=0 --set "train.source_shares={title: 0.4, query: 0.6}"
    --set system.threads=1)
r2d2 pretrain "$out/train.lance" --out "$out/second" "${second[@]}" --resume
