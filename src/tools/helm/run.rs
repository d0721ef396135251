//! The commands of `helm` that we run.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use semver::Version;
use serde_json::Value;

use super::binary::Helm;
use super::dependencies::{own_repositories, unknown_repositories};
use super::error::HelmError;
use super::post_render::{Plugin, PostRenderer};
use crate::event::Stream;
use crate::process::{self, Cancel, Capture, Command, OnTerminate, ProcessError};
use crate::tools::kube::STACK_LABEL;
use crate::tools::redact::Redactor;

/// How long a Helm that is asked to stop may finish what it is at: killed in the middle, it leaves a pending release.
const FINISH_WITHIN: Duration = Duration::from_secs(20);

/// The first versions that understand `--labels` and `--take-ownership`.
const LABELS: Version = Version::new(3, 13, 0);
const TAKES_OWNERSHIP: Version = Version::new(3, 17, 0);

/// What all commands have in common: which Helm, which cluster, how to stop, and what must not be printed.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    /// The program.
    pub helm: &'a Helm,
    /// The kubeconfig context.
    pub context: &'a str,
    /// The value of `$KUBECONFIG`, unless it is the one of this process.
    pub kubeconfig: Option<&'a OsStr>,
    /// The release's namespace.
    pub namespace: &'a str,
    /// How to stop it.
    pub cancel: &'a Cancel,
    /// What must not be printed.
    pub redactor: &'a Redactor,
}

/// Where a chart comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChartSource {
    /// A folder or an archive on this machine.
    Path(PathBuf),
    /// A chart from a repository or a registry.
    Remote {
        /// `oci://…` or `repository/name`.
        name: String,
        /// Its version, or the range that it must be in.
        version: Option<String>,
        /// The address of the repository, when `name` does not say it.
        repo: Option<String>,
    },
}

/// What is installed or upgraded.
#[derive(Clone)]
pub struct Upgrade {
    /// The release's name.
    pub release: String,
    /// The chart.
    pub chart: ChartSource,
    /// Values files, in Helm's order: later ones win.
    pub values_files: Vec<PathBuf>,
    /// Values that win over all files. They may be secret: they travel through a pipe.
    pub values: Value,
    /// How long hooks may take.
    pub timeout: Duration,
    /// A program that gets the manifest on its standard input and prints the one to install.
    pub post_renderer: Option<PostRenderer>,
    /// Take over objects that exist already and belong to no release.
    pub adopt: bool,
    /// The stack to which the release belongs: a label of its records.
    pub stack: Option<String>,
    /// The text that the release's history shows for this revision.
    pub description: Option<String>,
}

