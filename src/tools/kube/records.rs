//! Records of what was applied, kept in the cluster beside what they speak of.
//!
//! A record is a Secret in the namespace of its subject: it goes when the namespace or the cluster goes, and is there
//! for every machine that applies the stack. What it says is opaque here: JSON from the rooms above, packed. It is a
//! Secret and not a ConfigMap since values may be told apart by it, though it never holds a secret value itself.
//!
//! Before something is done to the subject its record is withdrawn ([`withdraw`]): its content stays readable, for
//! explaining, but it is marked as in doubt until [`write()`] says what holds now.

use std::io::{BufReader, BufWriter, IntoInnerError, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::cluster::Cluster;
use super::error::KubeError;
use super::kinds::Kind;
use super::object::Object;
use super::snapshot::Snapshot;
use super::{MANAGED_BY, STACK_LABEL};

/// The type of the Secrets that hold records. Its number changes when their shape does.
pub const RECORD_TYPE: &str = "stack.dev/record.v1";
const KIND_LABEL: &str = "stack.dev/kind";
const NAME_LABEL: &str = "stack.dev/name";
const HEAD: &str = "head";
const CONTENT: &str = "content";
const BESIDE: &str = "beside";
// etcd takes 1.5 MB, the API server 1 MiB of a Secret's data; the base64 of the transport does not count.
const LIMIT: usize = 1_000_000;
// Whatever a packed record claims, no more than this is unpacked of it.
const UNPACKED_LIMIT: u64 = 64 << 20;
/// Bytes that are packed and unpacked at a time.
const PIECE: usize = 64 * 1024;

/// Which record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordId {
    /// The stack.
    pub stack: String,
    /// What it speaks of: `chart`, `ready`, …
    pub kind: String,
    /// The name of that, as in the stack file.
    pub name: String,
    /// The namespace where the record is kept.
    pub namespace: String,
}

/// Who is about to change the subject of a record, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The host.
    pub host: String,
    /// The process there.
    pub pid: u32,
    /// Since when.
    pub since: Timestamp,
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Which record it is.
    pub id: RecordId,
    /// Set when something was begun and never finished: then what the record says may not hold any more.
    pub in_doubt: Option<Holder>,
    /// What was recorded last. Null when nothing ever was.
    pub content: Value,
}

#[derive(Serialize, Deserialize)]
struct Head {
    id: RecordId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    in_doubt: Option<Holder>,
}

/// Reads a record; None when there is none, or none that we understand.
pub async fn read(cluster: &Cluster, id: &RecordId) -> Result<Option<Record>, KubeError> {
    let found = cluster.get(&secrets(cluster).await?, &id.namespace, &object_name(id)).await?;
    Ok(found.and_then(|object| unpack(&object)).filter(|record| record.id == *id))
}

/// All records of a stack, in a namespace or in all of them. Damaged ones are left out.
pub async fn list(cluster: &Cluster, namespace: Option<&str>, stack: &str) -> Result<Vec<Record>, KubeError> {
    let (labels, fields) = selectors(stack);
    let found = cluster.list(&secrets(cluster).await?, namespace, Some(&labels), Some(&fields)).await?;
    Ok(found.iter().filter_map(unpack).filter(|record| record.id.stack == stack).collect())
}

/// Writes what holds now, and with it ends any doubt. What goes beside it only explains: without it, what was there stays,
/// and when it is too large for a record there is none.
pub async fn write(
    cluster: &Cluster,
    id: &RecordId,
    content: &Value,
    beside: Option<&impl Serialize>,
) -> Result<(), KubeError> {
    let packed = pack(content).map_err(|error| damaged(id, &error))?;
    if packed.len() > LIMIT {
        return Err(KubeError::RecordTooLarge { name: id.name.clone(), size: packed.len(), limit: LIMIT });
    }
    let mut data = Map::new();
    if let Some(beside) = beside {
        let beside = pack(beside).map_err(|error| damaged(id, &error))?;
        let fits = packed.len() + beside.len() <= LIMIT;
        // In a merge patch null takes away what was there.
        data.insert(BESIDE.to_owned(), if fits { BASE64.encode(beside).into() } else { Value::Null });
    }
    data.insert(CONTENT.to_owned(), BASE64.encode(packed).into());
    put(cluster, id, None, data, None).await
}

