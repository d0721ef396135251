//! Builds an image with the BuildKit that is part of the engine.
//!
//! Two connections are opened: one on which we ask for the build and follow it, and the session, on which the engine asks us
//! for files and secrets. Both live in the future of the build: dropping it closes them, and the engine stops building.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bollard::grpc::BuildRef;
use bollard_buildkit_proto::google::rpc;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::{SolveRequest, SolveResponse, StatusRequest, StatusResponse};
use bytes::Bytes;
use futures::StreamExt;
use prost::Message;
use secrecy::{ExposeSecret, SecretSlice};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use super::credentials::Credentials;
use super::endpoint::config_folder;
use super::engine::{Engine, ImageInfo};
use super::error::{BuildFailure, DockerError, is_disk_full, is_network};
use super::filesync::{BuildFiles, MemoryFile, Told};
use super::progress::{BuildEvent, Progress};
use super::session::{METHODS, Session};
use crate::error::Class;
use crate::model::tree::FileTree;
use crate::tools::redact::Redactor;

/// How long the last status messages may take after the end of the build.
const LAST_STATUS: Duration = Duration::from_secs(3);
/// A status message with many log lines is larger than gRPC's default limit.
const LARGEST_MESSAGE: usize = 64 << 20;
/// The name under which the engine sees the Dockerfile, wherever it really is.
const DOCKERFILE: &str = "Dockerfile";

/// What to build.
#[derive(Debug, Clone)]
pub struct Build {
    /// The files that the build may copy: what is left after the ignore file.
    pub context: Arc<FileTree>,
    /// What the context was narrowed to, written as sources of `COPY`; nothing when it is whole. A build that turns out
    /// to take more ends with [`DockerError::Outgrown`].
    pub reach: Option<Vec<String>>,
    /// The Dockerfile's content.
    pub dockerfile: Bytes,
    /// The content of the ignore file that was applied to the context, which lets the engine word its warnings.
    pub ignore: Option<Bytes>,
    /// Build arguments.
    pub args: Vec<(String, String)>,
    /// The stage to build; the last one when there is none.
    pub target: Option<String>,
    /// The platform to build for, `linux/amd64`; the engine's own when there is none.
    pub platform: Option<String>,
    /// Secrets for `RUN --mount=type=secret`.
    pub secrets: Vec<BuildSecret>,
    /// Labels of the image.
    pub labels: Vec<(String, String)>,
    /// Names of the image, `repository:tag`. Without one the image is left without a name.
    pub tags: Vec<String>,
    /// Builds every step anew.
    pub no_cache: bool,
    /// Asks registries for newer base images.
    pub pull: bool,
    /// Hides values in what the build prints, beside those of `secrets`.
    pub redactor: Redactor,
    /// Where registry logins are kept; `docker`'s own folder when there is none.
    pub docker_config: Option<PathBuf>,
}

/// A secret of a build.
#[derive(Debug, Clone)]
pub struct BuildSecret {
    /// The id that the Dockerfile uses.
    pub id: String,
    /// The value.
    pub value: SecretSlice<u8>,
}

impl BuildSecret {
    /// A secret with this value.
    pub fn from_value(id: impl Into<String>, value: &str) -> Self {
        Self { id: id.into(), value: value.as_bytes().to_vec().into() }
    }

    /// A secret whose value is the content of a file, read now: the key and the build see the same bytes.
    pub fn from_file(id: impl Into<String>, path: impl Into<PathBuf>) -> Result<Self, DockerError> {
        let (id, path) = (id.into(), path.into());
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Self { id, value: bytes.into() }),
            Err(error) => Err(DockerError::Secret { id, path, reason: error.to_string() }),
        }
    }
}

/// A build that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The image, read back from the engine.
    pub image: ImageInfo,
    /// Bytes of context files that the engine asked for.
    pub sent: u64,
    /// A context file that had another content when it was sent than when it was read: what was built is not what the
    /// tree says.
    pub changed: Option<String>,
}