impl Session<'_> {
    /// Installs a chart, or upgrades its release. Does not wait until its objects are ready, only for its hooks.
    pub async fn upgrade(&self, upgrade: &Upgrade, on_line: impl FnMut(Stream, &str) + Send) -> Result<(), HelmError> {
        let mut args = self.upgrade_args(upgrade);
        args.extend(["--history-max", "10", "--timeout"].map(OsString::from));
        args.push(format!("{}s", upgrade.timeout.as_secs().max(1)).into());
        if let Some(stack) = upgrade.stack.as_ref().filter(|_| self.helm.version >= LABELS) {
            args.extend(["--labels".into(), format!("{STACK_LABEL}={stack}").into()]);
        }
        if let Some(description) = &upgrade.description {
            args.extend(["--description".into(), OsString::from(description)]);
        }
        let (command, plugin) = self.chart_command(upgrade, args)?;
        let result = self.run("upgrade", &upgrade.release, command, on_line).await;
        result.map_err(|error| self.with_words(error, plugin.as_ref()))
    }

    /// What makes an upgrade one, and the same one under every version of Helm.
    fn upgrade_args(&self, upgrade: &Upgrade) -> Vec<OsString> {
        // Without this, Helm keeps the last release's values when none are given: values deleted from the file would stay.
        let mut args = ["upgrade", &upgrade.release, "--install", "--reset-values"].map(OsString::from).to_vec();
        args.extend(self.same_as_helm_3());
        if upgrade.adopt && self.helm.version >= TAKES_OWNERSHIP {
            args.push("--take-ownership".into());
        }
        args
    }

    /// Removes a release; true when there was one. Objects that it made are gone from the API or terminating.
    pub async fn uninstall(
        &self,
        release: &str,
        timeout: Duration,
        on_line: impl FnMut(Stream, &str) + Send,
    ) -> Result<bool, HelmError> {
        let seconds = format!("{}s", timeout.as_secs().max(1));
        let args = ["uninstall", release, "--timeout", &seconds].map(OsString::from).to_vec();
        match self.run("uninstall", release, self.command(args.clone(), None), on_line).await {
            Ok(()) => Ok(true),
            Err(HelmError::Failed { message, .. }) if message.contains("release: not found") => Ok(false),
            Err(error @ HelmError::Failed { .. }) if error.to_string().ends_with(&untold(release)) => {
                self.uninstall_telling_why(release, timeout, args, error).await
            }
            Err(error) => Err(error),
        }
    }

    /// The same once more, since Helm says why it could not delete something only when it is to say everything.
    async fn uninstall_telling_why(
        &self,
        release: &str,
        timeout: Duration,
        mut args: Vec<OsString>,
        first: HelmError,
    ) -> Result<bool, HelmError> {
        args.push("--debug".into());
        let limits = Capture { limit: 64 << 20, timeout: timeout + FINISH_WITHIN };
        match process::capture(&self.command(args, None), self.cancel, limits).await {
            Ok(_) => Ok(true),
            Err(ProcessError::Exit { output, .. }) => {
                let Some(reason) = why_not_deleted(&output.stderr_text()) else { return Err(first) };
                let (message, transient) = (self.redactor.text(&reason), is_transient(&reason));
                Err(HelmError::Failed { command: "uninstall", release: release.to_owned(), message, transient })
            }
            Err(error) => Err(HelmError::Process(error)),
        }
    }

    /// Goes back to an earlier revision of a release.
    pub async fn rollback(
        &self,
        release: &str,
        revision: u64,
        timeout: Duration,
        on_line: impl FnMut(Stream, &str) + Send,
    ) -> Result<(), HelmError> {
        let (revision, timeout) = (revision.to_string(), format!("{}s", timeout.as_secs().max(1)));
        let mut args = ["rollback", release, &revision, "--timeout", &timeout].map(OsString::from).to_vec();
        args.extend(self.same_as_helm_3());
        self.run("rollback", release, self.command(args, None), on_line).await
    }

    /// The manifest that an upgrade would install, hooks left out, as the cluster would have it: with its versions, and
    /// with what `lookup` finds there. It may hold secret values.
    pub async fn preview(&self, upgrade: &Upgrade) -> Result<String, HelmError> {
        let mut args = self.upgrade_args(upgrade);
        args.extend(["--dry-run=server", "--output", "json"].map(OsString::from));
        let text = self.captured("upgrade --dry-run", upgrade, args).await?;
        let release: Value = serde_json::from_str(&text)
            .map_err(|error| HelmError::Record { release: upgrade.release.clone(), reason: error.to_string() })?;
        Ok(release.get("manifest").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// The manifest that a chart and values give without any cluster, hooks left out. It may hold secret values.
    pub async fn template(&self, upgrade: &Upgrade, is_upgrade: bool) -> Result<String, HelmError> {
        let mut args = ["template", &upgrade.release, "--no-hooks"].map(OsString::from).to_vec();
        if is_upgrade {
            args.push("--is-upgrade".into());
        }
        self.captured("template", upgrade, args).await
    }

    /// Runs a command for a chart whose whole output is its result.
    async fn captured(&self, name: &'static str, upgrade: &Upgrade, args: Vec<OsString>) -> Result<String, HelmError> {
        let (command, plugin) = self.chart_command(upgrade, args)?;
        let limits = Capture { limit: 64 << 20, timeout: upgrade.timeout.max(Duration::from_secs(60)) };
        match process::capture(&command, self.cancel, limits).await {
            Ok(output) => Ok(output.stdout_text()),
            Err(error) => Err(self.with_words(self.failure(name, &upgrade.release, error), plugin.as_ref())),
        }
    }

    /// A failure with what the post-renderer said, where Helm does not pass that on.
    fn with_words(&self, error: HelmError, plugin: Option<&Plugin>) -> HelmError {
        let said = plugin.map(Plugin::said).unwrap_or_default();
        match error {
            HelmError::Failed { command, release, message, transient } if !said.is_empty() => {
                let message = format!("{message}: {}", self.redactor.text(&said));
                HelmError::Failed { command, release, message, transient }
            }
            error => error,
        }
    }

    /// Has Helm examine a chart, strictly.
    pub async fn lint(&self, upgrade: &Upgrade, mut on_line: impl FnMut(Stream, &str) + Send) -> Result<(), HelmError> {
        let mut said = Vec::new();
        let on_line = |stream: Stream, line: &str| {
            if line.starts_with("[ERROR]") || line.starts_with("[WARNING]") {
                said.push(line.to_owned());
            }
            on_line(stream, line);
        };
        let (command, _plugin) = self.chart_command(
            &Upgrade { post_renderer: None, ..upgrade.clone() },
            vec!["lint".into(), "--strict".into()],
        )?;
        match self.run("lint", &upgrade.release, command, on_line).await {
            // What Helm ends with is only a count.
            Err(HelmError::Failed { command, release, message, transient }) if !said.is_empty() => {
                tracing::debug!(message);
                Err(HelmError::Failed { command, release, message: said.join("\n"), transient })
            }
            result => result,
        }
    }

    /// Fetches a chart's dependencies as its lock file names them. Repositories that the user has not added are known to
    /// this one command, by an own copy of Helm's list of them.
    pub async fn dependency_build(
        &self,
        chart: &Path,
        mut on_line: impl FnMut(Stream, &str) + Send,
    ) -> Result<(), HelmError> {
        let name = chart.file_name().unwrap_or(chart.as_os_str()).to_string_lossy().into_owned();
        let io = |source| HelmError::Values { release: name.clone(), source };
        let folder = tempfile::Builder::new().prefix("stack-helm-").tempdir().map_err(io)?;
        let config = folder.path().join("repositories.yaml");
        let repositories = unknown_repositories(chart);
        let known_here = |command: Command| match repositories.is_empty() {
            true => command,
            false => command.env("HELM_REPOSITORY_CONFIG", &config),
        };
        if let Some(known) = own_repositories().filter(|_| !repositories.is_empty()) {
            std::fs::copy(known, &config).map_err(io)?;
        }
        for (at, repository) in repositories.iter().enumerate() {
            let args = ["repo", "add", "--force-update", &format!("stack-{at}"), repository].map(OsString::from);
            let command = known_here(self.command(args.to_vec(), None));
            self.run("repo add", &name, command, |_, _| {}).await?;
        }
        let args = vec!["dependency".into(), "build".into(), chart.as_os_str().to_owned()];
        let command = known_here(self.command(args, None));
        self.run("dependency build", &name, command, &mut on_line).await
    }

    /// Helm 4 applies on the server's side unless told otherwise. There, a field that somebody changed by hand is a
    /// conflict instead of being taken back, and API servers before 1.22 refuse what they accept otherwise (a port
    /// without `protocol`). Merged on the client's side, both majors do the same.
    fn same_as_helm_3(&self) -> Option<OsString> {
        (self.helm.major() >= 4).then(|| "--server-side=false".into())
    }

    async fn run(
        &self,
        name: &'static str,
        release: &str,
        command: Command,
        mut on_line: impl FnMut(Stream, &str) + Send,
    ) -> Result<(), HelmError> {
        let redacted = |stream: Stream, line: &str| on_line(stream, &self.redactor.text(line));
        match process::run(&command, self.cancel, redacted).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failure(name, release, error)),
        }
    }

    /// `helm` with these arguments, and what it reads from its standard input.
    fn command(&self, args: Vec<OsString>, stdin: Option<Vec<u8>>) -> Command {
        let mut command = Command::new(&self.helm.path)
            .args(args)
            .arg("--namespace")
            .arg(self.namespace)
            // Where we look for release records is where Helm has to keep them.
            .env("HELM_DRIVER", "secret")
            .on_terminate(OnTerminate::LetFinish)
            .grace(FINISH_WITHIN);
        if !self.context.is_empty() {
            command = command.arg("--kube-context").arg(self.context);
        }
        if let Some(kubeconfig) = self.kubeconfig {
            command = command.env("KUBECONFIG", kubeconfig);
        }
        if let Some(bytes) = stdin {
            command = command.stdin(bytes);
        }
        command
    }

    /// `helm` for a chart: what it is, its values, and its post-renderer, which has to live as long as Helm runs.
    fn chart_command(
        &self,
        upgrade: &Upgrade,
        mut args: Vec<OsString>,
    ) -> Result<(Command, Option<Plugin>), HelmError> {
        let values = private(upgrade)?;
        // Helm 4 takes plugins alone as post-renderers.
        let renderer = upgrade.post_renderer.as_ref().filter(|_| self.helm.major() >= 4);
        let plugin = renderer.map(Plugin::write).transpose();
        let plugin = plugin.map_err(|source| HelmError::Values { release: upgrade.release.clone(), source })?;
        args.extend(chart_args(&upgrade.chart));
        args.extend(values_args(upgrade, values.is_some()));
        // What is secret goes through the pipe alone, whatever becomes of it there.
        let numbers = large_numbers(&upgrade.values).into_iter().filter(|number| !self.redactor.finds(number));
        args.extend(numbers.flat_map(|number| [OsString::from("--set"), number.into()]));
        args.extend(post_renderer_args(upgrade, plugin.as_ref()));
        let command = self.command(args, values);
        Ok(match &plugin {
            Some(described) => (command.env("HELM_PLUGINS", described.folders()), plugin),
            None => (command, None),
        })
    }

    fn failure(&self, command: &'static str, release: &str, error: ProcessError) -> HelmError {
        match error {
            ProcessError::Exit { output, .. } => {
                let message = self.redactor.text(&last_words(&output.stderr_text(), &output.stdout_text()));
                let transient = is_transient(&message);
                HelmError::Failed { command, release: release.to_owned(), message, transient }
            }
            error => HelmError::Process(error),
        }
    }
}

