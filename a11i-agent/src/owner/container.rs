//! Container and pod of a process, from the names of its control groups.
//!
//! Runtimes name the group after the container's 64-digit id, each in its way; kubelet names the pod's group after the
//! pod's uid. Names are the runtime's, but a process with its own cgroup namespace or delegation can make others below
//! them: the outermost match would be the runtime's, the innermost may be nested (docker in docker). The innermost
//! container is the one the process lives in.

/// What the group names tell.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ContainerIdentity {
    /// `container.id`: 64 lower-case hexadecimal digits.
    pub container_id: Option<String>,
    /// `k8s.pod.uid`, with dashes; 32 digits without for static pods, whose uid is a hash.
    pub pod_uid: Option<String>,
}

/// The process's group: `process.linux.cgroup`. Version 2 (`0::`) where it tells something, else a version 1 hierarchy.
pub fn cgroup_path(cgroup: &str) -> Option<&str> {
    let paths = || cgroup.lines().take(MAX_LINES).filter_map(line_path);
    let identified = paths().find(|path| of_path(path) != ContainerIdentity::default());
    let unified = || cgroup.lines().take(MAX_LINES).find_map(|line| line.strip_prefix("0::"));
    let named = || paths().find(|path| *path != "/");
    identified.or_else(|| unified().filter(|path| *path != "/")).or_else(named).or_else(unified).filter(|path| path.len() <= MAX_PATH)
}

/// From `/proc/PID/cgroup` (cgroups(7)): lines `id:controllers:path`.
pub fn from_cgroup(cgroup: &str) -> ContainerIdentity {
    cgroup
        .lines()
        .take(MAX_LINES)
        .filter_map(line_path)
        .map(of_path)
        .find(|identity| *identity != ContainerIdentity::default())
        .unwrap_or_default()
}

/// From `/proc/PID/mountinfo`, when a cgroup namespace hides the groups: runtimes mount `hostname`, `resolv.conf` and
/// `hosts` from a folder named after the container or the pod.
pub fn from_mountinfo(mountinfo: &str) -> ContainerIdentity {
    let mut identity = ContainerIdentity::default();
    for line in mountinfo.lines().take(MAX_MOUNTS) {
        let mut fields = line.split(' ');
        let (Some(root), Some(point)) = (fields.nth(3), fields.next()) else { continue };
        if !RUNTIME_FILES.contains(&point) || root.len() > MAX_PATH {
            continue;
        }
        let mut parts = root.split('/');
        while let Some(part) = parts.next() {
            match part {
                // docker: /var/lib/docker/containers/ID/hostname; podman: .../overlay-containers/ID/userdata/hostname
                "containers" | "overlay-containers" => {
                    if let Some(id) = parts.clone().next().filter(|id| is_container_id(id)) {
                        identity.container_id.get_or_insert_with(|| id.to_owned());
                    }
                }
                // containerd: /var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/ID/hostname is the pod's sandbox, not the container
                // kubelet: /var/lib/kubelet/pods/UID/etc-hosts
                "pods" => {
                    if let Some(uid) = parts.clone().next().and_then(pod_uid) {
                        identity.pod_uid.get_or_insert(uid);
                    }
                }
                _ => {}
            }
        }
    }
    identity
}

fn line_path(line: &str) -> Option<&str> {
    // The path may hold colons, the fields before it do not.
    line.splitn(3, ':').nth(2).filter(|path| path.starts_with('/') && path.len() <= MAX_PATH)
}

fn of_path(path: &str) -> ContainerIdentity {
    let mut identity = ContainerIdentity::default();
    for part in path.split('/') {
        if let Some(id) = container_of(part) {
            identity.container_id = Some(id.to_owned());
        } else if let Some(uid) = pod_of(part) {
            identity.pod_uid = Some(uid);
        }
    }
    identity
}

/// cgroupfs driver: the id itself, for some runtimes with a prefix. systemd driver: `RUNTIME-ID.scope`; newer containerd
/// `SLICE:cri-containerd:ID`.
fn container_of(part: &str) -> Option<&str> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let part = part.rsplit(':').next().unwrap_or(part);
    if is_container_id(part) {
        return Some(part);
    }
    let (runtime, id) = part.rsplit_once('-')?;
    // crio-conmon-ID and libpod-conmon-ID hold the monitor, not the container; so does its own group's word "conmon".
    (RUNTIMES.contains(&runtime) && is_container_id(id)).then_some(id)
}

/// cgroupfs: `podUID`. systemd: `kubepods-burstable-podUID.slice`, dashes of the uid as underscores.
fn pod_of(part: &str) -> Option<String> {
    let part = part.strip_suffix(".slice").unwrap_or(part);
    match part.strip_prefix("kubepods") {
        Some(rest) => pod_uid(rest.rsplit_once("-pod")?.1),
        None => pod_uid(part.strip_prefix("pod")?),
    }
}

