#!/usr/bin/env bash
# Zero + R2D2 from end to end: from a click log to a report, each step with what the one before wrote.
#
#   examples/zero_end_to_end.sh OUT [FOLDER]
#
# FOLDER holds pictures of your own and a CSV or JSONL of their captions (image, caption). They join
# the embedded corpus in a made click log: replace it by your search engine's, and the rest stays.
# A step that is done is not done again.
#
#   PICTURES  of each source in the log (1500)
#   SETTINGS  of the training, as "train.epochs=20 train.lr=0.001"
set -euo pipefail

out=${1:?usage: $0 OUT [FOLDER]}
folder=${2:-}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"

step() { # step WHAT IT WRITES, COMMAND...
  local made=$1
  shift
  [ -e "$made" ] || { echo "== $*" >&2 && "$@"; }
}

# 1. The pictures: the embedded corpus, and your own.
sources=("$out/emoji.lance")
step "$out/emoji.lance" r2d2 data emoji --out "$out/emoji.lance"
if [ -n "$folder" ]; then
  sources+=("$out/own.lance")
  step "$out/own.lance" r2d2 data import own "$folder" --out "$out/own.lance"
fi

# 2. A log of what people clicked, and a later one of other pictures.
step "$out/later.parquet" python "$here/make_click_log.py" "${sources[@]}" \
  --out "$out/log.parquet" --later "$out/later.parquet" --most "${PICTURES:-1500}"

# 3. The corpus: ranked by clicks, filtered, merged; a tenth held out to choose by.
step "$out/corpus.lance" r2d2 corpus build "$out/log.parquet" \
  --out "$out/corpus.lance" --config "$here/zero_corpus.yaml"
step "$out/later.lance" r2d2 corpus build "$out/later.parquet" \
  --out "$out/later.lance" --config "$here/zero_corpus.yaml"

# 4. The model.
settings=()
for setting in ${SETTINGS:-}; do settings+=(--set "$setting"); done
[ -e "$out/pretrain/model/config.json" ] ||
  r2d2 pretrain "$out/corpus.lance" --out "$out/pretrain" --preset tiny --resume "${settings[@]}"

# 5. Zero's four sets, of what was clicked later; no picture of the corpus is in them.
for task in icr iqr icm iqm; do
  step "$out/$task.lance" r2d2 downstream make "$out/later.lance" --task "$task" \
    --out "$out/$task.lance" --exclude "$out/corpus.lance" \
    --set same.radius=0 --set "split={val: 0.1, test: 0.5}" --set text.least=2
done

# 6. What the model knows of them.
for task in icr iqr; do
  step "$out/$task" r2d2 evaluate retrieval "$out/pretrain" "$out/$task.lance" --out "$out/$task"
done
for task in icm iqm; do
  step "$out/$task" r2d2 evaluate matching "$out/pretrain" "$out/$task.lance" --out "$out/$task"
done

# 7. One report, beside what others published.
step "$out/report.html" r2d2 report "$out/icr" "$out/iqr" "$out/icm" "$out/iqm" \
  --out "$out/report.html" --title "From clicks to figures (emoji: Twemoji, CC-BY 4.0)"
echo "$out/report.html"
