//! What the tests that speak to the cluster directly share: the bed's cluster, and a namespace for each test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use stack::process::Cancel;
use stack::tools::helm::{ChartSource, Helm, Session, Upgrade};
use stack::tools::kube::Cluster;
use stack::tools::redact::Redactor;

pub fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: this test needs the test bed. Run `make test`, or `eval \"$(tests/testbed/env)\"` first.")
    })
}

pub async fn cluster() -> Cluster {
    let kubeconfig = env("KUBECONFIG");
    let context = env("STACK_TESTBED_PROFILE");
    Cluster::connect(Some(&context), Some(kubeconfig.as_ref())).await.expect("the test bed's kubeconfig")
}

/// A namespace of its own for a test; it goes with all that is in it.
pub struct Space {
    pub cluster: Cluster,
    pub name: String,
}

pub const STACK: &str = "t-kube";

impl Space {
    pub async fn new(tag: &str) -> Self {
        let cluster = cluster().await;
        let unique =
            blake3::hash(format!("{tag} {} {:?}", std::process::id(), std::time::SystemTime::now()).as_bytes());
        let name = format!("t-kube-{tag}-{}", &unique.to_hex()[..6]);
        cluster.ensure_namespace(&name, STACK, &BTreeMap::new(), Duration::from_secs(30)).await.expect("a namespace");
        Self { cluster, name }
    }

    /// Runs kubectl in the namespace.
    pub fn kubectl(&self, args: &[&str]) -> String {
        kubectl(&[&["--namespace", &self.name], args].concat(), None)
    }

    /// Applies objects by kubectl.
    pub fn apply(&self, yaml: &str) {
        kubectl(&["--namespace", &self.name, "apply", "-f", "-"], Some(yaml));
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        kubectl(&["delete", "namespace", &self.name, "--wait=false", "--ignore-not-found"], None);
    }
}

pub fn kubectl(args: &[&str], input: Option<&str>) -> String {
    let mut command = Command::new("kubectl");
    command.args(["--context", &env("STACK_TESTBED_PROFILE")]).args(args);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kubectl is on PATH");
    if let Some(input) = input {
        use std::io::Write;
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("kubectl reads");
    }
    let output = child.wait_with_output().expect("kubectl ends");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "kubectl {args:?}\n{stdout}{stderr}");
    stdout.into_owned()
}

pub fn fixture(chart: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/charts").join(chart)
}

/// Both majors of Helm that the test bed has.
pub async fn helms() -> Vec<Helm> {
    let mut helms = Vec::new();
    for name in ["STACK_TESTBED_HELM3", "STACK_TESTBED_HELM4"] {
        helms.push(Helm::ask(Path::new(&env(name)), &Cancel::never()).await.expect("a helm"));
    }
    helms
}

/// A chart with values, as a release `web`.
pub fn upgrade(chart: &str, values: Value) -> Upgrade {
    Upgrade {
        release: "web".into(),
        chart: ChartSource::Path(fixture(chart)),
        values_files: Vec::new(),
        values,
        timeout: Duration::from_secs(60),
        post_renderer: None,
        adopt: false,
        stack: None,
        description: None,
    }
}

/// What a session borrows.
pub struct Owned {
    pub helm: Helm,
    pub cancel: Cancel,
    pub redactor: Redactor,
}

impl Owned {
    pub fn new(helm: Helm) -> Self {
        Self { helm, cancel: Cancel::never(), redactor: Redactor::default() }
    }

    pub fn session<'a>(&'a self, space: &'a Space) -> Session<'a> {
        Session {
            helm: &self.helm,
            context: space.cluster.context(),
            kubeconfig: space.cluster.kubeconfig(),
            namespace: &space.name,
            cancel: &self.cancel,
            redactor: &self.redactor,
        }
    }
}
