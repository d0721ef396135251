//! A node that is a machine of minikube's: the address and the key by which `ssh` reaches it.
//!
//! minikube writes both into `machines/NAME/config.json` of its home, where NAME is also the name of the Kubernetes node
//! (pkg/libmachine/drivers/base.go).

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// How a machine is reached by `ssh`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its address.
    pub address: String,
    /// The port of its SSH server.
    pub port: u16,
    /// The user, who may use `sudo` without a password.
    pub user: String,
    /// The file with the private key.
    pub key: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    driver: Driver,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Driver {
    #[serde(rename = "IPAddress", default)]
    address: String,
    #[serde(rename = "SSHPort", default)]
    port: u16,
    #[serde(rename = "SSHUser", default)]
    user: String,
    #[serde(rename = "SSHKeyPath", default)]
    key: PathBuf,
}

impl Machine {
    /// The machine of this name in minikube's home; `None` where minikube knows no address for it.
    pub fn of_minikube(home: &Path, name: &str) -> Option<Self> {
        // A name is one part of a path, never a way out of the folder.
        if name.is_empty() || name.contains(['/', '\0']) || name.starts_with('.') {
            return None;
        }
        let folder = home.join("machines").join(name);
        let config: Config = serde_json::from_slice(&std::fs::read(folder.join("config.json")).ok()?).ok()?;
        let Driver { address, port, user, key } = config.driver;
        let key = if key.as_os_str().is_empty() { folder.join("id_rsa") } else { key };
        let machine = Self { address, port: if port == 0 { 22 } else { port }, user, key };
        let usable = !machine.address.is_empty() && !machine.user.is_empty() && machine.key.is_file();
        usable.then_some(machine)
    }

    /// The arguments of `ssh` before the command. No question is asked, no file of the user's is read or written, and a
    /// machine that is gone is noticed. The options are those of minikube's own external client
    /// (pkg/libmachine/ssh/client.go), without its tunnels.
    pub(super) fn ssh_arguments(&self) -> Vec<String> {
        let options = [
            "BatchMode=yes",
            "ConnectTimeout=10",
            "ControlMaster=no",
            "ControlPath=none",
            "IdentitiesOnly=yes",
            "LogLevel=ERROR",
            "ServerAliveInterval=15",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
        ];
        let mut arguments = vec!["-F".to_owned(), "/dev/null".to_owned(), "-T".to_owned()];
        arguments.extend(options.iter().flat_map(|option| ["-o".to_owned(), (*option).to_owned()]));
        arguments.extend(["-i".to_owned(), self.key.display().to_string()]);
        arguments.extend(["-p".to_owned(), self.port.to_string(), format!("{}@{}", self.user, self.address)]);
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(config: &str) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("machines/todo-m02");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.json"), config).unwrap();
        std::fs::write(folder.join("id_rsa"), "a key").unwrap();
        home
    }

    #[test]
    fn machine_is_read_from_minikubes_home() {
        let home = home(
            r#"{"ConfigVersion":3,"Driver":{"IPAddress":"192.168.39.7","MachineName":"todo-m02","SSHUser":"docker",
                "SSHPort":22,"SSHKeyPath":"","StorePath":"/x"},"DriverName":"kvm2","Name":"todo-m02"}"#,
        );
        let machine = Machine::of_minikube(home.path(), "todo-m02").unwrap();
        assert_eq!((machine.address.as_str(), machine.port, machine.user.as_str()), ("192.168.39.7", 22, "docker"));
        let arguments = machine.ssh_arguments().join(" ");
        assert!(arguments.contains("BatchMode=yes") && arguments.ends_with("-p 22 docker@192.168.39.7"), "{arguments}");
    }

    #[test]
    fn machine_without_an_address_is_not_reached_by_ssh() {
        let home = home(r#"{"Driver":{"IPAddress":"","SSHUser":"docker","SSHPort":22}}"#);
        assert_eq!(Machine::of_minikube(home.path(), "todo-m02"), None);
        assert_eq!(Machine::of_minikube(home.path(), "other"), None);
        assert_eq!(Machine::of_minikube(home.path(), "../machines/todo-m02"), None);
    }
}
