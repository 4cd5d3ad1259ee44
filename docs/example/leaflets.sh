#!/usr/bin/env bash
# The example of a small case, made again from its bundle: docs/example/leaflets.sh [OUT], by default beside this file.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out=${1:-$here}
rm -f "$out/report.html" "$out/report.pdf"
taggant report "$here/bundle.zip" --commission "$here/commission.toml" \
    --validation "$root/benchmarks/results/validation/validation.json" -o "$out/report.html" --pdf "$out/report.pdf"