impl Build {
    /// A build of a Dockerfile in a context, with nothing else asked for.
    pub fn new(context: Arc<FileTree>, dockerfile: impl Into<Bytes>) -> Self {
        Self {
            context,
            reach: None,
            dockerfile: dockerfile.into(),
            ignore: None,
            args: Vec::new(),
            target: None,
            platform: None,
            secrets: Vec::new(),
            labels: Vec::new(),
            tags: Vec::new(),
            no_cache: false,
            pull: false,
            redactor: Redactor::default(),
            docker_config: None,
        }
    }

    fn frontend_attributes(&self) -> HashMap<String, String> {
        let mut attributes = HashMap::from([
            ("filename".to_owned(), DOCKERFILE.to_owned()),
            ("image-resolve-mode".to_owned(), if self.pull { "pull" } else { "default" }.to_owned()),
        ]);
        attributes.extend(self.args.iter().map(|(name, value)| (format!("build-arg:{name}"), value.clone())));
        attributes.extend(self.labels.iter().map(|(name, value)| (format!("label:{name}"), value.clone())));
        attributes.extend(self.target.clone().map(|target| ("target".to_owned(), target)));
        attributes.extend(self.platform.clone().map(|platform| ("platform".to_owned(), platform)));
        if self.no_cache {
            attributes.insert("no-cache".to_owned(), String::new());
        }
        attributes
    }

    fn files(&self, told: &Arc<Told>) -> BuildFiles {
        let mut files = vec![MemoryFile { name: DOCKERFILE.to_owned(), content: self.dockerfile.clone() }];
        let ignore = self.ignore.clone();
        files.extend(ignore.map(|content| MemoryFile { name: format!("{DOCKERFILE}.dockerignore"), content }));
        BuildFiles {
            context: Arc::clone(&self.context),
            dockerfile: Arc::new(files),
            reach: self.reach.clone(),
            told: Arc::clone(told),
        }
    }

    fn redactor(&self) -> Redactor {
        let values: Vec<_> =
            self.secrets.iter().map(|secret| String::from_utf8_lossy(secret.value.expose_secret())).collect();
        self.redactor.clone().with(values.iter().map(AsRef::as_ref))
    }

    /// The engine keeps the files of the last build under this name and asks only for what changed since.
    fn shared_key(&self) -> String {
        let host = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let root = self.context.root.to_string_lossy();
        format!("stack:{}", &blake3::hash(format!("{host}\0{root}").as_bytes()).to_hex()[..32])
    }
}

