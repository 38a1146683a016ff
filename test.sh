#!/usr/bin/env bash
# Builds and tests everything.
#   ./test.sh            the release build, on real databases and real stores; then unit tests with sanitizers, and
#                        fuzzing: what continuous integration runs
#   ./test.sh --quick    format, layers, unit tests and the short integration tests: some minutes
#   ./test.sh --full     also every proof on every kind of store, threads, and the long searches with sanitizers
#   ./test.sh --tidy     clang-tidy over all sources but the tests (a quarter of an hour)
# A missing tool, a test that did not run and a step that takes too long are failures. Logs: build/logs/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source tools/common.sh

mode=${1:---release}
case $mode in --release | --full | --quick | --tidy) ;; *) die "unknown option $mode" "one of --quick, --full, --tidy" ;; esac

jobs=$(nproc)
passed=0 failed=0 failures=()
export VARVE="$PWD/build/varve" CTEST_OUTPUT_ON_FAILURE=1 GTEST_COLOR=no
# A zone of one's own, a configuration or a passphrase of this machine must not reach the tests.
unset TZ VARVE_CONFIG VARVE_PASSPHRASE
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1

# step NAME SECONDS COMMAND…: runs it within the time, its output in a log; says how long it took and how it went.
# Of a run of ctest every test is counted, any other step is one.
step() {
  local name=$1 limit=$2 log begin=$SECONDS status=0 total bad left_out
  shift 2
  mkdir -p build/logs
  log=build/logs/${name//[^a-z0-9]/-}.log
  printf '%-44s' "== $name"
  timeout -k 20 "$limit" "$@" >"$log" 2>&1 </dev/null || status=$?
  total=$(sed -nE 's/^[0-9]+% tests passed, [0-9]+ tests failed out of ([0-9]+)$/\1/p' "$log" | tail -n 1)
  bad=$(sed -nE 's/^[0-9]+% tests passed, ([0-9]+) tests failed out of [0-9]+$/\1/p' "$log" | tail -n 1)
  left_out=$(grep -cE '\*\*\*(Skipped|Not Run)|\((Disabled|Skipped)\)$' "$log" || true)
  if [[ -z $total ]]; then
    total=1
    bad=$((status != 0))
  elif ((left_out > 0)); then
    bad=$((bad > left_out ? bad : left_out))
    status=$((status != 0 ? status : 1))
  elif ((status != 0 && bad == 0)); then
    bad=1
  fi
  passed=$((passed + total - bad))
  failed=$((failed + bad))
  if ((status == 0)); then
    printf 'ok      %5d passed  %4d s\n' "$total" $((SECONDS - begin))
    return 0
  fi
  failures+=("$name ($log)")
  if ((status == 124 || status == 137)); then
    printf 'TOO SLOW: more than %d s\n' "$limit"
  else
    printf 'FAILED  %5d failed  %4d s\n' "$bad" $((SECONDS - begin))
  fi
  # What went wrong lies far before the end where many tests run.
  { grep -E -A 7 '(FAIL|ERROR): |: Failure$|AssertionError|AddressSanitizer|runtime error|: error: ' "$log" | head -n 60; tail -n 40 "$log"; } |
    sed 's/^/    /'
  return 0
}

check_format() {
  command -v clang-format >/dev/null || die "there is no clang-format"
  sources | xargs -0 clang-format --dry-run -Werror
}
sources() {
  local folder
  for folder in src tests fuzz bench; do
    if [[ -d $folder ]]; then find "$folder" \( -name '*.cc' -o -name '*.h' \) -print0; fi
  done
}
build_preset() {  # PRESET FOLDER [-D…]
  configure "$@"
  cmake --build "$2" -j "$jobs"
}
# One build by clang serves the unit tests with sanitizers and the fuzz targets.
build_sanitized() {
  configure fuzz build-fuzz
  cmake --build build-fuzz -j "$jobs" --target unit_tests fuzz_targets
}
# Searches through orders of events and through damages: no code that other tests do not run, a hundred times over.
searches='CopyRace|CollectRace|Replicas\.Each|Mutilation\.'
run_ctest() {  # FOLDER ARGUMENT…
  local folder=$1
  shift
  ctest --test-dir "$folder" --no-tests=error -j "$jobs" "$@"
}
# The thread sanitizer is for the modules that have threads.
threaded="base net store repo engine backup"
build_tsan() {
  configure tsan build-tsan
  # shellcheck disable=SC2086  # words
  cmake --build build-tsan -j "$jobs" --target $(printf '%s_test ' $threaded)
}
run_ctest_tsan() {
  # It cannot live with the address layout of newer kernels; where it can be fixed, fix it.
  local fixed=()
  if setarch -R true 2>/dev/null; then fixed=(setarch -R); fi
  # What reads WAL has one thread, and takes minutes so.
  "${fixed[@]}" ctest --test-dir build-tsan --no-tests=error -j "$jobs" -L unit -R "^(${threaded// /|})/" -E "/Wal(Reader|Piece|Join)"
}
check_tidy() {
  configure tidy build-tidy
  cmake --build build-tidy -j "$jobs" --target varve_protos
  run-clang-tidy -quiet -p build-tidy -j "$jobs" "$PWD/src/.*(?<!_test)(?<!\.pb)\.cc\$"
}
export -f check_format sources build_preset build_sanitized run_ctest build_tsan run_ctest_tsan check_tidy configure die
export jobs threaded
call() { step "$1" "$2" bash -euo pipefail -c '"$@"' - "${@:3}"; }

# One function, read whole before it runs: the script may change under a long run.
main() {
  local begin failure
  begin=$SECONDS
  install_packages "to test" libgtest-dev libgmock-dev libsqlite3-dev sqlite3 python3 strace clang lld libclang-rt-14-dev \
    libbenchmark-dev clang-format clang-tidy mandoc bash zsh fish git util-linux \
    openssl libisal2 openssh-server openssh-client postgresql-15

  if [[ $mode == --tidy ]]; then
    ./build.sh >/dev/null
    call "clang-tidy" 3600 check_tidy
  else
    step "build.sh" 1500 ./build.sh
    call "build (release, tests)" 1800 build_preset release build -DVARVE_TESTS=ON
    call "format" 120 check_format
    call "layers" 120 run_ctest build -L lint
    call "unit tests" 600 run_ctest build -L unit
    call "short integration tests" 600 run_ctest build -L short
  fi
  if [[ $mode == --release || $mode == --full ]]; then
    call "integration tests" 1800 run_ctest build -L integration -LE short
    call "stores, beside real servers" 2400 run_ctest build -L services
    call "build (sanitizers, fuzz targets)" 1800 build_sanitized
    call "unit tests (sanitizers)" 900 run_ctest build-fuzz -L unit -E "$searches"
    call "fuzzing" 600 tools/run_fuzz.sh 4
  fi
  if [[ $mode == --full ]]; then
    call "proofs on every kind of store" 3600 run_ctest build -L proofs
    call "build (threads)" 1800 build_tsan
    call "unit tests (threads)" 1200 run_ctest_tsan
    call "long searches (sanitizers)" 1800 run_ctest build-fuzz -L unit -R "$searches"
  fi

  echo
  for failure in "${failures[@]}"; do echo "failed: $failure"; done
  printf 'in %d min %d s\n' $(((SECONDS - begin) / 60)) $(((SECONDS - begin) % 60))
  echo "$passed passed, $failed failed"
  ((failed == 0 && ${#failures[@]} == 0))
}
main
exit
