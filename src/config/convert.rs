//! From checked tables to the model.

use std::sync::Arc;
use std::time::Duration;

use super::beside::each;
use super::keys;
use super::model::{
    BuildSecret, Cache, CacheMode, Chart, ChartSource, Check, Cluster, ConditionCheck, ConditionField, Driver,
    HttpCheck, HttpTarget, Image, Limits, LoadMode, Named, OnFailure, Patience, Ready, Run, SecretSource, StepOptions,
    Task, ValuesSource,
};
use super::names::Names;
use super::read::{self, Reader};
use super::reference::ClusterNames;
use super::span::{Span, Spanned};
use super::template::Template;
use super::tree::{Entry, Node, NodeKind};

pub(super) const DRIVERS: [(&str, Driver); 4] =
    [("minikube", Driver::Minikube), ("kind", Driver::Kind), ("k3d", Driver::K3d), ("context", Driver::Context)];

const LOAD_MODES: [(&str, LoadMode); 6] = [
    ("auto", LoadMode::Auto),
    ("direct", LoadMode::Direct),
    ("layers", LoadMode::Layers),
    ("archive", LoadMode::Archive),
    ("registry", LoadMode::Registry),
    ("none", LoadMode::None),
];

/// What the tables of one file have in common when they are read.
pub(super) struct Facts<'f> {
    /// The stack's name; of a file whose name has an error, something to go on with.
    pub stack: &'f str,
    pub cluster: &'f ClusterNames,
    pub has_cluster: bool,
    pub namespace: &'f str,
    pub prune: bool,
    pub names: &'f Names<'f>,
}

/// Every table of tables of a kind, by name; those with errors are left out.
pub(super) fn named<'n, 't, T>(
    root: &Reader<'n, 't>,
    key: &str,
    shape: &'static super::shape::TableShape,
    read: impl Fn(&str, &Reader<'n, 't>, Span) -> Option<T> + Sync,
) -> Named<T>
where
    T: Send,
{
    let entries = root.get(key).map_or(&[][..], Node::entries);
    let convert = |entry: &'n Entry<'t>| {
        let thing = read(&entry.key, &root.other(&entry.node, shape), entry.key_span)?;
        Some((Arc::from(entry.key.as_ref()), thing))
    };
    each(entries, Named::with_capacity_and_hasher(entries.len(), Default::default()), convert, convert)
}

fn options(table: &Reader<'_, '_>, span: Span, names: &Names<'_>) -> StepOptions {
    StepOptions {
        span,
        needs: if table.knows("needs") { names.needs(table.items("needs")) } else { Vec::new() },
        retries: table.number("retries").unwrap_or_default(),
        backoff: table.duration("backoff").unwrap_or_default(),
        timeout: table.duration("timeout"),
    }
}

fn patience(table: &Reader<'_, '_>) -> Patience {
    Patience {
        grace: table.duration("grace").unwrap_or_default(),
        max_restarts: table.number("max-restarts").unwrap_or_default(),
    }
}

pub(super) fn cluster(table: &Reader<'_, '_>, span: Span, facts: &Facts<'_>) -> Option<Cluster> {
    Some(Cluster {
        driver: table.choice("driver", &DRIVERS)?,
        name: facts.cluster.name.as_deref()?.to_owned(),
        context: facts.cluster.context.as_deref()?.to_owned(),
        kubeconfig: table.path("kubeconfig"),
        allow_contexts: table.texts("allow-contexts"),
        start: table.bool("start"),
        node_driver: table.string("node-driver"),
        nodes: table.number("nodes")?,
        container_runtime: table.string("container-runtime"),
        cpus: table.number("cpus"),
        memory: table.size("memory"),
        disk: table.size("disk"),
        kubernetes_version: table.string("kubernetes-version").map(|version| match version.starts_with('v') {
            true => version,
            false => format!("v{version}"),
        }),
        addons: table.strings("addons"),
        start_args: table.strings("start-args"),
        namespace: facts.namespace.to_owned(),
        registry: table.string("registry"),
        options: options(table, span, facts.names),
    })
}

pub(super) fn image(name: &str, table: &Reader<'_, '_>, span: Span, facts: &Facts<'_>) -> Option<Image> {
    let context = table.path("context")?;
    let dockerfile = table.path("dockerfile").unwrap_or_else(|| {
        let text = format!("{}/Dockerfile", context.text.trim_end_matches('/'));
        table.located(text, Span::default())
    });
    let repository = table.text("repository").unwrap_or_else(|| Spanned::default_of(format!("{}-{name}", facts.stack)));
    Some(Image {
        context,
        dockerfile,
        target: table.string("target"),
        args: table.values("args"),
        secrets: table
            .items("secrets")
            .iter()
            .filter_map(|node| build_secret(&table.other(node, &keys::SECRET)))
            .collect(),
        labels: table.values("labels"),
        platform: table.string("platform"),
        repository,
        load: match facts.has_cluster {
            true => table.choice("load", &LOAD_MODES)?.value,
            false => LoadMode::None,
        },
        options: options(table, span, facts.names),
    })
}

fn build_secret(table: &Reader<'_, '_>) -> Option<BuildSecret> {
    let source = if let Some(path) = table.path("src") {
        SecretSource::File(path)
    } else if let Some(name) = table.string("env") {
        SecretSource::Env(name)
    } else {
        SecretSource::Value(table.template("value")?)
    };
    Some(BuildSecret { id: table.string("id")?, source, optional: table.bool("optional") })
}

