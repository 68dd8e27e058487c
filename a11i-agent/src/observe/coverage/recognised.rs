//! What came through which probes, as the event loop reads it: whether a library's functions are what they were taken for. The coverage thread
//! is told once of each attachment and kind.

use std::collections::HashSet;

use a11i_common::identity::AttachmentId;
use tokio::sync::mpsc;

/// The event loop's end.
#[derive(Debug)]
pub(in crate::observe) struct Recognised {
    known: HashSet<(AttachmentId, bool)>,
    told: mpsc::Sender<(AttachmentId, bool)>,
}

/// The coverage thread's end.
pub(in crate::observe) type RecognisedInbox = mpsc::Receiver<(AttachmentId, bool)>;

/// Attachments that are first hit within one pause of the coverage thread. One that finds no room is told with its next connection.
const UNDER_WAY: usize = 256;

/// More than there are attachments at a time. They have new ids when they move; when there are more, all are told again.
const MAX_KNOWN: usize = 16_384;

impl Recognised {
    pub(in crate::observe) fn new() -> (Self, RecognisedInbox) {
        let (told, inbox) = mpsc::channel(UNDER_WAY);
        (Self { known: HashSet::new(), told }, inbox)
    }

    /// A connection was read as HTTP, or as nothing that is known.
    pub(in crate::observe) fn handle(&mut self, attachment: AttachmentId, is_http: bool) {
        if self.known.contains(&(attachment, is_http)) || self.told.try_send((attachment, is_http)).is_err() {
            return;
        }
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert((attachment, is_http));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_once_and_again_where_there_was_no_room() {
        let (mut recognised, mut inbox) = Recognised::new();
        for (id, is_http) in [(1, true), (1, true), (1, false), (2, true)] {
            recognised.handle(AttachmentId(id), is_http);
        }
        let told: Vec<_> = std::iter::from_fn(|| inbox.try_recv().ok()).collect();
        assert_eq!(told, [(AttachmentId(1), true), (AttachmentId(1), false), (AttachmentId(2), true)]);
        let full = u64::try_from(UNDER_WAY).unwrap() + 10;
        for _ in 0..2 {
            (10..=full).for_each(|id| recognised.handle(AttachmentId(id), true));
            while inbox.try_recv().is_ok() {}
        }
        assert!(recognised.known.contains(&(AttachmentId(full), true)));
    }
}
