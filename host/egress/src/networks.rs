//! Which addresses are the public internet's, and which never are: pure functions over the special-purpose registries
//! of IANA (RFC 6890 and its successors).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use voxtra_core::TenantId;

/// A network, as in `10.1.0.0/16` or `fd00:1::/48`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A network that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network; write an address, a slash and a length from 1 to {1}, as in 10.1.0.0/16 or fd00:1::/48")]
pub struct NetworkError(String, u8);

impl Network {
    /// Whether it holds the address; a v4 address inside a v6 one counts as the v4 address.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => v4_in(address, network, self.prefix),
            (IpAddr::V6(network), IpAddr::V6(address)) => v6_in(address, network, self.prefix),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// A lone address is a network of one. The bits after the prefix must be zero, so that a mistyped length is seen.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = |longest| NetworkError(text.chars().take(64).collect(), longest);
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| wrong(128))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse().map_err(|_| wrong(longest))?
            }
            Some(_) => return Err(wrong(longest)),
        };
        let stray = match address {
            IpAddr::V4(address) => u32::from(address) & !v4_mask(prefix) != 0,
            IpAddr::V6(address) => u128::from(address) & !v6_mask(prefix) != 0,
        };
        if prefix == 0 || prefix > longest || stray || address.to_canonical() != address {
            return Err(wrong(longest));
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A private network that the operator lets tenants into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedNetwork {
    /// The network.
    pub network: Network,
    /// Who may; none: every tenant whose allow-list names a host in it.
    pub tenants: Option<Vec<TenantId>>,
}

/// What the operator says of networks; never part of a tenant's own file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OperatorNetworks {
    /// Networks that are not public and may be reached all the same.
    pub allowed: Vec<AllowedNetwork>,
    /// Networks that are public and may not be: the operator's own servers, say the PBX. They come first.
    pub refused: Vec<Network>,
}

impl OperatorNetworks {
    /// Whether the tenant may connect to the address, and if not, what sort of address it is.
    pub fn check(&self, tenant: &TenantId, address: IpAddr) -> Result<(), AddressClass> {
        let class = classify(address);
        if class == AddressClass::Metadata {
            return Err(class);
        }
        if self.refused.iter().any(|network| network.contains(address)) {
            return Err(AddressClass::Operator);
        }
        let granted = self.allowed.iter().any(|allowed| {
            allowed.network.contains(address) && allowed.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
        });
        if granted || class == AddressClass::Public { Ok(()) } else { Err(class) }
    }
}

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressClass {
    /// Anybody's on the internet.
    Public,
    /// A cloud's metadata service, which gives out credentials. Never allowed, whatever networks are.
    Metadata,
    /// The machine itself.
    Loopback,
    /// Private (RFC 1918), or unique-local (RFC 4193).
    Private,
    /// This link only.
    LinkLocal,
    /// Between a provider and its customers (RFC 6598).
    CarrierGrade,
    /// To many.
    Multicast,
    /// No address, or "this network".
    Unspecified,
    /// To all.
    Broadcast,
    /// For examples in texts.
    Documentation,
    /// For measuring devices (RFC 2544).
    Benchmarking,
    /// A v4 address in a v6 one, in a form by which the way it takes cannot be told (6to4, Teredo, v4-compatible).
    Tunnel,
    /// Not given out, or for protocols.
    Reserved,
    /// In a network that the operator refuses.
    Operator,
}

impl AddressClass {
    /// As in "it is … address".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "a public",
            Self::Metadata => "a cloud metadata",
            Self::Loopback => "a loopback",
            Self::Private => "a private",
            Self::LinkLocal => "a link-local",
            Self::CarrierGrade => "a carrier-grade NAT",
            Self::Multicast => "a multicast",
            Self::Unspecified => "an unspecified",
            Self::Broadcast => "a broadcast",
            Self::Documentation => "a documentation",
            Self::Benchmarking => "a benchmarking",
            Self::Tunnel => "a tunnel",
            Self::Reserved => "a reserved",
            Self::Operator => "an operator-refused",
        }
    }
}

/// Addresses of clouds' metadata services: AWS, Azure, GCP and most others; Azure's wire server; Alibaba; Oracle;
/// Tencent; AWS's containers; then AWS and GCP over v6.
const METADATA: [IpAddr; 8] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 0, 23)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// What the address is for. A v4 address inside a v6 one is judged as the v4 address.
pub fn classify(address: IpAddr) -> AddressClass {
    let address = address.to_canonical();
    if METADATA.contains(&address) {
        return AddressClass::Metadata;
    }
    match address {
        IpAddr::V4(address) => classify_v4(address),
        IpAddr::V6(address) => classify_v6(address),
    }
}

