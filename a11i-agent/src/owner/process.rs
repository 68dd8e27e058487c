//! [`Owner`] from `/proc`: read once per program, as early as possible, because short processes are gone when their
//! call is finished.

use std::path::Path;

use a11i_common::identity::ProcessId;

use super::{Owner, StatedIdentity, container};
use crate::discovery::{file::read_bounded, process::ProcFs};

/// Fills [`Owner`]s.
#[derive(Clone, Debug)]
pub struct OwnerResolver {
    proc: ProcFs,
    boot_unix_nanos: u64,
}

impl OwnerResolver {
    /// `boot_unix_nanos`: wall time of the boot, nanoseconds since the Unix epoch (now minus `CLOCK_BOOTTIME`).
    pub fn new(proc: ProcFs, boot_unix_nanos: u64) -> Self {
        Self { proc, boot_unix_nanos }
    }

    /// `None`: the process has ended, or the pid is another's by now. What cannot be read of a living process is absent.
    /// `environment`: what [`Self::environment`] gave; everything else the kernel answers by itself.
    pub fn resolve(&self, process: ProcessId, environment: &[u8]) -> Option<Owner> {
        let pid = process.pid;
        let stat = self.proc.stat(pid).ok()?;
        let exe = self.proc.exe(pid).ok();
        let exe_name = exe.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let text = |name, limit| read_bounded(&self.proc.path(pid, name), limit).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let cgroup = text("cgroup", MAX_CGROUP).unwrap_or_default();
        let mut container = container::from_cgroup(&cgroup);
        if container.container_id.is_none()
            && let Ok(mountinfo) = text("mountinfo", MAX_MOUNTINFO)
        {
            container.container_id = container::from_mountinfo(&mountinfo).container_id;
        }
        let owner = Owner {
            process,
            parent_pid: Some(stat.parent).filter(|parent| *parent != 0),
            executable_name: exe_name.or(Some(stat.comm)).map(|name| cut(name, MAX_VALUE)),
            executable_path: exe.map(|path| cut(path.to_string_lossy().into_owned(), MAX_PATH)),
            owner_uid: uid(&self.proc.path(pid, "status")),
            creation_unix_nanos: stat
                .start_ticks
                .checked_mul(ProcessId::NANOS_PER_TICK)
                .and_then(|since_boot| self.boot_unix_nanos.checked_add(since_boot)),
            container_id: container.container_id,
            cgroup: container::cgroup_path(&cgroup).map(str::to_owned),
            stated: stated(environment),
        };
        // Everything above was this process's only if it still is this process.
        self.proc.is_same(process).then_some(owner)
    }

    /// `/proc/PID/environ`; empty when it cannot be read. May never come back: it lies in the process's memory, which may lie in a file
    /// whose server does not answer.
    pub fn environment(&self, process: ProcessId) -> Vec<u8> {
        read_bounded(&self.proc.path(process.pid, "environ"), MAX_ENVIRONMENT).unwrap_or_default()
    }
}

