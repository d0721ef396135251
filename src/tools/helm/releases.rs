//! Release records, read where Helm keeps them: Secrets of the type `helm.sh/release.v1`, one for each revision.
//!
//! Reading them through the API takes milliseconds where a `helm` process takes hundreds.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::read::GzDecoder;
use serde_json::{Map, Value};

use super::error::HelmError;
use crate::model::chart::Chart;
use crate::model::release::{Release, ReleaseStatus};
use crate::tools::kube::{Cluster, Kind, KubeError, Object, STACK_LABEL, Snapshot};

// A Secret holds at most 1 MiB; no manifest in it unpacks to more than this.
const UNPACKED_LIMIT: u64 = 256 << 20;

/// A revision's place in the history, read from the labels alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The release.
    pub release: String,
    /// Its namespace.
    pub namespace: String,
    /// The revision, from 1.
    pub revision: u64,
    /// Of what holds it in the cluster.
    pub uid: String,
    /// Its state.
    pub status: ReleaseStatus,
    /// The stack that made it, when one did.
    pub stack: Option<String>,
}

/// The newest revision of a release; None when it is not installed.
pub async fn latest(cluster: &Cluster, namespace: &str, release: &str) -> Result<Option<Release>, HelmError> {
    // Superseded revisions are by far the most; those that are not hold the newest.
    let selector = format!("owner=helm,name={release},status!=superseded");
    let found = secrets(cluster, Some(namespace), &selector).await?;
    let newest = found.into_iter().max_by_key(revision_of);
    match newest {
        Some(newest) => read(&newest).map(Some),
        // Every revision is superseded when an upgrade was cut between its two writes.
        None => {
            let found = secrets(cluster, Some(namespace), &format!("owner=helm,name={release}")).await?;
            found.into_iter().max_by_key(revision_of).map(|newest| read(&newest)).transpose()
        }
    }
}

/// The same by what a snapshot holds.
pub async fn latest_in(snapshot: &Snapshot, namespace: &str, release: &str) -> Result<Option<Release>, HelmError> {
    if snapshot.is_crowded(namespace) {
        let kind = secret_kind(snapshot.cluster()).await?;
        let listed = snapshot.list(&kind, Some(namespace), Some("owner=helm,status!=superseded"), None).await?;
        let of_release = listed.values().filter(|secret| secret.label("name") == Some(release));
        if let Some(newest) = of_release.max_by_key(|secret| revision_of(secret)) {
            return read(newest).map(Some);
        }
    }
    latest(snapshot.cluster(), namespace, release).await
}

/// The newest revisions of several releases, in one request for each namespace. Releases that are not installed are
/// left out.
pub async fn latest_of(cluster: &Cluster, namespace: &str, releases: &[&str]) -> Result<Vec<Release>, HelmError> {
    let selector = format!("owner=helm,name in ({}),status!=superseded", releases.join(","));
    newest_of_each(secrets(cluster, Some(namespace), &selector).await?)
}