pub(super) fn chart(name: &str, table: &Reader<'_, '_>, span: Span, facts: &Facts<'_>) -> Option<Chart> {
    let source = match table.path("path") {
        Some(path) => ChartSource::Path(path),
        None => ChartSource::Published {
            chart: table.text("chart")?,
            version: table.string("version"),
            repo: table.string("repo"),
        },
    };
    let values_file = |node: &Node<'_>| {
        let path = table.file_path(node)?;
        Some(match is_url(&path.text) {
            true => ValuesSource::Url(path.text),
            false => ValuesSource::File(path),
        })
    };
    Some(Chart {
        source,
        release: table.string("release").unwrap_or_else(|| name.to_owned()),
        namespace: table.string("namespace").unwrap_or_else(|| facts.namespace.to_owned()),
        create_namespace: table.bool("create-namespace"),
        namespace_labels: table.values("namespace-labels"),
        values: table.items("values").iter().filter_map(values_file).collect(),
        set: table.values("set"),
        set_string: table.values("set-string"),
        set_file: table.map("set-file", |node| table.file_path(node)),
        on_failure: table.choice("on-failure", &[("keep", OnFailure::Keep), ("rollback", OnFailure::Rollback)])?.value,
        adopt: table.bool("adopt"),
        prune: if table.get("prune").is_some() { table.bool("prune") } else { facts.prune },
        post_render: table.templates("post-render"),
        wait: table.bool("wait"),
        workloads: table.number("workloads"),
        patience: patience(table),
        options: options(table, span, facts.names),
    })
}

/// Something that Helm fetches, rather than a file of the project.
pub(super) fn is_url(text: &str) -> bool {
    text.contains("://")
}

pub(super) fn ready(table: &Reader<'_, '_>, span: Span, facts: &Facts<'_>) -> Option<Ready> {
    let check = if let Some(template) = table.template("workload") {
        Check::Workload(template)
    } else if let Some(template) = table.template("job") {
        Check::Job(template)
    } else if let Some(template) = table.template("service") {
        Check::Service(template)
    } else if let Some(node) = table.get("http") {
        Check::Http(http(&table.other(node, &keys::HTTP))?)
    } else if let Some(node) = table.get("tcp") {
        let tcp = table.other(node, &keys::TCP);
        Check::Tcp { service: tcp.template("service")?, port: tcp.number("port")? }
    } else if let Some(node) = table.get("condition") {
        Check::Condition(condition(&table.other(node, &keys::CONDITION))?)
    } else {
        Check::Run { run: run(table.get("run")?)?, env: table.values("env") }
    };
    Some(Ready {
        check,
        namespace: table.template("namespace").unwrap_or_else(|| Template::literal(facts.namespace, Span::default())),
        interval: table.duration("interval")?,
        patience: patience(table),
        options: options(table, span, facts.names),
    })
}

fn http(table: &Reader<'_, '_>) -> Option<HttpCheck> {
    let target = match table.template("url") {
        Some(url) => HttpTarget::Url(url),
        None => HttpTarget::Service {
            service: table.template("service")?,
            port: table.number("port")?,
            path: table.template("path").unwrap_or_else(|| Template::literal("/", Span::default())),
        },
    };
    Some(HttpCheck {
        target,
        tls: table.choice("scheme", &[("http", false), ("https", true)])?.value,
        status: table.number("status")?,
        contains: table.template("contains"),
        headers: table.map("headers", read::template),
    })
}

fn condition(table: &Reader<'_, '_>) -> Option<ConditionCheck> {
    let field = match table.string("type") {
        Some(kind) => ConditionField::Type(kind),
        None => ConditionField::Path(table.string("path")?),
    };
    let value = table
        .value("value")
        .unwrap_or_else(|| super::template::Value::Template(Template::literal("True", Span::default())));
    Some(ConditionCheck { resource: table.template("resource")?, field, value })
}

fn run(node: &Node<'_>) -> Option<Run> {
    match &node.kind {
        NodeKind::Array(items) => Some(Run::Argv(items.iter().map(read::template).collect::<Option<_>>()?)),
        _ => Some(Run::Shell(read::template(node)?)),
    }
}

pub(super) fn task(table: &Reader<'_, '_>, span: Span, facts: &Facts<'_>) -> Option<Task> {
    Some(Task {
        run: run(table.get("run")?)?,
        cwd: table.path("cwd"),
        env: table.values("env"),
        inputs: table.texts("inputs"),
        outputs: table.texts("outputs"),
        cache: table.bool("cache"),
        pool: table.string("pool"),
        options: options(table, span, facts.names),
    })
}

pub(super) fn limits(table: &Reader<'_, '_>) -> Limits {
    Limits {
        jobs: table.number("jobs"),
        builds: table.number("builds"),
        loads: table.number("loads"),
        charts: table.number("charts"),
        tasks: table.number("tasks"),
        pools: table.map("pools", |node| match node.kind {
            NodeKind::Integer(places) => u32::try_from(places).ok(),
            _ => None,
        }),
        deadline: table.duration("deadline"),
        grace: table.duration("grace").unwrap_or(Duration::from_secs(10)),
    }
}

pub(super) fn cache(table: &Reader<'_, '_>) -> Option<Cache> {
    Some(Cache {
        registry: table.string("registry")?,
        mode: table.choice("mode", &[("read-write", CacheMode::ReadWrite), ("read-only", CacheMode::ReadOnly)])?.value,
        timeout: table.duration("timeout")?,
    })
}
