//! Logins of registries, from where `docker login` keeps them.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The registry that is meant when an image names none, and the name under which its login is kept.
const HUB: &str = "registry-1.docker.io";
const HUB_LOGIN: &str = "https://index.docker.io/v1/";

/// Logins of registries.
#[derive(Debug, Clone, Default)]
pub(super) struct Credentials {
    config: Config,
}

/// A login; an empty user name means that the secret is an identity token.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) username: String,
    pub(super) secret: SecretString,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    auths: HashMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: HashMap<String, String>,
}

// Written by hand: the entries are secret.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("registries", &self.auths.len()).finish_non_exhaustive()
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

impl Credentials {
    /// Reads `config.json` in Docker's folder of configuration. One that is missing or broken means no logins, as it
    /// does for `docker`.
    pub(super) fn read(folder: Option<&Path>) -> Self {
        let text = folder.and_then(|folder| std::fs::read(folder.join("config.json")).ok());
        let config = text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { config }
    }

    /// The login of a registry, by host name and port.
    pub(super) async fn of_registry(&self, host: &str) -> Option<Login> {
        let name = if host == HUB { HUB_LOGIN } else { host };
        if let Some(helper) = self.config.cred_helpers.get(name).or(self.config.creds_store.as_ref())
            && let Some(login) = ask_helper(helper, name).await
        {
            return Some(login);
        }
        let entry = self.config.auths.iter().find(|(key, _)| *key == name || host_of(key) == name)?.1;
        if !entry.identitytoken.is_empty() {
            return Some(Login { username: String::new(), secret: entry.identitytoken.clone().into() });
        }
        if !entry.username.is_empty() {
            return Some(Login { username: entry.username.clone(), secret: entry.password.clone().into() });
        }
        let decoded = String::from_utf8(STANDARD.decode(entry.auth.trim()).ok()?).ok()?;
        let (username, password) = decoded.split_once(':')?;
        Some(Login { username: username.to_owned(), secret: password.trim_end_matches('\0').to_owned().into() })
    }
}

/// Older entries are URLs.
fn host_of(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    key.split('/').next().unwrap_or(key)
}

/// Docker's credential helpers read the registry's name from standard input and answer with JSON.
async fn ask_helper(helper: &str, registry: &str) -> Option<Login> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(registry.as_bytes()).await.ok()?;
    let output = child.wait_with_output().await.ok()?;
    let answer: Answer = serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success())?;
    let username = if answer.username == "<token>" { String::new() } else { answer.username };
    Some(Login { username, secret: answer.secret.into() })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[tokio::test]
    async fn logins_are_found_by_host_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let auth = STANDARD.encode("me:pass:word");
        let text = format!(
            r#"{{"auths":{{"{HUB_LOGIN}":{{"auth":"{auth}"}},"https://old.example/v2/":{{"identitytoken":"tok"}}}}}}"#
        );
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        let credentials = Credentials::read(Some(folder.path()));

        let hub = credentials.of_registry(HUB).await.unwrap();
        assert_eq!((hub.username.as_str(), hub.secret.expose_secret()), ("me", "pass:word"));
        let old = credentials.of_registry("old.example").await.unwrap();
        assert_eq!((old.username.as_str(), old.secret.expose_secret()), ("", "tok"));
        assert!(credentials.of_registry("other.example").await.is_none());
        assert!(!format!("{credentials:?} {hub:?}").contains("pass"));
    }
}
