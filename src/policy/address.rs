//! Which addresses a resolved name may lead to.
//!
//! For IPv6 only global unicast (2000::/3) is let through, minus what is carved out of it; for
//! IPv4 the special-purpose registry is refused. Forms that carry an IPv4 address inside an IPv6
//! one are judged by what they carry.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns why an address that a public name resolved to is not dialled, none when it may be.
pub(super) fn refusal(address: IpAddr) -> Option<&'static str> {
    never(address).or_else(|| match address {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    })
}

/// Returns why an address is never dialled, not even when a person pinned a name to it.
pub(super) fn never(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => never_v4(v4),
        IpAddr::V6(v6) => never_v6(v6).or_else(|| carried(v6).and_then(never_v4)),
    }
}

fn never_v4(v4: Ipv4Addr) -> Option<&'static str> {
    match v4.octets() {
        [169, 254, 169, 254] | [100, 100, 100, 200] | [168, 63, 129, 16] | [192, 0, 0, 192] => {
            Some("a metadata service")
        }
        [169, 254, ..] => Some("link-local"),
        [0, ..] => Some("unspecified"),
        [224..=239, ..] => Some("multicast"),
        [255, 255, 255, 255] => Some("broadcast"),
        _ => None,
    }
}

fn never_v6(v6: Ipv6Addr) -> Option<&'static str> {
    match v6.segments() {
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => {
            Some("a metadata service")
        }
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        _ => None,
    }
}

fn special_v4(v4: Ipv4Addr) -> Option<&'static str> {
    match v4.octets() {
        [127, ..] => Some("loopback"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("private"),
        [100, 64..=127, ..] => Some("shared by a carrier (CGNAT)"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some("for documentation only"),
        [192, 0, 0, _] | [192, 88, 99, _] | [198, 18 | 19, ..] | [240..=255, ..] => {
            Some("reserved")
        }
        _ => None,
    }
}

fn special_v6(v6: Ipv6Addr) -> Option<&'static str> {
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => carried(v6).and_then(special_v4),
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Some("private"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("for documentation only"),
        [0x2002, ..] | [0x2001, 0..=0x1ff, ..] => Some("a transition or reserved form"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("not globally routed"),
    }
}

/// Returns the IPv4 address inside a mapped, compatible, translated, 6to4, NAT64 or Teredo form.
fn carried(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => {
            join(high, low)
        }
        [0x64, 0xff9b, 0 | 1, .., high, low] => join(high, low),
        [0x2002, high, low, ..] => join(high, low),
        [0x2001, 0, .., high, low] => join(!high, !low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> bool {
        refusal(text.parse().unwrap()).is_some()
    }

    #[test]
    fn what_is_not_public_is_refused() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.254",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.65.7",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.9",
            "198.18.0.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "192.88.99.1",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "3fff::1",
            "2001::1",
            "2001:2::1",
            "2002::1",
            "100::1",
            "5f00::1",
            "4000::1",
            "64:ff9b:1::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "2002:7f00:1::",
            "2002:808:808::",
            "64:ff9b::7f00:1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::192.168.1.1",
        ] {
            assert!(refused(text), "{text}");
        }
    }

    #[test]
    fn public_addresses_are_let_through() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "192.167.1.1",
            "11.0.0.1",
            "168.63.129.17",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2a00::1",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(!refused(text), "{text}");
        }
    }

    #[test]
    fn metadata_and_link_local_are_never_dialled_in_any_form() {
        for text in [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::a9fe:a9fe",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "2002:a9fe:a9fe::1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "2001:0:1:2:3:4:5601:5601",
            "::ffff:168.63.129.16",
            "64:ff9b::100.100.100.200",
        ] {
            assert!(never(text.parse().unwrap()).is_some(), "{text}");
        }
        assert!(
            never(Ipv4Addr::LOCALHOST.into()).is_none()
                && never(Ipv6Addr::LOCALHOST.into()).is_none()
        );
    }
}
