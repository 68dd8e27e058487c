//! The running kernel: what it can be expected to do.

/// `6.12.117+deb13-amd64`.
///
/// # Panics
/// When `/proc` is not mounted.
pub fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux tells its release").trim().to_owned()
}

/// Major and minor number.
pub fn version() -> (u32, u32) {
    version_of(&release())
}

/// From 5.15 on a probe knows by its attach cookie through which library a call came; before, calls do not say it.
pub fn has_attach_cookies() -> bool {
    version() >= (5, 15)
}

/// From 5.16 on the kernel tells how many instructions of a program the verifier walked.
pub fn tells_verified_instructions() -> bool {
    version() >= (5, 16)
}

/// Whether the kernel can probe its own functions. The machines of CI cannot.
pub fn has_kprobes() -> bool {
    std::path::Path::new("/sys/bus/event_source/devices/kprobe").exists()
}

/// From 6.3 on there are tracepoints of socket calls.
pub fn has_socket_tracepoints() -> bool {
    version() >= (6, 3)
}

/// From 7.0 on a thread can be preempted in the middle of a tracepoint's program, whose runs for others of the processor are left out meanwhile
/// (and counted).
pub fn preempts_tracepoints() -> bool {
    version() >= (7, 0)
}

fn version_of(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().expect("a release begins with numbers"));
    (numbers.next().expect("a number"), numbers.next().expect("another"))
}

#[cfg(test)]
mod tests {
    use super::version_of;

    #[test]
    fn a_release_begins_with_two_numbers() {
        assert_eq!([version_of("6.12.117+deb13-amd64"), version_of("5.10.0-46-amd64"), version_of("7.2")], [(6, 12), (5, 10), (7, 2)]);
    }
}
