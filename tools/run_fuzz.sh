#!/usr/bin/env bash
# Runs every built fuzz target for so many seconds each, two at a time; fails when any of them finds something.
#   tools/run_fuzz.sh SECONDS [TARGET…]          targets as in fuzz/CMakeLists.txt: time text …
# What it learns is kept in build-fuzz/corpus/; a crashing input is left in build-fuzz/crashes/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:?usage: tools/run_fuzz.sh SECONDS [TARGET…]}
shift
targets=("$@")
if ((${#targets[@]} == 0)); then
  for program in build-fuzz/fuzz/fuzz_*; do
    if [[ -f $program && -x $program ]]; then targets+=("${program##*/fuzz_}"); fi
  done
fi
if ((${#targets[@]} == 0)); then
  echo "run_fuzz: nothing is built; run: cmake --preset fuzz && cmake --build --preset fuzz" >&2
  exit 2
fi

run_one() {
  local seconds=$1 name=$2
  local learned=build-fuzz/corpus/$name log=build-fuzz/logs/$name.log
  mkdir -p "$learned" build-fuzz/crashes build-fuzz/logs
  local folders=("$learned")
  if [[ -d fuzz/corpus/$name ]]; then folders+=("fuzz/corpus/$name"); fi
  if timeout -k 10 $((seconds + 120)) "build-fuzz/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=20 \
    -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="build-fuzz/crashes/$name-" "${folders[@]}" >"$log" 2>&1; then
    echo "fuzz $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, nothing found"
  else
    echo "fuzz $name: FAILED; the end of $log:"
    tail -n 40 "$log"
    return 1
  fi
}
export -f run_one
# shellcheck disable=SC2016  # the inner shell expands them
printf '%s\0' "${targets[@]}" | xargs -0 -P 2 -I{} bash -c 'run_one "$0" "$1"' "$seconds" {}
