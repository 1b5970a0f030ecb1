#!/usr/bin/env bash
# Makes the root file system of an image without a distribution: programs, the shared libraries that
# they ask for, certificate authorities, and one user.
#
#   deploy/rootfs.sh FOLDER PROGRAM…
#
# The folder is made anew. The libraries are this machine's, which is where the programs were linked.
set -euo pipefail
umask 022

[ $# -ge 2 ] || { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
folder=$1
shift

rm -rf "$folder"
mkdir -p "$folder"/{etc/ssl/certs,usr/local/bin,tmp}
chmod 1777 "$folder/tmp"
install -m 755 "$@" "$folder/usr/local/bin/"
# Symbols are for the build machine; a stack trace needs only the table of names, which this keeps.
if command -v strip >/dev/null; then strip --strip-debug "$folder"/usr/local/bin/*; fi

# Each library under the path by which the loader finds it, the loader itself under the one in the program.
missing=$(ldd "$@" | grep 'not found' || true)
[ -z "$missing" ] || { echo "rootfs.sh: libraries are missing: $missing" >&2; exit 1; }
ldd "$@" | grep -oE '/[^ ]+\.so[^ ]*' | sort -u | while read -r library; do
    install -D -m 755 "$(realpath "$library")" "$folder$library"
done

authorities=/etc/ssl/certs/ca-certificates.crt
[ -r "$authorities" ] || { echo "rootfs.sh: $authorities is missing: install ca-certificates" >&2; exit 1; }
install -m 644 "$authorities" "$folder$authorities"
echo 'sluice:x:65532:65532:Sluice:/tmp:/sbin/nologin' >"$folder/etc/passwd"
echo 'sluice:x:65532:' >"$folder/etc/group"
echo 'hosts: files dns' >"$folder/etc/nsswitch.conf"
