//! The gate: a process of the caller's that waits, and then becomes the command.
//!
//! It is this program again, with a socket as its standard input. What opens the gate is one message on that socket: a byte, and the
//! caller's own standard input as a passed descriptor (unix(7), `SCM_RIGHTS`), which the command then has. So the command's
//! environment, descriptors and their numbers are those of the caller: nothing is left over and nothing is moved. A socket that ends
//! without the message means that a11i failed or was killed, and that the command is not run.

use std::{
    ffi::OsString,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::Path,
    process::{ExitCode, Stdio},
};

use anyhow::{Context as _, Result};
use rustix::{
    cmsg_space,
    io::Errno,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg},
};
use tokio::process::{Child, Command};

use super::{NOT_EXECUTABLE, NOT_FOUND, NOT_RUN, say};

/// The byte that opens the gate.
const OPEN: u8 = b'G';

/// This program's own file, even when it has been replaced or removed since it was started.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Room for one passed descriptor.
const ONE_DESCRIPTOR: usize = cmsg_space!(ScmRights(1));

/// The command, waiting. Dropping it without [`Gate::open`] means that the command is not run.
pub(super) struct Gate {
    child: Child,
    key: UnixStream,
}

impl Gate {
    /// Starts the process that will be the command.
    pub(super) fn close_before(program: &Path, command: &[OsString]) -> Result<Self> {
        let (key, lock) = UnixStream::pair().context("cannot make a pair of sockets")?;
        let mut flag = OsString::from("--gate=");
        flag.push(program);
        let mut own = Command::new(OWN_PROGRAM);
        own.arg0("a11i").arg("exec").arg(flag).arg("--").args(command).stdin(Stdio::from(OwnedFd::from(lock)));
        let child = own.spawn().context("cannot start the process that becomes the command. Remedy: mount /proc")?;
        Ok(Self { child, key })
    }

    /// The process that will be the command.
    pub(super) fn pid(&self) -> Result<u32> {
        self.child.id().context("the command ended before it began")
    }

    /// Lets the command run. One that was ended at the gate is told by its status.
    pub(super) fn open(self) -> Result<Child> {
        match unlock(&self.key, std::io::stdin().as_fd()) {
            Ok(()) | Err(Errno::PIPE) => Ok(self.child),
            Err(error) => Err(error).context("cannot let the command run"),
        }
    }

    /// Ends the process at the gate.
    pub(super) async fn remove(mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::debug!(%error, "the process at the gate could not be ended; it ends by itself, without running the command");
        }
    }
}

/// The process at the gate: waits, and becomes the command. Returns only when it cannot.
pub(super) fn pass(program: &Path, command: &[OsString]) -> ExitCode {
    let Some((name, arguments)) = command.split_first() else {
        say("a11i: no command was given");
        return ExitCode::from(NOT_RUN);
    };
    let input = match wait(std::io::stdin().as_fd()) {
        Ok(Some(input)) => input,
        Ok(None) => {
            say("a11i: ended before the command was observed; the command was not run");
            return ExitCode::from(NOT_RUN);
        }
        Err(error) => {
            say(&format!("a11i: cannot wait for what lets the command run: {error}; the command was not run"));
            return ExitCode::from(NOT_RUN);
        }
    };
    let error = std::process::Command::new(program).arg0(name).args(arguments).stdin(Stdio::from(input)).exec();
    say(&format!("a11i: cannot run {}: {error}", program.display()));
    ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE })
}

fn unlock(key: &UnixStream, input: std::os::fd::BorrowedFd<'_>) -> Result<(), Errno> {
    let descriptors = [input];
    let mut space = [MaybeUninit::uninit(); ONE_DESCRIPTOR];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::NOBUFS);
    }
    loop {
        match sendmsg(key, &[IoSlice::new(&[OPEN])], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            sent => return sent.map(drop),
        }
    }
}

/// Waits for the message; None when it will not come.
fn wait(lock: impl AsFd) -> Result<Option<OwnedFd>, Errno> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); ONE_DESCRIPTOR];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let read = loop {
        match recvmsg(&lock, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            // The other end is gone with bytes unread: it never opened the gate either.
            Err(Errno::CONNRESET) => return Ok(None),
            received => break received?.bytes,
        }
    };
    let passed = control
        .drain()
        .find_map(|message| if let RecvAncillaryMessage::ScmRights(mut descriptors) = message { descriptors.next() } else { None });
    Ok(passed.filter(|_| read == 1 && byte == [OPEN]))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn what_opens_the_gate_brings_the_standard_input() {
        let (key, lock) = UnixStream::pair().unwrap();
        let (reader, mut writer) = std::io::pipe().unwrap();
        unlock(&key, reader.as_fd()).unwrap();
        drop((key, reader));
        let passed = wait(&lock).unwrap().expect("the gate is open");
        writer.write_all(b"to the command").unwrap();
        drop(writer);
        let mut read = String::new();
        std::fs::File::from(passed).read_to_string(&mut read).unwrap();
        assert_eq!(read, "to the command");
    }

    #[test]
    fn an_end_without_the_message_leaves_the_gate_closed() {
        let (key, lock) = UnixStream::pair().unwrap();
        drop(key);
        assert!(wait(&lock).unwrap().is_none());
    }

    #[test]
    fn another_byte_or_a_byte_alone_leaves_the_gate_closed() {
        for byte in [b'x', OPEN] {
            let (mut key, lock) = UnixStream::pair().unwrap();
            key.write_all(&[byte]).unwrap();
            assert!(wait(&lock).unwrap().is_none(), "{byte}");
        }
    }
}
