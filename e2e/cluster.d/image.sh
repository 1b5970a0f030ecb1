# Images: the pause image and Sluice's own, built without a registry and loaded into containerd.
# shellcheck shell=bash disable=SC2154

# An image store of its own; the programs run in a chroot, for there may be no further namespaces here.
buildah() {
    BUILDAH_ISOLATION=chroot command buildah --root "$state/buildah" --runroot "$run/buildah" --storage-driver overlay "$@"
}

is_loaded() { ctr images ls -q | grep -xF "$1" >/dev/null; } # not -q: it would end ctr early

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
    local deploy=$here/../deploy folder=$run/sluice-image binaries one
    binaries=$(realpath -m "${SLUICE_BIN_DIR:-${CARGO_TARGET_DIR:-$here/../target}/release}")
    for one in sluice sluice-operator; do
        [ -x "$binaries/$one" ] ||
            die "$binaries/$one is missing: run cargo build --release -p sluice -p sluice-operator"
    done
    answers containerd || die "containerd does not run: run e2e/cluster up --no-image"
    image=sluice.local/sluice:$(cat "$binaries"/sluice{,-operator} "$deploy"/{Dockerfile,rootfs.sh} | sha256sum | cut -c 1-16)
    if is_loaded "$image"; then
        remove_old_images
        return
    fi
    say "building $image"
    rm -rf "$folder"
    mkdir -p "$folder"
    "$deploy/rootfs.sh" "$folder/out" "$binaries"/sluice{,-operator} >&2
    build_and_load "$image" -f "$deploy/Dockerfile" --build-context "binaries=$folder" "$folder"
    rm -rf "$folder"
    remove_old_images
}

# A day's builds would fill the disk: the last four stay.
remove_old_images() {
    local list=$state/images old digest
    { grep -vxF "$image" "$list" 2>/dev/null || true; echo "$image"; } >"$list.new"
    for old in $(head -n -4 "$list.new"); do
        digest=$(ctr images ls | awk -v name="$old" '$1 == name { print $3 }')
        # By every name, for Kubernetes knows it by its digest too.
        [ -z "$digest" ] || ctr images ls | awk -v digest="$digest" '$3 == digest { print $1 }' | xargs -r \
            ctr -a "$run/containerd.sock" -n k8s.io images rm >/dev/null
    done
    tail -n 4 "$list.new" >"$list"
    rm "$list.new"
}
