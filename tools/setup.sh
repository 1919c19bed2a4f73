#!/bin/bash
# Builds the virtual environment that `make` works in, from nothing: tools/setup.sh DIRECTORY
#
# System packages are installed only where something is missing, and only by root or with sudo. Everything else stays
# inside the checkout. PYTHON names the interpreter to build from.
set -euo pipefail

venv=$1
python=${PYTHON:-/usr/bin/python3}
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }
fail() { say "setup: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# $1: "needed" or "useful"; the rest: Debian packages.
system_packages() {
    local need=$1 as_root=()
    shift
    if ! have apt-get; then
        [ "$need" = useful ] || fail "this machine lacks what Debian calls: $*. Install it and run make again."
        return 0
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if have sudo && { sudo -n true 2>/dev/null || { [ "$need" = needed ] && [ -t 0 ]; }; }; then
            as_root=(sudo)
        elif [ "$need" = useful ]; then
            return 0
        else
            fail "missing system packages. As root: apt-get install $*"
        fi
    fi
    say "installing system packages: $*"
    local log
    log=$(mktemp)
    if { ${as_root[@]+"${as_root[@]}"} apt-get -qq update \
        && ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive \
            apt-get -qq install --yes --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
        rm -f "$log"
        return 0
    fi
    tail -n 30 "$log" >&2
    rm -f "$log"
    [ "$need" = useful ] || fail "apt-get could not install: $*"
    say "going on without: $*"
}

have "$python" || system_packages needed python3 python3-venv
have "$python" || fail "no interpreter at $python. Name one: make PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || fail "$python is $("$python" -V); Imperator needs 3.11 or newer. Name one: make PYTHON=/path/to/python3"
"$python" -c 'import ensurepip, venv' 2>/dev/null || system_packages needed python3-venv

# pyuwsgi comes ready-made for the usual processors. Elsewhere pip builds it, and that takes a compiler.
case $(uname -m) in
    x86_64 | aarch64) ;;
    *) have gcc || system_packages useful gcc libc6-dev python3-dev ;;
esac

say "building $venv from $("$python" -V) (only now, and when pyproject.toml changes)"
# An environment whose interpreter is gone (an upgrade of the system, a moved checkout) is built anew.
if [ -e "$venv" ] && ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    rm -rf "$venv"
fi
[ -e "$venv" ] || "$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --quiet --no-input --disable-pip-version-check)
"${pip[@]}" install --upgrade 'pip>=25.1' # the first that knows --group
"${pip[@]}" install --editable . --group test --group check --group demo
