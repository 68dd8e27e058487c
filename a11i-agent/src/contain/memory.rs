//! Prompts of others lie in the agent's memory.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use super::Steps;

/// Nobody without privileges of their own may look into it, and the kernel writes no core file. Not handed on to a program that is started
/// from here.
pub fn keep_memory_private() -> Steps {
    let mut steps = Steps::default();
    let consequence = "processes of the same user may read what programs said from the agent's memory";
    steps.check("not dumpable", set_dumpable_behavior(DumpableBehavior::NotDumpable), consequence, true);
    steps
}

/// The limit as well. It is handed on to programs that are started from here.
pub fn no_core_files() -> Steps {
    let mut steps = Steps::default();
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none)
        .or_else(|_| setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: getrlimit(Resource::Core).maximum }));
    steps.check("no core files", limited, "a core file of the agent would hold what programs said", true);
    steps
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn memory_is_kept_from_core_files() {
        assert!(keep_memory_private().0.is_empty());
        assert!(no_core_files().0.is_empty());
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
    }
}
