#!/usr/bin/env bash
# stop-node.sh DIR: ends the node's programs and containers and takes their mounts away. Needs no API server.
set -uo pipefail
cd "$1" || exit; dir=$PWD
end() {
  [ -e "$1.pid" ] || return 0
  local p; p=$(cat "$1.pid"); kill "$p" 2>/dev/null
  for _ in $(seq 100); do kill -0 "$p" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$p" 2>/dev/null; rm -f "$1.pid"
}
end kubelet # first: it would start the containers again
ctr() { command ctr --address "$dir/node/containerd.sock" -n k8s.io "$@"; }
if [ -S node/containerd.sock ]; then
  ctr tasks ls -q | while read -r id; do ctr tasks rm -f "$id" >/dev/null 2>&1; done
  ctr containers ls -q | while read -r id; do ctr containers rm "$id" >/dev/null 2>&1; done
fi
end containerd
end registry
# The deepest first; the kubelet mounts its own root folder on itself.
awk -v d="$dir/node/" 'index($2, d) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r m; do umount "$m" || umount -l "$m"; done
# Containers' groups (the sandboxes') stay behind empty.
find /sys/fs/cgroup -depth -type d -path '*/k8s.io*' -exec rmdir {} + 2>/dev/null
for pid in $(pgrep -f "containerd-shim-runc-v2 .*-address $dir/node/containerd.sock"); do echo "left: shim $pid" >&2; kill -9 "$pid"; done
true