/// The values that are no files as JSON, which is YAML, so Helm takes it as it is. They are on no disk at any time: a
/// file would stay behind when this process is killed.
fn private(upgrade: &Upgrade) -> Result<Option<Vec<u8>>, HelmError> {
    if upgrade.values.as_object().is_none_or(serde_json::Map::is_empty) {
        return Ok(None);
    }
    let written = serde_json::to_vec(&upgrade.values);
    written.map(Some).map_err(|error| HelmError::Values { release: upgrade.release.clone(), source: error.into() })
}

fn chart_args(chart: &ChartSource) -> Vec<OsString> {
    match chart {
        ChartSource::Path(path) => vec![path.as_os_str().to_owned()],
        ChartSource::Remote { name, version, repo } => {
            let mut args = vec![OsString::from(name)];
            args.extend(version.iter().flat_map(|version| ["--version".into(), version.into()]));
            args.extend(repo.iter().flat_map(|repo| ["--repo".into(), repo.into()]));
            if is_plain_registry(name) {
                args.push("--plain-http".into());
            }
            args
        }
    }
}

/// A registry on this machine speaks no TLS, as for Docker.
fn is_plain_registry(chart: &str) -> bool {
    let host = chart.strip_prefix("oci://").and_then(|rest| rest.split(['/', ':']).next());
    host.is_some_and(|host| host == "localhost" || host.starts_with("127."))
}

