# Sourced by the recipes under --toy: small sizes, and what recipes/toy.py writes, behind a server.
mkdir -p "$out/toy"
step "$out/toy/emoji.lance" r2d2 data emoji --out "$out/toy/emoji.lance"
step "$out/toy/chinese_clip" python "$recipes/toy.py" "$out/toy" write
gpus=1 batch=32 preset=tiny layers=1
image=$out/toy/clip text=$out/toy/bert model=$out/toy/chinese_clip
tables=("$out/toy/test.lance")
learning=(train.lr=0.001 train.warmup_steps=4 objectives.queue_size=128)
if [ "$1" = finetune ]; then learning+=(train.freeze_vision=false); fi
more=(train.epochs=4 "${learning[@]}" ${more[@]+"${more[@]}"})
inputs=("$out/toy/MUGE") set_name=muge
if [ "$1" = pretrain ] && [ ! -e "$out/corpus.lance" ]; then
    rm -f "$out/toy/address"
    python "$recipes/toy.py" "$out/toy" serve 2>"$out/toy/server.log" &
    trap 'kill %1 2>/dev/null' EXIT
    until [ -e "$out/toy/address" ]; do
        kill -0 %1 || { cat "$out/toy/server.log" >&2 && exit 1; }
        sleep 0.1
    done
    inputs=("$(cat "$out/toy/address")")
    filters=(fetch.allow_private=127.0.0.1 text.min_words=null text.noun=false text.min_chars=1
        image.min_std=null image.min_entropy=null)
fi