/// What was written beside the records of a stack, wherever they are. What is damaged is left out.
pub async fn list_beside<T: DeserializeOwned>(cluster: &Cluster, stack: &str) -> Result<Vec<T>, KubeError> {
    let (labels, fields) = selectors(stack);
    let found = cluster.list(&secrets(cluster).await?, None, Some(&labels), Some(&fields)).await?;
    Ok(found.iter().filter_map(|object| unpack_value(object.at("/data")?.get(BESIDE)?)).collect())
}

/// The same by what a snapshot holds.
pub async fn read_in(snapshot: &Snapshot, id: &RecordId) -> Result<Option<Record>, KubeError> {
    if !snapshot.is_crowded(&id.namespace) {
        return read(snapshot.cluster(), id).await;
    }
    let kind = secrets(snapshot.cluster()).await?;
    let (labels, fields) = selectors(&id.stack);
    let listed = snapshot.list(&kind, Some(&id.namespace), Some(&labels), Some(&fields)).await?;
    let found = listed.get(&(id.namespace.clone(), object_name(id)));
    Ok(found.and_then(|object| unpack(object)).filter(|record| record.id == *id))
}

/// Marks a record as in doubt before its subject is touched. The last content stays, as what held before; when there was
/// no record, `first` is all that is known of the subject until [`write()`] says more.
pub async fn withdraw(cluster: &Cluster, id: &RecordId, holder: &Holder, first: &Value) -> Result<(), KubeError> {
    let first = pack(first).map_err(|error| damaged(id, &error))?;
    put(cluster, id, Some(holder), Map::new(), Some(&first)).await
}

/// Deletes a record; whether there was one.
pub async fn delete(cluster: &Cluster, id: &RecordId) -> Result<bool, KubeError> {
    cluster.delete(&secrets(cluster).await?, &id.namespace, &object_name(id), false).await
}

/// By which labels and fields all records of a stack are found.
fn selectors(stack: &str) -> (String, String) {
    (format!("{MANAGED_BY}=stack,{STACK_LABEL}={}", label(stack)), format!("type={RECORD_TYPE}"))
}

async fn secrets(cluster: &Cluster) -> Result<Kind, KubeError> {
    cluster.kind("v1", "Secret").await
}

/// Writes the record's head and what else is new in it. A merge patch leaves alone what it does not name. A record that has
/// to be made first begins with `first` as its content.
async fn put(
    cluster: &Cluster,
    id: &RecordId,
    holder: Option<&Holder>,
    mut data: Map<String, Value>,
    first: Option<&[u8]>,
) -> Result<(), KubeError> {
    let kind = secrets(cluster).await?;
    let name = object_name(id);
    let head =
        serde_json::to_vec(&Head { id: id.clone(), in_doubt: holder.cloned() }).map_err(|error| damaged(id, &error))?;
    data.insert(HEAD.to_owned(), BASE64.encode(head).into());
    match cluster.merge(&kind, &id.namespace, &name, &json!({ "data": data })).await {
        Ok(_) => return Ok(()),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    let mut whole = data.clone();
    whole.retain(|_, value| !value.is_null());
    if let Some(first) = first {
        whole.insert(CONTENT.to_owned(), BASE64.encode(first).into());
    }
    let labels = json!({
        MANAGED_BY: "stack",
        STACK_LABEL: label(&id.stack),
        KIND_LABEL: label(&id.kind),
        NAME_LABEL: label(&id.name),
    });
    let object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name, "labels": labels },
        "type": RECORD_TYPE,
        "data": whole,
    });
    match cluster.create(&kind, &id.namespace, &object).await {
        Ok(_) => Ok(()),
        // Made by somebody else between the two calls: ours is the later word.
        Err(error) if error.is_conflict() => {
            cluster.merge(&kind, &id.namespace, &name, &json!({ "data": data })).await.map(|_| ())
        }
        Err(error) => Err(error),
    }
}

