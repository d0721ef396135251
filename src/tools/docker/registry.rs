//! Images in a registry, by way of an engine: it speaks to registries, and moves only the layers that the other side lacks.

use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::errors::Error as BollardError;
use bollard::query_parameters::{CreateImageOptions, PushImageOptions};
use futures::{Stream, StreamExt};
use secrecy::ExposeSecret;
use tokio::time::{Instant, timeout, timeout_at};

use super::credentials::Credentials;
use super::endpoint::config_folder;
use super::engine::{Engine, ImageInfo, split_tag};
use super::error::DockerError;

/// How patient a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The longest time without a sign of progress.
    pub stall: Duration,
    /// The longest time for all of it.
    pub whole: Duration,
}

/// The most that an answer without a body may take: nobody should wait longer to learn that a registry is gone.
const ANSWER: Duration = Duration::from_secs(5);

impl Engine {
    /// Fetches an image from its registry; nothing when the registry does not have it.
    ///
    /// # Errors
    /// When the registry can't be reached, refuses, or stalls.
    pub async fn pull(&self, reference: &str, patience: Patience) -> Result<Option<ImageInfo>, DockerError> {
        let doing = format!("pull `{reference}`");
        let (repository, tag) = split_tag(reference);
        let options = CreateImageOptions {
            from_image: Some(repository.to_owned()),
            tag: Some(tag.to_owned()),
            ..Default::default()
        };
        let login = login(repository).await;
        let told = self.docker().create_image(Some(options), None, login);
        let told = told.map(|told| told.map(|told| told.status));
        match self.transfer(&doing, told, patience).await {
            Ok(()) => self.image(reference).await,
            Err(DockerError::Refused { status: Some(404), .. }) => Ok(None),
            Err(DockerError::Refused { message, .. }) if is_unknown(&message) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends an image to the registry that its name says.
    ///
    /// # Errors
    /// When the registry can't be reached, refuses, or stalls.
    pub async fn push(&self, reference: &str, patience: Patience) -> Result<(), DockerError> {
        let doing = format!("push `{reference}`");
        let (repository, tag) = split_tag(reference);
        let options = PushImageOptions { tag: Some(tag.to_owned()), ..Default::default() };
        // Without any the engine refuses the request.
        let login = login(repository).await.unwrap_or_default();
        let told = self.docker().push_image(repository, Some(options), Some(login));
        let told = told.map(|told| told.map(|told| told.status));
        self.transfer(&doing, told, patience).await
    }

    /// The digest that a registry has for a name now, `sha256:…`: the one that an engine which pulls it notes down.
    ///
    /// # Errors
    /// When the registry can't be reached, does not have it, or takes too long.
    pub async fn resolve(&self, reference: &str) -> Result<String, DockerError> {
        let doing = format!("look up `{reference}`");
        let login = login(reference).await;
        let asked = timeout(ANSWER, self.docker().inspect_registry_image(reference, login)).await;
        let found = asked.map_err(|_| stalled(&doing, ANSWER))?.map_err(|error| self.error(&doing, error))?;
        found.descriptor.digest.ok_or_else(|| DockerError::Refused {
            doing,
            status: None,
            message: "the registry named no digest".to_owned(),
        })
    }

    /// Follows a transfer to its end, as long as it gets on.
    async fn transfer(
        &self,
        doing: &str,
        told: impl Stream<Item = Result<Option<String>, BollardError>>,
        patience: Patience,
    ) -> Result<(), DockerError> {
        let end = Instant::now() + patience.whole;
        let mut told = std::pin::pin!(told);
        // The first word comes when the registry has answered.
        let mut wait = patience.stall.min(ANSWER);
        loop {
            let next = timeout_at(end.min(Instant::now() + wait), told.next()).await;
            match next.map_err(|_| stalled(doing, wait))? {
                None => return Ok(()),
                Some(Err(error)) => return Err(self.error(doing, error)),
                // The engine tries a registry that fails many times, with longer and longer pauses.
                Some(Ok(Some(status))) if status.starts_with("Retrying in") => {
                    let message = "the registry fails".to_owned();
                    return Err(DockerError::Refused { doing: doing.to_owned(), status: None, message });
                }
                Some(Ok(_)) => wait = patience.stall,
            }
        }
    }
}

fn stalled(doing: &str, wait: Duration) -> DockerError {
    let message = format!("the registry did nothing for {} s", wait.as_secs_f64());
    DockerError::Refused { doing: doing.to_owned(), status: None, message }
}

/// What registries say of an image that they do not have.
fn is_unknown(message: &str) -> bool {
    ["manifest unknown", "name unknown", "not found", "repository does not exist"]
        .iter()
        .any(|words| message.contains(words))
}

/// The login that `docker login` keeps for the registry of a name.
async fn login(repository: &str) -> Option<DockerCredentials> {
    let host = repository.split('/').next().filter(|host| host.contains(['.', ':']) || *host == "localhost");
    let folder = config_folder(|name| std::env::var(name).ok());
    let login = Credentials::read(folder.as_deref()).of_registry(host.unwrap_or("registry-1.docker.io")).await?;
    let secret = Some(login.secret.expose_secret().to_owned());
    Some(match login.username.is_empty() {
        true => DockerCredentials { identitytoken: secret, ..Default::default() },
        false => DockerCredentials { username: Some(login.username), password: secret, ..Default::default() },
    })
}
