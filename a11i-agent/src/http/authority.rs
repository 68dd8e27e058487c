//! Host and port of a request (RFC 3986 section 3.2).

/// Host in lower case and port. IPv6 addresses lose their brackets; user names and passwords are dropped.
pub(super) fn split_authority(authority: &str) -> (Option<String>, Option<u16>) {
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => (address, rest.strip_prefix(':')),
        None => authority.rsplit_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    ((!host.is_empty()).then_some(host), port.and_then(|port| port.parse().ok()))
}
