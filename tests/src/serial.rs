//! One end-to-end test at a time: they share the kernel's probes and the machine's processors.

use std::fs::File;

/// Held for as long as a test runs; the lock ends with the process, however that ends.
pub struct OneAtATime {
    _lock: File,
}

/// Waits for its turn among all tests of this machine, in this process and in others (nextest runs one process per test).
pub fn one_at_a_time() -> OneAtATime {
    let path = std::env::temp_dir().join("a11i-e2e.lock");
    let file = File::options().create(true).append(true).open(&path).expect("the lock file can be opened");
    file.lock().expect("the lock file can be locked");
    OneAtATime { _lock: file }
}
