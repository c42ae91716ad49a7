#!/usr/bin/env bash
# The model that comes with the package, from CLDR's packages to the files that are shipped.
#
#   npm pack cldr-annotations-full cldr-annotations-derived-full    # version 48.2.0
#   for f in cldr-*.tgz; do mkdir "${f%.tgz}"; tar xzf "$f" -C "${f%.tgz}"; done
#   examples/emoji_checkpoint.sh OUT cldr-*/package
#
# Names and keywords of emoji, a tenth of the keywords held out. First with 1,200 pictures composed
# of four, so that the towers see more than one thing in a picture; then, from there, without them:
# the match heads spend themselves on these, and what they know of single emoji is not worth asking.
# About 70 minutes on one core of a busy machine. The same without keywords, to compare: TABLE=names.
set -euo pipefail
out=$1
shift
mkdir -p "$out"
[ -e "$out/emoji.lance" ] || r2d2 data emoji --out "$out/emoji.lance"
[ -e "$out/held.lance" ] ||
    r2d2 data import cldr-annotations "$@" --out "$out/kw.lance" --held-out "$out/held.lance"
from=kw
[ "${TABLE:-}" = names ] && from=emoji
[ -e "$out/train-$from.lance" ] ||
    r2d2 data compose "$out/$from.lance" --grids 1200 --out "$out/train-$from.lance"

settings=(--preset tiny --set train.seed=0 --set train.weight_decay=0.5 --set system.threads=1
    --set objectives.weight_fgr=1 --set objectives.weight_mlm=1
    --set "train.source_shares={title: 0.6, query: 0.4}")
r2d2 pretrain "$out/train-$from.lance" --out "$out/first-$from" "${settings[@]}" --resume \
    --set train.epochs=120 --set objectives.ranking_from=0.4 --set objectives.uniform_until=0.8
r2d2 pretrain "$out/$from.lance" --out "$out/run-$from" "${settings[@]}" --resume \
    --init "$out/first-$from/model" --set train.epochs=20 --set train.lr=5e-4 \
    --set train.warmup_steps=50 --set objectives.uniform_until=0.5

# To ship: OUT/run-kw/model. The weight of the match score is chosen on the names of `val`;
# the vectors of the emoji lie beside the weights; what it reaches, on names and held-out keywords.
python - "$out" "$out/run-$from" <<'END'
import sys
from pathlib import Path

from r2d2.evaluation.run import evaluate_run
from r2d2.search.shipped import write_shipped_index

out, run = Path(sys.argv[1]), Path(sys.argv[2])
evaluate_run(run, out / "emoji.lance", run, keep_weight=True)
print(write_shipped_index(run / "model", run / "model"))
END
python "$(dirname "$0")/../benchmarks/text_queries.py" "$out/run-$from" \
    --gallery "$out/emoji.lance" --queries "$out/held.lance"
