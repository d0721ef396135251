//! The objects of a release's manifest.

use serde_json::Value;
use thiserror::Error;

use super::kinds::Kind;
use super::object::Object;
use super::yaml::{self, YamlError};
use crate::error::Class;

/// A manifest that cannot be read.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// It is no YAML.
    #[error("the manifest is not valid YAML: {0}")]
    Yaml(#[from] YamlError),
    /// A document is no object of Kubernetes.
    #[error("the document at line {line} of the manifest has no {missing}")]
    NoObject {
        /// The line where the document begins.
        line: usize,
        /// `kind`, `apiVersion` or `metadata.name`.
        missing: &'static str,
    },
}

impl ManifestError {
    /// A manifest comes from the user's chart.
    pub fn class(&self) -> Class {
        Class::Input
    }
}

/// Reads the objects of a manifest in their order. Hooks are left out: they are not part of what stays. Objects of the
/// kinds that ship with Kubernetes get `namespace` where they name none; of other kinds only the cluster knows whether
/// they live in one.
pub fn objects(text: &str, namespace: &str) -> Result<Vec<Object>, ManifestError> {
    let mut found = Vec::new();
    for document in yaml::parse_all(text)? {
        collect(document.value, document.line, namespace, false, &mut found)?;
    }
    Ok(found)
}

/// The same of the manifests of hooks, and nothing else.
pub fn hooks(text: &str, namespace: &str) -> Result<Vec<Object>, ManifestError> {
    let mut found = Vec::new();
    for document in yaml::parse_all(text)? {
        collect(document.value, document.line, namespace, true, &mut found)?;
    }
    Ok(found)
}

fn collect(
    value: Value,
    line: usize,
    namespace: &str,
    hooks: bool,
    found: &mut Vec<Object>,
) -> Result<(), ManifestError> {
    if value.is_null() {
        return Ok(());
    }
    let missing = |missing: &'static str| ManifestError::NoObject { line, missing };
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let kind = text("/kind").ok_or_else(|| missing("kind"))?;
    let api_version = text("/apiVersion").ok_or_else(|| missing("apiVersion"))?;
    if kind.ends_with("List") && value.get("items").is_some() {
        let items = value.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        return items.into_iter().try_for_each(|item| collect(item, line, namespace, hooks, found));
    }
    if value.pointer("/metadata/annotations/helm.sh~1hook").is_some() != hooks {
        return Ok(());
    }
    let known = Kind::known(api_version, kind);
    let names_none = text("/metadata/namespace").is_none();
    text("/metadata/name").ok_or_else(|| missing("metadata.name"))?;
    let mut value = value;
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        match known.map(|kind| kind.namespaced) {
            Some(true) if names_none => {
                metadata.insert("namespace".to_owned(), Value::String(namespace.to_owned()));
            }
            // The API passes over the namespace of an object that lives in none; so do we.
            Some(false) => {
                metadata.shift_remove("namespace");
            }
            Some(true) | None => {}
        }
    }
    found.push(Object::new(value));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "---
# Source: todo/templates/config.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: config
data:
  on: \"yes\"
---
# Source: todo/templates/empty.yaml
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Secret
  metadata: {name: one, namespace: other}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: ClusterRole
  metadata: {name: two, namespace: wrong}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  annotations:
    helm.sh/hook: pre-upgrade
---
apiVersion: acme.io/v1
kind: Widget
metadata:
  name: three
";

    #[test]
    fn objects_in_their_order_without_hooks() {
        let found = objects(MANIFEST, "todo").unwrap();
        let names = found.iter().map(|o| (o.kind(), o.namespace(), o.name())).collect::<Vec<_>>();
        let expected = [
            ("ConfigMap", "todo", "config"),
            ("Secret", "other", "one"),
            ("ClusterRole", "", "two"),
            ("Widget", "", "three"),
        ];
        assert_eq!(names, expected);
        // YAML 1.1 makes a boolean of the key `on`, and Go makes a key of that.
        assert_eq!(found[0].text("/data/true"), "yes");
    }

    #[test]
    fn a_document_that_is_no_object_is_named_by_its_line() {
        let error = objects("a: 1\n---\nkind: Pod\n", "todo").unwrap_err();
        assert_eq!(error.to_string(), "the document at line 1 of the manifest has no kind");
        let error = objects("---\n# x\nkind: Pod\napiVersion: v1\nmetadata: {}\n", "todo").unwrap_err();
        assert_eq!(error.to_string(), "the document at line 3 of the manifest has no metadata.name");
    }
}