/// Effective uid. The owner of `/proc/PID` is not it for processes that are not dumpable.
fn uid(status: &Path) -> Option<u32> {
    let status = read_bounded(status, MAX_STATUS).ok()?;
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// What the process says of itself. Nothing else of its environment is kept.
pub fn stated(environment: &[u8]) -> StatedIdentity {
    let mut identity = StatedIdentity::default();
    let mut own = StatedIdentity::default();
    let mut named = None;
    for variable in environment.split(|byte| *byte == 0) {
        let Some((name, value)) = std::str::from_utf8(variable).ok().and_then(|variable| variable.split_once('=')) else { continue };
        if value.is_empty() {
            continue; // empty is unset (OpenTelemetry environment variable specification)
        }
        let value = || Some(cut(value.to_owned(), MAX_VALUE));
        match name {
            "OTEL_SERVICE_NAME" => named = value(),
            "OTEL_RESOURCE_ATTRIBUTES" => resource_attributes(variable_value(variable), &mut identity),
            "A11I_SERVICE_NAME" => own.service_name = value(),
            "A11I_SERVICE_VERSION" => own.service_version = value(),
            "A11I_SERVICE_NAMESPACE" => own.service_namespace = value(),
            "A11I_DEPLOYMENT_ENVIRONMENT" => own.deployment_environment = value(),
            _ => {}
        }
    }
    // What is said to us goes before what is said to an SDK; a name of its own before one among attributes.
    identity.service_name = own.service_name.or(named).or(identity.service_name);
    identity.service_version = own.service_version.or(identity.service_version);
    identity.service_namespace = own.service_namespace.or(identity.service_namespace);
    identity.deployment_environment = own.deployment_environment.or(identity.deployment_environment);
    identity
}

fn variable_value(variable: &[u8]) -> &[u8] {
    memchr::memchr(b'=', variable).and_then(|at| variable.get(at.checked_add(1)?..)).unwrap_or_default()
}

/// `key=value,key=value` with percent-encoded values (W3C Baggage, as OpenTelemetry's resource SDK reads it). A part
/// that is not of this form is passed over; the specification would discard all of it, which helps nobody here.
fn resource_attributes(list: &[u8], into: &mut StatedIdentity) {
    for pair in list.split(|byte| *byte == b',').take(MAX_ATTRIBUTES) {
        let Some((key, value)) = memchr::memchr(b'=', pair).and_then(|at| Some((pair.get(..at)?, pair.get(at.checked_add(1)?..)?))) else {
            continue;
        };
        let (Some(key), Some(value)) = (decoded(key), decoded(value)) else { continue };
        if key.is_empty() || key.len() > MAX_KEY {
            continue;
        }
        match key.as_str() {
            "service.name" => into.service_name = Some(value),
            "service.version" => into.service_version = Some(value),
            "service.namespace" => into.service_namespace = Some(value),
            // The stable name goes before its predecessor.
            "deployment.environment.name" => into.deployment_environment = Some(value),
            "deployment.environment" => into.deployment_environment = into.deployment_environment.take().or(Some(value)),
            _ => match into.resource_attributes.iter_mut().find(|(known, _)| *known == key) {
                Some((_, known)) => *known = value,
                None => into.resource_attributes.push((key, value)),
            },
        }
    }
}

/// Percent-decoded, without surrounding white space, at most [`MAX_VALUE`] bytes; `None` when it is not UTF-8 or wrongly encoded.
fn decoded(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.trim_ascii();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let (digits, after) = rest.split_first_chunk::<2>()?;
            let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok().map(|text| cut(text, MAX_VALUE))
}

fn cut(mut text: String, limit: usize) -> String {
    text.truncate(text.floor_char_boundary(limit.min(text.len())));
    text
}

/// A dozen lines of names.
const MAX_CGROUP: u64 = 64 * 1024;
const MAX_MOUNTINFO: u64 = 1024 * 1024;
const MAX_STATUS: u64 = 16 * 1024;
/// The kernel's own default limit of one argument or variable.
const MAX_ENVIRONMENT: u64 = 128 * 1024;
/// OpenTelemetry's default limit of attributes is 128; a statement about oneself needs fewer.
const MAX_ATTRIBUTES: usize = 32;
/// Bytes of a stated value.
const MAX_VALUE: usize = 256;
const MAX_KEY: usize = 128;
/// `PATH_MAX`.
const MAX_PATH: usize = 4_096;

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        process::{Command, Stdio},
    };

    use a11i_common::identity::Pid;

    use super::*;

    #[test]
    fn a_process_is_described_with_what_it_states() {
        let mut child = Command::new("sh")
            .args(["-c", "echo; read x"])
            .env_clear()
            .env("OTEL_SERVICE_NAME", "bot")
            .env("OPENAI_API_KEY", "secret")
            .env("OTEL_RESOURCE_ATTRIBUTES", "team=a%2Cb,service.name=ignored")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let proc = ProcFs::default();
        let id = proc.identify(Pid(child.id())).unwrap();
        let resolver = OwnerResolver::new(proc, 1_000_000_000_000_000_000);
        let environment = resolver.environment(id);
        let owner = resolver.resolve(id, &environment).unwrap();
        let reused = ProcessId { start_ticks: id.start_ticks + 1, ..id };
        assert_eq!(resolver.resolve(reused, &environment), None);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(owner.parent_pid, Some(std::process::id()));
        assert_eq!(owner.service_name(), "bot");
        assert_eq!(owner.stated.resource_attributes, [("team".to_owned(), "a,b".to_owned())]);
        assert!(owner.executable_path.as_deref().is_some_and(|path| path.starts_with('/')));
        assert_eq!(owner.creation_unix_nanos, Some(1_000_000_000_000_000_000 + u64::from(id.start_ticks) * 10_000_000));
        assert!(!format!("{owner:?}").contains("secret"));
    }

    #[test]
    fn a_process_that_ended_has_no_owner() {
        assert_eq!(OwnerResolver::new(ProcFs::default(), 0).resolve(ProcessId { pid: Pid(u32::MAX), start_ticks: 1 }, b""), None);
    }

    #[test]
    fn what_is_said_to_us_goes_first() {
        let environment = b"OTEL_SERVICE_NAME=sdk\0A11I_SERVICE_NAME=ours\0A11I_DEPLOYMENT_ENVIRONMENT=prod\0\
            OTEL_RESOURCE_ATTRIBUTES=service.version=1,deployment.environment.name=stable,deployment.environment=old\0A11I_SERVICE_NAMESPACE=\0";
        let stated = stated(environment);
        assert_eq!(stated.service_name.as_deref(), Some("ours"));
        assert_eq!(stated.service_version.as_deref(), Some("1"));
        assert_eq!(stated.service_namespace, None);
        assert_eq!(stated.deployment_environment.as_deref(), Some("prod"));
        let mut only_attributes = StatedIdentity::default();
        resource_attributes(b"deployment.environment.name=stable,deployment.environment=old", &mut only_attributes);
        assert_eq!(only_attributes.deployment_environment.as_deref(), Some("stable"));
    }

    #[test]
    fn hostile_statements_are_bounded() {
        let many = (0..1000).map(|i| format!("k{i}={}", "v".repeat(1000))).collect::<Vec<_>>().join(",");
        let stated = stated(format!("OTEL_RESOURCE_ATTRIBUTES={many}").as_bytes());
        assert_eq!(stated.resource_attributes.len(), MAX_ATTRIBUTES);
        assert!(stated.resource_attributes.iter().all(|(_, value)| value.len() == MAX_VALUE));
        for hostile in [&b"a=%"[..], b"a=%4", b"a=%zz", b"a=%ff%fe", b"=x", b"novalue", b",,,", b"a=%+1"] {
            let mut identity = StatedIdentity::default();
            resource_attributes(hostile, &mut identity);
            assert_eq!(identity, StatedIdentity::default(), "{hostile:?}");
        }
        assert_eq!(decoded("ä".repeat(200).as_bytes()).map(|text| text.len()), Some(MAX_VALUE));
    }
}
