# Sourced by the recipes: their arguments, and steps that are not done twice.

toy=
arguments=()
for argument in "$@"; do
    if [ "$argument" = --toy ]; then toy=1; else arguments+=("$argument"); fi
done
out=${arguments[0]:-}
inputs=("${arguments[@]:1}")
if [ -z "$out" ] || [ "$([ ${#inputs[@]} -gt 0 ] && echo 1)" = "$toy" ]; then
    echo "usage: $0 $usage, or $0 OUT --toy" >&2
    exit 2
fi
recipes=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$out"
measured=()

step() { # step RESULT COMMAND...: run the command, unless its result is there
    local result=$1
    shift
    if [ -e "$result" ]; then return; fi
    echo "== $*" >&2
    "$@"
}

options() { # options NAME=VALUE...: the array `set`, with each as an option --set
    local setting
    set=()
    for setting in "$@"; do set+=(--set "$setting"); done
}

measure() { # measure MODEL NAME [OPTION...]: recall on each table of `tables`
    local model=$1 name=$2 table folder
    shift 2
    for table in ${tables[@]+"${tables[@]}"}; do
        folder=$out/measured/$(basename "$table" .lance)/$name
        step "$folder/metrics.json" \
            r2d2 evaluate retrieval "$model" "$table" "$@" --out "$folder" --overwrite
        measured+=("$folder")
    done
}

report() { # report PAGE: of all that was measured
    if [ ${#measured[@]} -eq 0 ]; then return; fi
    r2d2 report "${measured[@]}" --out "$1" --overwrite
    echo "$1"
}
