# How the demos speak: bold chapters with a pause before them, notes. Sourced.
# shellcheck shell=bash

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' off=$'\e[0m'
else
  bold='' dim='' green='' red='' off=''
fi
pause=${DEMO_PAUSE:-$([[ -t 1 ]] && echo 1 || echo 0)}
chapter() { printf '\n%s%s%s\n' "$bold" "$*" "$off"; sleep "$pause"; }
note() { printf '%s%s%s\n' "$dim" "$*" "$off"; }
