#!/bin/bash
# What the benchmarks need and Debian has: a compiler, a load generator, a web server, and a look at other processes.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/packages.sh

# The program that says whether it is there, and the package that has it.
declare -A packages=([gcc]="gcc libc6-dev" [wrk]=wrk [nginx]=nginx-light [pkill]=procps)
missing=()
for program in "${!packages[@]}"; do
    have "$program" || [ -x "/usr/sbin/$program" ] || missing+=(${packages[$program]})
done
[ ${#missing[@]} -eq 0 ] || system_packages needed "${missing[@]}"
