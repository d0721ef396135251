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
use super::engine::{Engine, ImageInfo, familiar, has_host, split_tag};
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

/// The most that a login for it may take: it comes from a program that may ask another service, or somebody.
const HELPER: Duration = Duration::from_secs(30);

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
        let login = within(&doing, patience.stall, login(repository)).await?;
        let told = self.docker().create_image(Some(options), None, login);
        let told = told.map(|told| told.map(|told| told.status));
        match transfer(&doing, told, patience, |error| self.error(&doing, error)).await {
            Ok(()) => self.image(reference).await,
            Err(error) if error.is_not_there() => Ok(None),
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
        let login = within(&doing, patience.stall, login(repository)).await?.unwrap_or_default();
        let told = self.docker().push_image(repository, Some(options), Some(login));
        let told = told.map(|told| told.map(|told| told.status));
        transfer(&doing, told, patience, |error| self.error(&doing, error)).await
    }

    /// The digest that a registry has for a name now, `sha256:…`: the one that an engine which pulls it notes down.
    ///
    /// # Errors
    /// When the registry can't be reached, does not have it, or takes too long.
    pub async fn resolve(&self, reference: &str) -> Result<String, DockerError> {
        let doing = format!("look up `{reference}`");
        let login = within(&doing, HELPER, login(reference)).await?;
        let asked = timeout(ANSWER, self.docker().inspect_registry_image(reference, login)).await;
        let found = asked.map_err(|_| stalled(&doing, ANSWER))?.map_err(|error| self.error(&doing, error))?;
        found.descriptor.digest.ok_or_else(|| DockerError::Refused {
            doing,
            status: None,
            message: "the registry named no digest".to_owned(),
        })
    }
}

/// Follows a transfer to its end, as long as it gets on.
async fn transfer(
    doing: &str,
    told: impl Stream<Item = Result<Option<String>, BollardError>>,
    patience: Patience,
    failed: impl Fn(BollardError) -> DockerError,
) -> Result<(), DockerError> {
    let end = Instant::now() + patience.whole;
    let mut told = std::pin::pin!(told);
    // The first word comes when the registry has answered.
    let mut wait = patience.stall.min(ANSWER);
    loop {
        let next = timeout_at(end.min(Instant::now() + wait), told.next()).await;
        let late = |_| if Instant::now() < end { stalled(doing, wait) } else { too_slow(doing, patience.whole) };
        match next.map_err(late)? {
            None => return Ok(()),
            Some(Err(error)) => return Err(failed(error)),
            // The engine tries a registry that fails many times, with longer and longer pauses.
            Some(Ok(Some(status))) if status.starts_with("Retrying in") => {
                let message = "the registry fails".to_owned();
                return Err(DockerError::Refused { doing: doing.to_owned(), status: None, message });
            }
            Some(Ok(_)) => wait = patience.stall,
        }
    }
}

fn stalled(doing: &str, wait: Duration) -> DockerError {
    refused(doing, format!("the registry did nothing for {} s", wait.as_secs_f64()))
}

fn too_slow(doing: &str, whole: Duration) -> DockerError {
    refused(doing, format!("it was not done after {} s", whole.as_secs_f64()))
}

fn refused(doing: &str, message: String) -> DockerError {
    DockerError::Refused { doing: doing.to_owned(), status: None, message }
}

/// The login for a registry, unless it takes too long.
async fn within<T>(doing: &str, wait: Duration, login: impl Future<Output = T>) -> Result<T, DockerError> {
    let late = |_| refused(doing, format!("the credential helper did not answer for {} s", wait.as_secs_f64()));
    timeout(wait, login).await.map_err(late)
}

impl DockerError {
    /// Whether a registry said that it does not have the image.
    pub fn is_not_there(&self) -> bool {
        matches!(self, Self::Refused { status, message, .. } if *status == Some(404) || is_unknown(message))
    }
}

/// What registries say of an image that they do not have.
fn is_unknown(message: &str) -> bool {
    ["manifest unknown", "name unknown", "not found", "repository does not exist"]
        .iter()
        .any(|words| message.contains(words))
}

/// The login that `docker login` keeps for the registry of a name.
async fn login(repository: &str) -> Option<DockerCredentials> {
    let name = familiar(repository);
    let host = name.split('/').next().filter(|_| has_host(name));
    let folder = config_folder(|name| std::env::var(name).ok());
    let login = Credentials::read(folder.as_deref()).of_registry(host.unwrap_or("registry-1.docker.io")).await?;
    let secret = Some(login.secret.expose_secret().to_owned());
    Some(match login.username.is_empty() {
        true => DockerCredentials { identitytoken: secret, ..Default::default() },
        false => DockerCredentials { username: Some(login.username), password: secret, ..Default::default() },
    })
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tokio::time::interval;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_for_too_long_is_not_said_to_stand_still() {
        let patience = Patience { stall: Duration::from_secs(3), whole: Duration::from_secs(30) };
        let failed = |error: BollardError| refused("pull", error.to_string());
        let steady = stream::unfold(interval(Duration::from_secs(2)), |mut clock| async {
            clock.tick().await;
            Some((Ok(Some("Downloading".to_owned())), clock))
        });
        let said = transfer("pull", steady, patience, failed).await.unwrap_err().to_string();
        assert!(said.ends_with("it was not done after 30 s"), "{said}");
        let said = transfer("pull", stream::pending(), patience, failed).await.unwrap_err().to_string();
        assert!(said.ends_with("the registry did nothing for 3 s"), "{said}");
    }
}
