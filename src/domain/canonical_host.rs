//! By what an image host is recognised, whatever its spelling: the address that a client dials.
//!
//! kubelet and containerd compare hosts as text, and dial them as Go does: names of any case, ports as numbers, addresses
//! in any notation. So `harbor.example.com:0443` is another text and the same registry. Two spellings of one registry
//! must never be taken for two; that two registries are taken for one costs a denial that names the spelling to use.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::borrow::Cow;

/// The port that a client dials where an image names none.
const HTTPS: u16 = 443;
/// What containerd dials for Docker Hub, and what its former clients dialled: images name it `docker.io`.
const DOCKER_HUB: [&str; 2] = ["registry-1.docker.io", "index.docker.io"];

/// The form that all spellings of a host share: lower case, the port as a number and without the one that `https`
/// implies, addresses in their shortest notation, no final dot, `docker.io` for Docker Hub. Text that is in this form
/// already is borrowed.
pub fn canonical_host(domain: &str) -> Cow<'_, str> {
    if is_plain(domain) { Cow::Borrowed(domain) } else { canonical(domain) }
}

/// Whether a host is one of those that Docker Hub has beside the one that images name it by, `docker.io`.
pub fn is_docker_hub_alias(domain: &str) -> bool {
    let (name, _) = split_port(domain);
    let name = name.strip_suffix('.').unwrap_or(name);
    DOCKER_HUB.into_iter().chain(["hub.docker.com"]).any(|alias| name.eq_ignore_ascii_case(alias))
}

/// Whether a host is its own canonical form, as nearly all are: a name of lower case whose last label begins with a
/// letter, without port.
fn is_plain(domain: &str) -> bool {
    let bytes = domain.as_bytes();
    let named = bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'));
    let last = bytes.iter().rposition(|b| *b == b'.').map_or(0, |dot| dot + 1);
    let hub = domain.ends_with(".docker.io");
    named && bytes.get(last).is_some_and(u8::is_ascii_lowercase) && !hub
}

fn canonical(domain: &str) -> Cow<'_, str> {
    let (name, port) = split_port(domain);
    // A client dials the address that IPv6 maps.
    let host = match address(name).map(|address| address.to_canonical()) {
        Some(IpAddr::V4(address)) => Cow::Owned(address.to_string()),
        Some(IpAddr::V6(address)) => Cow::Owned(format!("[{address}]")),
        None => {
            let name = name.strip_suffix('.').unwrap_or(name);
            let upper = name.bytes().any(|b| b.is_ascii_uppercase());
            let name = if upper { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) };
            if DOCKER_HUB.contains(&&*name) { Cow::Borrowed("docker.io") } else { name }
        }
    };
    let digits = port.trim_start_matches('0');
    match digits.parse() {
        Ok(HTTPS) => host,
        _ if port.is_empty() => host,
        _ => Cow::Owned(format!("{host}:{}", if digits.is_empty() { "0" } else { digits })),
    }
}

/// The host and the digits behind its last colon; those inside of brackets are an address's.
fn split_port(domain: &str) -> (&str, &str) {
    match domain.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, port),
        _ => (domain, ""),
    }
}

