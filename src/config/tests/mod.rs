//! Whole files: what they mean, and what is said of wrong ones.

mod everything;
mod meaning;
mod never_panics;
mod reference;
mod wrong;

use std::path::Path;

use miette::{GraphicalReportHandler, GraphicalTheme};

use super::*;

pub(crate) use everything::EVERYTHING;

/// The example of the contract.
pub(crate) const EXAMPLE: &str = r##"#:schema ./stack.schema.json
[stack]
name = "todo"
requires = ">=0.1"

[vars]
replicas = 1
cohere-api-key = { env = "COHERE_API_KEY", default = "", secret = true }

[cluster]
driver = "minikube"
profile = "todo"
start = true
node-driver = "docker"
cpus = 2
memory = "4g"
disk = "20g"
kubernetes-version = "v1.32.0"
namespace = "todo"

[image.backend]
context = "app/backend"
dockerfile = "dockerfiles/backend.Dockerfile"
target = "runtime"
args = { PYTHON_VERSION = "3.12" }
secrets = [{ id = "ca", src = "/etc/ssl/certs/ca-certificates.crt", optional = true }]
repository = "todo-backend"
load = "auto"

[chart.todo]
path = "charts/todo-chatbot"
release = "todo"
values = ["charts/todo-chatbot/values-local.yaml"]
on-failure = "keep"
[chart.todo.set]
"backend.image.repository" = "${image.backend.repository}"
"backend.image.tag" = "${image.backend.tag}"
"backend.replicaCount" = "${var.replicas}"
"backend.key" = "${var.cohere-api-key}"

[ready.api]
http = { service = "todo-backend", port = 8000, path = "/health", status = 200 }
needs = ["chart.todo"]
timeout = "2m"

[task.migrate]
run = ["alembic", "upgrade", "head"]
inputs = ["app/backend/migrations/**"]
needs = ["ready.api"]

[profile.ci]
cluster = { driver = "context", context = "ci" }
"##;

pub(crate) fn no_env(_: &str) -> Option<String> {
    None
}

/// Reads a file that would be at `/home/dev/stack.toml`; the files that it speaks of are not looked at.
fn load_with(text: &str, options: &LoadOptions<'_>) -> Result<StackFile, ConfigErrors> {
    from_text(text, Path::new("/home/dev/stack.toml"), options)
}

pub(super) fn load_text(text: &str) -> Result<StackFile, ConfigErrors> {
    load_with(text, &LoadOptions::new(&no_env))
}

/// Reads a file that has to be right.
#[track_caller]
fn right(text: &str) -> StackFile {
    load_text(text).map_err(|errors| render(&errors)).unwrap_or_else(|text| panic!("{text}"))
}

/// As a terminal of 80 columns shows it.
pub(super) fn render(errors: &ConfigErrors) -> String {
    let mut out = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(80)
        .render_report(&mut out, errors)
        .unwrap();
    // Editors cut these off, and then the snapshots differ.
    out.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}