fn pod_uid(text: &str) -> Option<String> {
    let uid = text.replace('_', "-");
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(is_lower_hex);
    let groups: Vec<_> = uid.split('-').map(str::len).collect();
    let shaped = groups == [8, 4, 4, 4, 12] || groups == [32];
    (shaped && uid.split('-').all(is_hex)).then_some(uid)
}

fn is_container_id(text: &str) -> bool {
    text.len() == CONTAINER_ID && text.bytes().all(is_lower_hex)
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Words before the id in scopes and groups of runtimes.
const RUNTIMES: &[&str] = &["docker", "cri-containerd", "containerd", "nerdctl", "crio", "libpod", "cri-o", "podman", "buildkit"];
const CONTAINER_ID: usize = 64;
/// Files that runtimes mount into every container.
const RUNTIME_FILES: &[&str] = &["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];
/// One line per version 1 hierarchy: a dozen.
const MAX_LINES: usize = 64;
/// Runtime files are mounted early; volumes of a pod come to hundreds.
const MAX_MOUNTS: usize = 4_096;
/// `PATH_MAX`.
const MAX_PATH: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "8a3c1d2e-0b4f-4c5d-9e6f-7a8b9c0d1e2f";

    fn check(cgroup: &str, container: bool, pod: bool) {
        let cgroup = cgroup.replace("ID", ID).replace("UuD", UID).replace("U_D", &UID.replace('-', "_"));
        let expected = ContainerIdentity { container_id: container.then(|| ID.to_owned()), pod_uid: pod.then(|| UID.to_owned()) };
        assert_eq!(from_cgroup(&cgroup), expected, "{cgroup}");
    }

    #[test]
    fn runtimes_and_drivers_are_known() {
        check("0::/system.slice/docker-ID.scope", true, false);
        check("12:memory:/docker/ID\n0::/", true, false);
        check("0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_D.slice/cri-containerd-ID.scope", true, true);
        check("0::/kubepods.slice/kubepods-podU_D.slice/crio-ID.scope", true, true);
        check("4:cpu,cpuacct:/kubepods/besteffort/podUuD/ID", true, true);
        check("0::/system.slice/containerd.service/kubepods-burstable-podU_D.slice:cri-containerd:ID", true, false);
        check("0::/machine.slice/libpod-ID.scope/container", true, false);
        check("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope", true, false);
        check("0::/kubelet/kubepods/podUuD/ID", true, true);
        check("0::/kubepods/podUuD", false, true);
    }

    #[test]
    fn what_only_looks_like_a_container_is_none() {
        check("0::/user.slice/user-1000.slice/session-1.scope", false, false);
        check("0::/machine.slice/libpod-conmon-ID.scope", false, false);
        check("0::/system.slice/anything-ID.scope", false, false);
        check("0::/", false, false);
        check("garbage\n0:\n::\n0::relative/ID\n", false, false);
        check(&format!("0::/docker/{}", ID.to_uppercase()), false, false);
        check("0::/docker/IDa", false, false);
        check(&format!("0::/{}/docker-ID.scope", "x".repeat(MAX_PATH)), false, false);
    }

    #[test]
    fn the_innermost_container_counts_and_colons_do_not_confuse() {
        let inner = ID.replace('0', "f");
        let cgroup = format!("0::/docker/{ID}/a:b/docker/{inner}");
        assert_eq!(from_cgroup(&cgroup).container_id, Some(inner));
    }

    #[test]
    fn a_hidden_group_is_told_by_mounts() {
        let docker = format!("1 2 8:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n");
        assert_eq!(from_mountinfo(&docker).container_id.as_deref(), Some(ID));
        let podman = format!("1 2 0:5 /containers/storage/overlay-containers/{ID}/userdata/hosts /etc/hosts rw - tmpfs t rw\n");
        assert_eq!(from_mountinfo(&podman).container_id.as_deref(), Some(ID));
        let kubelet = format!("1 2 8:1 /var/lib/kubelet/pods/{UID}/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw\n");
        assert_eq!(from_mountinfo(&kubelet), ContainerIdentity { container_id: None, pod_uid: Some(UID.to_owned()) });
        let other = format!("1 2 8:1 /var/lib/docker/containers/{ID}/data /data rw - ext4 /dev/sda1 rw\n/etc/hostname\n");
        assert_eq!(from_mountinfo(&other), ContainerIdentity::default());
    }

    #[test]
    fn the_shown_group_is_the_telling_one() {
        assert_eq!(cgroup_path(&format!("5:memory:/docker/{ID}\n0::/")), Some(format!("/docker/{ID}").as_str()));
        assert_eq!(cgroup_path("5:memory:/a\n0::/system.slice/ssh.service"), Some("/system.slice/ssh.service"));
        assert_eq!(cgroup_path("5:memory:/a\n0::/"), Some("/a"));
        assert_eq!(cgroup_path("0::/"), Some("/"));
        assert_eq!(cgroup_path(""), None);
    }
}