/// The newest revision of every release in a namespace, or in all of them.
pub async fn list(cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<Release>, HelmError> {
    newest_of_each(secrets(cluster, namespace, "owner=helm,status!=superseded").await?)
}

/// The revisions of a release from the first to the newest.
pub async fn history(cluster: &Cluster, namespace: &str, release: &str) -> Result<Vec<Revision>, HelmError> {
    let mut found = secrets(cluster, Some(namespace), &format!("owner=helm,name={release}"))
        .await?
        .iter()
        .map(|secret| Revision {
            release: secret.label("name").unwrap_or_default().to_owned(),
            namespace: secret.namespace().to_owned(),
            revision: revision_of(secret),
            uid: secret.text("/metadata/uid").to_owned(),
            status: ReleaseStatus::parse(secret.label("status").unwrap_or_default()),
            stack: secret.label(STACK_LABEL).map(str::to_owned),
        })
        .collect::<Vec<_>>();
    found.sort_by_key(|revision| revision.revision);
    Ok(found)
}

/// Every revision that can be rolled back to, of all releases: what it is called, and all manifests in it, hooks included.
pub async fn kept(cluster: &Cluster) -> Result<Vec<(String, String)>, HelmError> {
    let found = secrets(cluster, None, "owner=helm").await?;
    let kept = found.iter().map(|secret| {
        let release = secret.label("name").unwrap_or_default().to_owned();
        let name = format!("release {release} in namespace {}, revision {}", secret.namespace(), revision_of(secret));
        let payload = unpack(secret).map_err(|reason| HelmError::Record { release, reason })?;
        let hooks = payload.get("hooks").and_then(Value::as_array).into_iter().flatten();
        let manifests = hooks.filter_map(|hook| hook.get("manifest")).chain(payload.get("manifest"));
        Ok((name, manifests.filter_map(Value::as_str).collect::<Vec<_>>().join("\n")))
    });
    kept.collect()
}

/// One revision of a release.
pub async fn revision(
    cluster: &Cluster,
    namespace: &str,
    release: &str,
    revision: u64,
) -> Result<Option<Release>, HelmError> {
    let kind = secret_kind(cluster).await?;
    let found = cluster.get(&kind, namespace, &secret_name(release, revision)).await?;
    found.map(|secret| read(&secret)).transpose()
}

/// Says of a revision that was begun and never finished that it failed, as Helm itself would have done had it lived.
pub(super) async fn mark_failed(cluster: &Cluster, release: &Release, description: &str) -> Result<(), HelmError> {
    let kind = secret_kind(cluster).await?;
    let name = secret_name(&release.name, release.revision);
    let Some(secret) = cluster.get(&kind, &release.namespace, &name).await? else {
        return Ok(());
    };
    let damaged = |reason: String| HelmError::Record { release: release.name.clone(), reason };
    let mut payload = unpack(&secret).map_err(damaged)?;
    let info = payload.get_mut("info").and_then(Value::as_object_mut);
    let info = info.ok_or_else(|| HelmError::Record { release: release.name.clone(), reason: "no info".to_owned() })?;
    info.insert("status".to_owned(), ReleaseStatus::Failed.word().into());
    info.insert("description".to_owned(), description.into());
    let packed = pack(&payload)
        .map_err(|error| HelmError::Record { release: release.name.clone(), reason: error.to_string() })?;
    let patch = serde_json::json!({
        // Whoever changed it since we read it knows better: then this is refused as a conflict.
        "metadata": { "resourceVersion": secret.resource_version(), "labels": { "status": ReleaseStatus::Failed.word() } },
        "data": { "release": packed },
    });
    cluster.merge(&kind, &release.namespace, &name, &patch).await?;
    Ok(())
}

async fn secret_kind(cluster: &Cluster) -> Result<Kind, KubeError> {
    cluster.kind("v1", "Secret").await
}

async fn secrets(cluster: &Cluster, namespace: Option<&str>, selector: &str) -> Result<Vec<Object>, HelmError> {
    Ok(cluster.list(&secret_kind(cluster).await?, namespace, Some(selector), None).await?)
}

fn secret_name(release: &str, revision: u64) -> String {
    format!("sh.helm.release.v1.{release}.v{revision}")
}

fn revision_of(secret: &Object) -> u64 {
    secret.label("version").and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn newest_of_each(mut secrets: Vec<Object>) -> Result<Vec<Release>, HelmError> {
    let key = |secret: &Object| (secret.namespace().to_owned(), secret.label("name").unwrap_or_default().to_owned());
    secrets.sort_by(|a, b| key(a).cmp(&key(b)).then(revision_of(b).cmp(&revision_of(a))));
    secrets.dedup_by(|later, first| key(later) == key(first));
    secrets.iter().map(read).collect()
}

/// The payload: JSON, gzipped and in base64 by Helm, and again in base64 by the API.
fn unpack(secret: &Object) -> Result<Map<String, Value>, String> {
    let outer = secret.at("/data/release").and_then(Value::as_str).ok_or("it holds no release")?;
    let inner = BASE64.decode(outer).map_err(|error| error.to_string())?;
    let packed = BASE64.decode(inner).map_err(|error| error.to_string())?;
    let mut json = Vec::new();
    if packed.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = GzDecoder::new(packed.as_slice()).take(UNPACKED_LIMIT);
        unpacked.read_to_end(&mut json).map_err(|error| error.to_string())?;
    } else {
        // The first versions of Helm 3 did not compress.
        json = packed;
    }
    serde_json::from_slice(&json).map_err(|error| error.to_string())
}

fn pack(payload: &Map<String, Value>) -> std::io::Result<String> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&serde_json::to_vec(payload)?)?;
    Ok(BASE64.encode(BASE64.encode(encoder.finish()?)))
}

