# Images: the pause image and Sluice's own, built without a registry and loaded into containerd.
# shellcheck shell=bash disable=SC2154

# An image store of its own; the programs run in a chroot, for there may be no further namespaces here.
buildah() {
    BUILDAH_ISOLATION=chroot command buildah --root "$state/buildah" --runroot "$run/buildah" --storage-driver overlay "$@"
}

is_loaded() { ctr images ls -q | grep -qxF "$1"; }

load_image() { # ARCHIVE
    ctr images import --snapshotter overlayfs "$1" >&2 || die "$1 could not be loaded"
}

load_pause_image() {
    local folder=$run/pause
    ! is_loaded "$pause_image" || return 0
    say "building the pause image"
    rm -rf "$folder"
    mkdir -p "$folder"
    gcc -Os -static -s -o "$folder/pause" "$modules/pause.c"
    printf 'FROM scratch\nCOPY pause /pause\nUSER 65535:65535\nENTRYPOINT ["/pause"]\n' >"$folder/Dockerfile"
    build_and_load "$pause_image" "$folder"
    rm -rf "$folder"
}

build_and_load() { # IMAGE BUILDAH_ARGUMENTS…
    local name=$1 archive=$run/image.tar log=$state/log/image.log
    shift
    rm -f "$archive"
    { buildah build --layers=false -t "$name" "$@" && buildah push "$name" "oci-archive:$archive:$name"; } >"$log" 2>&1 ||
        { tail -n 20 "$log" >&2; die "$name did not build; the end of $log is above"; }
    load_image "$archive"
    rm -f "$archive"
    buildah rmi "$name" >/dev/null 2>&1 || true
}
