#!/bin/bash
# Builds the virtual environment that `make` works in, from nothing: tools/setup.sh DIRECTORY
#
# System packages are installed only where something is missing, and only by root or with sudo. Everything else stays
# inside the checkout. PYTHON names the interpreter to build from.
set -euo pipefail

venv=$1
python=${PYTHON:-/usr/bin/python3}
cd "$(dirname "$0")/.."

. tools/packages.sh

have "$python" || system_packages needed python3 python3-venv
have "$python" || fail "no interpreter at $python. Name one: make PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || fail "$python is $("$python" -V); Imperator needs 3.11 or newer. Name one: make PYTHON=/path/to/python3"
"$python" -c 'import ensurepip, venv' 2>/dev/null || system_packages needed python3-venv

# What the tests run beside Imperator. Without one of them its tests fail and say so; everything else works.
programs useful nginx=nginx-light node=nodejs "gcc=gcc libc6-dev" curl=curl ps=procps

# pyuwsgi comes ready-made for the usual processors. Elsewhere pip builds it, and that takes Python's headers as well.
case $(uname -m) in
    x86_64 | aarch64) ;;
    *) "$python" -c 'import os, sys, sysconfig as c; sys.exit(not os.path.exists(c.get_config_h_filename()))' \
        || system_packages useful gcc libc6-dev python3-dev ;;
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
