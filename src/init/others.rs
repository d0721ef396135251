//! What compose files and skaffold files say of images.

use serde_json::Value;

use super::{Image, name_of};

/// How one of them is read.
type Read = fn(&Value) -> Vec<Image>;

/// The files that may be there, and how they are read.
pub(super) const FILES: [(&str, Read); 5] = [
    ("compose.yaml", compose),
    ("compose.yml", compose),
    ("docker-compose.yaml", compose),
    ("docker-compose.yml", compose),
    ("skaffold.yaml", skaffold),
];

/// The services that are built. `build` is a folder, or a table that names one.
fn compose(file: &Value) -> Vec<Image> {
    let services = file["services"].as_object().into_iter().flatten();
    let image = |(name, service): (&String, &Value)| {
        let build = &service["build"];
        let context = clean(build.as_str().or_else(|| build["context"].as_str()).or(build.is_object().then_some("."))?);
        Some(Image {
            name: name_of(name),
            // Relative to the context.
            dockerfile: build["dockerfile"].as_str().and_then(|file| dockerfile(&context, file)),
            target: build["target"].as_str().map(str::to_owned),
            repository: service["image"].as_str().map(repository),
            context,
        })
    };
    services.filter_map(image).collect()
}

/// The artifacts that Docker builds.
fn skaffold(file: &Value) -> Vec<Image> {
    let artifacts = file["build"]["artifacts"].as_array().into_iter().flatten();
    let image = |artifact: &Value| {
        let named = artifact["image"].as_str()?;
        let docker = &artifact["docker"];
        let context = clean(artifact["context"].as_str().unwrap_or("."));
        Some(Image {
            name: name_of(named.rsplit('/').next().unwrap_or(named)),
            dockerfile: docker["dockerfile"].as_str().and_then(|file| dockerfile(&context, file)),
            target: docker["target"].as_str().map(str::to_owned),
            repository: Some(repository(named)),
            context,
        })
    };
    artifacts.filter_map(image).collect()
}

/// A Dockerfile that was named relative to the context, unless it is the usual one.
fn dockerfile(context: &str, file: &str) -> Option<String> {
    let path = clean(&format!("{context}/{file}"));
    (path != clean(&format!("{context}/Dockerfile"))).then_some(path)
}

/// An image's name without tag and digest.
fn repository(image: &str) -> String {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        // A port is followed by a path.
        Some((name, tag)) if !tag.contains('/') => name.to_owned(),
        _ => image.to_owned(),
    }
}

/// The path without `.` and `..`, by its text alone.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}
