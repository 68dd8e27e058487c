//! Who made a call: process and container. Resolved at the head of the pipeline, travels with the call.
//!
//! [`Owner`] is a value and part of the vocabulary; what fills it reads `/proc` and lives behind the feature `host`.

pub mod cache;
#[cfg(feature = "host")]
pub mod container;
#[cfg(feature = "host")]
pub mod process;

use a11i_common::identity::ProcessId;

/// One observed process, as its OTLP resource will say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Owner {
    pub process: ProcessId,
    pub parent_pid: Option<u32>,
    /// `process.executable.name`: base name of `/proc/PID/exe`, else `comm`.
    pub executable_name: Option<String>,
    /// `process.executable.path` as the process sees it.
    pub executable_path: Option<String>,
    /// `process.command_args` without values that may be secrets is not attempted: absent by default (counts as content).
    pub owner_uid: Option<u32>,
    /// `process.creation.time`, nanoseconds since the Unix epoch.
    pub creation_unix_nanos: Option<u64>,
    /// `container.id`, 64 hex digits.
    pub container_id: Option<String>,
    /// `process.linux.cgroup`.
    pub cgroup: Option<String>,
    /// The process's own word (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `A11I_SERVICE_*` of its environment): names it, decides nothing.
    pub stated: StatedIdentity,
}

/// What a process says about itself in its environment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StatedIdentity {
    pub service_name: Option<String>,
    pub service_namespace: Option<String>,
    pub service_version: Option<String>,
    pub deployment_environment: Option<String>,
    /// Further `OTEL_RESOURCE_ATTRIBUTES`, bounded in number and length.
    pub resource_attributes: Vec<(String, String)>,
}

impl Owner {
    /// A process of which nothing but its id is known.
    pub fn unknown(process: ProcessId) -> Self {
        Self { process, ..Self::default() }
    }

    /// `service.name`: stated, else `unknown_service:` and the executable (OpenTelemetry resource conventions).
    pub fn service_name(&self) -> String {
        match (&self.stated.service_name, &self.executable_name) {
            (Some(name), _) if !name.is_empty() => name.clone(),
            (_, Some(exe)) => format!("unknown_service:{exe}"),
            _ => "unknown_service".to_owned(),
        }
    }
}