/// The values files; last of them, so that it wins, what comes from the standard input.
fn values_args(upgrade: &Upgrade, private: bool) -> Vec<OsString> {
    let files = upgrade.values_files.iter().map(|file| in_csv(file.as_os_str()));
    let files = files.chain(private.then(|| OsString::from("-")));
    files.flat_map(|file| [OsString::from("--values"), file]).collect()
}

/// A word as one field of a CSV record, which is what Helm reads: a folder may have a comma in its name.
fn in_csv(word: &OsStr) -> OsString {
    let bytes = word.as_bytes();
    if !bytes.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        return word.to_owned();
    }
    let doubled = bytes.iter().flat_map(|byte| std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 }));
    OsString::from_vec([b'"'].into_iter().chain(doubled).chain([b'"']).collect())
}

/// Below this, Go writes a whole number that it keeps as a float as a whole number.
const WRITTEN_AS_POWER: u64 = 1_000_000;

/// The whole numbers among values that templates would write as `1e+06` if they came from a file, as `--set` takes them:
/// every number of a file is a float to Helm.
fn large_numbers(values: &Value) -> Vec<String> {
    fn find(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map.iter().filter(|(key, _)| !key.is_empty()) {
                    let point = if path.is_empty() { "" } else { "." };
                    find(value, &format!("{path}{point}{}", escaped(key)), found);
                }
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(at, item)| find(item, &format!("{path}[{at}]"), found));
            }
            Value::Number(number) if number.as_i64().is_some_and(|n| n.unsigned_abs() >= WRITTEN_AS_POWER) => {
                found.push(format!("{path}={number}"));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = Vec::new();
    find(values, "", &mut found);
    found
}

