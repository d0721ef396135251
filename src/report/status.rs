//! What there is of a stack, for people: a table for each kind of thing.

use std::fmt::Display;

use anstyle::Style;

use super::{Console, Palette, bytes};
use crate::model::deployment::Replicas;
use crate::run::Status;

impl Console {
    /// Shows a stack as it is now. False when nobody reads any more.
    pub fn status(&self, status: &Status) -> bool {
        let mut page = Page::default();
        page.status(status);
        self.result(&page.text)
    }
}

/// What is shown, to be written at once.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn status(&mut self, status: &Status) {
        let bold = Palette::BOLD;
        if let Some(cluster) = &status.cluster {
            let style = match (&cluster.view, &cluster.help) {
                (Some(_), None) => Palette::GOOD,
                (Some(_), Some(_)) => Palette::WARN,
                (None, _) => Palette::BAD,
            };
            self.line(format_args!(
                "{bold}cluster{bold:#}  {} {}  {style}{}{style:#}",
                cluster.driver, cluster.name, cluster.status
            ));
            if let Some(help) = &cluster.help {
                self.line(format_args!("  help: {help}"));
            }
            for node in cluster.view.iter().flat_map(|view| &view.nodes) {
                let (word, style) = if node.ready { ("Ready", Palette::GOOD) } else { ("NotReady", Palette::BAD) };
                let ip = node.internal_ip.as_deref().unwrap_or("-");
                self.line(format_args!("  {}  {style}{word}{style:#}  {}  {ip}", node.name, node.kubelet));
            }
        }
        if let Some(builder) = &status.builder {
            let way = if builder.buildkit == "grpc" { "by gRPC" } else { "by upgraded requests" };
            self.line(format_args!(
                "{bold}engine{bold:#}  Docker {} (API {}), {} image store, BuildKit {way}",
                builder.version, builder.api_version, builder.image_store
            ));
        }
        if let Some(why) = &status.engine {
            let bad = Palette::BAD;
            self.line(format_args!("{bold}images{bold:#}  {bad}{why}{bad:#}"));
        }
        let mut images = Table::new(["IMAGE", "VERSION", "SIZE", "ON NODES"]);
        for image in &status.images {
            let (version, size) = match &image.build {
                Some(build) => (build.version.clone(), bytes(build.size)),
                None if status.engine.is_some() => ("unknown".to_owned(), "-".to_owned()),
                None => ("not built".to_owned(), "-".to_owned()),
            };
            let nodes = if image.nodes.is_empty() { "-".to_owned() } else { image.nodes.join(", ") };
            let style = if image.build.is_none() { Palette::WARN } else { Style::new() };
            images.row(style, [image.repository.clone(), version, size, nodes]);
        }
        self.table(&images);
        let mut releases = Table::new(["RELEASE", "NAMESPACE", "CHART", "REVISION", "STATUS"]);
        for release in &status.releases {
            let chart = release
                .chart
                .as_ref()
                .map_or_else(|| "-".to_owned(), |chart| format!("{} {}", chart.name, chart.version));
            let revision = release.revision.map_or_else(|| "-".to_owned(), |revision| revision.to_string());
            let style = if release.status == "deployed" { Palette::GOOD } else { Palette::WARN };
            releases.row(
                style,
                [release.release.clone(), release.namespace.clone(), chart, revision, release.status.clone()],
            );
        }
        self.table(&releases);
        self.workloads(status);
    }

    fn workloads(&mut self, status: &Status) {
        let mut workloads = Table::new(["WORKLOAD", "READY", "STATE", "DETAIL"]);
        let mut services = Table::new(["SERVICE", "TYPE", "PORTS", "STATE"]);
        let mut pods = Table::new(["POD", "READY", "RESTARTS", "STATE", "DETAIL"]);
        for view in status.releases.iter().map(|release| &release.view) {
            for deployment in &view.deployments {
                workloads.row(
                    state_style(&deployment.state.to_string()),
                    [
                        format!("Deployment {}", deployment.name),
                        format!("{}/{}", deployment.ready, deployment.replicas),
                        deployment.state.to_string(),
                        deployment.detail.clone(),
                    ],
                );
            }
            for workload in &view.workloads {
                workloads.row(
                    state_style(&workload.state),
                    [
                        format!("{} {}", workload.kind, workload.name),
                        workload.ready.as_ref().map_or_else(|| "-".to_owned(), Replicas::to_string),
                        workload.state.clone(),
                        workload.detail.clone(),
                    ],
                );
            }
            for service in &view.services {
                let port = |port: &crate::model::service::ServicePort| match port.node_port {
                    Some(node) => format!("{}:{node}", port.port),
                    None => port.port.to_string(),
                };
                let ports: Vec<_> = service.ports.iter().map(port).collect();
                services.row(
                    state_style(&service.state.to_string()),
                    [service.name.clone(), service.kind.clone(), ports.join(", "), service.state.to_string()],
                );
            }
            for pod in &view.pods {
                pods.row(
                    state_style(&pod.state.to_string()),
                    [
                        pod.name.clone(),
                        format!("{}/{}", pod.ready, pod.containers),
                        pod.restarts.to_string(),
                        pod.state.to_string(),
                        pod.trouble.clone().unwrap_or_default(),
                    ],
                );
            }
        }
        self.table(&workloads);
        self.table(&services);
        self.table(&pods);
        for release in &status.releases {
            let Some(diagnosis) = &release.view.diagnosis else { continue };
            let bad = Palette::BAD;
            self.line("");
            self.line(format_args!("{bad}{} is not ready{bad:#}", release.release));
            for line in diagnosis.to_string().trim_end().lines() {
                self.line(format_args!("  {line}"));
            }
        }
    }

    fn table<const N: usize>(&mut self, table: &Table<N>) {
        if table.rows.is_empty() {
            return;
        }
        let bold = Palette::BOLD;
        self.line("");
        self.line(format_args!("{bold}{}{bold:#}", table.line(&table.head.map(str::to_owned))));
        for (style, row) in &table.rows {
            self.line(format_args!("{style}{}{style:#}", table.line(row)));
        }
    }

    fn line(&mut self, line: impl Display) {
        self.text.push_str(&format!("{line}\n"));
    }
}

fn state_style(state: &str) -> Style {
    match state {
        "Active" | "Available" | "Running" | "Ready" | "Succeeded" => Palette::GOOD,
        "Failed" | "CrashLoopBackOff" => Palette::BAD,
        _ => Palette::WARN,
    }
}

/// Rows of texts in columns as wide as their widest text.
struct Table<const N: usize> {
    head: [&'static str; N],
    rows: Vec<(Style, [String; N])>,
}

impl<const N: usize> Table<N> {
    fn new(head: [&'static str; N]) -> Self {
        Self { head, rows: Vec::new() }
    }

    fn row(&mut self, style: Style, row: [String; N]) {
        self.rows.push((style, row));
    }

    fn line(&self, row: &[String; N]) -> String {
        let mut line = String::new();
        for (column, text) in row.iter().enumerate() {
            let widths = self.rows.iter().map(|(_, row)| row[column].chars().count());
            let width = widths.chain([self.head[column].len()]).max().unwrap_or(0);
            line.push_str(&format!("{text:<width$}  "));
        }
        line.trim_end().to_owned()
    }
}
