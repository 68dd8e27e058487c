//! What calls say for and against functions that were found without names.

/// Value of the map `EVIDENCE`, by attachment. The agent makes the entry while the attachment is on probation and takes it away afterwards;
/// the kernel half only counts. By [`crate::identity::Direction`].
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProbeEvidence {
    /// Calls whose arguments and result are what the function's would be.
    pub fitting: [u64; 2],
    /// Calls that the function cannot have had: no record where one has to be, more bytes than fit, memory that is not there.
    pub contradicting: [u64; 2],
}

const _: () = {
    use core::mem::size_of;
    assert!(size_of::<ProbeEvidence>() == 32);
};
