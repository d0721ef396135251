//! Whether a cluster looks like one on this machine. A name alone proves nothing, and neither does an address: what looks
//! remote may be changed only when somebody said so.

use std::net::{IpAddr, UdpSocket};

/// The contexts that tools for clusters on one's own machine make.
const LOCAL_NAMES: [&str; 9] = [
    "minikube",
    "docker-desktop",
    "docker-for-desktop",
    "rancher-desktop",
    "orbstack",
    "microk8s",
    "colima",
    "podman-desktop",
    "crc-admin",
];
const LOCAL_PREFIXES: [&str; 5] = ["kind-", "k3d-", "colima-", "lima-", "minikube-"];

/// Whether a context with this API server looks like a cluster on this machine: by the name that its tool gave it, or
/// because the server's address is this machine.
pub fn looks_local(context: &str, address: &str) -> bool {
    LOCAL_NAMES.contains(&context)
        || LOCAL_PREFIXES.iter().any(|prefix| context.starts_with(prefix))
        || is_this_machine(host_of(address))
}

fn host_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

fn is_this_machine(host: &str) -> bool {
    let names = ["localhost", "host.docker.internal", "kubernetes.docker.internal", "host.minikube.internal"];
    if names.contains(&host) || host.ends_with(".localhost") {
        return true;
    }
    // Only an address of one's own can be bound to.
    host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok() && !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_local() {
        for (context, address) in [
            ("minikube", "https://192.168.49.2:8443"),
            ("kind-todo", "https://127.0.0.1:45123"),
            ("dev", "https://127.0.0.1:6443"),
            ("dev", "https://[::1]:6443"),
            ("dev", "https://localhost"),
            ("dev", "https://k3s.localhost:6443/path"),
        ] {
            assert!(looks_local(context, address), "{context} {address}");
        }
        for (context, address) in [
            ("prod", "https://10.0.0.7:6443"),
            ("minikube2", "https://203.0.113.7:6443"),
            ("arn:aws:eks:eu-west-1:1:cluster/todo", "https://abc.eks.amazonaws.com"),
            ("dev", "https://localhost.example.com"),
        ] {
            assert!(!looks_local(context, address), "{context} {address}");
        }
    }
}