impl Engine {
    /// Builds an image, telling what happens as it happens. Dropping the future stops the build in the engine.
    pub async fn build(
        &self,
        build: &Build,
        mut on_event: impl FnMut(BuildEvent) + Send,
    ) -> Result<Built, DockerError> {
        let session_id = String::from(BuildRef::random());
        let mut headers = vec![
            ("X-Docker-Expose-Session-Uuid", session_id.clone()),
            ("X-Docker-Expose-Session-Name", "stack".to_owned()),
            ("X-Docker-Expose-Session-Sharedkey", build.shared_key()),
        ];
        headers.extend(METHODS.map(|method| ("X-Docker-Expose-Session-Grpc-Method", method.to_owned())));
        let session_connection = self.session(&headers).await?;
        let mut control = ControlClient::new(self.buildkit().await?).max_decoding_message_size(LARGEST_MESSAGE);

        let told = Arc::new(Told::default());
        let folder = build.docker_config.clone().or_else(|| config_folder(|name| std::env::var(name).ok()));
        let session = Session {
            files: build.files(&told),
            secrets: build.secrets.iter().map(|secret| (secret.id.clone(), secret.value.clone())).collect(),
            credentials: Credentials::read(folder.as_deref()),
        };
        let request = solve_request(build, session_id);
        let reference = request.r#ref.clone();

        let redactor = build.redactor();
        let mut progress = Progress::new(redactor.clone(), &mut on_event);
        let solved = {
            let mut status_control = control.clone();
            let following = async {
                let status = status_control.status(StatusRequest { r#ref: reference }).await;
                status.map(tonic::Response::into_inner)
            };
            let solving = control.solve(request);
            let serving = session.serve(session_connection);
            tokio::pin!(solving, serving, following);
            let mut status: Option<Streaming<StatusResponse>> = None;
            let mut followed = false;
            let mut served = false;
            loop {
                tokio::select! {
                    solved = &mut solving => {
                        drain(status, &mut progress).await;
                        break solved.map(tonic::Response::into_inner);
                    }
                    ended = &mut serving, if !served => {
                        tracing::debug!(?ended, "the session of the build ended");
                        served = true;
                    }
                    stream = &mut following, if !followed => {
                        followed = true;
                        // Without its status a build is silent, but it is still a build.
                        status = stream.inspect_err(|error| tracing::debug!(%error, "no status")).ok();
                    }
                    Some(message) = next(&mut status) => match message {
                        Ok(message) => progress.update(message),
                        Err(error) => {
                            tracing::debug!(%error, "the status of the build ended");
                            status = None;
                        }
                    },
                }
            }
        };
        progress.finish();
        match solved {
            Ok(answer) => {
                let image = self.built_image(&answer, build).await?;
                let changed = told.changed.get().cloned();
                Ok(Built { image, sent: told.sent.load(Ordering::Relaxed), changed })
            }
            Err(_) if let Some(path) = told.outgrown.get() => Err(DockerError::Outgrown { path: path.clone() }),
            Err(_) if let Some(path) = told.gone.get() => Err(DockerError::Gone { path: path.clone() }),
            Err(_) if let Some((path, reason)) = told.unreadable.get() => {
                Err(DockerError::Unreadable { path: path.clone(), reason: reason.clone() })
            }
            Err(status) => Err(self.build_error(&status, &progress, &redactor, &build.dockerfile)),
        }
    }

    async fn built_image(&self, answer: &SolveResponse, build: &Build) -> Result<ImageInfo, DockerError> {
        let answered = &answer.exporter_response;
        tracing::debug!(?answered, "the engine built an image");
        // Depending on its store the engine knows the image by the digest of its config or of its manifest.
        let digests = ["containerimage.digest", "containerimage.config.digest"];
        let names = digests.iter().filter_map(|name| answered.get(*name)).chain(build.tags.first());
        for name in names {
            if let Some(image) = self.image(name).await? {
                return Ok(image);
            }
        }
        let reference = build.tags.first().cloned().unwrap_or_else(|| format!("{answered:?}"));
        Err(DockerError::NoImage { reference, endpoint: self.endpoint().clone() })
    }

    fn build_error(
        &self,
        status: &Status,
        progress: &Progress<'_>,
        redactor: &Redactor,
        dockerfile: &[u8],
    ) -> DockerError {
        tracing::debug!(code = ?status.code(), message = %redactor.text(status.message()), "the build failed");
        let details = Details::of(status);
        let (step, tail) = progress.failure(details.vertex.as_deref());
        let said = status.message();
        // The connection itself is gone: nothing was said about the build.
        if step.is_none() && matches!(status.code(), Code::Unavailable | Code::Cancelled) {
            return DockerError::Broken {
                endpoint: self.endpoint().clone(),
                doing: "building".to_owned(),
                reason: said.to_owned(),
            };
        }
        let network = is_network(said) || tail.iter().any(|line| is_network(line));
        let class = match () {
            () if is_disk_full(said) || tail.iter().any(|line| is_disk_full(line)) => Class::Environment,
            () if network => Class::Transient,
            () => Class::Input,
        };
        let message =
            said.trim_start_matches("rpc error: ").replace("failed to solve with frontend dockerfile.v0: ", "");
        let message = message.trim_start_matches("failed to solve: ");
        let dockerfile = redactor.text(&String::from_utf8_lossy(dockerfile));
        let line = details.line.or_else(|| line_in_message(said));
        let line = line.or_else(|| line_of_step(step.as_deref()?, &dockerfile));
        Box::new(BuildFailure { step, line, exit_code: exit_code(said), message: redactor.text(message), tail, class })
            .into()
    }
}

fn solve_request(build: &Build, session: String) -> SolveRequest {
    let mut exporter = HashMap::new();
    if !build.tags.is_empty() {
        exporter.insert("name".to_owned(), build.tags.join(","));
    }
    SolveRequest {
        r#ref: BuildRef::random().into(),
        // The older of two ways to name the exporter, which every engine understands.
        exporter_deprecated: "moby".to_owned(),
        exporter_attrs_deprecated: exporter,
        session,
        frontend: "dockerfile.v0".to_owned(),
        frontend_attrs: build.frontend_attributes(),
        ..Default::default()
    }
}

async fn next(status: &mut Option<Streaming<StatusResponse>>) -> Option<Result<StatusResponse, Status>> {
    match status {
        Some(stream) => match stream.next().await {
            Some(message) => Some(message),
            None => {
                *status = None;
                None
            }
        },
        None => std::future::pending().await,
    }
}

/// The end of a build and its last messages come on two streams.
async fn drain(status: Option<Streaming<StatusResponse>>, progress: &mut Progress<'_>) {
    let Some(mut status) = status else { return };
    let rest = async {
        while let Some(Ok(message)) = status.next().await {
            progress.update(message);
        }
    };
    // Without them a failure has fewer lines to show; it is a failure all the same.
    let _ = timeout(LAST_STATUS, rest).await;
}

/// What BuildKit attaches to an error: which vertex failed and where in the Dockerfile it stands.
#[derive(Default)]
struct Details {
    vertex: Option<String>,
    line: Option<u32>,
}

impl Details {
    fn of(status: &Status) -> Self {
        let mut details = Self::default();
        let Ok(attached) = rpc::Status::decode(status.details()) else { return details };
        for any in attached.details {
            tracing::trace!(url = %any.type_url, value = %String::from_utf8_lossy(&any.value), "detail");
            let name = any.type_url.rsplit('/').next().unwrap_or_default();
            match name {
                "errdefs.Vertex+json" | "errdefs.Vertex" => {
                    let json: Option<serde_json::Value> = serde_json::from_slice(&any.value).ok();
                    details.vertex = json.and_then(|json| Some(json.get("digest")?.as_str()?.to_owned()));
                }
                "errdefs.Source+json" | "errdefs.Source" => {
                    let json: Option<serde_json::Value> = serde_json::from_slice(&any.value).ok();
                    let line = json.and_then(|json| json.pointer("/ranges/0/start/line")?.as_u64());
                    details.line = details.line.or(line.and_then(|line| u32::try_from(line).ok()));
                }
                _ => {}
            }
        }
        details
    }
}

/// `… did not complete successfully: exit code: 3`
fn exit_code(message: &str) -> Option<i32> {
    let after = message.rsplit_once("exit code: ")?.1;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// `dockerfile parse error line 2: …`, `Dockerfile:2`
fn line_in_message(message: &str) -> Option<u32> {
    let after = message.split_once("parse error line ").or_else(|| message.split_once("parse error on line "))?.1;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The line whose instruction is the step `[runtime 3/5] RUN pip install …`, if exactly one can be. Engines before 23
/// do not tell it.
fn line_of_step(step: &str, dockerfile: &str) -> Option<u32> {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let instruction = step.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map_or(step, |(_, rest)| rest);
    let instruction = words(instruction);
    let starts = |line: &&str| {
        let shown = line.trim_end();
        let begun = words(shown.trim_end_matches(['\\', '`']));
        // Only a line that goes on says less than the whole step.
        let goes_on = shown.ends_with(['\\', '`']) || shown.contains("<<");
        begun.len() > 1 && if goes_on { instruction.starts_with(&begun) } else { instruction == begun }
    };
    let mut found = dockerfile.lines().enumerate().filter(|(_, line)| starts(line));
    let (index, _) = found.next()?;
    found.next().is_none().then(|| u32::try_from(index + 1).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_found_in_its_dockerfile_when_only_one_line_can_be_it() {
        let text = "FROM a AS x\nRUN one && \\\n    two\nRUN same\nFROM b\nRUN same\nRUN one\n";
        assert_eq!(line_of_step("[x 2/3] RUN one &&     two", text), Some(2));
        assert_eq!(line_of_step("[stage-1 2/3] RUN same", text), None);
        assert_eq!(line_of_step("[stage-1 3/3] RUN one", text), Some(7));
        assert_eq!(line_of_step("exporting to image", text), None);
    }

    #[test]
    fn codes_and_lines_are_read_from_messages() {
        assert_eq!(exit_code("process \"x\" did not complete successfully: exit code: 127: not found"), Some(127));
        assert_eq!(exit_code("not found"), None);
        assert_eq!(line_in_message("dockerfile parse error line 12: unknown instruction: X"), Some(12));
    }
}
