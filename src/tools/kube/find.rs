//! Kinds as people name them: `deployment`, `deployments`, `Certificate.cert-manager.io`.

use serde_json::Value;

use super::cluster::Cluster;
use super::error::KubeError;
use super::kinds::Kind;

impl Cluster {
    /// The kind that is meant by its name or its plural, in any case, perhaps with its group behind a point.
    ///
    /// # Errors
    /// When the cluster has no such kind, or can't be asked.
    pub async fn find_kind(&self, named: &str) -> Result<Kind, KubeError> {
        let (name, group) = named.split_once('.').map_or((named, None), |(name, group)| (name, Some(group)));
        if let Some(known) = Kind::named(name, group) {
            return Ok(known);
        }
        let groups: Value = self.get_path("/apis", "ask for the groups of the API").await?;
        let groups = groups.get("groups").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let text = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        for found in
            groups.iter().filter(|found| group.is_none_or(|group| text(found, "/name").as_deref() == Some(group)))
        {
            let Some(version) = text(found, "/preferredVersion/groupVersion") else { continue };
            let resources: Value = match self.get_path(&format!("/apis/{version}"), "ask for kinds").await {
                Ok(resources) => resources,
                // A group whose server is away has no bearing on the others.
                Err(_) => continue,
            };
            let listed = resources.get("resources").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let is_it = |resource: &&Value| {
                let plural = text(resource, "/name").unwrap_or_default();
                let names = [text(resource, "/kind"), text(resource, "/singularName"), Some(plural.clone())];
                !plural.contains('/') && names.iter().flatten().any(|known| known.eq_ignore_ascii_case(name))
            };
            if let Some(kind) = listed.iter().find(is_it).and_then(|resource| text(resource, "/kind")) {
                return self.kind(&version, &kind).await;
            }
        }
        Err(KubeError::UnknownKind {
            api_version: group.unwrap_or("any group").to_owned(),
            kind: name.to_owned(),
            served_as: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_kinds_are_found_in_every_spelling() {
        for name in ["deployment", "Deployment", "deployments", "DEPLOYMENT"] {
            let kind = Kind::named(name, None).unwrap();
            assert_eq!((kind.api_version.as_str(), kind.kind.as_str()), ("apps/v1", "Deployment"));
        }
        assert_eq!(Kind::named("pod", Some("")).unwrap().api_version, "v1");
        assert_eq!(Kind::named("ingress", Some("networking.k8s.io")).unwrap().api_version, "networking.k8s.io/v1");
        assert!(Kind::named("ingress", Some("extensions")).is_none());
        assert!(Kind::named("certificate", None).is_none());
    }
}
