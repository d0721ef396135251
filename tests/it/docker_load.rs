//! An image reaches the node as it is on the host, with no more sent than is missing, or the load says that it did not.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use stack::error::Class;
use stack::model::tree::{About, FileKind, FileTree};
use stack::tools::docker::{
    Build, DockerError, Endpoint, Engine, ImageFilter, ImageInfo, LoadFault, LoadProgress, LoadWay, Loaded,
};
use stack::tools::node::{Containerd, Store};

use crate::node_support::{OwnNode, Runtime};
use crate::support::Bed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

fn bed(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `make test`, which brings the test bed up"))
}

async fn host() -> Engine {
    let engine = Engine::local(|name| std::env::var(name).ok()).await;
    engine.expect("these tests need a Docker Engine: run them with `make test`, which brings one up")
}

async fn node() -> Engine {
    let certificates = bed("STACK_TESTBED_NODE_CERTS");
    let endpoint = Endpoint::parse(&bed("STACK_TESTBED_NODE_DOCKER"), Some(Path::new(&certificates)));
    Engine::connect(endpoint.unwrap()).await.expect("the test bed's node has a Docker daemon")
}

/// The bed's newest engine with the classic store.
async fn docker29() -> Engine {
    let certificates = bed("STACK_TESTBED_NODE_CERTS");
    let endpoint = Endpoint::parse(&bed("STACK_TESTBED_NODE_DOCKER29"), Some(Path::new(&certificates)));
    Engine::connect(endpoint.unwrap()).await.expect("the bed's second Docker 29")
}

/// An image of a layer that stays and a small one that is different for each content.
async fn image(engine: &Engine, ballast: &str, tag: &str, content: &str) -> ImageInfo {
    image_of(engine, ballast, tag, content, 20_000_000).await
}

/// The same with so many bytes in the layer that stays.
async fn image_of(engine: &Engine, ballast: &str, tag: &str, content: &str, size: u32) -> ImageInfo {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("content"), content).unwrap();
    let about = About { mode: 0o644, size: content.len() as u64, modified_ns: 1, digest: None };
    let tree = FileTree::of(folder.path(), [("content", FileKind::File, about)]).unwrap();
    let text = format!(
        "FROM busybox:stable\nARG TAG\nRUN head -c {size} /dev/urandom > /ballast && echo $TAG\nCOPY content /\nENV A=1\n"
    );
    let mut build = Build::new(Arc::new(tree), text);
    // Its own ballast for each test, so that no test finds the layers of another on the node.
    build.args = vec![("TAG".into(), format!("{ballast}{}", std::process::id()))];
    build.tags = vec![tag.to_owned()];
    engine.build(&build, |_| {}).await.unwrap().image
}

/// Brings an image of one engine to another.
async fn load(
    host: &Engine,
    tag: &str,
    node: &Engine,
    way: LoadWay,
    tell: impl FnMut(LoadProgress) + Send,
) -> Result<Loaded, DockerError> {
    // Not asked of `host`, whose connection may be made to break after a number of bytes.
    let wanted = self::host().await.wanted(tag).await?;
    Store::Docker(node.clone(), None).load(host, &wanted, way, tell).await
}

