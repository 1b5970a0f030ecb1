# Ending everything: components, pods, mounts, the bridge and its rules; also what an interrupted run left.
# shellcheck shell=bash disable=SC2154

clean_up() {
    local component
    # The kubelet first, so that nothing comes back; those with a database get the time to close it.
    for component in kubelet kube-proxy dns scheduler controller-manager apiserver; do end_component "$component"; done
    end_pods
    for component in containerd etcd; do end_component "$component" TERM; done
    unmount_all
    remove_network
    rm -rf "$run" "$state"/{pid,kubelet,pod-logs}
    remove_leftovers
}

# Everything in the pods' control groups, and the shims that watch over it.
end_pods() {
    local pids deadline=$((SECONDS + 30))
    pids=$(find_groups -exec cat {}/cgroup.procs \; 2>/dev/null; pgrep -f "^/usr/bin/containerd-shim-runc-v2 .*-address $run/") || true
    # shellcheck disable=SC2086 # several numbers
    [ -z "$pids" ] || kill -s KILL $pids 2>/dev/null || true
    # A group can be removed once everything in it has ended.
    until find_groups -exec rmdir {} + 2>/dev/null; do
        ((SECONDS < deadline)) || die "processes of pods do not end: $(find_groups -exec cat {}/cgroup.procs \; 2>/dev/null)"
        sleep 0.05
    done
}

find_groups() { # the deepest first
    find /sys/fs/cgroup -depth -type d -path '*/kubepods*' "$@"
}

unmount_all() {
    local place
    awk -v state="$state/" -v run="$run/" 'index($2, state) == 1 || index($2, run) == 1 { print $2 }' /proc/self/mounts |
        sort -r | while read -r place; do
        umount "$place" 2>/dev/null || umount -l "$place"
    done
}

remove_network() {
    ip link delete "$bridge" 2>/dev/null || true
    nft delete table ip kube-proxy 2>/dev/null || true
    nft delete table ip6 kube-proxy 2>/dev/null || true
    rm -f /var/lib/cni/results/{"$bridge",cni-loopback}-*
}

# What the kubelet and the shims put in places that they do not let us choose.
remove_leftovers() {
    local file
    for file in /var/log/containers/*; do
        [[ $(readlink "$file") != "$state"/* ]] || rm "$file"
    done
    rmdir /var/log/containers 2>/dev/null || true
    for file in /run/containerd/s/*; do
        grep -qsF "$file" /proc/net/unix || rm -f "$file" # nobody listens there
    done
}

# After a reboot nothing runs and no mount is left, whatever the files say.
forget_boot() {
    clean_up
    rm -rf "$state/etcd" "$state/containerd"
    mkdir -p "$run"
}
