//! Calls that their programs report themselves: what of them is told a second time.

use std::sync::Arc;

use crate::owner::Owner;

/// `instrumented`: what becomes of such a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Instrumented {
    /// A span, a child of the program's own where the request says which, and metrics; both marked.
    #[default]
    Child,
    /// Metrics, marked.
    MetricsOnly,
    /// Neither.
    Suppress,
}

impl Instrumented {
    pub const CHOICES: &[(&str, Self)] = &[("child", Self::Child), ("metrics_only", Self::MetricsOnly), ("suppress", Self::Suppress)];

    /// As the file names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Child => "child",
            Self::MetricsOnly => "metrics_only",
            Self::Suppress => "suppress",
        }
    }
}

/// The setting, and programs that configuration says report their calls themselves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InstrumentedPolicy {
    pub mode: Instrumented,
    /// Names of services or executables, as they are.
    pub programs: Arc<[String]>,
}

impl InstrumentedPolicy {
    /// Whether configuration names the process.
    pub fn names(&self, owner: &Owner) -> bool {
        if self.programs.is_empty() {
            return false;
        }
        let service = owner.service_name();
        self.programs.iter().any(|name| *name == service || Some(name) == owner.executable_name.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_named_by_its_service_or_its_executable() {
        let policy = |name: &str| InstrumentedPolicy { programs: Arc::from([name.to_owned()]), ..InstrumentedPolicy::default() };
        let mut owner = Owner { executable_name: Some("python3.11".to_owned()), ..Owner::default() };
        assert!(policy("python3.11").names(&owner) && policy("unknown_service:python3.11").names(&owner));
        owner.stated.service_name = Some("checkout".to_owned());
        assert!(policy("checkout").names(&owner) && policy("python3.11").names(&owner));
        assert!(!policy("check").names(&owner) && !policy("").names(&owner) && !InstrumentedPolicy::default().names(&owner));
        assert!(!policy("").names(&Owner::default()));
    }
}