type V4Row = ([u8; 4], u8, AddressClass);

/// In this order: the first that holds an address wins.
const V4: [V4Row; 17] = [
    ([0, 0, 0, 0], 8, AddressClass::Unspecified),
    ([127, 0, 0, 0], 8, AddressClass::Loopback),
    ([10, 0, 0, 0], 8, AddressClass::Private),
    ([172, 16, 0, 0], 12, AddressClass::Private),
    ([192, 168, 0, 0], 16, AddressClass::Private),
    ([169, 254, 0, 0], 16, AddressClass::LinkLocal),
    ([100, 64, 0, 0], 10, AddressClass::CarrierGrade),
    ([192, 0, 2, 0], 24, AddressClass::Documentation),
    ([198, 51, 100, 0], 24, AddressClass::Documentation),
    ([203, 0, 113, 0], 24, AddressClass::Documentation),
    ([198, 18, 0, 0], 15, AddressClass::Benchmarking),
    // Protocol assignments (RFC 6890), and what was the relay of 6to4 (RFC 7526).
    ([192, 0, 0, 0], 24, AddressClass::Reserved),
    ([192, 88, 99, 0], 24, AddressClass::Reserved),
    // MCAST-TEST-NET (RFC 6676) is a part of multicast.
    ([224, 0, 0, 0], 4, AddressClass::Multicast),
    ([255, 255, 255, 255], 32, AddressClass::Broadcast),
    ([240, 0, 0, 0], 4, AddressClass::Reserved),
    // The AMT relay (RFC 7450).
    ([192, 52, 193, 0], 24, AddressClass::Reserved),
];

fn classify_v4(address: Ipv4Addr) -> AddressClass {
    let row = V4.iter().find(|(network, prefix, _)| v4_in(address, Ipv4Addr::from(*network), *prefix));
    row.map_or(AddressClass::Public, |(_, _, class)| *class)
}

/// Well-known prefix of NAT64 (RFC 6052): its last 32 bits are the v4 address that is reached.
const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

type V6Row = ([u16; 4], u8, AddressClass);

/// In this order. What none of them holds is public within 2000::/3, the only part that is given out.
const V6: [V6Row; 13] = [
    ([0x64, 0xff9b, 1, 0], 48, AddressClass::Private),
    ([0xfc00, 0, 0, 0], 7, AddressClass::Private),
    // Site-local: not used any more (RFC 3879), but old devices do.
    ([0xfec0, 0, 0, 0], 10, AddressClass::Private),
    ([0xfe80, 0, 0, 0], 10, AddressClass::LinkLocal),
    ([0xff00, 0, 0, 0], 8, AddressClass::Multicast),
    ([0x2001, 0xdb8, 0, 0], 32, AddressClass::Documentation),
    ([0x3fff, 0, 0, 0], 20, AddressClass::Documentation),
    ([0x2001, 2, 0, 0], 48, AddressClass::Benchmarking),
    // Teredo (RFC 4380) and 6to4 (RFC 3056): a v4 address, hidden.
    ([0x2001, 0, 0, 0], 32, AddressClass::Tunnel),
    ([0x2002, 0, 0, 0], 16, AddressClass::Tunnel),
    // The rest of the protocol assignments (RFC 2928), ORCHID among them.
    ([0x2001, 0, 0, 0], 23, AddressClass::Reserved),
    // The discard prefix (RFC 6666).
    ([0x100, 0, 0, 0], 64, AddressClass::Reserved),
    // Segment routing (RFC 9602).
    ([0x5f00, 0, 0, 0], 16, AddressClass::Reserved),
];

fn classify_v6(address: Ipv6Addr) -> AddressClass {
    if v6_in(address, NAT64, 96) {
        return classify(IpAddr::V4(low_v4(address)));
    }
    match address {
        Ipv6Addr::UNSPECIFIED => return AddressClass::Unspecified,
        Ipv6Addr::LOCALHOST => return AddressClass::Loopback,
        _ if v6_in(address, Ipv6Addr::UNSPECIFIED, 96) => return AddressClass::Tunnel,
        _ => {}
    }
    let in_row = |&&([a, b, c, d], prefix, _): &&V6Row| v6_in(address, Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), prefix);
    match V6.iter().find(in_row) {
        Some((_, _, class)) => *class,
        None if v6_in(address, Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3) => isatap(address),
        None => AddressClass::Reserved,
    }
}

