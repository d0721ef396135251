//! Which images of this stack nobody uses any more: decided in pure code, from what the engine, the nodes and the cluster
//! say.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::step::{StepError, World, stored};

/// A name of an image in a store, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GcImage {
    /// `host`, or the name of a node.
    pub place: String,
    /// The name, as the store has it.
    pub name: String,
    /// The image ID.
    pub id: String,
    /// Its size there in bytes, layers shared with other images included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Who uses it. Nobody, for one that goes.
    #[serde(rename = "usedBy", skip_serializing_if = "Option::is_none")]
    pub used_by: Option<String>,
    /// Why it could not be removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What goes and what stays.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Gc {
    /// The stack.
    pub stack: String,
    /// Images that nobody uses.
    pub remove: Vec<GcImage>,
    /// Images in use.
    pub keep: Vec<GcImage>,
    /// Steps that have left the file and of which something is remembered.
    pub forget: Vec<String>,
    /// Whether they were removed and forgotten.
    pub removed: bool,
}

/// Decides about all images of the stack.
///
/// # Errors
/// When a store or the cluster can't be asked: what is not known to be unused stays.
pub async fn gc(world: &World) -> Result<Gc, StepError> {
    let asked = tokio::try_join!(stored::images(world), stored::users(world));
    let (images, users) = asked.map_err(|error| error.redacted(world.redactor()))?;
    let (remove, keep) = decide(images, &users);
    let known: BTreeSet<_> = world.graph().steps().map(|(_, id)| id.to_string()).collect();
    let forget = world.remembered().into_iter().filter(|step| !known.contains(step)).collect();
    Ok(Gc { stack: world.stack_name().to_owned(), remove, keep, forget, removed: false })
}

/// Removes what nobody uses. What could not be removed says why; it fails nothing else.
///
/// # Errors
/// When what is remembered can't be written.
pub async fn sweep(world: &World, gc: &mut Gc) -> Result<(), StepError> {
    for image in &mut gc.remove {
        image.error = stored::untag(world, &image.place, &image.name)
            .await
            .err()
            .map(|error| error.redacted(world.redactor()).reason);
    }
    world.forget(&gc.forget);
    gc.removed = true;
    world.keep().map_err(|error| {
        let reason = format!("what is remembered can't be written to .stack/: {error}");
        StepError::new(crate::error::Class::Environment, reason)
    })
}

/// An image that is used under one name, or by its ID, keeps all its names, wherever it is.
fn decide(images: Vec<stored::Stored>, users: &[stored::User]) -> (Vec<GcImage>, Vec<GcImage>) {
    let mut used: BTreeMap<String, String> = BTreeMap::new();
    for image in &images {
        let user = users.iter().find(|user| user.uses(image));
        if let Some(user) = user {
            used.entry(image.config.clone()).or_insert_with(|| user.name.clone());
        }
    }
    let all = images.into_iter().map(|image| GcImage {
        used_by: used.get(&image.config).cloned(),
        place: image.place,
        name: image.name,
        id: image.id,
        size: image.size,
        error: None,
    });
    all.partition(|image| image.used_by.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(place: &str, tag: &str, id: &str) -> stored::Stored {
        stored::Stored {
            place: place.into(),
            name: format!("docker.io/library/todo:{tag}"),
            short: format!("todo:{tag}"),
            id: format!("sha256:{id}"),
            config: format!("sha256:{id}"),
            size: None,
        }
    }

    fn user(name: &str, text: &str) -> stored::User {
        stored::User { name: name.into(), text: text.into() }
    }

    #[test]
    fn what_is_named_anywhere_stays_everywhere_with_all_its_names() {
        let images = || {
            vec![
                stored("host", "aaaa", "aaaa1"),
                stored("host", "k-1", "aaaa1"),
                stored("m02", "aaaa", "aaaa1"),
                stored("host", "bbbb", "bbbb1"),
                stored("m02", "bbbb", "bbbb1"),
                stored("host", "cccc", "cccc1"),
            ]
        };
        let users = [user("pod a/b", "image: todo:aaaa"), user("pod c", "docker://sha256:cccc1")];
        let (remove, keep) = decide(images(), &users);
        let names =
            |images: &[GcImage]| images.iter().map(|image| format!("{} {}", image.place, image.id)).collect::<Vec<_>>();
        assert_eq!(names(&remove), ["host sha256:bbbb1", "m02 sha256:bbbb1"]);
        assert_eq!(names(&keep).len(), 4);
        assert_eq!(keep[1].used_by.as_deref(), Some("pod a/b"));
        // A store that numbers by manifests has another ID for an image that another one numbers by its configuration.
        let by_manifest = |place, tag, id| stored::Stored { id: "sha256:eeee9".into(), ..stored(place, tag, id) };
        let both = vec![by_manifest("host", "eeee", "eeee1"), stored("m02", "other", "eeee1")];
        let (remove, _) = decide(both, &[user("the stack file, as image todo", "sha256:eeee9")]);
        assert_eq!(names(&remove), [""; 0]);
        // A name that only begins like one in use is another image.
        let (remove, _) = decide(images(), &[user("pod", "image: todo:aaaab")]);
        assert_eq!(remove.len(), 6);
    }
}
