//! Where a Docker Engine listens, found the way the `docker` command finds it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::DockerError;

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

/// Where a Docker Engine listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A socket on this machine.
    Unix(PathBuf),
    /// Plain TCP.
    Tcp {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// TCP with TLS and a client certificate, as `minikube docker-env` gives it.
    Tls {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
        /// The folder with `ca.pem`, `cert.pem` and `key.pem`.
        certificates: PathBuf,
    },
}

impl Endpoint {
    /// Reads an address such as `unix:///var/run/docker.sock` or `tcp://192.168.49.2:2376`; with a folder of
    /// certificates a TCP address is spoken to with TLS.
    pub fn parse(address: &str, certificates: Option<&Path>) -> Result<Self, DockerError> {
        let wrong = |reason: &str| DockerError::Address { address: address.to_owned(), reason: reason.to_owned() };
        if let Some(path) = address.strip_prefix("unix://") {
            return if path.is_empty() {
                Err(wrong("it names no socket"))
            } else {
                Ok(Self::Unix(PathBuf::from(path)))
            };
        }
        let (scheme, rest) = address.split_once("://").ok_or_else(|| wrong("a scheme is missing"))?;
        if !matches!(scheme, "tcp" | "http" | "https") {
            return Err(wrong("only unix:// and tcp:// can be spoken to"));
        }
        let authority = rest.split('/').next().unwrap_or_default();
        let default_port = if certificates.is_some() { TLS_PORT } else { PLAIN_PORT };
        let (host, port) = split_port(authority).ok_or_else(|| wrong("its port is no number"))?;
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        let (host, port) = (host.to_owned(), port.unwrap_or(default_port));
        match certificates {
            Some(folder) => Ok(Self::Tls { host, port, certificates: folder.to_owned() }),
            None if scheme == "https" => Err(wrong("it wants TLS, but no folder of certificates is known")),
            None => Ok(Self::Tcp { host, port }),
        }
    }

    /// The engine that the `docker` command would use: `DOCKER_HOST`, else the chosen docker context, else the default
    /// socket. `env` looks up environment variables.
    pub fn discover(env: impl Fn(&str) -> Option<String>) -> Result<Self, DockerError> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        if let Some(host) = set("DOCKER_HOST") {
            let verify = set("DOCKER_TLS_VERIFY").is_some() || host.starts_with("https://");
            let folder = set("DOCKER_CERT_PATH").map(PathBuf::from).or_else(|| config_folder(&env));
            return Self::parse(&host, folder.as_deref().filter(|_| verify));
        }
        let Some(config) = config_folder(&env) else { return Ok(Self::Unix(DEFAULT_SOCKET.into())) };
        let name = set("DOCKER_CONTEXT").or_else(|| current_context(&config));
        match name {
            Some(name) if name != "default" => from_context(&config, &name),
            Some(_) | None => Ok(Self::Unix(DEFAULT_SOCKET.into())),
        }
    }

    /// What goes into the `Host` header of a request.
    pub(super) fn host_header(&self) -> String {
        match self {
            Self::Unix(_) => "docker".to_owned(),
            Self::Tcp { host, port } | Self::Tls { host, port, .. } => authority(host, *port),
        }
    }
}

/// An IPv6 address stands in brackets before its port.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } | Self::Tls { host, port, .. } => write!(f, "tcp://{}", authority(host, *port)),
        }
    }
}

/// `host`, `host:port`, `[v6]:port`; `None` when the port is no number.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None => Some((host, None)),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((authority, None)),
    }
}

/// The folder in which the `docker` command keeps its configuration.
pub(super) fn config_folder(env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    set("DOCKER_CONFIG").map(PathBuf::from).or_else(|| set("HOME").map(|home| Path::new(&home).join(".docker")))
}

fn current_context(config: &Path) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Config {
        #[serde(default)]
        current_context: String,
    }
    let text = std::fs::read(config.join("config.json")).ok()?;
    let parsed: Config = serde_json::from_slice(&text).ok()?;
    Some(parsed.current_context).filter(|name| !name.is_empty())
}

/// Contexts live in folders that are named by a digest of the context's name; the name itself is in the file.
fn from_context(config: &Path, name: &str) -> Result<Endpoint, DockerError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Meta {
        name: String,
        endpoints: Endpoints,
    }
    #[derive(Deserialize)]
    struct Endpoints {
        docker: Option<Docker>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Docker {
        host: String,
    }
    let wrong = |reason: &str| DockerError::Address { address: format!("context {name}"), reason: reason.to_owned() };
    let folders = std::fs::read_dir(config.join("contexts/meta")).map_err(|_| wrong("there is no such context"))?;
    for folder in folders.flatten() {
        let Ok(text) = std::fs::read(folder.path().join("meta.json")) else { continue };
        let Ok(meta) = serde_json::from_slice::<Meta>(&text) else { continue };
        if meta.name != name {
            continue;
        }
        let docker = meta.endpoints.docker.ok_or_else(|| wrong("it has no Docker endpoint"))?;
        let certificates = config.join("contexts/tls").join(folder.file_name()).join("docker");
        return Endpoint::parse(&docker.host, certificates.is_dir().then_some(certificates.as_path()));
    }
    Err(wrong("there is no such context"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp { host: host.into(), port }
    }

    #[test]
    fn addresses_are_read() {
        assert_eq!(Endpoint::parse("unix:///run/d.sock", None).unwrap(), Endpoint::Unix("/run/d.sock".into()));
        assert_eq!(Endpoint::parse("tcp://10.0.0.1", None).unwrap(), tcp("10.0.0.1", 2375));
        assert_eq!(Endpoint::parse("tcp://[::1]:99", None).unwrap(), tcp("::1", 99));
        assert_eq!(Endpoint::parse("tcp://[::1]:99", None).unwrap().to_string(), "tcp://[::1]:99");
        let tls = Endpoint::parse("tcp://10.0.0.1", Some(Path::new("/c"))).unwrap();
        assert_eq!(tls, Endpoint::Tls { host: "10.0.0.1".into(), port: 2376, certificates: "/c".into() });
        for bad in ["ssh://me@host", "tcp://", "tcp://h:x", "unix://", "docker.sock", "https://h"] {
            assert!(Endpoint::parse(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_environment_wins_over_a_context_and_a_context_over_the_default() {
        let home = tempfile::tempdir().unwrap();
        let docker = home.path().join(".docker");
        let meta = docker.join("contexts/meta/0123");
        std::fs::create_dir_all(&meta).unwrap();
        std::fs::write(docker.join("config.json"), r#"{"currentContext":"far"}"#).unwrap();
        std::fs::write(
            meta.join("meta.json"),
            r#"{"Name":"far","Metadata":{},"Endpoints":{"docker":{"Host":"tcp://far:1","SkipTLSVerify":false}}}"#,
        )
        .unwrap();
        let home = home.path().to_str().unwrap();

        assert_eq!(Endpoint::discover(env(&[("HOME", home)])).unwrap(), tcp("far", 1));
        let chosen = [("HOME", home), ("DOCKER_HOST", "tcp://near:2")];
        assert_eq!(Endpoint::discover(env(&chosen)).unwrap(), tcp("near", 2));
        let default = [("HOME", home), ("DOCKER_CONTEXT", "default")];
        assert_eq!(Endpoint::discover(env(&default)).unwrap(), Endpoint::Unix(DEFAULT_SOCKET.into()));
        let unknown = [("HOME", home), ("DOCKER_CONTEXT", "nowhere")];
        assert!(Endpoint::discover(env(&unknown)).is_err());
    }
}
