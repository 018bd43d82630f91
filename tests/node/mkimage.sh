#!/usr/bin/env bash
# mkimage.sh NAME:TAG OUT.tar BINARY [ARG...]: a docker-archive image whose only file is the static BINARY, at /<its name>.
set -euo pipefail
name=$1 out=$2 binary=$3; shift 3
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
base=$(basename "$binary")
mkdir "$work/root"; install -m 0755 "$binary" "$work/root/$base"
tar -C "$work/root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$work/layer.tar" "$base"
diff=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
cmd=$(printf '"/%s"' "$base"; for a in "$@"; do printf ',"%s"' "$a"; done)
printf '{"architecture":"amd64","os":"linux","config":{"Entrypoint":[%s],"Env":["PATH=/"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created":"1970-01-01T00:00:00Z","created_by":"mkimage %s"}]}' "$cmd" "$diff" "$name" >"$work/config.json"
config=$(sha256sum "$work/config.json" | cut -d' ' -f1)
mv "$work/config.json" "$work/$config.json"
printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$config" "$name" >"$work/manifest.json"
tar -C "$work" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$out" manifest.json "$config.json" layer.tar
