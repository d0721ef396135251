//! Builds run in a real Docker Engine: what is copied, what is hidden, what is told, and what stops.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use stack::error::Class;
use stack::model::tree::{FileEntry, FileKind, FileTree};
use stack::tools::docker::{Build, BuildEvent, BuildSecret, DockerError, Engine};

async fn engine() -> Engine {
    let engine = Engine::local(|name| std::env::var(name).ok()).await;
    engine.expect("these tests need a Docker Engine: run them with `make test`, which brings one up")
}

/// The files below a folder, as they are.
fn tree(root: &Path) -> Arc<FileTree> {
    fn walk(root: &Path, folder: &Path, entries: &mut Vec<FileEntry>) {
        let mut found: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        found.sort();
        for path in found {
            let data = fs::metadata(&path).unwrap();
            entries.push(FileEntry {
                path: path.strip_prefix(root).unwrap().to_str().unwrap().into(),
                kind: if data.is_dir() { FileKind::Folder } else { FileKind::File },
                mode: 0o755,
                size: data.len(),
                modified_ns: 1,
            });
            if data.is_dir() {
                walk(root, &path, entries);
            }
        }
    }
    let mut entries = Vec::new();
    walk(root, root, &mut entries);
    Arc::new(FileTree { root: root.to_owned(), entries })
}

fn lines(events: &[BuildEvent]) -> Vec<String> {
    let line = |event: &BuildEvent| match event {
        BuildEvent::Output { line, .. } => Some(line.clone()),
        _ => None,
    };
    events.iter().filter_map(line).collect()
}

#[tokio::test]
async fn a_build_gives_the_image_with_its_arguments_labels_and_names() {
    let engine = engine().await;
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("sub/hello.txt"), "hello from a file").unwrap();
    let mut build = Build::new(
        tree(folder.path()),
        "FROM busybox:stable AS base\nARG WHO\nCOPY sub /sub\nRUN cat /sub/hello.txt && echo && echo to $WHO\nFROM base AS other\nRUN false\n",
    );
    build.args = vec![("WHO".into(), format!("{:?}", std::time::SystemTime::now()))];
    build.target = Some("base".into());
    build.labels = vec![("stack.test".into(), "docker-build".into())];
    build.tags = vec!["t-docker-build:one".into(), "t-docker-build:two".into()];
    let mut events = Vec::new();
    let built = engine.build(&build, |event| events.push(event)).await.unwrap();
    let mut tags = built.image.tags.clone();
    tags.sort();
    assert_eq!(tags, build.tags);
    assert_eq!(built.image.labels["stack.test"], "docker-build");
    assert!(lines(&events).contains(&"hello from a file".to_owned()), "{events:?}");
    for tag in &build.tags {
        engine.untag(tag).await.unwrap();
    }
}

#[tokio::test]
async fn a_failed_build_names_the_step_the_line_the_code_and_the_last_lines() {
    let engine = engine().await;
    let folder = tempfile::tempdir().unwrap();
    let mut build = Build::new(
        tree(folder.path()),
        "FROM busybox:stable\n\nRUN --mount=type=secret,id=key echo the key is $(cat /run/secrets/key); exit 3\n",
    );
    build.secrets = vec![BuildSecret::from_value("key", "hunter2-of-docker-build")];
    let error = engine.build(&build, |_| {}).await.unwrap_err();
    let DockerError::Build(failure) = error else { panic!("{error:?}") };
    assert!(failure.step.as_deref().unwrap().contains("RUN --mount=type=secret"), "{failure:?}");
    assert_eq!(failure.exit_code, Some(3));
    assert_eq!(failure.tail, ["the key is ***"]);
    assert_eq!(failure.class, Class::Input);
}
