#!/usr/bin/env bash
# The example of a confirmatory report, from nothing: `make example`, or
#     docs/example/make.sh RUN [OUT]
# Everything is made in RUN (some 20 CPU-minutes; the same command goes on where it was), and the report in OUT, by default RUN.
# The key is checked and committed to before it marks anything; both plans are recorded before either model is questioned.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
run=${1:?"usage: docs/example/make.sh RUN [OUT]"}
out=${2:-$run}
mkdir -p "$run/keys" "$out"
keys=$run/keys case=$run/case
model=$(taggant model pull smollm2)

# A key for one account and month: made, checked once on a text by people, and committed to.
if [ ! -e "$keys/leaves.json" ]; then
    month=$(date -u +%Y-%m)
    taggant keygen -o "$keys/owner.key" --tokenizer "$model"
    taggant key derive "$keys/owner.key" --account account-0042 --epoch "$month" -o "$keys/account.key"
    taggant key check "$keys/account.key" "$root/tests/data/state-of-the-union-1963.txt" --case "$case"
    taggant key commit "$keys/owner.key" --account account-0042 --epoch "$month" \
        -o "$keys/commitment.json" --leaves "$keys/leaves.json" --case "$case"
fi

# The demo, with that key: a student of the marked teacher, a control of the unmarked one.
mkdir -p "$run/demo"
[ -e "$run/demo/keys" ] || cp -r "$keys" "$run/demo/keys"
taggant demo -o "$run/demo"
one_of() { # the one path of that form
    local found=($1)
    [ ${#found[@]} = 1 ] || { echo "$1: ${#found[@]} paths, not one" >&2; exit 1; }
    echo "${found[0]}"
}
student=$(one_of "$run/demo/stages/student-*/model")
control=$(one_of "$run/demo/stages/control-*/model")
probes=$(one_of "$run/demo/stages/probes-*/corpus.parquet")

# Two plans, one for each model: the student, and the control, whose negative result needs a positive control: the student.
common=(--key "$keys/account.key" --probes "$probes" --reference "$model" --case "$case")
# 32 weights a context are less to carry about than the default's 256, and enough here (ADR 5).
committed=(--commitment "$keys/commitment.json" --leaves "$keys/leaves.json" --primary reading --top 32)
[ -e "$run/plan-student.json" ] || taggant plan -o "$run/plan-student.json" "${common[@]}" "${committed[@]}"
[ -e "$run/plan-control.json" ] || taggant plan -o "$run/plan-control.json" "${common[@]}" "${committed[@]}" \
    --positive-control "$student" --positive-control-note "model 1, which learned from marked answers"

# Both are carried out, each once.
examine() { # NAME and options of `suspect`
    [ -e "$run/$1.json" ] && return
    taggant suspect "${common[@]}" --plan "$run/plan-$1.json" --json "${@:2}" > "$run/$1.json.part"
    mv "$run/$1.json.part" "$run/$1.json"
}
examine student --model "$student"
examine control --model "$control" --positive-control "$student"

# Sealed with the key opened, verified by both verifiers, and reported.
[ -e "$run/bundle.zip" ] || taggant seal "$case" -o "$run/bundle.zip" --open-key --key "$keys/account.key" --leaves "$keys/leaves.json"
taggant verify "$run/bundle.zip"
python "$root/tools/verify_bundle.py" "$run/bundle.zip"
digest() { python -c 'import sys; from watermark.engines.models import model_digest; from pathlib import Path; print(model_digest(Path(sys.argv[1])))' "$1"; }
sed -e "s/{student}/$(digest "$student")/" -e "s/{control}/$(digest "$control")/" \
    -e "s/{probes}/$(sha256sum "$probes" | cut -c1-64)/" "$here/student.toml.in" > "$run/student.toml"
rm -f "$out"/student.html "$out"/student.pdf
taggant report "$run/bundle.zip" --commission "$run/student.toml" \
    --validation "$root/benchmarks/results/validation_model/validation.json" -o "$out/student.html" --pdf "$out/student.pdf"