/// A name as a part of a key in Helm's spelling.
fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '\\' | '.' | ',' | '=' | '[' | ']') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn post_renderer_args(upgrade: &Upgrade, plugin: Option<&Plugin>) -> Vec<OsString> {
    let Some(PostRenderer { program, args }) = &upgrade.post_renderer else { return Vec::new() };
    let name = plugin.map_or_else(|| program.as_os_str().to_owned(), |plugin| plugin.name().into());
    let mut all = vec!["--post-renderer".into(), name];
    all.extend(args.iter().flat_map(|arg| [OsString::from("--post-renderer-args"), arg.into()]));
    all
}

/// What Helm says in the end: from its `Error:` on, else the last lines of what it printed.
fn last_words(stderr: &str, stdout: &str) -> String {
    let lines = |text: &str| {
        text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let errors = lines(stderr);
    let words = match errors.iter().position(|line| line.starts_with("Error: ")) {
        Some(at) => errors[at..].join("\n"),
        None => {
            let said = if errors.is_empty() { lines(stdout) } else { errors };
            said[said.len().saturating_sub(10)..].join("\n")
        }
    };
    words.trim_start_matches("Error: ").to_owned()
}

/// All that Helm says when the objects of a release can't be deleted.
fn untold(release: &str) -> String {
    format!("failed to delete release: {release}")
}

/// The reason among all that Helm says with `--debug`: as it stands in version 3, quoted on one line in version 4.
fn why_not_deleted(stderr: &str) -> Option<String> {
    let (_, rest) = stderr.split_once("uninstall: Failed to delete release")?;
    let said = match rest.strip_prefix("\" error=") {
        Some(quoted) => serde_json::Deserializer::from_str(quoted).into_iter::<String>().next()?.ok()?,
        None => rest.strip_prefix(": ")?.split("\nError: ").next()?.to_owned(),
    };
    let said = said.trim();
    Some(said.strip_prefix('[').and_then(|said| said.strip_suffix(']')).unwrap_or(said).to_owned())
}

fn is_transient(message: &str) -> bool {
    [
        "connection refused",
        "connection reset",
        "i/o timeout",
        "TLS handshake timeout",
        "unexpected EOF",
        "the object has been modified",
        "etcdserver:",
        "too many requests",
        "the server is currently unable to handle the request",
        "another operation",
        // Somebody else has just written the same revision.
        "release: already exists",
        "http2: client connection lost",
    ]
    .iter()
    .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_the_error() {
        let stderr = "WARNING: old chart\nError: UPGRADE FAILED: cannot patch \"a\"\nsecond line\n";
        assert_eq!(last_words(stderr, ""), "UPGRADE FAILED: cannot patch \"a\"\nsecond line");
        assert_eq!(last_words("", "[ERROR] templates/: bad\n\nlast"), "[ERROR] templates/: bad\nlast");
    }

    #[test]
    fn why_nothing_was_deleted_is_found_in_what_both_majors_say() {
        let third = "uninstall.go:102: 2026 [debug] uninstall: Deleting w\nuninstall.go:124: 2026 [debug] uninstall: Failed to delete release: [unable to build: no matches for kind \"W\"\nensure CRDs are installed first]\nError: failed to delete release: w\nhelm.go:86: [debug]\n";
        let fourth = "level=DEBUG msg=\"uninstall: deleting release\" name=w\nlevel=DEBUG msg=\"uninstall: Failed to delete release\" error=\"[unable to build: no matches for kind \\\"W\\\"\\nensure CRDs are installed first]\"\nError: failed to delete release: w\n";
        let reason = "unable to build: no matches for kind \"W\"\nensure CRDs are installed first";
        for said in [third, fourth] {
            assert_eq!(why_not_deleted(said).as_deref(), Some(reason));
        }
        assert_eq!(why_not_deleted("Error: failed to delete release: w\n"), None);
    }

    #[test]
    fn no_value_is_on_the_command_line() {
        let upgrade = Upgrade {
            release: "todo".into(),
            chart: ChartSource::Remote {
                name: "oci://localhost:5000/todo".into(),
                version: Some("1.2".into()),
                repo: None,
            },
            values_files: vec!["a.yaml".into()],
            values: serde_json::json!({"password": "hunter2"}),
            timeout: Duration::from_secs(60),
            post_renderer: Some(PostRenderer { program: "kustomize".into(), args: vec!["build".into()] }),
            adopt: false,
            stack: None,
            description: None,
        };
        let values = private(&upgrade).unwrap();
        let args =
            [chart_args(&upgrade.chart), values_args(&upgrade, values.is_some()), post_renderer_args(&upgrade, None)]
                .concat();
        let args = args.iter().map(|arg| arg.to_str().unwrap()).collect::<Vec<_>>();
        let expected = [
            "oci://localhost:5000/todo",
            "--version",
            "1.2",
            "--plain-http",
            "--values",
            "a.yaml",
            "--values",
            "-",
            "--post-renderer",
            "kustomize",
            "--post-renderer-args",
            "build",
        ];
        assert_eq!(args, expected);
    }

    #[test]
    fn large_numbers_stay_whole_and_everything_else_is_left_to_the_pipe() {
        let values = serde_json::json!({
            "size": 10_485_760, "small": 999_999, "text": "10485760", "float": 1.5e7, "below": -1_000_000,
            "a.b": {"c,d": [1, {"e=f": 1_000_000_000_000_u64}]}, "": 1_000_000, "huge": u64::MAX,
        });
        let expected = ["size=10485760", "below=-1000000", r"a\.b.c\,d[1].e\=f=1000000000000"];
        assert_eq!(large_numbers(&values), expected);
    }

    #[test]
    fn a_path_is_one_path_whatever_is_in_its_name() {
        for (path, field) in [("a b.yaml", "a b.yaml"), ("a,b.yaml", "\"a,b.yaml\""), ("a\",b", "\"a\"\",b\"")] {
            assert_eq!(in_csv(OsStr::new(path)), *field);
        }
    }
}