/// Packs piece by piece: what explains may be megabytes before it is packed.
fn pack(content: &impl Serialize) -> std::io::Result<Vec<u8>> {
    let mut pieces = BufWriter::with_capacity(PIECE, GzEncoder::new(Vec::new(), Compression::fast()));
    serde_json::to_writer(&mut pieces, content)?;
    pieces.into_inner().map_err(IntoInnerError::into_error)?.finish()
}

/// A record from its Secret. One that is damaged or of another shape is none at all: what it speaks of is done again.
fn unpack(object: &Object) -> Option<Record> {
    let data = object.at("/data")?;
    let head: Head = serde_json::from_slice(&BASE64.decode(data.get(HEAD)?.as_str()?).ok()?).ok()?;
    let content = match data.get(CONTENT) {
        None => Value::Null,
        Some(packed) => unpack_value(packed)?,
    };
    Some(Record { id: head.id, in_doubt: head.in_doubt, content })
}

fn unpack_value<T: DeserializeOwned>(packed: &Value) -> Option<T> {
    let packed = BASE64.decode(packed.as_str()?).ok()?;
    let json = GzDecoder::new(packed.as_slice()).take(UNPACKED_LIMIT);
    serde_json::from_reader(BufReader::with_capacity(PIECE, json)).ok()
}

/// The Secret's name. The readable part may be cut or changed to fit; the digest tells two records apart for certain.
fn object_name(id: &RecordId) -> String {
    let digest = blake3::hash(format!("{}\0{}\0{}", id.stack, id.kind, id.name).as_bytes()).to_hex();
    let readable = |text: &str| {
        let lower = text.to_ascii_lowercase();
        let kept = lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(60);
        kept.collect::<String>().trim_matches('-').to_owned()
    };
    let parts = [readable(&id.stack), readable(&id.kind), readable(&id.name)].join(".");
    format!("stack.v1.{}-{}", parts.trim_matches('.').replace("..", "."), &digest[..8])
}

/// A label's value: as it is when it may be one, else its digest.
fn label(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let fits = text.len() <= 63 && text.chars().all(allowed) && edge(text.chars().next()) && edge(text.chars().last());
    if fits { text.to_owned() } else { blake3::hash(text.as_bytes()).to_hex()[..32].to_owned() }
}

fn damaged(id: &RecordId, error: &dyn std::fmt::Display) -> KubeError {
    KubeError::Answer { action: format!("pack the record of {}", id.name), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> RecordId {
        RecordId { stack: "todo".into(), kind: "chart".into(), name: name.into(), namespace: "todo".into() }
    }

    #[test]
    fn names_are_legal_and_differ() {
        assert!(object_name(&id("todo")).starts_with("stack.v1.todo.chart.todo-"));
        let odd = [id("my_Chart"), id("my-chart"), id("..."), id(&"x".repeat(300))].map(|id| object_name(&id));
        for name in &odd {
            assert!(name.len() < 253 && !name.contains(".."), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c)), "{name}");
            assert!(!name.contains(".-"), "{name}");
        }
        assert_eq!(odd.iter().collect::<std::collections::HashSet<_>>().len(), odd.len());
    }

    #[test]
    fn a_record_comes_back_as_it_was_and_damage_is_no_record() {
        let content = json!({"key": "abc", "inputs": [1, 2, 3]});
        let head = serde_json::to_vec(&Head { id: id("todo"), in_doubt: None }).unwrap();
        let secret = |content: String| Object::new(json!({"data": {"head": BASE64.encode(&head), "content": content}}));
        let packed = pack(&content).unwrap();
        let read = unpack(&secret(BASE64.encode(&packed))).unwrap();
        assert_eq!((read.content, read.in_doubt, read.id), (content, None, id("todo")));
        assert_eq!(unpack(&secret(BASE64.encode(&packed[..packed.len() / 2]))), None);
        assert_eq!(unpack(&secret("noise".into())), None);
        assert_eq!(unpack(&Object::new(json!({"data": {}}))), None);
    }

    #[test]
    fn labels_are_legal() {
        assert_eq!(label("todo-1.2_x"), "todo-1.2_x");
        assert_eq!(label("-todo").len(), 32);
        assert_eq!(label(&"x".repeat(64)).len(), 32);
    }
}
