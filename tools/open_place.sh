#!/bin/bash
# Runs a command in this checkout, or in a copy of it where other users cannot get at the checkout: tools/open_place.sh
# COMMAND ARGUMENTS...
#
# Many tests start vassals as other users, who have to be able to read the code and to execute the interpreter. Below
# /root, for example, they are not.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" -ne 0 ] || setpriv --reuid=65534 --regid=65534 --clear-groups test -r "$PWD/Makefile"; then
    exec "$@"
fi
# Not below /tmp or /var/tmp: some vassals of the tests have those for themselves.
place=$(mktemp -d /opt/checkout.XXXXXX)
trap 'rm -rf "$place"' EXIT
echo "other users cannot enter $PWD: testing a copy of it in $place" >&2
tar --exclude=./.venv --exclude=./.git -cf - . | tar -xf - -C "$place"
chmod -R go+rX "$place"
cd "$place"
"$@"
