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

# ---- Sluice's image ---------------------------------------------------------------------------

# Sets `image`: named by its content, so that a cluster never runs an older one by the same name.
make_image() {
    local folder=$run/sluice-image program_name binaries
    binaries=$(realpath -m "${SLUICE_BIN_DIR:-$here/../target/release}")
    for program_name in sluice sluice-operator; do
        [ -x "$binaries/$program_name" ] ||
            die "$binaries/$program_name is missing: run cargo build --release -p sluice -p sluice-operator"
    done
    answers containerd || die "containerd does not run: run e2e/cluster up"
    image=sluice.local/sluice:$(sha256sum "$binaries"/sluice{,-operator} "$here/../deploy/Dockerfile" "$modules/image.sh" |
        cut -d ' ' -f 1 | sha256sum | cut -c 1-16)
    ! is_loaded "$image" || return 0
    say "building $image"
    rm -rf "$folder"
    make_rootfs "$folder" "$binaries"
    build_and_load "$image" -f "$here/../deploy/Dockerfile" --build-arg BINARIES="$folder" "$folder"
    rm -rf "$folder"
    remove_old_images
}
