//! Where the API keeps objects of a kind: the plural in its address, and whether it lives in a namespace.
//!
//! The kinds that ship with Kubernetes are known by heart, so that the usual release costs no discovery at all; what
//! custom kinds are called is asked once for each group and version.

use kube::core::ApiResource;
use serde_json::Value;

use super::object::group_of;

/// A kind of object, and where the API keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    /// `apps/v1`, or `v1` of the core group.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// `deployments`.
    pub plural: String,
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
}

impl Kind {
    /// A kind that ships with Kubernetes. None when it is not one of those.
    pub fn known(api_version: &str, kind: &str) -> Option<Self> {
        let group = group_of(api_version);
        let (_, _, plural, namespaced) = KNOWN.iter().find(|known| known.0 == group && known.1 == kind)?;
        Some(Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            plural: (*plural).to_owned(),
            namespaced: *namespaced,
        })
    }

    /// A kind that ships with Kubernetes, by its name or plural in any case. In the version that has been stable longest.
    pub(super) fn named(name: &str, group: Option<&str>) -> Option<Self> {
        let is_it = |known: &&(&str, &str, &str, bool)| {
            group.is_none_or(|group| known.0 == group)
                && (known.1.eq_ignore_ascii_case(name) || known.2.eq_ignore_ascii_case(name))
        };
        let (group, kind, ..) = KNOWN.iter().find(is_it)?;
        let api_version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
        Self::known(&api_version, kind)
    }

    /// Finds a kind in the answer to a discovery request for one group and version.
    pub(super) fn discovered(api_version: &str, kind: &str, resources: &Value) -> Option<Self> {
        resources.get("resources")?.as_array()?.iter().find_map(|resource| {
            let plural = resource.get("name")?.as_str()?;
            // `deployments/scale` is a part of a resource and may name the kind of another.
            let is_it = resource.get("kind")?.as_str()? == kind && !plural.contains('/');
            is_it.then(|| {
                Some(Self {
                    api_version: api_version.to_owned(),
                    kind: kind.to_owned(),
                    plural: plural.to_owned(),
                    namespaced: resource.get("namespaced")?.as_bool()?,
                })
            })?
        })
    }

    /// The address of all objects of the kind, in a namespace or in all of them.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.api_version.contains('/') { "apis" } else { "api" };
        match namespace.filter(|namespace| self.namespaced && !namespace.is_empty()) {
            Some(namespace) => format!("/{root}/{}/namespaces/{namespace}/{}", self.api_version, self.plural),
            None => format!("/{root}/{}/{}", self.api_version, self.plural),
        }
    }

    /// The kind as kube's own types want it.
    pub(super) fn resource(&self) -> ApiResource {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            plural: self.plural.clone(),
        }
    }
}

/// Group, kind, plural, namespaced.
const KNOWN: &[(&str, &str, &str, bool)] = &[
    ("", "ConfigMap", "configmaps", true),
    ("", "Event", "events", true),
    ("", "LimitRange", "limitranges", true),
    ("", "Namespace", "namespaces", false),
    ("", "Node", "nodes", false),
    ("", "PersistentVolume", "persistentvolumes", false),
    ("", "PersistentVolumeClaim", "persistentvolumeclaims", true),
    ("", "Pod", "pods", true),
    ("", "PodTemplate", "podtemplates", true),
    ("", "ReplicationController", "replicationcontrollers", true),
    ("", "ResourceQuota", "resourcequotas", true),
    ("", "Secret", "secrets", true),
    ("", "Service", "services", true),
    ("", "ServiceAccount", "serviceaccounts", true),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", false),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", false),
    ("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", false),
    ("apiregistration.k8s.io", "APIService", "apiservices", false),
    ("apps", "ControllerRevision", "controllerrevisions", true),
    ("apps", "DaemonSet", "daemonsets", true),
    ("apps", "Deployment", "deployments", true),
    ("apps", "ReplicaSet", "replicasets", true),
    ("apps", "StatefulSet", "statefulsets", true),
    ("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true),
    ("batch", "CronJob", "cronjobs", true),
    ("batch", "Job", "jobs", true),
    ("coordination.k8s.io", "Lease", "leases", true),
    ("discovery.k8s.io", "EndpointSlice", "endpointslices", true),
    ("networking.k8s.io", "Ingress", "ingresses", true),
    ("networking.k8s.io", "IngressClass", "ingressclasses", false),
    ("networking.k8s.io", "NetworkPolicy", "networkpolicies", true),
    ("policy", "PodDisruptionBudget", "poddisruptionbudgets", true),
    ("rbac.authorization.k8s.io", "ClusterRole", "clusterroles", false),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", "clusterrolebindings", false),
    ("rbac.authorization.k8s.io", "Role", "roles", true),
    ("rbac.authorization.k8s.io", "RoleBinding", "rolebindings", true),
    ("scheduling.k8s.io", "PriorityClass", "priorityclasses", false),
    ("storage.k8s.io", "StorageClass", "storageclasses", false),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_of_core_and_grouped_kinds() {
        let pods = Kind::known("v1", "Pod").unwrap();
        assert_eq!(pods.path(Some("todo")), "/api/v1/namespaces/todo/pods");
        assert_eq!(pods.path(None), "/api/v1/pods");
        let roles = Kind::known("rbac.authorization.k8s.io/v1", "ClusterRole").unwrap();
        assert_eq!(roles.path(Some("todo")), "/apis/rbac.authorization.k8s.io/v1/clusterroles");
    }

    #[test]
    fn discovery_passes_over_parts_of_resources() {
        let answer = json!({"resources": [
            {"name": "widgets/scale", "kind": "Widget", "namespaced": true},
            {"name": "widgetry", "kind": "Widget", "namespaced": true},
        ]});
        let kind = Kind::discovered("acme.io/v1", "Widget", &answer).unwrap();
        assert_eq!(kind.path(Some("a")), "/apis/acme.io/v1/namespaces/a/widgetry");
        assert_eq!(Kind::discovered("acme.io/v1", "Gadget", &answer), None);
    }
}
