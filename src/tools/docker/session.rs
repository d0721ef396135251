//! The session of a build: a small gRPC server on a connection that we opened, through which the engine asks us for
//! files, secrets and registry credentials while it builds.

use std::collections::HashMap;
use std::pin::Pin;

use bollard_buildkit_proto::health::health_check_response::ServingStatus;
use bollard_buildkit_proto::health::health_server::{Health, HealthServer};
use bollard_buildkit_proto::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard_buildkit_proto::moby::filesync::v1::auth_server::{Auth, AuthServer};
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::FileSyncServer;
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use futures::{Stream, stream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use secrecy::{ExposeSecret, SecretSlice};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::buildkit::SessionConnection;
use super::credentials::Credentials;
use super::filesync::BuildFiles;

/// The methods that the engine is told to find on the session. It looks some of them up before it uses them.
pub(super) const METHODS: [&str; 7] = [
    "/grpc.health.v1.Health/Check",
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.filesync.v1.Auth/FetchToken",
    "/moby.filesync.v1.Auth/GetTokenAuthority",
    "/moby.filesync.v1.Auth/VerifyTokenAuthority",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
];

/// What the engine may ask for during a build.
pub(super) struct Session {
    pub(super) files: BuildFiles,
    pub(super) secrets: HashMap<String, SecretSlice<u8>>,
    pub(super) credentials: Credentials,
}

impl Session {
    /// Answers the engine until it closes the connection. Dropping the future closes it from our side.
    pub(super) async fn serve(self, connection: SessionConnection) -> Result<(), hyper::Error> {
        match connection {
            SessionConnection::Upgraded(connection) => self.serve_on(connection).await,
            SessionConnection::Messages(messages) => {
                let (near, carrying) = messages.split();
                tokio::select! {
                    served = self.serve_on(TokioIo::new(near)) => served,
                    () = carrying => Ok(()),
                }
            }
        }
    }

    async fn serve_on(
        self,
        connection: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    ) -> Result<(), hyper::Error> {
        let routes = Routes::new(HealthServer::new(AlwaysServing))
            .add_service(FileSyncServer::new(self.files))
            .add_service(SecretsServer::new(BuildSecrets(self.secrets)))
            .add_service(AuthServer::new(RegistryAuth(self.credentials)))
            .prepare();
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(connection, TowerToHyperService::new(routes))
            .await
    }
}

struct AlwaysServing;

fn serving() -> HealthCheckResponse {
    HealthCheckResponse { status: ServingStatus::Serving.into() }
}

#[tonic::async_trait]
impl Health for AlwaysServing {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(serving()))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Ok(Response::new(HealthListResponse::default()))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(Box::pin(stream::iter([Ok(serving())]))))
    }
}

struct BuildSecrets(HashMap<String, SecretSlice<u8>>);

#[tonic::async_trait]
impl Secrets for BuildSecrets {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        let id = &request.get_ref().id;
        // "Not found" lets a mount that is not `required` go without its secret.
        let secret = self.0.get(id).ok_or_else(|| Status::not_found(format!("there is no secret {id}")))?;
        Ok(Response::new(GetSecretResponse { data: secret.expose_secret().to_vec() }))
    }
}

struct RegistryAuth(Credentials);

#[tonic::async_trait]
impl Auth for RegistryAuth {
    async fn credentials(&self, request: Request<CredentialsRequest>) -> Result<Response<CredentialsResponse>, Status> {
        let login = self.0.of_registry(&request.get_ref().host).await;
        let (username, secret) = match login {
            Some(login) => (login.username, login.secret.expose_secret().to_owned()),
            None => Default::default(),
        };
        Ok(Response::new(CredentialsResponse { username, secret }))
    }

    // Tokens are fetched by the engine with the credentials above.
    async fn fetch_token(&self, _: Request<FetchTokenRequest>) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("tokens are fetched by the engine"))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("tokens are fetched by the engine"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("tokens are fetched by the engine"))
    }
}