/// The address that a host is, in whichever notation: `[::1]`, and those of IPv4 that resolvers take, as `127.1` and
/// `0x7f.0.0.1` (inet_aton(3)).
fn address(host: &str) -> Option<IpAddr> {
    if let Some(inside) = host.strip_prefix('[') {
        return inside.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let mut parts = host.split('.').rev();
    // The last part fills what the others leave.
    let mut value = number(parts.next()?)?;
    let leading: Vec<u64> = parts.rev().map(number).collect::<Option<_>>()?;
    let mut room = 1_u64 << 32;
    let mut front = 0;
    for part in &leading {
        room >>= 8;
        if *part > 0xff || room < 0x100 {
            return None;
        }
        front += part * room;
    }
    if value >= room {
        return None;
    }
    value += front;
    u32::try_from(value).ok().map(|bits| IpAddr::V4(Ipv4Addr::from(bits)))
}

/// A part of an IPv4 address: hexadecimal behind `0x`, octal behind a nought, decimal.
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    // `from_str_radix` takes a sign.
    if digits.starts_with('+') { None } else { u64::from_str_radix(digits, radix).ok() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_host_is_recognised_in_any_spelling() {
        for (canonical, spellings) in [
            (
                "h.io",
                &["h.io", "H.io", "h.io:443", "H.IO:443", "h.io:0443", "h.io:000443", "h.io.", "H.io.:443"][..],
            ),
            ("h.io:5000", &["h.io:5000", "h.io:05000", "H.io.:5000"]),
            ("h.io:0", &["h.io:0", "h.io:00"]),
            ("localhost:5000", &["localhost:5000", "LOCALHOST:05000"]),
            ("[::1]", &["[::1]", "[0:0::1]", "[0000:0000:0000:0000:0000:0000:0000:0001]:443", "[::1]:0443"]),
            ("[2001:db8::a]:5000", &["[2001:DB8:0::A]:5000", "[2001:db8::000a]:05000"]),
            (
                "10.0.0.5:5000",
                &["10.0.0.5:5000", "10.5:5000", "012.0.0.5:5000", "0xA.0.5:05000", "[::ffff:a00:5]:5000"],
            ),
            ("127.0.0.1", &["127.0.0.1", "127.1", "0x7f000001", "2130706433:443", "127.0.0.1."]),
            ("docker.io", &["docker.io", "Docker.io:443", "registry-1.docker.io", "INDEX.docker.io:0443"]),
        ] {
            for spelling in spellings {
                assert_eq!(canonical_host(spelling), canonical, "{spelling}");
            }
        }
    }

    #[test]
    fn hosts_that_are_dialled_differently_stay_apart() {
        for host in [
            "h.io:4430",
            "h.io:65979",
            "h.io:80",
            "registry.docker.io",
            "my-docker.io",
            "256.0.0.1",
            "1.2.3.4.5",
            "08.0.0.1",
        ] {
            assert_eq!(canonical_host(host), host);
        }
        assert_ne!(canonical_host("h.io:65979"), canonical_host("h.io"), "no port beyond 65535 is dialled");
    }

    #[test]
    fn what_is_canonical_is_borrowed() {
        for host in ["h.io", "docker.io", "harbor.example.com"] {
            assert!(matches!(canonical_host(host), Cow::Borrowed(_)), "{host}");
        }
    }

    /// How a client may write a name.
    fn spelling(name: &'static str, port: Option<u16>) -> impl Strategy<Value = String> {
        let cases = prop::collection::vec(any::<bool>(), name.len());
        (cases, any::<bool>(), 0..4_usize, any::<bool>()).prop_map(move |(cases, dot, noughts, explicit)| {
            let upper = |(c, up): (char, bool)| if up { c.to_ascii_uppercase() } else { c };
            let mut text: String = name.chars().zip(cases).map(upper).collect();
            if dot {
                text.push('.');
            }
            if let Some(port) = port.or_else(|| explicit.then_some(HTTPS)) {
                text = format!("{text}:{}{port}", "0".repeat(noughts));
            }
            text
        })
    }

    proptest! {
        #[test]
        fn every_spelling_of_a_name_is_one_host(
            implied in spelling("harbor.example.com", None),
            explicit in spelling("harbor.example.com", Some(HTTPS)),
            other in spelling("harbor.example.com", Some(5000)),
        ) {
            prop_assert_eq!(canonical_host(&implied), "harbor.example.com");
            prop_assert_eq!(canonical_host(&explicit), "harbor.example.com");
            prop_assert_eq!(canonical_host(&other), "harbor.example.com:5000");
        }

        #[test]
        fn every_notation_of_an_address_is_one_host(bits in any::<u128>(), v4 in any::<u32>()) {
            let address = Ipv6Addr::from(bits);
            let long = address.segments().map(|part| format!("{part:04X}")).join(":");
            let (long, short) = (format!("[{long}]:0443"), format!("[{address}]"));
            prop_assert_eq!(canonical_host(&long), canonical_host(&short));
            let [a, b, c, d] = v4.to_be_bytes();
            let plain = Ipv4Addr::from(v4).to_string();
            for other in [
                format!("0x{v4:x}:443"),
                format!("{a}.{}", v4 & 0xff_ffff),
                format!("{a}.{b}.{}", v4 & 0xffff),
                format!("0{a:o}.0x{b:x}.{c}.{d}."),
                format!("[::ffff:{:x}:{:x}]", v4 >> 16, v4 & 0xffff),
            ] {
                prop_assert_eq!(canonical_host(&other), plain.as_str(), "{}", other);
            }
        }

        #[test]
        fn the_canonical_form_is_its_own(host in r"([0-9a-zA-Z]{1,6}\.){0,3}(\[[0-9a-fA-F:]{2,12}\]|[0-9a-zA-Z-]{1,8})(:[0-9]{1,6})?") {
            let once = canonical_host(&host).into_owned();
            let twice = canonical_host(&once).into_owned();
            prop_assert_eq!(once, twice);
        }
    }
}
