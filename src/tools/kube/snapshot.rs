//! The cluster as it was read a moment ago: each list is asked for once, however many want something of it.
//!
//! A release by itself reads the few objects that it has, by name. Where many releases share a namespace, one list for all
//! of them costs less than a request for each object.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::cluster::Cluster;
use super::error::KubeError;
use super::kinds::Kind;
use super::object::Object;

// So many objects of a kind are asked for by name; of more, all of the kind are listed at once.
const BY_NAME: usize = 3;

/// The objects of a list, by namespace and name.
pub type Listed = BTreeMap<(String, String), Arc<Object>>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ListKey {
    kind: Kind,
    namespace: Option<String>,
    labels: Option<String>,
    fields: Option<String>,
}

type Cell = Arc<OnceCell<Arc<Listed>>>;

/// A view of the cluster that does not change once it was read.
pub struct Snapshot {
    cluster: Cluster,
    /// The namespaces in which so many want something that lists are worth it.
    crowded: HashSet<String>,
    lists: Mutex<HashMap<ListKey, Cell>>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({:?})", self.cluster)
    }
}

impl Snapshot {
    /// Nothing has been read yet. In `crowded` namespaces everything is read by lists.
    pub fn new(cluster: Cluster, crowded: HashSet<String>) -> Self {
        Self { cluster, crowded, lists: Mutex::default() }
    }

    /// The cluster itself.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Whether everything in a namespace is read by lists.
    pub fn is_crowded(&self, namespace: &str) -> bool {
        self.crowded.contains(namespace)
    }

    /// A list, which is asked for by the first who wants it.
    ///
    /// # Errors
    /// When it can't be read; whoever wants it next asks again.
    pub async fn list(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        labels: Option<&str>,
        fields: Option<&str>,
    ) -> Result<Arc<Listed>, KubeError> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let key =
            ListKey { kind: kind.clone(), namespace: owned(namespace), labels: owned(labels), fields: owned(fields) };
        let cell = Arc::clone(self.lists.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
        let read = || async {
            let found = self.cluster.list(kind, namespace, labels, fields).await?;
            let key = |object: &Object| (object.namespace().to_owned(), object.name().to_owned());
            Ok(Arc::new(found.into_iter().map(|object| (key(&object), Arc::new(object))).collect()))
        };
        cell.get_or_try_init(read).await.map(Arc::clone)
    }

    /// The objects of these names in a namespace (empty for kinds that live in none), as far as they are there.
    pub(super) async fn named(
        &self,
        kind: &Kind,
        namespace: &str,
        names: &[&str],
    ) -> Result<Vec<Arc<Object>>, KubeError> {
        if names.len() <= BY_NAME && !self.is_crowded(namespace) {
            let gets = names.iter().map(|name| self.cluster.get(kind, namespace, name));
            let found = futures::future::try_join_all(gets).await?.into_iter().flatten();
            return Ok(found.map(|object| Arc::new(object.of_kind(&kind.api_version, &kind.kind))).collect());
        }
        // Helm keeps whole manifests in Secrets: they outweigh everything else in a namespace.
        let fields = (kind.kind == "Secret").then_some("type!=helm.sh/release.v1,type!=stack.dev/record.v1");
        let scope = Some(namespace).filter(|namespace| !namespace.is_empty());
        let all = self.list(kind, scope, None, fields).await?;
        let named = |name: &&str| all.get(&(namespace.to_owned(), (*name).to_owned())).map(Arc::clone);
        Ok(names.iter().filter_map(named).collect())
    }
}
