//! The pods behind Services: EndpointSlices, which took the place of Endpoints. A Service has several, one a family of
//! addresses at least; all name it by a label.

use std::collections::HashSet;

use serde_json::Value;

use super::cluster::Cluster;
use super::error::KubeError;
use super::kinds::Kind;
use super::object::Object;

/// The label by which a slice names its Service.
const SERVICE: &str = "kubernetes.io/service-name";

/// The kind of slices, which every Kubernetes since 1.21 serves.
pub(super) fn kind() -> Kind {
    Kind {
        api_version: "discovery.k8s.io/v1".to_owned(),
        kind: "EndpointSlice".to_owned(),
        plural: "endpointslices".to_owned(),
        namespaced: true,
    }
}

/// The Service that a slice belongs to.
pub(super) fn service_of(slice: &Object) -> &str {
    slice.label(SERVICE).unwrap_or_default()
}

/// The label selector of the slices of these Services.
pub(super) fn selector(services: &[&str]) -> String {
    format!("{SERVICE} in ({})", services.join(","))
}

/// The ready endpoints of a slice. No word on it means ready.
pub(super) fn ready(slice: &Object) -> impl Iterator<Item = &Value> {
    let is_ready = |endpoint: &&Value| endpoint.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true);
    slice.list("/endpoints").iter().filter(is_ready)
}

/// How many different endpoints of these slices are ready: a pod with two addresses is in two of them.
pub(super) fn count_ready<'a>(slices: impl IntoIterator<Item = &'a Object>) -> usize {
    let name = |endpoint: &Value| match endpoint.get("targetRef") {
        Some(target) => target.to_string(),
        None => endpoint.get("addresses").map(Value::to_string).unwrap_or_default(),
    };
    slices.into_iter().flat_map(ready).map(name).collect::<HashSet<_>>().len()
}

impl Cluster {
    /// The slices of a Service.
    pub(super) async fn slices(&self, namespace: &str, service: &str) -> Result<Vec<Object>, KubeError> {
        self.list(&kind(), Some(namespace), Some(&selector(&[service])), None).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn endpoints_are_counted_once_over_all_families() {
        let slice =
            |endpoints: Value| Object::new(json!({"metadata": {"labels": {SERVICE: "web"}}, "endpoints": endpoints}));
        let pod = |name: &str, address: &str, ready: Value| json!({"addresses": [address], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": name}});
        let four = slice(json!([pod("a", "10.0.0.1", true.into()), pod("b", "10.0.0.2", false.into())]));
        let six = slice(json!([pod("a", "fd00::1", true.into()), {"addresses": ["fd00::9"]}]));
        assert_eq!(service_of(&four), "web");
        assert_eq!(count_ready([&four]), 1);
        assert_eq!(count_ready([&four, &six]), 2, "pod a once, and the address without a pod");
        assert_eq!(count_ready([&slice(Value::Null)]), 0);
        assert_eq!(selector(&["a", "b"]), "kubernetes.io/service-name in (a,b)");
    }
}
