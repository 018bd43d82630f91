//! Which addresses a registry's record may make pullgate connect to.
//!
//! A workspace's admin writes the address of a registry, and pullgate connects from within the cluster: without a limit
//! that would reach the cloud's metadata service, the API server and every neighbour. A name is resolved once, and what
//! was vetted is what is connected to, so a name that changes its mind in between changes nothing.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// IPv4 addresses that are no public host's (IANA's special-purpose registry, RFC 6890 and its successors).
const SPECIAL_V4: [&str; 15] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];
/// Where public IPv6 hosts are, and what within it is none: among them the ways to write an IPv4 address (Teredo, 6to4),
/// behind which any of the above may hide.
const PUBLIC_V6: &str = "2000::/3";
const SPECIAL_V6: [&str; 4] = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];

/// Which addresses may be connected to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AddressPolicy {
    /// The platform's own records.
    Anywhere,
    /// Public addresses and these ranges.
    Public { and: Arc<[IpNet]> },
}

/// An address that may not be connected to, or a name that has none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreachable {
    #[error("the name has no address")]
    Unresolved,
    #[error("there is no address that may be connected to")]
    Forbidden,
}

impl AddressPolicy {
    /// Whether a connection to `address` may be made.
    pub fn allows(&self, address: IpAddr) -> bool {
        let Self::Public { and } = self else { return true };
        // `::ffff:127.0.0.1` is connected to as 127.0.0.1.
        let address = address.to_canonical();
        is_public(address) || and.iter().any(|range| range.contains(&address))
    }

    /// Refuses a URL that names an address which may not be reached; nothing resolves it, so nothing else would.
    pub(super) fn vet(&self, url: &Url) -> Result<(), Unreachable> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(Unreachable::Forbidden),
        };
        if self.allows(address) { Ok(()) } else { Err(Unreachable::Forbidden) }
    }
}

impl Resolve for AddressPolicy {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let found: Vec<SocketAddr> = found.map(Iterator::collect).unwrap_or_default();
            if found.is_empty() && reach == Self::Anywhere {
                return Err(Unreachable::Unresolved.into());
            }
            // The same where there is none: a workspace's admin could ask for the names of the cluster's Services.
            let allowed: Vec<_> = found.into_iter().filter(|address| reach.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(Unreachable::Forbidden.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|range| {
            // The constants above are ranges; a test reads them all.
            range.parse::<Ipv4Net>().is_ok_and(|range| range.contains(&address))
        }),
        IpAddr::V6(address) => within(PUBLIC_V6, address) && !SPECIAL_V6.iter().any(|r| within(r, address)),
    }
}

fn within(range: &str, address: Ipv6Addr) -> bool {
    range.parse::<Ipv6Net>().is_ok_and(|range| range.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_can_be_read() {
        assert!(SPECIAL_V4.iter().all(|range| range.parse::<Ipv4Net>().is_ok()));
        assert!(SPECIAL_V6.iter().chain([&PUBLIC_V6]).all(|range| range.parse::<Ipv6Net>().is_ok()));
    }

    #[test]
    fn only_public_addresses_and_allowed_ranges_are_reached() {
        let public = AddressPolicy::Public { and: Arc::new([]) };
        for address in [
            "127.0.0.1",
            "127.1.2.3",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:0:7f00:1::",
            "2001:db8::1",
            "100::1",
        ] {
            assert!(!public.allows(address.parse().unwrap()), "{address}");
            assert!(AddressPolicy::Anywhere.allows(address.parse().unwrap()));
        }
        for address in
            ["1.1.1.1", "172.32.0.1", "192.169.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1"]
        {
            assert!(public.allows(address.parse().unwrap()), "{address}");
        }
        let and = AddressPolicy::Public { and: Arc::new(["10.1.0.0/16".parse().unwrap()]) };
        assert!(and.allows("10.1.2.3".parse().unwrap()) && and.allows("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!and.allows("10.2.0.1".parse().unwrap()));
    }

    #[test]
    fn addresses_in_urls_are_read_however_they_are_written() {
        let public = AddressPolicy::Public { and: Arc::new([]) };
        for url in [
            "http://127.1",
            "http://0x7f.1",
            "http://2130706433",
            "http://017700000001",
            "http://[::1]:80",
            "http://[::ffff:7f00:1]",
            "http://169.254.169.254",
            "http://1.1.1.1.:80@127.0.0.1",
        ] {
            assert_eq!(public.vet(&Url::parse(url).unwrap()), Err(Unreachable::Forbidden), "{url}");
        }
        assert_eq!(public.vet(&Url::parse("http://1.1.1.1").unwrap()), Ok(()));
    }

    #[tokio::test]
    async fn a_name_that_is_not_there_and_one_of_the_inside_read_the_same() {
        let resolve = async |reach: AddressPolicy, name: &str| {
            let Err(error) = reach.resolve(name.parse().unwrap()).await else { panic!("{name}") };
            error.downcast_ref::<Unreachable>().unwrap().clone()
        };
        for name in ["localhost", "no-such-host.invalid"] {
            let public = AddressPolicy::Public { and: Arc::new([]) };
            assert_eq!(resolve(public, name).await, Unreachable::Forbidden, "{name}");
        }
        assert_eq!(resolve(AddressPolicy::Anywhere, "no-such-host.invalid").await, Unreachable::Unresolved);
    }
}
