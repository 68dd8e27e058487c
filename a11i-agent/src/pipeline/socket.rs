//! What the kernel says of a connection's socket, as addresses.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use a11i_common::event::SocketEnds;

use crate::provider::ConnectionSocket;

/// Address families of the Linux ABI.
const UNIX: u16 = 1;
const INET: u16 = 2;
const INET6: u16 = 10;

/// None where the other end is unknown.
pub(super) fn connection_socket(ends: &SocketEnds, path: &[u8]) -> Option<ConnectionSocket> {
    let address = |bytes: &[u8; 16]| match ends.family {
        INET => bytes.first_chunk::<4>().map(|v4| IpAddr::V4(Ipv4Addr::from(*v4))),
        // A socket of both families has an IPv4 peer mapped into IPv6.
        INET6 => Some(Ipv6Addr::from(*bytes).to_canonical()),
        _ => None,
    };
    if ends.family == UNIX {
        return Some(ConnectionSocket::Unix(unix_name(path)));
    }
    if ends.remote_port == 0 {
        return None;
    }
    Some(ConnectionSocket::Internet {
        local: SocketAddr::new(address(&ends.local)?, ends.local_port),
        remote: SocketAddr::new(address(&ends.remote)?, ends.remote_port),
    })
}

/// A path ends at its zero; an abstract name begins with one, which is written `@` as other tools do.
fn unix_name(path: &[u8]) -> Option<String> {
    let (text, is_abstract) = match path.split_first()? {
        (0, name) => (name, true),
        _ => (path.split(|byte| *byte == 0).next()?, false),
    };
    let text = std::str::from_utf8(text).ok().filter(|text| !text.is_empty() && !text.contains('\0'))?;
    Some(if is_abstract { format!("@{text}") } else { text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_are_read_and_mapped_ones_are_those_of_ipv4() {
        let mut ends = SocketEnds { family: INET, local_port: 4_000, remote_port: 8_080, local: [0; 16], remote: [0; 16] };
        ends.local[..4].copy_from_slice(&[127, 0, 0, 1]);
        ends.remote[..4].copy_from_slice(&[127, 0, 0, 2]);
        let expected =
            |local: &str, remote: &str| Some(ConnectionSocket::Internet { local: local.parse().unwrap(), remote: remote.parse().unwrap() });
        assert_eq!(connection_socket(&ends, b""), expected("127.0.0.1:4000", "127.0.0.2:8080"));
        let mapped = |last| Ipv4Addr::new(127, 0, 0, last).to_ipv6_mapped().octets();
        let ends = SocketEnds { family: INET6, local: mapped(1), remote: mapped(2), ..ends };
        assert_eq!(connection_socket(&ends, b""), expected("127.0.0.1:4000", "127.0.0.2:8080"));
        let ends = SocketEnds { local: Ipv6Addr::LOCALHOST.octets(), remote: Ipv6Addr::LOCALHOST.octets(), ..ends };
        assert_eq!(connection_socket(&ends, b""), expected("[::1]:4000", "[::1]:8080"));
    }

    #[test]
    fn what_is_not_known_is_absent() {
        assert_eq!(connection_socket(&SocketEnds { family: INET, ..SocketEnds::default() }, b""), None);
        assert_eq!(connection_socket(&SocketEnds { family: 99, remote_port: 1, ..SocketEnds::default() }, b""), None);
    }

    #[test]
    fn a_unix_socket_is_named_by_its_path_or_its_abstract_name() {
        let named = |path: &[u8]| connection_socket(&SocketEnds { family: UNIX, ..SocketEnds::default() }, path);
        let unix = |name: Option<&str>| Some(ConnectionSocket::Unix(name.map(str::to_owned)));
        assert_eq!(named(b"/run/ollama.sock\0"), unix(Some("/run/ollama.sock")));
        assert_eq!(named(b"/run/ollama.sock"), unix(Some("/run/ollama.sock")));
        assert_eq!(named(b"\0vllm"), unix(Some("@vllm")));
        for nothing in [b"".as_slice(), b"\0", b"\xff\xfe", b"\0a\0b"] {
            assert_eq!(named(nothing), unix(None), "{nothing:?}");
        }
    }
}
