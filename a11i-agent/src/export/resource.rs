//! Who made a call → resource attributes, one resource per observed process.
//!
//! Later sources win: the agent's own `OTEL_RESOURCE_ATTRIBUTES`, what the process states of itself, what the kernel knows.

use std::sync::Arc;

use super::{
    semconv::{SCOPE_VERSION, Semconv},
    timestamp::rfc3339,
    value::{Attributes, Value},
};
use crate::owner::Owner;

/// What is the same for every process of this node: read once at start by the rim.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HostFacts {
    /// `host.name`.
    pub name: Option<String>,
    /// `host.arch`, the conventions' word (`amd64`, `arm64`).
    pub arch: Option<&'static str>,
}

/// Makes resources of owners.
#[derive(Clone, Debug, Default)]
pub struct ResourceBuilder {
    pub host: HostFacts,
    /// `OTEL_RESOURCE_ATTRIBUTES` of the agent's configuration: below everything the kernel says.
    pub configured: Vec<(String, String)>,
    pub layer: Semconv,
}

impl ResourceBuilder {
    /// Resource of an observed process.
    pub fn process(&self, owner: &Owner) -> Arc<Attributes> {
        let mut out = Attributes::default();
        out.set("service.name", Value::from(owner.service_name()));
        for (name, value) in &self.configured {
            // The agent's own service name is not the name of everything it sees.
            if !is_kernel_domain(name) && !name.starts_with("service.") {
                out.set(name.clone(), Value::foreign(value));
            }
        }
        self.stated(owner, &mut out);
        kernel(owner, &mut out);
        self.host_and_sdk(&mut out);
        if out.get("service.instance.id").is_none() {
            let host = self.host.name.as_deref().unwrap_or("localhost");
            let id = format!("{host}.{}.{}", owner.process.pid.0, owner.process.start_ticks);
            out.set("service.instance.id", Value::from(id));
        }
        Arc::new(out)
    }

    /// Resource of the agent itself. `instance` tells restarts apart.
    pub fn agent(&self, pid: u32, instance: u64) -> Arc<Attributes> {
        let mut out = Attributes::default();
        out.set("service.name", "a11i");
        out.set("service.version", SCOPE_VERSION);
        for (name, value) in self.configured.iter().filter(|(name, _)| !is_kernel_domain(name)) {
            out.set(name.clone(), Value::foreign(value));
        }
        self.deployment_environment_of_old_layer(&mut out);
        out.set("process.pid", i64::from(pid));
        self.host_and_sdk(&mut out);
        if out.get("service.instance.id").is_none() {
            out.set("service.instance.id", Value::from(format!("{}.{pid}.{instance}", self.host.name.as_deref().unwrap_or("localhost"))));
        }
        Arc::new(out)
    }

    fn stated(&self, owner: &Owner, out: &mut Attributes) {
        let stated = &owner.stated;
        for (name, value) in &stated.resource_attributes {
            if !is_kernel_domain(name) {
                out.set(name.clone(), Value::foreign(value));
            }
        }
        let named = [
            ("service.name", &stated.service_name),
            ("service.namespace", &stated.service_namespace),
            ("service.version", &stated.service_version),
            ("deployment.environment.name", &stated.deployment_environment),
        ];
        for (name, value) in named {
            if let Some(value) = value.as_deref().filter(|v| !v.is_empty()) {
                out.set(name, Value::foreign(value));
            }
        }
        self.deployment_environment_of_old_layer(out);
    }

    fn deployment_environment_of_old_layer(&self, out: &mut Attributes) {
        if self.layer == Semconv::V1_36
            && let Some(value) = out.get("deployment.environment.name").cloned()
        {
            out.set("deployment.environment", value);
        }
    }

    fn host_and_sdk(&self, out: &mut Attributes) {
        if let Some(name) = &self.host.name {
            out.set("host.name", Value::foreign(name));
        }
        if let Some(arch) = self.host.arch {
            out.set("host.arch", arch);
        }
        out.set("os.type", "linux");
        // The conventions reserve `opentelemetry` for the official SDKs; the producer of this telemetry is the agent.
        out.set("telemetry.sdk.name", "a11i");
        out.set("telemetry.sdk.language", "rust");
        out.set("telemetry.sdk.version", SCOPE_VERSION);
        out.set("telemetry.distro.name", "a11i");
        out.set("telemetry.distro.version", SCOPE_VERSION);
    }
}

