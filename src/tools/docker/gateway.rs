//! Asks BuildKit for an image's configuration, byte for byte. No request of the engine's own API gives it; the image ID
//! is its digest.

use bollard::grpc::BuildRef;
use bollard_buildkit_proto::moby::buildkit::v1::SolveRequest;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::engine::{Engine, familiar};
use super::error::DockerError;

const METHOD: &str = "/moby.buildkit.v1.frontend.LLBBridge/ResolveImageConfig";
/// Names the build that a call belongs to.
const BUILD: &str = "buildkit-controlapi-buildid";

/// `ResolveImageConfigRequest` of BuildKit's gateway, as far as it is needed.
#[derive(Clone, PartialEq, prost::Message)]
struct Question {
    #[prost(string, tag = "1")]
    reference: String,
    #[prost(string, tag = "3")]
    resolve_mode: String,
}

/// `ResolveImageConfigResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(bytes = "vec", tag = "2")]
    config: Vec<u8>,
}

impl Engine {
    /// The configuration of a local image, byte for byte.
    pub(super) async fn raw_config(&self, reference: &str) -> Result<Vec<u8>, DockerError> {
        let refused = |status: Status| DockerError::Refused {
            doing: format!("give the configuration of `{reference}`"),
            status: None,
            message: status.message().to_owned(),
        };
        let channel = self.buildkit().await?;
        // Questions can only be asked within a build: one without anything to build lasts until it is dropped.
        let build = String::from(BuildRef::random());
        let mut control = ControlClient::new(channel.clone());
        let building = control.solve(SolveRequest { r#ref: build.clone(), ..Default::default() });
        let asking = async {
            let mut grpc = Grpc::new(channel);
            grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let mut question =
                Request::new(Question { reference: canonical(reference), resolve_mode: "local".to_owned() });
            let value: MetadataValue<Ascii> =
                build.parse().map_err(|_| Status::internal("the id of a build is no header"))?;
            question.metadata_mut().insert(BUILD, value);
            let codec = ProstCodec::<Question, Answer>::default();
            grpc.unary(question, PathAndQuery::from_static(METHOD), codec).await
        };
        tokio::select! {
            answer = asking => Ok(answer.map_err(refused)?.into_inner().config),
            ended = building => {
                let status = ended.err().unwrap_or_else(|| Status::internal("the build ended before it began"));
                Err(refused(status))
            }
        }
    }
}

/// The name with its registry and repository written out, which is how BuildKit wants it.
fn canonical(reference: &str) -> String {
    let reference = familiar(reference);
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => reference.to_owned(),
        Some(_) => format!("docker.io/{reference}"),
        None => format!("docker.io/library/{reference}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_out() {
        assert_eq!(canonical("todo:v1"), "docker.io/library/todo:v1");
        assert_eq!(canonical("me/todo:v1"), "docker.io/me/todo:v1");
        assert_eq!(canonical("docker.io/todo:v1"), "docker.io/library/todo:v1");
        assert_eq!(canonical("localhost:5000/todo:v1"), "localhost:5000/todo:v1");
    }
}
