//! Builds run in a real Docker Engine: what is copied, what is hidden, what is told, and what stops.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use stack::error::Class;
use stack::model::tree::{About, FileKind, FileTree};
use stack::tools::docker::{Build, BuildEvent, BuildSecret, DockerError, Endpoint, Engine};

async fn engine() -> Engine {
    let engine = Engine::local(|name| std::env::var(name).ok()).await;
    engine.expect("these tests need a Docker Engine: run them with `make test`, which brings one up")
}

/// The files below a folder, as they are.
fn tree(root: &Path) -> Arc<FileTree> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<(String, FileKind<'static>, About)>) {
        let mut inside: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        inside.sort();
        for path in inside {
            let data = fs::metadata(&path).unwrap();
            let kind = if data.is_dir() { FileKind::Folder } else { FileKind::File };
            let digest = data.is_file().then(|| *blake3::hash(&fs::read(&path).unwrap()).as_bytes());
            let about = About { mode: 0o755, size: data.len(), modified_ns: 1, digest };
            found.push((path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), kind, about));
            if data.is_dir() {
                walk(root, &path, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    let entries = found.iter().map(|(path, kind, about)| (path.as_str(), *kind, *about));
    Arc::new(FileTree::of(root, entries).unwrap())
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
    assert_eq!(failure.line, Some(3));
    assert_eq!(failure.exit_code, Some(3));
    assert_eq!(failure.tail, ["the key is ***"]);
    assert_eq!(failure.class, Class::Input);
}

/// Whether a process with this in its command line runs anywhere on this machine.
fn is_running(argument: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let own = |line: &[u8]| String::from_utf8_lossy(line).contains("docker_build");
    lines.filter(|line| !own(line)).any(|line| String::from_utf8_lossy(&line).contains(argument))
}

#[tokio::test]
async fn a_build_that_is_dropped_stops_in_the_engine() {
    let engine = engine().await;
    let folder = tempfile::tempdir().unwrap();
    let seconds = format!("98{}", std::process::id());
    let mut build = Build::new(tree(folder.path()), format!("FROM busybox:stable\nRUN sleep {seconds}\n"));
    build.no_cache = true;
    let running = engine.build(&build, |_| {});
    let started = async {
        while !is_running(&seconds) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        ended = running => panic!("{ended:?}"),
        () = started => {}
    }
    let stopped = async {
        while is_running(&seconds) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), stopped).await.expect("the command still runs");
}

#[tokio::test]
async fn only_changed_files_are_sent_again() {
    let engine = engine().await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("big"), vec![7; 3_000_000]).unwrap();
    fs::write(folder.path().join("small"), "one").unwrap();
    let build = |tree| Build::new(tree, "FROM busybox:stable\nCOPY big small /\n");
    let first = engine.build(&build(tree(folder.path())), |_| {}).await.unwrap();
    assert_eq!(first.sent, 3_000_003);
    // Neither its size nor its time tells that it is another one.
    fs::write(folder.path().join("small"), "two").unwrap();
    let second = engine.build(&build(tree(folder.path())), |_| {}).await.unwrap();
    assert_eq!((second.sent, &second.changed), (3, &None));
    assert_ne!(first.image.id, second.image.id);

    // What is sent is not what was seen: as it is at the end of a change there and back.
    fs::write(folder.path().join("big"), vec![8; 3_000_000]).unwrap();
    let entries =
        [("big", FileKind::File, About { mode: 0o755, size: 3_000_000, modified_ns: 1, digest: Some([1; 32]) })];
    let other = Arc::new(FileTree::of(folder.path(), entries).unwrap());
    let third = engine.build(&Build::new(other, "FROM busybox:stable\nCOPY big /\n"), |_| {}).await.unwrap();
    assert_eq!(third.changed.as_deref(), Some("big"));
    for built in [first, second, third] {
        engine.remove(&built.image.id, true).await.unwrap();
    }
}

#[tokio::test]
async fn a_file_that_went_before_it_was_sent_is_named() {
    let engine = engine().await;
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    for gone in ["file", "sub/file"] {
        fs::create_dir_all(folder.path().join("sub")).unwrap();
        fs::write(folder.path().join("stays"), gone).unwrap();
        fs::write(folder.path().join(gone), std::process::id().to_string()).unwrap();
        let build = Build::new(tree(folder.path()), "FROM scratch\nCOPY . /\n");
        match gone.split_once('/') {
            None => fs::remove_file(folder.path().join(gone)).unwrap(),
            Some((above, _)) => fs::remove_dir_all(folder.path().join(above)).unwrap(),
        }
        let error = engine.build(&build, |_| {}).await.unwrap_err();
        assert!(matches!(&error, DockerError::Gone { path } if path == gone), "{error:?}");
    }
}

