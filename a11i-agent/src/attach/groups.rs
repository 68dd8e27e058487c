//! Which kernel program serves which probe of a plan.

use a11i_common::probe::Operation;

use super::{Probe, ProbeKind, ProgramName};
use crate::capture::{
    features::AttachMode,
    loader::{
        MULTI_ENTER, MULTI_GO_ENTER, MULTI_GO_LEAVE, MULTI_GO_LIFE, MULTI_LEAVE, MULTI_LIFE, MULTI_RUSTLS_ENTER, MULTI_RUSTLS_EXIT,
        SINGLE_PROGRAMS, SINGLE_RETURN,
    },
};

/// Probes that one link (or, without uprobe-multi, one program) serves.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    pub program: &'static str,
    pub points: Vec<(u64, Operation)>,
}

/// The plan's probes by kernel program, in the order of attachment: returns and exits, session life, entries.
pub(super) fn groups(mode: AttachMode, probes: &[Probe]) -> Vec<Group> {
    let mut groups: Vec<(u8, Group)> = Vec::new();
    for probe in probes {
        let operation = operation(probe.program);
        let (rank, program) = match (mode, probe.kind) {
            (AttachMode::Multi, ProbeKind::Return) => (0, MULTI_LEAVE),
            (AttachMode::PerfEvent, ProbeKind::Return) => (0, SINGLE_RETURN),
            (AttachMode::Multi, ProbeKind::Exit) if is_rustls(probe.program) => (0, MULTI_RUSTLS_EXIT),
            (AttachMode::Multi, ProbeKind::Exit) => (0, MULTI_GO_LEAVE),
            (AttachMode::Multi, ProbeKind::Entry) if is_rustls(probe.program) => (2, MULTI_RUSTLS_ENTER),
            (AttachMode::Multi, ProbeKind::Entry) if moves_go_bytes(operation) => (2, MULTI_GO_ENTER),
            (AttachMode::Multi, ProbeKind::Entry)
                if matches!(
                    operation,
                    Operation::GoClose
                        | Operation::GoCloseWrite
                        | Operation::GoHandshake
                        | Operation::GoOuterHandshake
                        | Operation::GoOuterClose
                ) =>
            {
                (1, MULTI_GO_LIFE)
            }
            (AttachMode::Multi, ProbeKind::Entry) if operation.has_return() => (2, MULTI_ENTER),
            (AttachMode::Multi, ProbeKind::Entry) => (1, MULTI_LIFE),
            (AttachMode::PerfEvent, ProbeKind::Entry | ProbeKind::Exit) => {
                let Some((name, _)) = SINGLE_PROGRAMS.iter().find(|(_, known)| *known == operation) else { continue };
                let transfers = operation.has_return() || is_rustls(probe.program) || moves_go_bytes(operation);
                (if probe.kind == ProbeKind::Exit { 0 } else { 1 + u8::from(transfers) }, *name)
            }
        };
        let point = (probe.offset, operation);
        match groups.iter_mut().find(|(_, group)| group.program == program) {
            Some((_, group)) => group.points.push(point),
            None => groups.push((rank, Group { program, points: vec![point] })),
        }
    }
    groups.sort_by_key(|(rank, _)| *rank);
    groups.into_iter().map(|(_, group)| group).collect()
}

/// At the entry of a function of Go that writes or reads.
const fn moves_go_bytes(operation: Operation) -> bool {
    matches!(operation, Operation::GoWrite | Operation::GoRead | Operation::GoOuterWrite | Operation::GoOuterRead)
}

/// What the cookie of a probe says. For returns (not for exits) it is not looked at.
const fn operation(program: ProgramName) -> Operation {
    match program {
        ProgramName::TlsWrite | ProgramName::TlsReturn => Operation::Write,
        ProgramName::TlsRead => Operation::Read,
        ProgramName::TlsWriteEx => Operation::WriteEx,
        ProgramName::TlsReadEx => Operation::ReadEx,
        ProgramName::TlsWriteEx2 => Operation::WriteEx2,
        ProgramName::TlsWriteEarlyData => Operation::WriteEarlyData,
        ProgramName::TlsReadEarlyData => Operation::ReadEarlyData,
        ProgramName::SessionFree => Operation::Free,
        ProgramName::SessionClear => Operation::Clear,
        ProgramName::SessionShutdown => Operation::Shutdown,
        ProgramName::SslCtrl => Operation::Control,
        ProgramName::SetHostName => Operation::SetHostName,
        ProgramName::GoWrite => Operation::GoWrite,
        ProgramName::GoRead => Operation::GoRead,
        ProgramName::GoWriteReturn => Operation::GoWriteReturn,
        ProgramName::GoReadReturn => Operation::GoReadReturn,
        ProgramName::GoReadReturnKept => Operation::GoReadReturnKept,
        ProgramName::GoClose => Operation::GoClose,
        ProgramName::GoCloseWrite => Operation::GoCloseWrite,
        ProgramName::GoHandshake => Operation::GoHandshake,
        ProgramName::GoOuterWrite => Operation::GoOuterWrite,
        ProgramName::GoOuterHandshake => Operation::GoOuterHandshake,
        ProgramName::GoOuterRead => Operation::GoOuterRead,
        ProgramName::GoOuterClose => Operation::GoOuterClose,
        ProgramName::GnuTlsSend => Operation::GnuTlsSend,
        ProgramName::GnuTlsSend2 => Operation::GnuTlsSend2,
        ProgramName::GnuTlsRecv => Operation::GnuTlsRecv,
        ProgramName::GnuTlsSendEarlyData => Operation::GnuTlsSendEarlyData,
        ProgramName::GnuTlsUncork => Operation::GnuTlsUncork,
        ProgramName::GnuTlsRecvPacket => Operation::GnuTlsRecvPacket,
        ProgramName::GnuTlsServerName => Operation::GnuTlsServerName,
        ProgramName::RustlsEncrypt => Operation::RustlsEncrypt,
        ProgramName::RustlsDecrypt => Operation::RustlsDecrypt,
        ProgramName::RustlsDecryptExit => Operation::RustlsDecryptExit,
        ProgramName::RustlsDrop => Operation::RustlsDrop,
    }
}