async fn remove(engines: &[&Engine], tags: &[&str]) {
    for engine in engines {
        for tag in tags {
            engine.remove(tag, true).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_small_change_only_the_changed_layer_is_sent() {
    let (host, node) = (host().await, node().await);
    let (one, two) = ("t-docker-load:one", "t-docker-load:two");
    let first = image(&host, "small", one, "first").await;
    let mut told = Vec::new();
    let loaded = load(&host, one, &node, LoadWay::Layers, |progress| told.push(progress.sent)).await.unwrap();
    // The stores number images differently; the layers say which image it is.
    assert_eq!(node.image(one).await.unwrap().unwrap().layers, first.layers);
    assert_eq!((loaded.why_whole, loaded.total >= 20_000_000), (None, true));
    assert!(loaded.sent > 20_000_000 && told.last() == Some(&loaded.sent) && told.is_sorted());

    let second = image(&host, "small", two, "second").await;
    assert_ne!(first.id, second.id);
    let loaded = load(&host, two, &node, LoadWay::Layers, |_| {}).await.unwrap();
    assert_eq!((node.image(two).await.unwrap().unwrap().layers, loaded.way), (second.layers.clone(), LoadWay::Layers));
    assert_eq!(loaded.why_whole, None);
    assert_eq!(loaded.layers_skipped, second.layers.len() - 1);
    assert!(loaded.sent < 20_000, "{}", loaded.sent);

    // Under another name it is there already.
    let three = "t-docker-load:three";
    host.tag(two, three).await.unwrap();
    let loaded = load(&host, three, &node, LoadWay::Layers, |_| {}).await.unwrap();
    assert_eq!((loaded.sent, node.image(three).await.unwrap().unwrap().layers), (0, second.layers));
    remove(&[&host, &node], &[one, two, three]).await;
}

/// The bed's Docker 20.10 stands for the engine of a user's machine: the test runs in its network namespace, since such an
/// engine pushes to the loopback address.
#[test]
fn engine_with_the_classic_store_sends_only_the_changed_layer() {
    const INSIDE: &str = "STACK_TEST_INSIDE_DOCKER20";
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(classic_store_sends_only_the_changed_layer());
    }
    let mut command = std::process::Command::new("nsenter");
    command.args(["--net=/run/netns/docker20", "--"]).arg(std::env::current_exe().unwrap()).args([
        "--exact",
        "docker_load::engine_with_the_classic_store_sends_only_the_changed_layer",
        "--nocapture",
    ]);
    crate::support::succeed(
        command.env(INSIDE, "1").env("DOCKER_HOST", "unix:///run/stack-testbed/docker20/docker.sock"),
    );
}

async fn classic_store_sends_only_the_changed_layer() {
    let (host, node) = (host().await, docker29().await);
    let (one, two) = ("t-docker-classic:one", "t-docker-classic:two");
    let load = async |tag: &str| {
        let wanted = host.wanted(tag).await.unwrap();
        Store::Docker(node.clone(), None).load(&host, &wanted, LoadWay::Layers, |_| {}).await.unwrap()
    };
    let first = image(&host, "classic", one, "first").await;
    let loaded = load(one).await;
    assert_eq!(node.image(one).await.unwrap().unwrap().id, first.id);
    assert!(loaded.why_whole.is_some() && loaded.total == loaded.sent, "{loaded:?}");

    let second = image(&host, "classic", two, "second").await;
    // As a run leaves it that was killed in the middle.
    host.tag(two, "127.0.0.1:1/stack/load:layers").await.unwrap();
    let loaded = load(two).await;
    assert_eq!((node.image(two).await.unwrap().unwrap().id, loaded.way), (second.id, LoadWay::Layers));
    assert_eq!(loaded.layers_skipped, second.layers.len() - 1);
    assert!(loaded.sent < 20_000, "{}", loaded.sent);
    let filter = ImageFilter { references: vec!["127.0.0.1:*/stack/load".into()], ..Default::default() };
    assert_eq!(host.images(&filter).await.unwrap(), []);
    remove(&[&host, &node], &[one, two]).await;
}

/// A way to an engine that breaks for good after so many bytes in one direction; -1 lets everything through. Counts in
/// `passed` the bytes of both directions.
async fn broken_way(
    folder: &Path,
    socket: &Path,
    to_engine: i64,
    from_engine: i64,
    passed: &Arc<[AtomicI64; 2]>,
) -> Engine {
    async fn pass(
        mut from: impl AsyncReadExt + Unpin,
        mut to: impl AsyncWriteExt + Unpin,
        left: Arc<AtomicI64>,
        passed: &AtomicI64,
    ) {
        let mut buffer = vec![0; 8192];
        while let Ok(size) = from.read(&mut buffer).await {
            passed.fetch_add(size as i64, Ordering::SeqCst);
            let before = left.load(Ordering::SeqCst);
            if before >= 0 && left.fetch_sub(size as i64, Ordering::SeqCst) <= size as i64 {
                left.store(0, Ordering::SeqCst);
                return;
            }
            if size == 0 || to.write_all(&buffer[..size]).await.is_err() {
                return;
            }
        }
    }
    let path = folder.join("way.sock");
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let (up, down) = (Arc::new(AtomicI64::new(-1)), Arc::new(AtomicI64::new(-1)));
    let (limit_up, limit_down) = (Arc::clone(&up), Arc::clone(&down));
    let socket = socket.to_owned();
    let passed = Arc::clone(passed);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let engine = UnixStream::connect(&socket).await.unwrap();
            let (up, down) = (Arc::clone(&limit_up), Arc::clone(&limit_down));
            let passed = Arc::clone(&passed);
            tokio::spawn(async move {
                let (read_client, write_client) = client.into_split();
                let (read_engine, write_engine) = engine.into_split();
                // When one direction ends, both do: that is what a broken connection is.
                tokio::select! {
                    () = pass(read_client, write_engine, up, &passed[0]) => {}
                    () = pass(read_engine, write_client, down, &passed[1]) => {}
                }
            });
        }
    });
    let engine = Engine::connect(Endpoint::Unix(path)).await.unwrap();
    up.store(to_engine, Ordering::SeqCst);
    down.store(from_engine, Ordering::SeqCst);
    engine
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_breaks_off_anywhere_on_the_way_is_a_failed_load() {
    let host = host().await;
    let Endpoint::Unix(host_socket) = host.endpoint().clone() else { panic!("the engine is elsewhere") };
    let own = OwnNode::start(&Bed::get(), "broken", Runtime::Docker);
    let node = Engine::connect(Endpoint::Unix(own.socket())).await.unwrap();
    let tag = "t-docker-broken:one";
    image_of(&host, "broken", tag, "x", 400_000).await;
    let folder = tempfile::tempdir().unwrap();
    // How much a whole load takes out of the one engine and brings into the other.
    let (out, into) =
        (Arc::new([AtomicI64::new(0), AtomicI64::new(0)]), Arc::new([AtomicI64::new(0), AtomicI64::new(0)]));
    let source = broken_way(folder.path(), &host_socket, -1, -1, &out).await;
    load(&source, tag, &node, LoadWay::Archive, |_| {}).await.unwrap();
    node.remove(tag, true).await.unwrap();
    let to = broken_way(folder.path(), &own.socket(), -1, -1, &into).await;
    let size = load(&host, tag, &to, LoadWay::Archive, |_| {}).await.unwrap().sent as i64;
    node.remove(tag, true).await.unwrap();
    let (out, into) = (out[1].load(Ordering::SeqCst), into[0].load(Ordering::SeqCst));
    assert!(out > 400_000 && into > size, "{out} {into} {size}");
    let mut random = std::process::id();
    println!("begun with {random}");
    for round in 0..100 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let bytes = |all: i64| 500 + i64::from(random >> 8) % (all - 100_000);
        let (fault, sent) = if round % 2 == 0 {
            let bytes = bytes(out);
            let source = broken_way(folder.path(), &host_socket, -1, bytes, &Arc::default()).await;
            let error = load(&source, tag, &node, LoadWay::Archive, |_| {}).await.unwrap_err();
            let DockerError::Load(failure) = error else { panic!("{bytes}: {error:?}") };
            assert!(matches!(failure.reason, LoadFault::Source(_)), "{bytes}: {failure:?}");
            (failure.reason.clone(), failure.sent)
        } else {
            // What is asked before the archive is sent takes some bytes as well.
            let bytes = bytes(into);
            let to = broken_way(folder.path(), &own.socket(), bytes + 5_000, -1, &Arc::default()).await;
            let error = load(&host, tag, &to, LoadWay::Archive, |_| {}).await.unwrap_err();
            let DockerError::Load(failure) = error else { panic!("{bytes}: {error:?}") };
            assert!(matches!(failure.reason, LoadFault::NodeGone(_)), "{bytes}: {failure:?}");
            assert_eq!(DockerError::from(failure.clone()).class(), Class::Transient);
            (failure.reason.clone(), failure.sent)
        };
        assert_eq!(node.image(tag).await.unwrap(), None, "{fault:?} after {sent}");
    }
    let loaded = load(&host, tag, &node, LoadWay::Archive, |_| {}).await.unwrap();
    assert_eq!(loaded.sent as i64, size);
    remove(&[&host], &[tag]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_in_the_middle_or_has_no_space_left_is_a_failed_load() {
    let host = host().await;
    let bed = Bed::get();
    let tag = "t-docker-killed:one";
    image(&host, "killed", tag, "x").await;
    let own = OwnNode::start(&bed, "killed", Runtime::Docker);
    let node = Engine::connect(Endpoint::Unix(own.socket())).await.unwrap();
    let error = load(&host, tag, &node, LoadWay::Archive, |progress| {
        if progress.sent > 2_000_000 {
            own.kill();
        }
    });
    let error = error.await.unwrap_err();
    let DockerError::Load(failure) = &error else { panic!("{error:?}") };
    assert!(matches!(failure.reason, LoadFault::NodeGone(_)), "{failure:?}");
    own.run();
    assert_eq!(node.image(tag).await.unwrap(), None);
    load(&host, tag, &node, LoadWay::Archive, |_| {}).await.unwrap();
    drop(own);

    for runtime in [Runtime::Docker, Runtime::Containerd] {
        let own = OwnNode::with_disk(&bed, "small", runtime, 24);
        let wanted = host.wanted(tag).await.unwrap();
        let error = match runtime {
            Runtime::Podman => continue,
            Runtime::Docker => {
                let node = Engine::connect(Endpoint::Unix(own.socket())).await.unwrap();
                let error = load(&host, tag, &node, LoadWay::Layers, |_| {}).await.unwrap_err();
                assert_eq!(node.image(tag).await.unwrap(), None);
                error
            }
            Runtime::Containerd => {
                let store = Store::Containerd(Containerd::new(own.shell(), []));
                let error = store.load(&host, &wanted, LoadWay::Layers, |_| {}).await.unwrap_err();
                assert_eq!(store.held(&wanted).await.unwrap(), None);
                error
            }
        };
        let DockerError::Load(failure) = &error else { panic!("{error:?}") };
        assert!(matches!(failure.reason, LoadFault::DiskFull(_)), "{failure:?}");
        assert!(error.help().unwrap().contains("stack gc") && error.class() == Class::Environment);
    }
    remove(&[&host], &[tag]).await;
}

/// An engine that takes everything and gives this answer to a load.
async fn pretender(folder: &Path, answer: &'static str, status: u16) -> Engine {
    async fn answered(request: Request<Incoming>, status: u16, answer: &'static str) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let load = request.method() == Method::POST && path.ends_with("/images/load");
        request.into_body().collect().await.unwrap();
        let (status, body) = match () {
            () if path.ends_with("/_ping") => (200, "OK"),
            () if path.ends_with("/version") => (200, r#"{"ApiVersion":"1.41","Version":"0"}"#),
            () if path.ends_with("/info") => (200, "{}"),
            () if path.ends_with("/images/json") => (200, "[]"),
            () if load => (status, answer),
            () => (404, r#"{"message":"no such image"}"#),
        };
        Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap()
    }
    let path: PathBuf = folder.join("pretender.sock");
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service =
                service_fn(move |request| async move { Ok::<_, Infallible>(answered(request, status, answer).await) });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Engine::connect(Endpoint::Unix(path)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_says_yes_and_has_nothing_is_found_out() {
    let host = host().await;
    let folder = tempfile::tempdir().unwrap();
    type Expected = fn(&LoadFault) -> bool;
    let table: [(&str, u16, Expected); 4] = [
        (r#"{"stream":"Loaded image: busybox:stable"}"#, 200, |fault| *fault == LoadFault::Missing),
        (r#"{"errorDetail":{"message":"write /x: no space left on device"}}"#, 200, |fault| {
            matches!(fault, LoadFault::DiskFull(_))
        }),
        (r#"{"message":"no space left on device"}"#, 500, |fault| matches!(fault, LoadFault::DiskFull(_))),
        (r#"{"errorDetail":{"message":"invalid archive"}}"#, 200, |fault| matches!(fault, LoadFault::Refused(_))),
    ];
    for (answer, status, expected) in table {
        let node = pretender(folder.path(), answer, status).await;
        for way in [LoadWay::Layers, LoadWay::Archive] {
            let error = load(&host, "busybox:stable", &node, way, |_| {}).await.unwrap_err();
            let DockerError::Load(failure) = &error else { panic!("{error:?}") };
            assert!(expected(&failure.reason), "{failure:?}");
            assert_eq!(error.help().is_some(), matches!(failure.reason, LoadFault::DiskFull(_)));
        }
    }
}
