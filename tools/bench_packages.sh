#!/bin/bash
# What the benchmarks need and Debian has: a compiler, a load generator, a web server, and a look at other processes.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/packages.sh

programs needed "gcc=gcc libc6-dev" wrk=wrk nginx=nginx-light pkill=procps
