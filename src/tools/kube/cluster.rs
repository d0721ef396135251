//! The connection to one cluster: made once, shared by everyone who speaks to it.

use std::collections::HashMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::{Method, Request};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::error::KubeError;
use super::kinds::Kind;
use super::object::Object;
use super::transport;
use super::watch::Feeds;

// An API server on this machine or in this house answers in milliseconds; five seconds of silence is no answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

// Of a request that arrived. Lists of thousands of objects take a second or two.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

// Reads are repeated while the server says "later": about three seconds in all, which covers a restart of its etcd but
// does not hide a cluster that is down.
const READ_ATTEMPTS: u32 = 6;
const READ_PATIENCE: Duration = Duration::from_secs(45);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A connection to one cluster. Cheap to clone; all clones share the same connections.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    config: kube::Config,
    // Speaks HTTP/1.1, which alone can be upgraded to WebSockets. Made when it is first wanted.
    upgrading: OnceLock<Client>,
    // The first request is made alone: those that follow find its connection and share it.
    identity: OnceCell<Option<String>>,
    context: String,
    address: String,
    default_namespace: String,
    kubeconfig: Option<OsString>,
    // What a group and version serves, asked once. Never held across an await.
    discovered: Mutex<HashMap<String, Arc<Value>>>,
    feeds: Feeds,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({} at {})", self.inner.context, self.inner.address)
    }
}

/// A list as the API answers it.
#[derive(serde::Deserialize)]
struct List {
    #[serde(default)]
    metadata: ListMetadata,
    #[serde(default)]
    items: Vec<Object>,
}

#[derive(serde::Deserialize, Default)]
struct ListMetadata {
    #[serde(default, rename = "continue")]
    more: String,
}