#[tokio::test]
async fn a_narrowed_context_is_enough_and_a_base_image_that_takes_more_is_noticed() {
    let engine = engine().await;
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("app")).unwrap();
    fs::write(folder.path().join("app/main"), "x").unwrap();
    let mut build = Build::new(tree(folder.path()), "FROM scratch\nCOPY app /app\n");
    build.reach = Some(vec!["app".into()]);
    build.tags = vec!["t-docker-narrow:plain".into()];
    let built = engine.build(&build, |_| {}).await.unwrap();
    engine.remove(&built.image.id, true).await.unwrap();

    let mut base = Build::new(tree(folder.path()), "FROM busybox:stable\nONBUILD COPY . /all\n");
    base.tags = vec!["t-docker-onbuild:base".into()];
    let image = engine.build(&base, |_| {}).await.unwrap().image;
    assert_eq!(image.on_build, ["COPY . /all"]);
    build.dockerfile = "FROM t-docker-onbuild:base\nCOPY app /app\n".into();
    let error = engine.build(&build, |_| {}).await.unwrap_err();
    assert!(matches!(&error, DockerError::Outgrown { path } if path == "."), "{error:?}");
    engine.remove(&image.id, true).await.unwrap();
}

#[tokio::test]
async fn secrets_reach_the_command_and_nothing_else() {
    let engine = engine().await;
    let folder = tempfile::tempdir().unwrap();
    let secret = "hunter2-of-secrets-test";
    let text = "FROM busybox:stable\nARG STAMP\nRUN --mount=type=secret,id=key --mount=type=secret,id=none \
                cat /run/secrets/key && test ! -e /run/secrets/none && wc -c < /run/secrets/key > /length\n";
    let mut build = Build::new(tree(folder.path()), text);
    build.args = vec![("STAMP".into(), std::process::id().to_string())];
    build.secrets = vec![BuildSecret::from_value("key", secret)];
    assert!(!format!("{build:?}").contains(secret));
    let mut events = Vec::new();
    let built = engine.build(&build, |event| events.push(event)).await.unwrap();
    assert!(lines(&events).contains(&"***".to_owned()), "{events:?}");
    assert!(!format!("{events:?}{built:?}").contains(secret));
    engine.remove(&built.image.id, true).await.unwrap();

    // The engine's own cache looks at no secret.
    build.no_cache = true;
    build.secrets.clear();
    let error = engine.build(&build, |_| {}).await.unwrap_err();
    let DockerError::Build(failure) = error else { panic!("{error:?}") };
    assert!(failure.tail.iter().any(|line| line.contains("/run/secrets/key")), "{failure:?}");
}

#[tokio::test]
async fn builds_of_one_context_run_side_by_side() {
    let engine = engine().await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "x".repeat(100_000)).unwrap();
    let builds = (0..4).map(|index| {
        let text = format!("FROM scratch\nCOPY file /{index}-{}\n", std::process::id());
        let (engine, build) = (engine.clone(), Build::new(tree(folder.path()), text));
        async move { engine.build(&build, |_| {}).await.unwrap().image.id }
    });
    let mut ids = futures::future::join_all(builds).await;
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    for id in ids {
        engine.remove(&id, true).await.unwrap();
    }
}

/// Builds of equal files give one image, and those who remove it know nothing of each other.
#[tokio::test]
async fn the_names_of_one_image_are_taken_away_side_by_side() {
    let engine = engine().await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "x").unwrap();
    for round in 0..30 {
        let text = format!("FROM scratch\nCOPY file /{round}-{}\n", std::process::id());
        let id = engine.build(&Build::new(tree(folder.path()), text), |_| {}).await.unwrap().image.id;
        let names: Vec<String> = (0..8).map(|name| format!("t-side-by-side-{name}:{}", std::process::id())).collect();
        for name in &names {
            engine.tag(&id, name).await.unwrap();
        }
        let removals = futures::future::join_all(names.iter().map(|name| engine.untag(name))).await;
        assert!(removals.iter().all(Result::is_ok), "{removals:?}");
        assert_eq!(engine.image(&id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_build_runs_in_a_nodes_engine_behind_tls() {
    let bed = |name| std::env::var(name).expect("run `make test`, which brings the test bed up");
    let (address, certificates) = (bed("STACK_TESTBED_NODE_DOCKER"), bed("STACK_TESTBED_NODE_CERTS"));
    let endpoint = Endpoint::parse(&address, Some(Path::new(&certificates))).unwrap();
    let node = Engine::connect(endpoint).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "x").unwrap();
    let text = format!("FROM scratch\nCOPY file /{}\n", std::process::id());
    let built = node.build(&Build::new(tree(folder.path()), text), |_| {}).await.unwrap();
    assert_eq!(built.image.layers.len(), 1);
    node.remove(&built.image.id, true).await.unwrap();

    // Without the right certificates there is no talking to it, and the error says what is missing.
    let endpoint = Endpoint::parse(&address, Some(folder.path())).unwrap();
    let error = Engine::connect(endpoint).await.unwrap_err();
    assert!(error.to_string().contains("ca.pem"), "{error}");
    assert_eq!(error.class(), Class::Environment);
}

#[tokio::test]
async fn mistakes_in_a_dockerfile_are_the_users() {
    let engine = engine().await;
    let folder = tempfile::tempdir().unwrap();
    let table = [
        ("FROM busybox:stable\nCOPY missing /\n", "missing"),
        ("FROM busybox:stable\nNONSENSE\n", "NONSENSE"),
        ("FROM busybox:stable AS a\nCOPY --from=nowhere /x /\n", "nowhere"),
        ("", "empty"),
    ];
    for (text, part) in table {
        let error = engine.build(&Build::new(tree(folder.path()), text), |_| {}).await.unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}
