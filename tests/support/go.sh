# Sourced by the scripts that build Go programs for tests: a Go that can build them.
#
#   find_go VERSION MODULE   sets go, and exports what go needs to build the module in folder MODULE
#
# Whoever sources this has `say` for what is being done and `no_go` for giving up with a sentence.

at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n1)" = "$1" ]; }
go_version() { GOTOOLCHAIN=local "$1" version 2>/dev/null | sed -nE 's/^go version go([0-9.]+).*/\1/p'; }

# Prints the newest go among the usual places.
newest_go() {
  local candidate found best='' best_version=0
  for candidate in ${GO:+"$GO"} "$(command -v go || true)" /usr/local/go/bin/go /usr/lib/go-*/bin/go; do
    [ -x "$candidate" ] || continue
    found=$(go_version "$candidate")
    [ -n "$found" ] || continue
    if ! at_least "$found" "$best_version"; then best=$candidate best_version=$found; fi
  done
  printf '%s\n' "$best"
}

# Finds or fetches a go of at least VERSION.
find_go() {
  local needed=$1 module=$2 have toolchain root
  go=$(newest_go)
  if [ -z "$go" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      say "no go here: installing Debian's golang-go"
      { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends --no-upgrade golang-go ca-certificates; } >&2 ||
        no_go "no go here, and Debian's golang-go cannot be installed"
      hash -r
      go=$(newest_go)
    fi
    [ -n "$go" ] || no_go "no go here"
  fi

  export GOWORK=off GOFLAGS='' CGO_ENABLED=0
  have=$(go_version "$go")
  if at_least "$needed" "$have"; then
    export GOTOOLCHAIN=local
  elif at_least 1.21 "$have"; then
    say "go $have is older than $needed: fetching that toolchain through the module proxy"
    export GOTOOLCHAIN="go$needed"
    (cd "$module" && "$go" version >/dev/null) || no_go "go $have is too old, and cannot fetch go $needed"
  else
    # Before 1.21 go fetches no toolchain, but one is a module like any other.
    say "go $have is older than $needed: fetching that toolchain as a module"
    toolchain=golang.org/toolchain@v0.0.1-go$needed.$("$go" env GOOS)-$("$go" env GOARCH)
    root=$(cd / && "$go" mod download -json "$toolchain" 2>/dev/null | sed -nE 's/^[[:space:]]*"Dir": "(.*)",?$/\1/p') || true
    if [ -z "$root" ] || [ ! -d "$root" ]; then no_go "go $have is too old, and cannot fetch $toolchain"; fi
    # What a go that fetches toolchains does itself at the first use: a module
    # keeps no execute bits, and holds each go.mod below it as _go.mod.
    find "$root" -type d -exec chmod u+w {} +
    find "$root" -name _go.mod -execdir cp {} go.mod ';'
    find "$root/pkg/tool" "$root/bin" -type f -exec chmod 0755 {} +
    go=$root/bin/go
    export GOTOOLCHAIN=local GOROOT=$root
  fi
}
