#!/usr/bin/env bash
# start-node.sh BIN DIR: containerd, docker-registry with htpasswd, kubelet. DIR holds a running control plane.
set -euo pipefail
bin=$(realpath "$1") dir=$2 here=$(cd "$(dirname "$0")" && pwd)
registry=${REGISTRY_PORT:-15000} kubelet=${KUBELET_PORT:-16250}
cd "$dir"; dir=$PWD
ms() { date +%s%3N; }
mkdir -p node/cni/net.d node/cni/bin node/registry node/pods node/logs images
cat >node/containerd.toml <<EOF
version = 2
root = "$dir/node/containerd"
state = "$dir/node/containerd-state"
oom_score = 0

[grpc]
  address = "$dir/node/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
  path = "$dir/node/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "pullgate.test/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$dir/node/cni/bin"
    conf_dir = "$dir/node/cni/net.d"
EOF
# Never called (hostNetwork pods only), but containerd calls the network ready, and the node Ready, only with a configuration.
cat >node/cni/net.d/10-none.conflist <<EOF
{"cniVersion": "0.4.0", "name": "none", "plugins": [{"type": "none"}]}
EOF
htpasswd -Bbn robot secret >node/registry/htpasswd 2>/dev/null
cat >node/registry/config.yml <<EOF
version: 0.1
log: {level: info, accesslog: {disabled: false}}
storage: {filesystem: {rootdirectory: $dir/node/registry/data}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$registry"}
auth: {htpasswd: {realm: test, path: $dir/node/registry/htpasswd}}
EOF
cat >node/kubelet.yaml <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: $kubelet
readOnlyPort: 0
healthzPort: 0
tlsCertFile: $dir/pki/kubelet-serving.crt
tlsPrivateKeyFile: $dir/pki/kubelet-serving.key
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $dir/pki/ca.crt}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix://$dir/node/containerd.sock
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
makeIPTablesUtilChains: false
resolvConf: ""
podLogsDir: $dir/node/logs
volumePluginDir: $dir/node/plugins
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {imagefs.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.inodesFree: "0%", memory.available: "50Mi"}
serializeImagePulls: false
nodeStatusUpdateFrequency: 2s
EOF
run() { local name=$1; shift; "$@" >"$name.log" 2>&1 & echo $! >"$name.pid"; }
export KUBECONFIG=$dir/pki/admin.kubeconfig
ctr() { command ctr --address "$dir/node/containerd.sock" -n k8s.io "$@"; }
t=$(ms)
run containerd containerd --config node/containerd.toml
run registry docker-registry serve node/registry/config.yml
until ctr version >/dev/null 2>&1; do sleep 0.05; done
echo "containerd after $(($(ms) - t)) ms"
"$here/mkimage.sh" pullgate.test/pause:1 images/pause.tar "$bin/pause"
"$here/mkimage.sh" "127.0.0.1:$registry/team-a/app:1" images/app.tar /bin/busybox
ctr images import --snapshotter native images/pause.tar
until curl -s -o /dev/null "http://127.0.0.1:$registry/v2/"; do sleep 0.05; done
push() { command ctr --address "$dir/node/containerd.sock" -n push "$@"; }  # a namespace that CRI does not see
push images import --no-unpack images/app.tar >/dev/null || push images import --snapshotter native images/app.tar
push images push --plain-http -u robot:secret "127.0.0.1:$registry/team-a/app:1" >/dev/null
push images rm --sync "127.0.0.1:$registry/team-a/app:1" >/dev/null
echo "registry: anonymous $(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$registry/v2/team-a/app/manifests/1"), robot $(curl -s -o /dev/null -w '%{http_code}' -u robot:secret -H 'Accept: application/vnd.docker.distribution.manifest.v2+json' "http://127.0.0.1:$registry/v2/team-a/app/manifests/1")"
t=$(ms)
run kubelet "$bin/kubelet" --config=node/kubelet.yaml --kubeconfig=pki/kubelet.kubeconfig --root-dir="$dir/node/kubelet" \
  --cert-dir="$dir/node/kubelet-pki" --hostname-override=127.0.0.1 --v=2
until kubectl get node 127.0.0.1 2>/dev/null | grep -qw Ready; do
  kill -0 "$(cat kubelet.pid)" || { grep -E '^E|^F|rror' kubelet.log | tail -n 20; exit 1; }
  sleep 0.2
done
echo "node Ready after $(($(ms) - t)) ms"
