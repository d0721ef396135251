//! What the graph has to know of the Dockerfiles.

use std::path::Path;

use super::model::{Image, StackFile};
use super::template::Value;
use crate::graph::ImageFacts;
use crate::key::context::{DockerfileOptions, read_dockerfile};

/// Reads the Dockerfiles of all images. One that cannot be read says nothing: its build will say why.
pub fn image_facts(stack: &StackFile) -> ImageFacts {
    let mut facts = ImageFacts::default();
    if !stack.tasks.is_empty() {
        let ignores = |image: &Image| {
            let beside = format!("{}.dockerignore", image.dockerfile.absolute.display());
            image.context.absolute.join(".dockerignore").exists() || Path::new(&beside).exists()
        };
        facts.ignoring =
            stack.images.iter().filter(|(_, image)| ignores(image)).map(|(name, _)| name.to_string()).collect();
    }
    // With a single image there is no other image that it could build on.
    if stack.images.len() > 1 {
        for (name, image) in &stack.images {
            if let Ok(text) = std::fs::read_to_string(&image.dockerfile.absolute) {
                facts.from.insert(name.to_string(), bases(image, &text));
            }
        }
    }
    facts
}

/// The images that a Dockerfile builds on, as far as they are known before any step has run: build arguments that refer
/// to steps are edges of their own.
fn bases(image: &Image, dockerfile: &str) -> Vec<String> {
    let known: Vec<(&str, String)> =
        image.args.iter().filter_map(|(name, value)| Some((name.as_str(), text(value)?))).collect();
    let options = DockerfileOptions {
        args: known.iter().map(|(name, value)| (*name, value.as_str())).collect(),
        target: image.target.as_deref(),
        platform: image.platform.as_deref(),
    };
    read_dockerfile(dockerfile, &options).bases
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Template(template) => template.as_literal().map(str::to_owned),
        Value::Integer(value) => Some(value.to_string()),
        Value::Float(value) => Some(value.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::List(_) | Value::Map(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LoadOptions, from_text};
    use crate::graph::{Graph, StepId, StepKind};

    #[test]
    fn an_image_whose_dockerfile_names_another_is_built_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let dockerfile = "ARG BASE=busybox\nFROM ${BASE}:1 AS one\nCOPY --from=todo-tools /t /t\nFROM busybox AS two\n";
        std::fs::write(folder.path().join("Dockerfile"), dockerfile).unwrap();
        let needs = |image: &str| {
            let text = format!(
                "[stack]\nname = \"todo\"\n[image.base]\ncontext = \"x\"\n[image.tools]\ncontext = \"x\"\n[image.app]\ncontext = \".\"\n{image}"
            );
            let path = folder.path().join("stack.toml");
            let stack = from_text(&text, Path::new(&path), &LoadOptions::new(&|_| None)).unwrap();
            let graph = Graph::build(&stack, &image_facts(&stack)).unwrap();
            let app = graph.find(&StepId::new(StepKind::Build, "app")).unwrap();
            graph.needs(app).iter().map(|need| graph.id(*need).name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(needs("target = \"one\"\nargs = { BASE = \"todo-base\" }\n"), ["base", "tools"]);
        assert_eq!(needs("target = \"one\"\n"), ["tools"]);
        assert!(needs("").is_empty(), "the stage that is built does not need them");
    }
}