impl Cluster {
    /// Prepares the connection that a kubeconfig describes. `context` is the context to use, else the current one;
    /// `kubeconfig` is the value of `$KUBECONFIG` (several files, the first that names a thing wins), else
    /// `~/.kube/config`. Nothing is sent yet: see [`Cluster::identity`] or [`Cluster::ready`] for that.
    pub async fn connect(context: Option<&str>, kubeconfig: Option<&OsStr>) -> Result<Self, KubeError> {
        let files = kubeconfig_files(kubeconfig);
        let shown = files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":");
        let merged = read_kubeconfig(&files, &shown)?;
        let known = merged.contexts.iter().map(|context| context.name.clone()).collect::<Vec<_>>();
        let context = context.map(str::to_owned).or_else(|| merged.current_context.clone()).unwrap_or_default();
        if !known.contains(&context) {
            return Err(KubeError::NoContext { context, path: shown, known });
        }
        let unusable = |reason: String| KubeError::Kubeconfig { path: shown.clone(), reason };
        let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
        let mut config = kube::Config::from_custom_kubeconfig(merged, &options)
            .await
            .map_err(|error| unusable(error.to_string()))?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // We repeat reads ourselves, within bounds that a person can wait for.
        config.default_retry = false;
        let address = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let default_namespace = config.default_namespace.clone();
        let client = transport::client(&config, CONNECT_TIMEOUT).map_err(|error| unusable(error.to_string()))?;
        Ok(Self {
            inner: Arc::new(Inner {
                client,
                config,
                upgrading: OnceLock::new(),
                identity: OnceCell::new(),
                context,
                address,
                default_namespace,
                kubeconfig: kubeconfig.map(OsStr::to_owned),
                discovered: Mutex::new(HashMap::new()),
                feeds: Feeds::default(),
            }),
        })
    }

    /// The kubeconfig context in use.
    pub fn context(&self) -> &str {
        &self.inner.context
    }

    /// The address of the API server.
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    /// The namespace that the context names, else `default`.
    pub fn default_namespace(&self) -> &str {
        &self.inner.default_namespace
    }

    /// The value of `$KUBECONFIG` that the connection was made from, for tools that are spawned.
    pub fn kubeconfig(&self) -> Option<&OsStr> {
        self.inner.kubeconfig.as_deref()
    }

    /// The client itself, for the few things that only it can do (watches, port-forwards).
    pub(super) fn client(&self) -> Client {
        self.inner.client.clone()
    }

    /// A client that can upgrade its connections to WebSockets, for port-forwards.
    pub(super) fn upgrading_client(&self) -> Result<Client, KubeError> {
        if let Some(client) = self.inner.upgrading.get() {
            return Ok(client.clone());
        }
        let client = Client::try_from(self.inner.config.clone());
        let client = client.map_err(|error| self.explain("prepare a port-forward", error))?;
        Ok(self.inner.upgrading.get_or_init(|| client).clone())
    }

    /// What is being watched.
    pub(super) fn feeds(&self) -> &Feeds {
        &self.inner.feeds
    }

    /// The uid of the namespace `kube-system`: a cluster that was deleted and made again has another. Asked once for each
    /// connection.
    pub async fn identity(&self) -> Result<String, KubeError> {
        match self.open().await? {
            Some(uid) => Ok(uid.to_owned()),
            None => Err(KubeError::Forbidden {
                action: "read the cluster's identity".to_owned(),
                message: "the namespace kube-system may not be read".to_owned(),
            }),
        }
    }

    /// Makes the first request, once; it brings the identity, when we may read it.
    async fn open(&self) -> Result<Option<&str>, KubeError> {
        let ask = || async {
            let path = "/api/v1/namespaces/kube-system";
            match self
                .exchange::<Object>(Method::GET, path, "application/json", None, "read the cluster's identity")
                .await
            {
                Ok(namespace) => Ok(Some(namespace.uid().to_owned())),
                Err(KubeError::Forbidden { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        Ok(self.inner.identity.get_or_try_init(ask).await?.as_deref())
    }

    /// The error of an API server that was given so long to answer.
    pub fn silent(&self, waited: Duration) -> KubeError {
        let Inner { context, address, .. } = &*self.inner;
        let reason = format!("no answer within {} s", waited.as_secs());
        KubeError::Unreachable { context: context.clone(), address: address.clone(), reason }
    }

    /// Whether the API server says that it is ready to serve. An answer of "not yet" is `Ok(false)`.
    pub async fn ready(&self) -> Result<bool, KubeError> {
        let action = "ask the cluster whether it is ready";
        let request = Request::get("/readyz").body(Vec::new()).map_err(|error| answer(action, error))?;
        match self.inner.client.request_text(request).await {
            Ok(_) => Ok(true),
            Err(error) => match self.explain(action, error) {
                KubeError::Api { code: 500..=599, .. } => Ok(false),
                // Who may not ask is at least answered by somebody who is up.
                KubeError::Forbidden { .. } => Ok(true),
                error => Err(error),
            },
        }
    }

    /// The version of the API server, such as `v1.32.0`.
    pub async fn server_version(&self) -> Result<String, KubeError> {
        let version: Value = self.get_path("/version", "read the cluster's version").await?;
        Ok(version.get("gitVersion").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// Where the API keeps a kind. Asks the cluster, once, for kinds that do not ship with Kubernetes.
    pub async fn kind(&self, api_version: &str, kind: &str) -> Result<Kind, KubeError> {
        if let Some(known) = Kind::known(api_version, kind) {
            return Ok(known);
        }
        let cached =
            self.inner.discovered.lock().unwrap_or_else(PoisonError::into_inner).get(api_version).map(Arc::clone);
        if let Some(found) = cached.and_then(|resources| Kind::discovered(api_version, kind, &resources)) {
            return Ok(found);
        }
        // What is not in the cache may have been installed since.
        let resources = self.resources(api_version).await?;
        let Some(found) = resources.as_ref().and_then(|resources| Kind::discovered(api_version, kind, resources))
        else {
            let served_as = self.served_as(api_version, kind).await;
            return Err(KubeError::UnknownKind {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                served_as,
            });
        };
        let mut discovered = self.inner.discovered.lock().unwrap_or_else(PoisonError::into_inner);
        discovered.extend(resources.map(|resources| (api_version.to_owned(), Arc::new(resources))));
        Ok(found)
    }

    /// What the API serves in a group and version; nothing where it does not know them.
    async fn resources(&self, api_version: &str) -> Result<Option<Value>, KubeError> {
        let root = if api_version.contains('/') { "apis" } else { "api" };
        let action = format!("ask for the kinds of {api_version}");
        match self.get_path(&format!("/{root}/{api_version}"), &action).await {
            Ok(resources) => Ok(Some(resources)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The group and version that serve a kind which is not served where it was looked for: another version of its group, or
    /// the group that it moved to.
    pub async fn served_as(&self, api_version: &str, kind: &str) -> Option<String> {
        for group in successors(api_version, kind) {
            let known: Value =
                self.get_path(&format!("/apis/{group}"), "ask for the versions of a group").await.ok()?;
            for served in versions(&known) {
                if served != api_version
                    && let Ok(Some(resources)) = self.resources(&served).await
                    && Kind::discovered(&served, kind, &resources).is_some()
                {
                    return Some(served);
                }
            }
        }
        None
    }

    /// All objects of a kind in a namespace (or in all of them), by an optional label and field selector.
    pub async fn list(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        labels: Option<&str>,
        fields: Option<&str>,
    ) -> Result<Vec<Object>, KubeError> {
        let action = format!("list {}", kind.plural);
        let mut objects = Vec::new();
        let mut more = String::new();
        loop {
            let mut query = vec![("limit", "500")];
            query.extend(labels.map(|labels| ("labelSelector", labels)));
            query.extend(fields.map(|fields| ("fieldSelector", fields)));
            if !more.is_empty() {
                query.push(("continue", &more));
            }
            let path = with_query(&kind.path(namespace), &query);
            let list: List = self.get_path(&path, &action).await?;
            objects.extend(list.items.into_iter().map(|object| object.of_kind(&kind.api_version, &kind.kind)));
            if list.metadata.more.is_empty() {
                return Ok(objects);
            }
            more = list.metadata.more;
        }
    }

    /// One object, or None when there is none of this name.
    pub async fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Option<Object>, KubeError> {
        let path = format!("{}/{name}", kind.path(Some(namespace)));
        match self.get_path::<Object>(&path, &format!("read {} {name}", kind.kind)).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes an object; whether there was one. With `foreground`, it goes only after what it owns.
    pub async fn delete(&self, kind: &Kind, namespace: &str, name: &str, foreground: bool) -> Result<bool, KubeError> {
        let path = format!("{}/{name}", kind.path(Some(namespace)));
        let policy = if foreground { "Foreground" } else { "Background" };
        let body = serde_json::json!({ "propagationPolicy": policy });
        let deleted: Result<Value, _> = self
            .send(Method::DELETE, &path, "application/json", Some(&body), &format!("delete {} {name}", kind.kind))
            .await;
        match deleted {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates an object. A conflict is an error: somebody else made one of this name.
    pub async fn create(&self, kind: &Kind, namespace: &str, object: &Value) -> Result<Object, KubeError> {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let action = format!("create {} {name}", kind.kind);
        self.send(Method::POST, &kind.path(Some(namespace)), "application/json", Some(object), &action).await
    }

    /// Makes an object be what `object` says, creating it when there is none (server-side apply, as the manager
    /// `stack`, taking over fields that others set).
    pub async fn apply(&self, kind: &Kind, namespace: &str, name: &str, object: &Value) -> Result<Object, KubeError> {
        let path = with_query(
            &format!("{}/{name}", kind.path(Some(namespace))),
            &[("fieldManager", "stack"), ("force", "true")],
        );
        let action = format!("write {} {name}", kind.kind);
        self.send(Method::PATCH, &path, "application/apply-patch+yaml", Some(object), &action).await
    }

    /// Changes an object by a JSON merge patch.
    pub async fn merge(&self, kind: &Kind, namespace: &str, name: &str, patch: &Value) -> Result<Object, KubeError> {
        let path = format!("{}/{name}", kind.path(Some(namespace)));
        let action = format!("change {} {name}", kind.kind);
        self.send(Method::PATCH, &path, "application/merge-patch+json", Some(patch), &action).await
    }

    /// Reads a path of the API, again while the server says "later".
    pub(super) async fn get_path<T: DeserializeOwned>(&self, path: &str, action: &str) -> Result<T, KubeError> {
        self.send(Method::GET, path, "application/json", None, action).await
    }

    /// Reads a path whose answer is text, such as a container's log.
    pub(super) async fn get_text(&self, path: &str, action: &str) -> Result<String, KubeError> {
        let request = Request::get(path).body(Vec::new()).map_err(|error| answer(action, error))?;
        self.inner.client.request_text(request).await.map_err(|error| self.explain(action, error))
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content: &str,
        body: Option<&Value>,
        action: &str,
    ) -> Result<T, KubeError> {
        self.open().await?;
        self.exchange(method, path, content, body, action).await
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content: &str,
        body: Option<&Value>,
        action: &str,
    ) -> Result<T, KubeError> {
        let body = match body {
            Some(body) => serde_json::to_vec(body).map_err(|error| answer(action, error))?,
            None => Vec::new(),
        };
        let begun = tokio::time::Instant::now();
        let mut attempt = 1;
        let mut pause = FIRST_PAUSE;
        loop {
            let request = Request::builder()
                .method(method.clone())
                .uri(path)
                .header(http::header::ACCEPT, "application/json")
                .header(http::header::CONTENT_TYPE, content)
                .body(body.clone())
                .map_err(|error| answer(action, error))?;
            let answered = tokio::time::timeout(ANSWER_TIMEOUT, self.inner.client.request::<T>(request)).await;
            let (after, error) = match answered {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => (server_pause(&error), self.explain(action, error)),
                Err(_) => {
                    let reason = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
                    let address = self.inner.address.clone();
                    (None, KubeError::Broken { action: action.to_owned(), address, reason })
                }
            };
            if attempt >= READ_ATTEMPTS || begun.elapsed() > READ_PATIENCE || !may_repeat(&method, &error) {
                return Err(error);
            }
            tracing::debug!(%error, attempt, "asking the API again");
            tokio::time::sleep(after.unwrap_or(pause).min(LONGEST_PAUSE)).await;
            pause *= 2;
            attempt += 1;
        }
    }

    /// Our words for an error of the client.
    pub(super) fn explain(&self, action: &str, error: kube::Error) -> KubeError {
        let action = action.to_owned();
        match error {
            kube::Error::Api(status) => match status.code {
                401 => KubeError::Unauthorized {
                    context: self.inner.context.clone(),
                    message: or_reason(&status.message, &status.reason),
                },
                403 if !is_quota_or_admission(&status.message) => {
                    KubeError::Forbidden { action, message: or_reason(&status.message, &status.reason) }
                }
                code => KubeError::Api {
                    action,
                    code,
                    message: or_reason(&status.message, &status.reason),
                    reason: status.reason,
                },
            },
            kube::Error::SerdeError(error) => KubeError::Answer { action, reason: error.to_string() },
            kube::Error::FromUtf8(error) => KubeError::Answer { action, reason: error.to_string() },
            kube::Error::Auth(error) => {
                KubeError::Unauthorized { context: self.inner.context.clone(), message: chain(&error) }
            }
            error => {
                let reason = chain(&error);
                if never_arrived(&error) {
                    KubeError::Unreachable {
                        context: self.inner.context.clone(),
                        address: self.inner.address.clone(),
                        reason,
                    }
                } else {
                    KubeError::Broken { action, address: self.inner.address.clone(), reason }
                }
            }
        }
    }
}

/// The groups that may serve a kind, its own first. `extensions` was given up in Kubernetes 1.16 to 1.22.
fn successors(api_version: &str, kind: &str) -> Vec<String> {
    let (group, _) = api_version.split_once('/').unwrap_or(("", api_version));
    let moved = match (group, kind) {
        ("extensions", "Ingress" | "NetworkPolicy") => Some("networking.k8s.io"),
        ("extensions", _) => Some("apps"),
        _ => None,
    };
    [Some(group).filter(|group| !group.is_empty()), moved].into_iter().flatten().map(str::to_owned).collect()
}

/// The groups and versions in the answer for a group, the preferred one first.
fn versions(group: &Value) -> Vec<String> {
    let named = |version: &Value| version.get("groupVersion").and_then(Value::as_str).map(str::to_owned);
    let mut found: Vec<_> = group.get("preferredVersion").and_then(named).into_iter().collect();
    for version in group.get("versions").and_then(Value::as_array).into_iter().flatten().filter_map(named) {
        if !found.contains(&version) {
            found.push(version);
        }
    }
    found
}

/// The files that a value of `$KUBECONFIG` names, or the default one.
pub(super) fn kubeconfig_files(kubeconfig: Option<&OsStr>) -> Vec<PathBuf> {
    let named = kubeconfig.map(|value| env::split_paths(value).filter(|path| !path.as_os_str().is_empty()).collect());
    match named {
        Some(files) if !Vec::is_empty(&files) => files,
        _ => env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect(),
    }
}

fn read_kubeconfig(files: &[PathBuf], shown: &str) -> Result<Kubeconfig, KubeError> {
    let unusable = |reason: String| KubeError::Kubeconfig { path: shown.to_owned(), reason };
    // As kubectl does: of several files, those that are not there count as empty.
    let there = files.iter().filter(|path| path.exists()).collect::<Vec<_>>();
    if there.is_empty() {
        return Err(unusable("no such file".to_owned()));
    }
    there.into_iter().try_fold(Kubeconfig::default(), |merged, path| {
        let next = Kubeconfig::read_from(path).map_err(|error| unusable(chain(&error)))?;
        merged.merge(next).map_err(|error| unusable(error.to_string()))
    })
}

/// A path with a query string.
pub(super) fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut whole = String::from(path);
    for (at, (key, value)) in query.iter().enumerate() {
        whole.push(if at == 0 { '?' } else { '&' });
        whole.push_str(key);
        whole.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => whole.push(char::from(byte)),
                _ => whole.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    whole
}

fn answer(action: &str, error: impl fmt::Display) -> KubeError {
    KubeError::Answer { action: action.to_owned(), reason: error.to_string() }
}

fn or_reason(message: &str, reason: &str) -> String {
    if message.is_empty() { reason.to_owned() } else { message.to_owned() }
}

// Quota and admission answer with 403 too, but no other role would help.
fn is_quota_or_admission(message: &str) -> bool {
    message.contains("exceeded quota") || message.contains("admission webhook")
}

/// Whether a request that failed so may be sent again: a read at any hiccup, a write only when it was surely not done.
fn may_repeat(method: &Method, error: &KubeError) -> bool {
    match error {
        KubeError::Api { code: 429, .. } => true,
        KubeError::Api { code: 500 | 502 | 503 | 504, .. } | KubeError::Broken { .. } => *method == Method::GET,
        _ => false,
    }
}

fn server_pause(error: &kube::Error) -> Option<Duration> {
    match error {
        kube::Error::Api(status) => {
            let seconds = status.details.as_ref()?.retry_after_seconds;
            (seconds > 0).then(|| Duration::from_secs(seconds.into()))
        }
        _ => None,
    }
}

/// An error with its causes, each said once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut whole = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !whole.contains(&text) {
            whole.push_str(": ");
            whole.push_str(&text);
        }
        source = cause.source();
    }
    whole
}

/// Whether the request cannot have reached the server: the connection was never made.
fn never_arrived(error: &kube::Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind;
            if matches!(
                io.kind(),
                ErrorKind::ConnectionRefused
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable
                    | ErrorKind::TimedOut
                    | ErrorKind::AddrNotAvailable
            ) {
                return true;
            }
        }
        let text = cause.to_string();
        if text.contains("dns error") || text.contains("certificate") || text.starts_with("client error (Connect)") {
            return true;
        }
        source = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_looked_for_in_the_groups_that_may_serve_it() {
        assert_eq!(successors("policy/v1beta1", "PodDisruptionBudget"), ["policy"]);
        assert_eq!(successors("extensions/v1beta1", "Ingress"), ["extensions", "networking.k8s.io"]);
        assert_eq!(successors("extensions/v1beta1", "Deployment"), ["extensions", "apps"]);
        assert!(successors("v1", "Widget").is_empty());
        // As Kubernetes 1.36 answers it.
        let group = serde_json::json!({"kind": "APIGroup", "name": "autoscaling",
            "versions": [{"groupVersion": "autoscaling/v2", "version": "v2"}, {"groupVersion": "autoscaling/v1", "version": "v1"}],
            "preferredVersion": {"groupVersion": "autoscaling/v2", "version": "v2"}});
        assert_eq!(versions(&group), ["autoscaling/v2", "autoscaling/v1"]);
    }

    #[test]
    fn a_query_is_escaped() {
        assert_eq!(
            with_query("/api/v1/secrets", &[("labelSelector", "owner=helm,status!=superseded")]),
            "/api/v1/secrets?labelSelector=owner%3Dhelm%2Cstatus%21%3Dsuperseded"
        );
    }

    #[test]
    fn a_list_of_kubeconfigs_is_split() {
        assert_eq!(
            kubeconfig_files(Some(OsStr::new("/a/one::/b/two"))),
            [PathBuf::from("/a/one"), PathBuf::from("/b/two")]
        );
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_is_said() {
        let error = Cluster::connect(None, Some(OsStr::new("/nowhere/config"))).await.unwrap_err();
        assert_eq!(error.to_string(), "the kubeconfig /nowhere/config cannot be used: no such file");
        assert_eq!(error.class(), crate::error::Class::Environment);
    }

    const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
current-context: here
clusters: [{name: c, cluster: {server: \"http://127.0.0.1:1\"}}]
users: [{name: u, user: {}}]
contexts: [{name: here, context: {cluster: c, user: u, namespace: todo}}]
";

    async fn connect(context: Option<&str>) -> Result<Cluster, KubeError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, KUBECONFIG).unwrap();
        Cluster::connect(context, Some(path.as_os_str())).await
    }

    #[tokio::test]
    async fn an_unknown_context_names_the_known_ones() {
        let error = connect(Some("there")).await.unwrap_err();
        assert!(matches!(&error, KubeError::NoContext { context, .. } if context == "there"), "{error}");
        assert_eq!(error.help().unwrap(), "known contexts: here");
    }

    #[tokio::test]
    async fn a_refused_connection_is_unreachable_and_says_where() {
        let cluster = connect(None).await.unwrap();
        assert_eq!((cluster.context(), cluster.default_namespace()), ("here", "todo"));
        let error = cluster.identity().await.unwrap_err();
        assert!(matches!(error, KubeError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains("http://127.0.0.1:1"), "{error}");
        assert_eq!(error.class(), crate::error::Class::Environment);
    }
}
