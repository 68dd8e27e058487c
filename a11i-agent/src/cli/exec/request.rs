//! What the unprivileged half tells the privileged one: the first bytes on its standard input. Not arguments, which everybody on the
//! machine can read: settings hold credentials.
//!
//! A length (32 bits, little-endian), then fields that each end with a zero byte: the pid in decimal, the program's absolute path,
//! and `NAME=VALUE` of every setting.

use std::{
    ffi::{OsStr, OsString},
    io::Read,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail, ensure};

/// What the kernel lets the arguments and the environment of a program have together by default: more than this no caller has.
const MAX_BYTES: u32 = 2 * 1024 * 1024;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Request {
    pub(super) pid: u32,
    /// Absolute, found by the caller's `PATH`.
    pub(super) program: PathBuf,
    pub(super) settings: Vec<(OsString, OsString)>,
}

/// What of the caller's environment is the privileged half's business. `PATH`: an interpreter that a script names through `env` is
/// looked for as the caller would find it. Nothing else is taken: variables steer the dynamic loader too.
pub(super) fn is_setting(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b"A11I_") || name.starts_with(b"OTEL_") || [&b"SAMPLING_RATE"[..], b"NO_COLOR", b"PATH"].contains(&name)
}

impl Request {
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut fields = format!("{}\0", self.pid).into_bytes();
        let mut field = |parts: &[&[u8]]| {
            for part in parts {
                fields.extend_from_slice(part);
            }
            fields.push(0);
        };
        field(&[self.program.as_os_str().as_bytes()]);
        for (name, value) in &self.settings {
            field(&[name.as_bytes(), b"=", value.as_bytes()]);
        }
        let length = u32::try_from(fields.len()).ok().filter(|length| *length <= MAX_BYTES);
        let length = length.with_context(|| format!("the settings in the environment are larger than {MAX_BYTES} bytes"))?;
        Ok([&length.to_le_bytes()[..], &fields].concat())
    }

    pub(super) fn read(mut from: impl Read) -> Result<Self> {
        let mut length = [0; 4];
        from.read_exact(&mut length).context("no request came")?;
        let length = u32::from_le_bytes(length);
        ensure!(length <= MAX_BYTES, "a request of {length} bytes is larger than any can be");
        let mut bytes = Vec::new();
        from.take(length.into()).read_to_end(&mut bytes).context("the request cannot be read")?;
        ensure!(bytes.len() as u64 == u64::from(length) && bytes.pop() == Some(0), "the request ends early");
        let mut fields = bytes.split(|byte| *byte == 0);
        let pid = fields.next().and_then(|pid| std::str::from_utf8(pid).ok()?.parse().ok()).context("the request names no process")?;
        let program = fields.next().map(|path| PathBuf::from(OsStr::from_bytes(path))).context("the request names no program")?;
        ensure!(program.is_absolute(), "the request's program {} is not an absolute path", program.display());
        let mut settings = Vec::new();
        for field in fields {
            let at = memchr::memchr(b'=', field).context("a setting has no value")?;
            let (name, value) = field.split_at_checked(at).context("a setting has no value")?;
            let name = OsString::from_vec(name.to_vec());
            if !is_setting(&name) {
                bail!("the variable {} is no setting of a11i", name.display());
            }
            settings.push((name, OsString::from_vec(value.get(1..).unwrap_or_default().to_vec())));
        }
        Ok(Self { pid, program, settings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        let setting = |name: &str, value: &[u8]| (OsString::from(name), OsString::from_vec(value.to_vec()));
        Request {
            pid: 4711,
            program: PathBuf::from(OsString::from_vec(b"/opt/\xff and space/run".to_vec())),
            settings: vec![
                setting("OTEL_EXPORTER_OTLP_HEADERS", b"authorization=Bearer x=y"),
                setting("NO_COLOR", b""),
                setting("A11I_X", b"\xfe"),
            ],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Request::read(&request().encode().unwrap()[..]).unwrap(), request());
        let bare = Request { settings: Vec::new(), ..request() };
        assert_eq!(Request::read(&bare.encode().unwrap()[..]).unwrap(), bare);
    }

    #[test]
    fn a_request_cut_anywhere_is_refused() {
        let whole = request().encode().unwrap();
        for cut in 0..whole.len() {
            assert!(Request::read(&whole[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_variable_that_is_no_setting_is_refused() {
        for name in ["LD_PRELOAD", "SUDO_UID", "XA11I_", ""] {
            let hostile = Request { settings: vec![(name.into(), "x".into())], ..request() };
            assert!(Request::read(&hostile.encode().unwrap()[..]).is_err(), "{name}");
        }
    }

    #[test]
    fn a_relative_program_and_an_enormous_length_are_refused() {
        let relative = Request { program: "run".into(), ..request() };
        assert!(Request::read(&relative.encode().unwrap()[..]).is_err());
        assert!(Request::read(&[0xff; 64][..]).is_err());
    }
}
