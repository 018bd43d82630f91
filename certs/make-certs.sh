#!/bin/sh
# Makes a CA and a server certificate for pullgate with the openssl that Debian 12 ships (3.0), or a newer one.
set -eu

usage() {
    cat <<'USAGE'
usage: make-certs.sh [--days N] DIR NAME...

Writes to DIR, which is made if it is missing:
  ca.crt, ca.key    a CA, valid for 10 years; what clients must trust
  tls.crt, tls.key  the server's certificate for the NAMEs, valid for N days (default 365)

A NAME is a DNS name or an IP address, for example
  make-certs.sh certs.d pullgate.pullgate-system.svc localhost 127.0.0.1

Nothing is overwritten. Where DIR has a CA already, it signs the new certificate: to
renew, move tls.crt and tls.key away and run the same command again.
USAGE
}

fail() {
    echo "make-certs.sh: $*" >&2
    exit 1
}

days=365
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --days) [ $# -ge 2 ] || fail "--days needs a number"; days=$2; shift 2 ;;
        -*) fail "unknown option $1; see --help" ;;
        *) break ;;
    esac
done
case $days in
    '' | *[!0-9]*) fail "--days needs a number, not $days" ;;
esac
[ $# -ge 2 ] || { usage >&2; exit 2; }
dir=$1
shift

san=
for name in "$@"; do
    case $name in
        '' | *[!A-Za-z0-9.:*-]*) fail "$name is neither a DNS name nor an IP address" ;;
        *:*) san="$san,IP:$name" ;;
        *[!0-9.]*) san="$san,DNS:$name" ;;
        *) san="$san,IP:$name" ;;
    esac
done
san=${san#,}

# Keys are readable by their owner alone from the first byte.
umask 077
mkdir -p "$dir"
for file in tls.crt tls.key; do
    [ ! -e "$dir/$file" ] || fail "$dir/$file exists; move it away first"
done
work=$(mktemp -d "$dir/.make-certs.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Own extensions only: what the system's openssl.cnf adds differs from one distribution to the next.
cat > "$work/openssl.cnf" <<CONFIG
[req]
distinguished_name = subject
prompt = no
[subject]
CN = pullgate
[ca]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = $san
CONFIG

new_key() {
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

if [ -e "$dir/ca.crt" ] && [ -e "$dir/ca.key" ]; then
    cp "$dir/ca.crt" "$dir/ca.key" "$work"
elif [ -e "$dir/ca.crt" ] || [ -e "$dir/ca.key" ]; then
    fail "$dir has only one of ca.crt and ca.key; restore the other or move it away"
else
    new_key "$work/ca.key"
    openssl req -x509 -new -config "$work/openssl.cnf" -extensions ca -subj "/CN=pullgate CA" \
        -key "$work/ca.key" -sha256 -days 3650 -out "$work/ca.crt"
    new_ca=yes
fi

new_key "$work/tls.key"
openssl req -new -config "$work/openssl.cnf" -key "$work/tls.key" -out "$work/tls.csr"
# 121 random bits: the leading 1 keeps the serial positive.
openssl x509 -req -in "$work/tls.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" \
    -set_serial "0x1$(openssl rand -hex 15)" -extfile "$work/openssl.cnf" -extensions server \
    -sha256 -days "$days" -out "$work/tls.crt"
openssl verify -CAfile "$work/ca.crt" "$work/tls.crt" > "$work/verify.log" || fail "$(cat "$work/verify.log")"

chmod 644 "$work/ca.crt" "$work/tls.crt"
[ -z "${new_ca:-}" ] || mv "$work/ca.key" "$work/ca.crt" "$dir"
mv "$work/tls.key" "$work/tls.crt" "$dir"
echo "$dir/tls.crt: $san, valid for $days days; clients must trust $dir/ca.crt"
