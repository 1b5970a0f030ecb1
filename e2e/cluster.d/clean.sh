# Ending everything: components, pods, mounts, the bridge and its rules; also what an interrupted run left.
# shellcheck shell=bash disable=SC2154

clean_up() {
    local component pids
    # The kubelet first, so that nothing comes back; those with a database get the time to close it.
    for component in kubelet kube-proxy scheduler controller-manager apiserver; do
        pids=$(pids_of "$component") || continue
        say "ending $component"
        # shellcheck disable=SC2086 # several numbers
        end_now $pids
    done
    end_pods
    for component in containerd etcd; do
        pids=$(pids_of "$component") || continue
        say "ending $component"
        # shellcheck disable=SC2086
        kill $pids && wait_gone $pids
    done
    unmount_all
    remove_network
    rm -rf "$run" "$state"/{pid,kubelet,pod-logs}
    remove_log_links
}

# Everything in the pods' control groups, then the shims that watched over it.
end_pods() {
    local group pids
    for group in $(pod_groups); do
        pids=$(cat "$group/cgroup.procs" 2>/dev/null | sort -u | tr '\n' ' ')
        # shellcheck disable=SC2086
        [ -z "$pids" ] || kill -s KILL $pids 2>/dev/null || true
    done
    pids=$(pgrep -f "^/usr/bin/containerd-shim-runc-v2 .*-address $run/") && end_now $pids
    for group in $(pod_groups); do # the deepest first
        rmdir "$group" 2>/dev/null || true
    done
}

pod_groups() {
    find /sys/fs/cgroup -depth -type d -path '*/kubepods*' 2>/dev/null || true
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
    rm -f /var/lib/cni/results/"$bridge"-*
}

remove_log_links() { # the kubelet's, in a place that it does not let us choose
    local link
    for link in /var/log/containers/*; do
        [[ $(readlink "$link") != "$state"/* ]] || rm "$link"
    done
    rmdir /var/log/containers 2>/dev/null || true
}

# After a reboot nothing runs and no mount is left, whatever the files say.
forget_boot() {
    clean_up
    rm -rf "$state/etcd" "$state/containerd"
    mkdir -p "$run"
}