/// ISATAP (RFC 5214) puts a v4 address into the interface's part of any network.
fn isatap(address: Ipv6Addr) -> AddressClass {
    let [_, _, _, _, mark, is_isatap, _, _] = address.segments();
    let inner = classify(IpAddr::V4(low_v4(address)));
    let tunnelled = (mark & !0x0200) == 0 && is_isatap == 0x5efe && inner != AddressClass::Public;
    if tunnelled { AddressClass::Tunnel } else { AddressClass::Public }
}

fn low_v4(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

fn v4_mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32_u32.saturating_sub(u32::from(prefix))).unwrap_or(0)
}

fn v6_mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(prefix))).unwrap_or(0)
}

fn v4_in(address: Ipv4Addr, network: Ipv4Addr, prefix: u8) -> bool {
    (u32::from(address) ^ u32::from(network)) & v4_mask(prefix) == 0
}

fn v6_in(address: Ipv6Addr, network: Ipv6Addr, prefix: u8) -> bool {
    (u128::from(address) ^ u128::from(network)) & v6_mask(prefix) == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn class(text: &str) -> AddressClass {
        classify(text.parse().unwrap())
    }

    #[test]
    fn the_named_addresses_are_what_they_are() {
        use AddressClass::*;
        for (address, expected) in [
            ("127.0.0.1", Loopback),
            ("127.255.255.254", Loopback),
            ("::1", Loopback),
            ("::ffff:127.0.0.1", Loopback),
            ("64:ff9b::7f00:1", Loopback),
            ("::127.0.0.1", Tunnel),
            ("10.0.0.1", Private),
            ("172.15.255.255", Public),
            ("172.16.0.0", Private),
            ("172.31.255.255", Private),
            ("172.32.0.0", Public),
            ("192.168.255.255", Private),
            ("::ffff:192.168.1.1", Private),
            ("64:ff9b::c0a8:101", Private),
            ("64:ff9b:1::808:808", Private),
            ("fd12:3456::1", Private),
            ("fc00::", Private),
            ("fec0::1", Private),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("169.254.0.1", LinkLocal),
            ("169.254.169.254", Metadata),
            ("::ffff:169.254.169.254", Metadata),
            ("64:ff9b::a9fe:a9fe", Metadata),
            ("100.100.100.200", Metadata),
            ("168.63.129.16", Metadata),
            ("fd00:ec2::254", Metadata),
            ("fd20:ce::254", Metadata),
            ("100.63.255.255", Public),
            ("100.64.0.0", CarrierGrade),
            ("100.127.255.255", CarrierGrade),
            ("100.128.0.0", Public),
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("::", Unspecified),
            ("224.0.0.1", Multicast),
            ("239.255.255.255", Multicast),
            ("ff02::1", Multicast),
            ("255.255.255.255", Broadcast),
            ("240.0.0.1", Reserved),
            ("192.0.2.1", Documentation),
            ("198.51.100.7", Documentation),
            ("203.0.113.7", Documentation),
            ("2001:db8::1", Documentation),
            ("3fff:fff::1", Documentation),
            ("198.18.0.1", Benchmarking),
            ("198.19.255.255", Benchmarking),
            ("198.20.0.0", Public),
            ("2001:2::1", Benchmarking),
            ("2001::1", Tunnel),
            ("2002:7f00:1::", Tunnel),
            ("2002:808:808::", Tunnel),
            ("2001:20::1", Reserved),
            ("100::1", Reserved),
            ("4000::1", Reserved),
            ("::ffff:0:127.0.0.1", Reserved),
            ("2a00:1450:4001::5efe:a00:1", Tunnel),
            ("2a00:1450:4001:0:200:5efe:808:808", Public),
            ("2a00:1450:4001:80b::200e", Public),
            ("8.8.8.8", Public),
            ("::ffff:8.8.8.8", Public),
            ("64:ff9b::808:808", Public),
        ] {
            assert_eq!(class(address), expected, "{address}");
        }
    }

    /// Judged by the standard library where it can tell, which was written by others.
    fn surely_not_public(address: Ipv4Addr) -> bool {
        address.is_private()
            || address.is_loopback()
            || address.is_link_local()
            || address.is_broadcast()
            || address.is_documentation()
            || address.is_multicast()
            || address.is_unspecified()
    }

    fn near_special() -> impl Strategy<Value = Ipv4Addr> {
        let row = (0..V4.len(), any::<u32>()).prop_map(|(row, host)| {
            let (network, prefix, _) = V4[row];
            Ipv4Addr::from(u32::from(Ipv4Addr::from(network)) ^ (host & !v4_mask(prefix)))
        });
        prop_oneof![any::<u32>().prop_map(Ipv4Addr::from), row]
    }

    proptest! {
        #[test]
        fn what_the_library_knows_as_special_is_never_public(address in near_special()) {
            if surely_not_public(address) {
                prop_assert_ne!(classify(address.into()), AddressClass::Public);
            }
        }

        #[test]
        fn a_v4_address_is_not_more_public_for_being_inside_a_v6_one(address in near_special()) {
            let outer = classify(address.into());
            let low = u128::from(u32::from(address));
            let forms = [
                Ipv6Addr::from(low | 0xffff_0000_0000),
                Ipv6Addr::from(low),
                Ipv6Addr::from(u128::from(NAT64) | low),
                Ipv6Addr::from((0x2002_u128 << 112) | (low << 80)),
                Ipv6Addr::from((0x2001_u128 << 112) | u128::from(!u32::from(address))),
                Ipv6Addr::from((0x2a00_1450_u128 << 96) | (0x5efe_u128 << 32) | low),
            ];
            for form in forms {
                let class = classify(form.into());
                prop_assert!(class != AddressClass::Public || outer == AddressClass::Public, "{} as {}", address, form);
            }
            let [mapped, _, nat64, ..] = forms;
            prop_assert_eq!(classify(mapped.into()), outer);
            prop_assert_eq!(classify(nat64.into()), outer);
        }

        #[test]
        fn only_given_out_v6_addresses_are_public(bits in any::<u128>()) {
            let address = Ipv6Addr::from(bits);
            if classify(address.into()) == AddressClass::Public && address.to_ipv4_mapped().is_none() {
                prop_assert!(bits >> 125 == 1 || v6_in(address, NAT64, 96));
            }
        }

        #[test]
        fn a_network_is_read_as_it_is_written(bits in any::<u32>(), prefix in 1u8..=32, other in any::<u32>()) {
            let base = Ipv4Addr::from(bits & v4_mask(prefix));
            let network: Network = format!("{base}/{prefix}").parse().unwrap();
            prop_assert_eq!(network.to_string(), format!("{base}/{prefix}"));
            let inside = (other & v4_mask(prefix)) == u32::from(base);
            prop_assert_eq!(network.contains(Ipv4Addr::from(other).into()), inside);
        }

        #[test]
        fn no_text_breaks_the_reader_of_networks(text in ".{0,40}") {
            let _ = text.parse::<Network>();
        }
    }

    #[test]
    fn a_wrong_network_is_told_in_a_sentence() {
        for wrong in
            ["", "x", "10.0.0.0/33", "10.0.0.1/8", "0.0.0.0/0", "::/0", "10.0.0.0/+8", "10.0.0.0/", "::ffff:0:0/96"]
        {
            let error = wrong.parse::<Network>().unwrap_err();
            assert!(error.to_string().contains("as in 10.1.0.0/16"), "{wrong}: {error}");
        }
        assert_eq!("10.0.0.5".parse::<Network>().unwrap().to_string(), "10.0.0.5/32");
    }

    #[test]
    fn only_the_operator_opens_a_private_network_and_never_the_metadata() {
        let acme = TenantId::new("acme");
        let beta = TenantId::new("beta");
        let networks = OperatorNetworks {
            allowed: vec![
                AllowedNetwork { network: "10.1.0.0/16".parse().unwrap(), tenants: Some(vec![acme.clone()]) },
                AllowedNetwork { network: "169.254.0.0/16".parse().unwrap(), tenants: None },
            ],
            refused: vec!["8.8.4.0/24".parse().unwrap(), "10.1.9.0/24".parse().unwrap()],
        };
        let check = |tenant: &TenantId, address: &str| networks.check(tenant, address.parse().unwrap());
        assert_eq!(check(&acme, "10.1.2.3"), Ok(()));
        assert_eq!(check(&acme, "::ffff:10.1.2.3"), Ok(()));
        assert_eq!(check(&beta, "10.1.2.3"), Err(AddressClass::Private));
        assert_eq!(check(&acme, "10.2.0.1"), Err(AddressClass::Private));
        assert_eq!(check(&acme, "10.1.9.1"), Err(AddressClass::Operator));
        assert_eq!(check(&acme, "8.8.4.4"), Err(AddressClass::Operator));
        assert_eq!(check(&acme, "169.254.1.1"), Ok(()));
        assert_eq!(check(&acme, "169.254.169.254"), Err(AddressClass::Metadata));
        assert_eq!(OperatorNetworks::default().check(&acme, "127.0.0.1".parse().unwrap()), Err(AddressClass::Loopback));
    }
}
