//! Attachment ids carry what is known of their probes, so that no record has to wait for a table.

use a11i_common::identity::AttachmentId;

use super::{CaptureFacts, CaptureLibrary, CaptureMethod};

const LIBRARIES: [CaptureLibrary; 8] = [
    CaptureLibrary::OpenSsl,
    CaptureLibrary::BoringSsl,
    CaptureLibrary::LibreSsl,
    CaptureLibrary::AwsLc,
    CaptureLibrary::GnuTls,
    CaptureLibrary::Go,
    CaptureLibrary::Rustls,
    CaptureLibrary::Plaintext,
];

const METHODS: [CaptureMethod; 6] = [
    CaptureMethod::Symbol,
    CaptureMethod::Gopclntab,
    CaptureMethod::Structure,
    CaptureMethod::Anchor,
    CaptureMethod::Signature,
    CaptureMethod::Socket,
];

impl CaptureFacts {
    /// Bits 0-7: library + 1, 8-15: method + 1, 16-47: serial number. It fits the cookie's 56 bits (`a11i_common::probe`).
    pub fn to_attachment(self, serial: u32) -> AttachmentId {
        let code = |position: Option<usize>| position.and_then(|at| u64::try_from(at).ok()).map_or(0, |at| at + 1);
        let library = code(LIBRARIES.iter().position(|known| Some(*known) == self.library));
        let method = code(METHODS.iter().position(|known| Some(*known) == self.method));
        AttachmentId(library | (method << 8) | (u64::from(serial) << 16))
    }

    /// What an id says; nothing of id 0, which kernels without attach cookies give.
    pub fn of_attachment(attachment: AttachmentId) -> Self {
        let at = |bits: u64| usize::try_from(bits & 0xff).ok().and_then(|code| code.checked_sub(1));
        Self {
            library: at(attachment.0).and_then(|at| LIBRARIES.get(at).copied()),
            method: at(attachment.0 >> 8).and_then(|at| METHODS.get(at).copied()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_survive_the_way_through_an_id() {
        for library in LIBRARIES {
            for method in METHODS {
                let facts = CaptureFacts { library: Some(library), method: Some(method) };
                assert_eq!(CaptureFacts::of_attachment(facts.to_attachment(u32::MAX)), facts);
            }
        }
        assert_eq!(CaptureFacts::of_attachment(AttachmentId(0)), CaptureFacts::default());
        assert_eq!(CaptureFacts::of_attachment(AttachmentId(u64::MAX)), CaptureFacts::default());
    }

    #[test]
    fn an_id_fits_the_cookie() {
        let facts = CaptureFacts { library: Some(CaptureLibrary::Plaintext), method: Some(CaptureMethod::Socket) };
        assert!(facts.to_attachment(u32::MAX).0 < 1 << 56);
    }
}