fn kernel(owner: &Owner, out: &mut Attributes) {
    out.set("process.pid", i64::from(owner.process.pid.0));
    if let Some(parent) = owner.parent_pid {
        out.set("process.parent_pid", i64::from(parent));
    }
    let texts = [
        ("process.executable.name", &owner.executable_name),
        ("process.executable.path", &owner.executable_path),
        ("process.linux.cgroup", &owner.cgroup),
        ("container.id", &owner.container_id),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            out.set(name, Value::foreign(text));
        }
    }
    if let Some(uid) = owner.owner_uid {
        out.set("process.user.id", i64::from(uid));
    }
    if let Some(nanos) = owner.creation_unix_nanos {
        out.set("process.creation.time", Value::from(rfc3339(nanos)));
    }
}

/// Names that only the kernel's word may fill: a process that states them could pass for another.
fn is_kernel_domain(name: &str) -> bool {
    ["process.", "host.", "os.", "telemetry."].iter().any(|prefix| name.starts_with(prefix)) || name == "container.id"
}

#[cfg(test)]
mod tests {
    use a11i_common::identity::{Pid, ProcessId};

    use super::*;
    use crate::owner::StatedIdentity;

    fn owner() -> Owner {
        Owner {
            process: ProcessId { pid: Pid(42), start_ticks: 7 },
            executable_name: Some("python3".to_owned()),
            container_id: Some("c0ffee".to_owned()),
            creation_unix_nanos: Some(0),
            ..Owner::default()
        }
    }

    fn builder() -> ResourceBuilder {
        ResourceBuilder { host: HostFacts { name: Some("node-1".to_owned()), arch: Some("amd64") }, ..ResourceBuilder::default() }
    }

    fn text(attributes: &Attributes, name: &str) -> Option<String> {
        attributes.get(name).and_then(Value::as_str).map(str::to_owned)
    }

    #[test]
    fn a_process_that_states_nothing_is_an_unknown_service_of_its_executable() {
        let resource = builder().process(&owner());
        assert_eq!(text(&resource, "service.name").as_deref(), Some("unknown_service:python3"));
        assert_eq!(resource.get("process.pid"), Some(&Value::Int(42)));
        assert_eq!(text(&resource, "process.creation.time").as_deref(), Some("1970-01-01T00:00:00.000000000Z"));
        assert_eq!(text(&resource, "host.name").as_deref(), Some("node-1"));
        assert_eq!(text(&resource, "service.instance.id").as_deref(), Some("node-1.42.7"));
        assert_eq!(resource.get("process.parent_pid"), None, "absent stays absent");
    }

    #[test]
    fn what_the_kernel_knows_wins_over_what_a_process_states() {
        let mut owner = owner();
        owner.container_id = None;
        owner.stated = StatedIdentity {
            service_name: Some("checkout".to_owned()),
            resource_attributes: vec![
                ("process.pid".to_owned(), "1".to_owned()),
                ("container.id".to_owned(), "forged".to_owned()),
                ("team".to_owned(), "payments".to_owned()),
            ],
            ..StatedIdentity::default()
        };
        let resource = builder().process(&owner);
        assert_eq!(resource.get("process.pid"), Some(&Value::Int(42)));
        assert_eq!(resource.get("container.id"), None);
        assert_eq!(text(&resource, "team").as_deref(), Some("payments"));
        assert_eq!(text(&resource, "service.name").as_deref(), Some("checkout"));
    }

    #[test]
    fn the_agents_attributes_are_below_the_process_and_its_service_name_is_its_own() {
        let mut builder = builder();
        builder.configured = vec![("team".to_owned(), "platform".to_owned()), ("service.name".to_owned(), "a11i-node".to_owned())];
        let resource = builder.process(&owner());
        assert_eq!(text(&resource, "team").as_deref(), Some("platform"));
        assert_eq!(text(&resource, "service.name").as_deref(), Some("unknown_service:python3"));
        assert_eq!(text(&builder.agent(9, 1), "service.name").as_deref(), Some("a11i-node"));
    }

    #[test]
    fn the_old_layer_has_the_old_name_of_the_environment_too() {
        let mut owner = owner();
        owner.stated.deployment_environment = Some("staging".to_owned());
        let new = builder().process(&owner);
        assert_eq!(new.get("deployment.environment"), None);
        let old = ResourceBuilder { layer: Semconv::V1_36, ..builder() }.process(&owner);
        assert_eq!(text(&old, "deployment.environment").as_deref(), Some("staging"));
    }
}