/// Whose arguments are the Rust compiler's.
const fn is_rustls(program: ProgramName) -> bool {
    matches!(program, ProgramName::RustlsEncrypt | ProgramName::RustlsDecrypt | ProgramName::RustlsDecryptExit | ProgramName::RustlsDrop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(program: ProgramName, kind: ProbeKind, offset: u64) -> Probe {
        Probe { program, kind, symbol: String::new(), offset }
    }

    fn plan() -> Vec<Probe> {
        vec![
            probe(ProgramName::TlsWrite, ProbeKind::Entry, 1),
            probe(ProgramName::TlsReturn, ProbeKind::Return, 1),
            probe(ProgramName::TlsRead, ProbeKind::Entry, 2),
            probe(ProgramName::TlsReturn, ProbeKind::Return, 2),
            probe(ProgramName::SessionFree, ProbeKind::Entry, 3),
        ]
    }

    #[test]
    fn a_multi_plan_needs_three_links_and_returns_are_armed_before_entries() {
        let groups = groups(AttachMode::Multi, &plan());
        let shown: Vec<_> = groups.iter().map(|g| (g.program, g.points.len())).collect();
        assert_eq!(shown, [(MULTI_LEAVE, 2), (MULTI_LIFE, 1), (MULTI_ENTER, 2)]);
    }

    #[test]
    fn exits_of_rustls_are_armed_before_its_entries() {
        let plan = [
            probe(ProgramName::RustlsEncrypt, ProbeKind::Entry, 1),
            probe(ProgramName::RustlsDecrypt, ProbeKind::Entry, 2),
            probe(ProgramName::RustlsDecryptExit, ProbeKind::Exit, 3),
            probe(ProgramName::RustlsDrop, ProbeKind::Entry, 4),
        ];
        let shown = |mode| groups(mode, &plan).iter().map(|g| (g.program, g.points.len())).collect::<Vec<_>>();
        assert_eq!(shown(AttachMode::Multi), [(MULTI_RUSTLS_EXIT, 1), (MULTI_RUSTLS_ENTER, 3)]);
        let single = [("rustls_decrypt_exit", 1), ("rustls_encrypt", 1), ("rustls_decrypt", 1), ("rustls_drop", 1)];
        assert_eq!(shown(AttachMode::PerfEvent), single);
    }

    #[test]
    fn single_probes_go_to_the_program_of_their_function() {
        let groups = groups(AttachMode::PerfEvent, &plan());
        let shown: Vec<_> = groups.iter().map(|g| (g.program, g.points.len())).collect();
        assert_eq!(shown, [(SINGLE_RETURN, 2), ("session_free", 1), ("tls_write", 1), ("tls_read", 1)]);
    }

    #[test]
    fn programs_that_have_a_return_are_those_whose_operation_has_one() {
        for program in ProgramName::ALL.into_iter().filter(|program| *program != ProgramName::TlsReturn) {
            assert_eq!(program.has_return(), operation(program).has_return(), "{program:?}");
        }
    }

    #[test]
    fn every_operation_has_a_program_of_its_own_for_single_probes() {
        for program in ProgramName::ALL.into_iter().filter(|program| *program != ProgramName::TlsReturn) {
            assert_eq!(SINGLE_PROGRAMS.iter().filter(|(_, known)| *known == operation(program)).count(), 1, "{program:?}");
        }
    }

    #[test]
    fn exits_are_armed_before_entries_in_either_mode() {
        let plan = [
            probe(ProgramName::GoWrite, ProbeKind::Entry, 1),
            probe(ProgramName::GoWriteReturn, ProbeKind::Exit, 2),
            probe(ProgramName::GoWriteReturn, ProbeKind::Exit, 3),
            probe(ProgramName::GoClose, ProbeKind::Entry, 4),
        ];
        let shown = |mode| groups(mode, &plan).iter().map(|g| (g.program, g.points.len())).collect::<Vec<_>>();
        assert_eq!(shown(AttachMode::Multi), [(MULTI_GO_LEAVE, 2), (MULTI_GO_LIFE, 1), (MULTI_GO_ENTER, 1)]);
        assert_eq!(shown(AttachMode::PerfEvent), [("go_write_return", 2), ("go_close", 1), ("go_write", 1)]);
    }
}
