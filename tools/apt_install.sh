#!/bin/bash
# Installs Debian packages without starting or enabling a service that one brings (nginx takes port 80): nobody asked
# for that. As root: tools/apt_install.sh PACKAGE...
#
# While policy-rc.d says 101 no service is started (invoke-rc.d(8)). It is gone afterwards, whatever happens; a machine
# that has one of its own keeps it.
set -euo pipefail

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ] && [ ! -L "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --yes --no-install-recommends "$@"

for package; do
    case $package in
        nginx*) [ ! -d /run/systemd/system ] || systemctl disable --quiet nginx.service ;;
    esac
done