fn read(secret: &Object) -> Result<Release, HelmError> {
    let name = secret.label("name").unwrap_or_default().to_owned();
    let mut payload = unpack(secret).map_err(|reason| HelmError::Record { release: name.clone(), reason })?;
    let text = |pointer: &str, payload: &Map<String, Value>| {
        let (first, rest) = pointer.split_once('/').unwrap_or((pointer, ""));
        let value = payload.get(first)?;
        let value = if rest.is_empty() { value } else { value.pointer(&format!("/{rest}"))? };
        value.as_str().map(str::to_owned)
    };
    let time = |pointer: &str| text(pointer, &payload).and_then(|time| time.parse().ok());
    let chart = payload
        .get("chart")
        .and_then(|chart| chart.get("metadata"))
        .and_then(|metadata| serde_json::from_value::<Chart>(without_nulls(metadata.clone())).ok())
        .unwrap_or_default();
    Ok(Release {
        namespace: secret.namespace().to_owned(),
        revision: revision_of(secret),
        uid: secret.text("/metadata/uid").to_owned(),
        status: ReleaseStatus::parse(&text("info/status", &payload).unwrap_or_default()),
        first_deployed: time("info/first_deployed"),
        updated: time("info/last_deployed"),
        description: text("info/description", &payload).unwrap_or_default(),
        notes: text("info/notes", &payload).unwrap_or_default(),
        manifest: text("manifest", &payload).unwrap_or_default(),
        stack: secret.label(STACK_LABEL).map(str::to_owned),
        failed_hooks: failed_hooks(&payload),
        values: payload.remove("config").unwrap_or_default(),
        name,
        chart,
    })
}

/// The hooks whose last run has failed.
fn failed_hooks(payload: &Map<String, Value>) -> Vec<String> {
    let hooks = payload.get("hooks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let failed = hooks.iter().filter(|hook| hook.pointer("/last_run/phase").and_then(Value::as_str) == Some("Failed"));
    failed.filter_map(|hook| hook.get("manifest")?.as_str()).map(str::to_owned).collect()
}

/// Whether a live object says that it belongs to a release: what Helm itself asks for before it touches one.
pub fn owns(release: &Release, object: &Object) -> bool {
    object.annotation("meta.helm.sh/release-name") == Some(&release.name)
        && object.annotation("meta.helm.sh/release-namespace") == Some(&release.namespace)
}

/// A list that is null and one that is not there are the same to Helm.
fn without_nulls(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(name: &str, revision: u64, status: &str) -> Object {
        let payload = json!({
            "name": name, "version": revision, "namespace": "todo",
            "info": {
                "status": status, "description": "Upgrade complete", "notes": "Open it.",
                "first_deployed": "2026-11-23T09:00:00.5+01:00", "last_deployed": "2026-11-23T08:10:00Z", "deleted": "",
            },
            "chart": {"metadata": {"name": "todo-chatbot", "version": "0.1.0", "appVersion": "2", "maintainers": null,
                "dependencies": [{"name": "common", "version": "1.x"}]}},
            "config": {"replicas": 2},
            "manifest": "---\nkind: ConfigMap\n",
        });
        let release = pack(payload.as_object().unwrap()).unwrap();
        Object::new(json!({
            "metadata": {"name": secret_name(name, revision), "namespace": "todo", "resourceVersion": "7",
                "labels": {"name": name, "owner": "helm", "version": revision.to_string(), "status": status}},
            "data": {"release": release},
        }))
    }

    #[test]
    fn a_record_is_read() {
        let release = read(&secret("todo", 3, "pending-upgrade")).unwrap();
        assert_eq!((release.name.as_str(), release.revision), ("todo", 3));
        assert!(release.status.is_pending());
        assert_eq!(release.updated.unwrap().to_string(), "2026-11-23T08:10:00Z");
        assert_eq!(release.first_deployed.unwrap().to_string(), "2026-11-23T08:00:00.5Z");
        assert_eq!((release.chart.app_version.as_str(), release.chart.sub_charts.len()), ("2", 1));
        assert_eq!(release.values, json!({"replicas": 2}));
        assert_eq!((release.notes.as_str(), release.manifest.as_str()), ("Open it.", "---\nkind: ConfigMap\n"));
    }

    #[test]
    fn the_newest_of_each_is_found_whatever_the_order() {
        let found = newest_of_each(vec![
            secret("todo", 9, "deployed"),
            secret("db", 1, "deployed"),
            secret("todo", 10, "failed"),
        ]);
        let found = found.unwrap().iter().map(|r| (r.name.clone(), r.revision)).collect::<Vec<_>>();
        assert_eq!(found, [("db".to_owned(), 1), ("todo".to_owned(), 10)]);
    }

    #[test]
    fn a_damaged_record_is_an_error_that_names_the_release() {
        let mut json = secret("todo", 1, "deployed").into_json();
        json["data"]["release"] = "AAAA".into();
        let error = read(&Object::new(json)).unwrap_err();
        assert!(error.to_string().starts_with("the record of release todo cannot be read"), "{error}");
    }
}
