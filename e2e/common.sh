# What e2e/servers and e2e/cluster share; sourced by both. The caller sets `program`, its own name in messages.
# shellcheck shell=bash

say() { echo "$program: $*" >&2; }
die() { say "$*"; exit 1; }

export_line() { printf 'export %s=%q\n' "$1" "$2"; }

usage() { # the comment at the head of the script
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 2
}

apt_install() {
    local missing=() package
    for package; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}")
    # The package lists may be absent or too old to find the files; only then pay for an update.
    "${install[@]}" >&2 || { apt-get update -q >&2 && "${install[@]}" >&2; }
}

# Detached: a session of its own and none of the caller's descriptors, so that $(… up) returns.
# A shell stays as its parent to collect it at once when it is killed; init may take seconds.
launch() { # PID_FILE LOG COMMAND…, which must exec all the way down for the pid to be the server's
    local pid_file=$1 log=$2 previous fd
    shift 2
    # Someone else may have killed it just now: a process that has lost its command line is ending.
    previous=$(cat "$pid_file" 2>/dev/null) || previous=none
    [ ! -e "/proc/$previous/cmdline" ] || [ -n "$(tr -d '\0' 2>/dev/null <"/proc/$previous/cmdline")" ] ||
        wait_gone "$previous"
    rm -f "$pid_file"
    (
        exec </dev/null >>"$log" 2>&1
        for fd in /proc/self/fd/*; do
            fd=${fd##*/}
            [ "$fd" -le 2 ] || exec {fd}>&-
        done
        exec setsid sh -c '"$@" & echo $! >"$0"; wait' "$pid_file" "$@"
    ) &
    until [ -s "$pid_file" ]; do sleep 0.01; done
}

# Until the parent has collected it: a zombie may still have threads that hold files and ports, and both
# databases refuse to start while the pid in their lock file exists.
wait_gone() { # PID…
    local deadline=$((SECONDS + 180)) pid
    for pid; do
        while [ -e "/proc/$pid" ]; do
            ((SECONDS <= deadline)) || die "process $pid does not end"
            sleep 0.02
        done
    done
}
