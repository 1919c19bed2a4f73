# For the scripts beside this one: Debian packages, asked for where something is missing. Sourced, never run.

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
    if ${as_root[@]+"${as_root[@]}"} "${BASH_SOURCE[0]%/*}/apt_install.sh" "$@" >"$log" 2>&1 </dev/null; then
        rm -f "$log"
        return 0
    fi
    tail -n 30 "$log" >&2
    rm -f "$log"
    [ "$need" = useful ] || fail "apt-get could not install: $*"
    say "going on without: $*"
}

# $1: "needed" or "useful"; the rest: "PROGRAM=PACKAGE PACKAGE…" for each program that has to be there.
programs() {
    local need=$1 one packages=()
    shift
    for one; do
        # Not everybody has /usr/sbin in the PATH.
        have "${one%%=*}" || [ -x "/usr/sbin/${one%%=*}" ] || packages+=(${one#*=})
    done
    [ ${#packages[@]} -eq 0 ] || system_packages "$need" "${packages[@]}"
}
