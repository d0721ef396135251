//! A file that uses every key that there is, each on a line of its own and with another value than its default.

use super::*;
use crate::config::shape::{Shape, TableShape};

pub(crate) const EVERYTHING: &str = r#"
[stack]
name = "all"
requires = ">=0.1"
allow-outside = true
prune = false

[vars.token]
env = "TOKEN"
default = "t"
secret = true

[vars]
plain = 1

[cluster]
driver = "minikube"
profile = "p"
context = "c"
kubeconfig = "kube.yaml"
allow-contexts = ["prod-*"]
start = false
node-driver = "docker"
nodes = 3
container-runtime = "containerd"
cpus = 2
memory = "4g"
disk = "20g"
kubernetes-version = "1.32.0"
addons = ["ingress"]
start-args = ["--wait=all"]
namespace = "ns"
registry = "host:5000"
timeout = "9m"
retries = 1
backoff = "3s"

[image.a]
context = "a"
dockerfile = "b/Dockerfile"
target = "runtime"
platform = "linux/arm64"
repository = "host:5000/a"
load = "layers"
needs = ["task.t"]
timeout = "7m"
retries = 2
backoff = "4s"
[image.a.args]
A = "${var.plain}"
[image.a.labels]
l = "v"
[[image.a.secrets]]
id = "one"
src = "one.txt"
optional = true
[[image.a.secrets]]
id = "two"
env = "TWO"
[[image.a.secrets]]
id = "three"
value = "${var.token}"

[chart.local]
path = "charts/local"
release = "rel"
namespace = "other"
create-namespace = false
values = ["v.yaml", "https://host/v.yaml"]
on-failure = "rollback"
adopt = true
prune = true
post-render = ["sed", "s/a/b/"]
wait = false
workloads = 2
needs = ["image.a"]
timeout = "6m"
grace = "40s"
max-restarts = 5
retries = 3
backoff = "5s"
[chart.local.set]
"image.tag" = "${image.a.tag}"
[chart.local.set-string]
s = 1
[chart.local.set-file]
f = "f.txt"
[chart.local.namespace-labels]
n = "l"

[chart.published]
chart = "nginx"
version = "1.2.3"
repo = "https://charts.example.org"

[ready.workload]
workload = "deployment/a"
namespace = "n2"
needs = ["chart.local"]
timeout = "2m"
interval = "2s"
grace = "50s"
max-restarts = 6
retries = 4
backoff = "6s"
[ready.job]
job = "j"
[ready.service]
service = "s"
[ready.http.http]
service = "s"
port = 81
path = "/p"
scheme = "https"
status = 204
contains = "ok"
[ready.http.http.headers]
H = "v"
[ready.url.http]
url = "http://${cluster.ip}:30000"
[ready.tcp.tcp]
service = "s"
port = 82
[ready.type.condition]
resource = "certificate.cert-manager.io/c"
type = "Ready"
value = "False"
[ready.path.condition]
resource = "pvc/c"
path = ".status.phase"
[ready.run]
run = "true"
[ready.run.env]
E = "v"

[task.t]
run = ["make", "gen"]
cwd = "sub"
inputs = ["in/**"]
outputs = ["out/*"]
cache = false
pool = "db"
needs = ["cluster"]
timeout = "1m"
retries = 5
backoff = "7s"
[task.t.env]
E = "${var.token}"

[limits]
jobs = 5
builds = 2
loads = 3
charts = 4
tasks = 6
deadline = "1h"
grace = "11s"
[limits.pools]
db = 1

[cache]
registry = "host:5000/cache"
mode = "read-only"
timeout = "2m"

[profile.x.vars]
plain = 2
"#;

/// The keys of the file, by the table of keys; each with whether it is used in [`EVERYTHING`].
fn used(shape: &'static Shape, node: Option<&Node<'_>>, used: &mut Vec<(&'static str, &'static str, bool)>) {
    match shape {
        Shape::Table(table) => used_in_table(table, node, used),
        Shape::Named(of) | Shape::Map(of) => {
            let entries = node.map_or(&[][..], Node::entries);
            entries.iter().for_each(|entry| self::used(of, Some(&entry.node), used));
        }
        Shape::List(of) => {
            if let Some(Node { kind: NodeKind::Array(items), .. }) = node {
                items.iter().for_each(|item| self::used(of, Some(item), used));
            }
        }
        Shape::Either(shapes) => shapes.iter().for_each(|shape| self::used(shape, node, used)),
        _ => {}
    }
}

fn used_in_table(
    table: &'static TableShape,
    node: Option<&Node<'_>>,
    all: &mut Vec<(&'static str, &'static str, bool)>,
) {
    for key in table.keys.iter().filter(|key| key.name != "profile") {
        let value = node.and_then(|node| node.get(key.name));
        all.push((table.title, key.name, value.is_some()));
        used(&key.shape, value, all);
    }
}

#[test]
fn every_key_is_used() {
    let mut context = Context {
        text: EVERYTHING,
        source: Arc::new(NamedSource::new("x", String::new())),
        syntax_errors: false,
        errors: Vec::new(),
    };
    let root = tree::parse(&mut context);
    let mut all = Vec::new();
    used_in_table(&keys::ROOT, Some(&root), &mut all);
    let unused: Vec<_> = all
        .iter()
        .filter(|(table, key, _)| !all.iter().any(|(t, k, there)| t == table && k == key && *there))
        .collect();
    assert!(unused.is_empty(), "{unused:?}");
    assert!(all.len() > 100);
}

/// A key whose value makes no difference is not read.
#[test]
fn every_key_makes_a_difference() {
    let whole = format!("{:?}", right(EVERYTHING));
    let mut position = 0;
    let mut different = 0;
    for line in EVERYTHING.split_inclusive('\n') {
        let start = position;
        position += line.len();
        let Some((key, _)) = line.split_once(" = ") else { continue };
        // Blanks instead, so that everything else keeps its place.
        let blank = format!("{}{}\n{}", &EVERYTHING[..start], " ".repeat(line.len() - 1), &EVERYTHING[position..]);
        match load_text(&blank) {
            Ok(stack) => {
                let same = format!("{stack:?}") == whole;
                // A satisfied requirement leaves no trace; the name of a variable's source neither, as it is not set.
                assert!(!same || matches!(key, "requires" | "env" | "plain"), "{key} at {start} makes no difference");
                different += usize::from(!same);
            }
            Err(errors) => {
                assert!(!errors.errors().is_empty());
                different += 1;
            }
        }
    }
    assert!(different > 100, "{different}");
}
