//! What is LLM traffic: the agent's verdicts, and what the kernel half can tell by itself.

/// What the agent found out about a request: values of [`Decision::verdict`].
pub mod verdict {
    /// No LLM traffic: nothing more is copied until bytes begin like the next request.
    pub const NOT_LLM: u8 = 1;
    /// LLM traffic: everything of this request and its answer is copied.
    pub const LLM: u8 = 2;
    /// The whole connection goes to an LLM provider: its requests are presumed to be LLM traffic.
    pub const LLM_HOST: u8 = 3;
    /// Nobody can read this connection: nothing more is copied for as long as it lives.
    pub const IGNORE: u8 = 4;
    /// HTTP/2, and neither this request nor those before it are LLM traffic: glanced at until the next request begins.
    pub const GLANCE: u8 = 5;
}

/// Value of the map `DECISIONS`, whose key is a [`crate::session::SessionKey`]. It holds for one request of one generation: a verdict that
/// comes after the next request has begun is not taken.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    pub generation: u16,
    /// [`crate::session::Session::request`] at the time. Not looked at for [`verdict::LLM_HOST`] and [`verdict::IGNORE`], nor for
    /// [`verdict::LLM`] of HTTP/2.
    pub request: u16,
    /// [`verdict`].
    pub verdict: u8,
    pub reserved: u8,
    /// Tells this decision from those before it: the kernel half takes each once.
    pub serial: u16,
}

/// Bytes of a path's end by which the kernel half knows it: enough for `chat/completions`.
pub const PATH_TAIL_BYTES: usize = 16;

/// Key of the map `LLM_PATHS`: the last bytes of a path without its query, zeros before a shorter one.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PathTail(pub [u8; PATH_TAIL_BYTES]);

impl PathTail {
    /// Of a request target: what follows `?` does not count.
    pub fn of(target: &[u8]) -> Self {
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let mut tail = [0; PATH_TAIL_BYTES];
        for (place, byte) in tail.iter_mut().rev().zip(path.iter().rev()) {
            *place = *byte;
        }
        Self(tail)
    }
}

/// Key of the map `LLM_NAMES`: FNV-1a (64 bits) of a server name, ASCII letters in lower case, without a dot at its end.
pub const fn server_name_hash(name: &[u8]) -> u64 {
    let mut hash = FNV_OFFSET;
    let mut at = 0;
    #[expect(clippy::indexing_slicing, reason = "const: no iterator; `at` is below the length")]
    while at < name.len() {
        hash = fnv_1a(hash, name[at]);
        at += 1;
    }
    hash
}

/// The hash of nothing.
pub const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// One more byte.
pub const fn fnv_1a(hash: u64, byte: u8) -> u64 {
    (hash ^ byte.to_ascii_lowercase() as u64).wrapping_mul(0x100_0000_01b3)
}

/// Key of the map `HITS`: entry probes of one attachment in one process.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HitKey {
    pub attachment: u64,
    pub tgid: u32,
    pub reserved: u32,
}

/// Key of the map `DUPLICATES`: one call came through both attachments, so their files are one to the kernel.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DuplicateKey {
    /// The smaller of the two.
    pub one: u64,
    pub other: u64,
}

const _: () = {
    use core::mem::size_of;
    assert!(size_of::<Decision>() == 8);
    assert!(size_of::<PathTail>() == 16);
    assert!(size_of::<HitKey>() == 16);
    assert!(size_of::<DuplicateKey>() == 16);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_by_its_end() {
        assert_eq!(PathTail::of(b"/openai/deployments/x/chat/completions?api-version=1"), PathTail(*b"chat/completions"));
        assert_eq!(PathTail::of(b"/v1/messages"), PathTail(*b"\0\0\0\0/v1/messages"));
        assert_eq!(PathTail::of(b""), PathTail([0; 16]));
    }

    #[test]
    fn names_are_compared_without_case() {
        assert_eq!(server_name_hash(b"API.openai.com"), server_name_hash(b"api.openai.com"));
        assert_ne!(server_name_hash(b"api.openai.com"), server_name_hash(b"api.openai.co"));
        // The published test vector of FNV-1a for "a".
        assert_eq!(server_name_hash(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
