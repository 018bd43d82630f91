#!/usr/bin/env bash
# isolated-node.sh BIN DIR: start-node.sh in mount and PID namespaces of its own. Ending this program (any signal,
# SIGKILL too) ends kubelet, containerd, shims and containers at once, and their mounts are gone with them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export HERE=$here BIN=$(realpath "$1") DIR=$(realpath "$2")
# The folders that kubelet, containerd and runc use whatever their configuration says.
mkdir -p /var/log/containers /var/lib/kubelet /run/containerd
exec unshare --mount --pid --fork --kill-child=KILL --mount-proc bash -c '
  set -euo pipefail
  mount --make-rshared /     # kubelet refuses private mounts for propagation; shared within this namespace only
  for d in /var/log/containers /var/lib/kubelet /run/containerd; do mount -t tmpfs -o mode=0755 node "$d"; done
  "$HERE/start-node.sh" "$BIN" "$DIR"
  touch "$DIR/node/ready"
  while :; do sleep 3600 & wait $!; done   # PID 1: bash reaps what is orphaned
'
