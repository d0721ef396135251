//! An API server that stumbles: through a proxy that answers wrongly, late, or not at all. Nothing fails that should not,
//! and nobody asks in a busy loop.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::kube_support::{Owned, Space, helms, upgrade};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use stack::process::Cancel;
use stack::tools::helm::releases;
use stack::tools::kube::ready::{NotReady, ReadyOptions, ReadyReport, Rules, wait_ready};
use stack::tools::kube::{Cluster, KubeError, Object, manifest};
use tokio::net::TcpListener;

type Answer = UnsyncBoxBody<Bytes, std::io::Error>;

/// What the proxy does to a request.
#[derive(Clone)]
pub(crate) enum Fault {
    /// Adds these to the list that the answer is.
    Extend(Vec<serde_json::Value>),
    /// Makes these the items of the list that the answer is.
    Replace(Vec<serde_json::Value>),
    /// Answers with this status itself.
    Status(u16),
    /// Answers a watch as an API server does that has forgotten the version.
    Forgotten,
    /// Takes its time.
    Late(Duration),
    /// Passes the beginning of the answer on and cuts the connection.
    Cut(Duration),
    /// Closes the connection without an answer.
    Drop,
}

/// Decides by the number of the request and its path with query.
type Script = Box<dyn Fn(usize, &str) -> Option<Fault> + Send>;

pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    script: Arc<Mutex<Script>>,
    requests: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
    /// The way to it, by the context `faulty`.
    pub(crate) kubeconfig: std::path::PathBuf,
}

impl Proxy {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = kube::config::KubeConfigOptions {
            context: Some(crate::kube_support::env("STACK_TESTBED_PROFILE")),
            ..Default::default()
        };
        let config = kube::Config::from_kubeconfig(&options).await.unwrap();
        let client = kube::Client::try_from(config).unwrap();
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(|_, _| None)));
        let requests = Arc::new(AtomicUsize::new(0));
        let (shared, count) = (Arc::clone(&script), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (client, script, count) = (client.clone(), Arc::clone(&shared), Arc::clone(&count));
                tokio::spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let at = count.fetch_add(1, Ordering::SeqCst);
                        let path = request.uri().to_string();
                        let fault = (script.lock().unwrap())(at, &path);
                        answer(client.clone(), request, fault)
                    });
                    let served = hyper::server::conn::http1::Builder::new();
                    let _ = served.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("config");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: faulty\nclusters: [{{name: c, cluster: {{server: \"http://{address}\"}}}}]\nusers: [{{name: u, user: {{}}}}]\ncontexts: [{{name: faulty, context: {{cluster: c, user: u}}}}]\n"
        );
        std::fs::write(&kubeconfig, text).unwrap();
        Self { address, script, requests, _folder: folder, kubeconfig }
    }

    /// A new connection through the proxy, which from now on follows `script`, counting requests from 0.
    pub(crate) async fn connect(&self, script: impl Fn(usize, &str) -> Option<Fault> + Send + 'static) -> Cluster {
        *self.script.lock().unwrap() = Box::new(script);
        self.requests.store(0, Ordering::SeqCst);
        let cluster = Cluster::connect(None, Some(self.kubeconfig.as_os_str())).await.unwrap();
        assert_eq!(cluster.address(), format!("http://{}", self.address));
        cluster
    }

    fn count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn answer(
    client: kube::Client,
    request: Request<Incoming>,
    fault: Option<Fault>,
) -> Result<Response<Answer>, std::io::Error> {
    let text = |status: u16, text: String| {
        let body = Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {}).boxed_unsync();
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        Ok(response)
    };
    let mut cut = None;
    let (mut extend, mut replace) = (Vec::new(), None);
    match fault {
        None => {}
        Some(Fault::Status(code)) => {
            let seconds = if code == 429 { 1 } else { 0 };
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                "reason": if code == 410 { "Expired" } else { "" }, "message": format!("made up {code}"),
                "details": {"retryAfterSeconds": seconds}});
            return text(code, status.to_string());
        }
        Some(Fault::Forgotten) => {
            let event = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "status": "Failure",
                "code": 410, "reason": "Expired", "message": "too old resource version"}});
            return text(200, format!("{event}\n"));
        }
        Some(Fault::Drop) => return Err(std::io::Error::other("dropped")),
        Some(Fault::Late(time)) => tokio::time::sleep(time).await,
        Some(Fault::Cut(after)) => cut = Some(after),
        Some(Fault::Extend(items)) => extend = items,
        Some(Fault::Replace(items)) => replace = Some(items),
    }
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let mut onwards = Request::builder().method(parts.method).uri(parts.uri.path_and_query().unwrap().as_str());
    for name in [http::header::CONTENT_TYPE, http::header::ACCEPT] {
        if let Some(value) = parts.headers.get(&name) {
            onwards = onwards.header(name, value);
        }
    }
    let onwards = onwards.body(kube::client::Body::from(bytes.to_vec())).unwrap();
    let response = client.send(onwards).await.map_err(std::io::Error::other)?;
    let (parts, body) = response.into_parts();
    if !extend.is_empty() || replace.is_some() {
        let bytes = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        let mut list: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let listed = list["items"].as_array_mut().unwrap();
        *listed = replace.unwrap_or_else(|| std::mem::take(listed));
        listed.extend(extend);
        return text(parts.status.as_u16(), list.to_string());
    }
    let body = match cut {
        None => body.map_err(std::io::Error::other).boxed_unsync(),
        Some(after) => {
            let frames = http_body_util::BodyStream::new(body);
            let stream = CutStream { inner: Box::pin(frames), end: Box::pin(tokio::time::sleep(after)) };
            BodyExt::boxed_unsync(StreamBody::new(stream))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = parts.status;
    if let Some(kind) = parts.headers.get(http::header::CONTENT_TYPE) {
        response.headers_mut().insert(http::header::CONTENT_TYPE, kind.clone());
    }
    Ok(response)
}

/// Frames until a moment, and then an error.
struct CutStream {
    inner: Pin<Box<dyn futures::Stream<Item = Result<Frame<Bytes>, kube::Error>> + Send>>,
    end: Pin<Box<tokio::time::Sleep>>,
}

impl futures::Stream for CutStream {
    type Item = Result<Frame<Bytes>, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(std::io::Error::other("cut"))));
        }
        self.inner.as_mut().poll_next(context).map_err(std::io::Error::other)
    }
}

async fn wait(
    cluster: &Cluster,
    space: &Space,
    objects: &[Object],
    timeout: u64,
) -> (Result<ReadyReport, NotReady>, Vec<String>) {
    let options =
        ReadyOptions { rules: Rules::default(), timeout: Duration::from_secs(timeout), namespace: space.name.clone() };
    let mut told = Vec::new();
    let result = wait_ready(cluster, objects, &options, &Cancel::never(), |event| told.push(event.to_string())).await;
    (result, told)
}

fn is_watch(path: &str) -> bool {
    path.contains("watch=true")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_comes_through_every_fault_without_asking_in_a_loop() {
    let space = Space::new("fault").await;
    let owned = Owned::new(helms().await.remove(0));
    owned.session(&space).upgrade(&upgrade("web", json!({})), |_, _| {}).await.unwrap();
    let release = releases::latest(&space.cluster, &space.name, "web").await.unwrap().unwrap();
    let objects = manifest::objects(&release.manifest, &space.name).unwrap();
    wait(&space.cluster, &space, &objects, 90).await.0.unwrap();
    let proxy = Proxy::start().await;

    let third = |fault: Fault| move |at: usize, _: &str| (at % 3 == 1).then(|| fault.clone());
    let early =
        |until: usize, fault: Fault| move |at: usize, path: &str| (is_watch(path) && at < until).then(|| fault.clone());
    let for_a_while = move |seconds: u64, fault: Fault, from: Instant| {
        move |_: usize, _: &str| (from.elapsed() < Duration::from_secs(seconds)).then(|| fault.clone())
    };
    let scripts: Vec<(&str, Script)> = vec![
        ("429", Box::new(third(Fault::Status(429)))),
        ("500", Box::new(third(Fault::Status(500)))),
        ("503", Box::new(third(Fault::Status(503)))),
        ("dropped", Box::new(third(Fault::Drop))),
        ("late", Box::new(|_, _| Some(Fault::Late(Duration::from_millis(300))))),
        ("cut", Box::new(|_, path| is_watch(path).then_some(Fault::Cut(Duration::from_millis(700))))),
        ("forgotten", Box::new(early(14, Fault::Forgotten))),
        ("410", Box::new(early(14, Fault::Status(410)))),
        ("401", Box::new(for_a_while(3, Fault::Status(401), Instant::now()))),
        ("events forbidden", Box::new(|_, path| path.contains("/events").then_some(Fault::Status(403)))),
    ];
    for (name, script) in scripts {
        // The clock of a fault that lasts for a while starts with its turn.
        let script: Script =
            if name == "401" { Box::new(for_a_while(3, Fault::Status(401), Instant::now())) } else { script };
        // `rollout restart` does nothing twice within a second.
        let again =
            format!("{{\"spec\": {{\"template\": {{\"metadata\": {{\"annotations\": {{\"fault\": \"{name}\"}}}}}}}}}}");
        space.kubectl(&["patch", "deployment/web", "--patch", &again]);
        let cluster = proxy.connect(script).await;
        let started = Instant::now();
        let (result, told) = wait(&cluster, &space, &objects, 90).await;
        let (took, count) = (started.elapsed(), proxy.count());
        println!("{name}: {:.1} s, {count} requests", took.as_secs_f64());
        if let Err(error) = result {
            panic!("{name}: {error}\n{:?}\n{told:#?}", error.diagnosis().map(ToString::to_string));
        }
        // Cut watches are begun anew: each of five feeds, at most once for each cut and pause.
        let allowed = 40 + 10 * usize::try_from(took.as_secs()).unwrap();
        assert!(count <= allowed, "{name}: {count} requests in {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_said_asked_about_sparingly_and_survived() {
    let space = Space::new("outage").await;
    let owned = Owned::new(helms().await.remove(0));
    owned.session(&space).upgrade(&upgrade("web", json!({})), |_, _| {}).await.unwrap();
    let release = releases::latest(&space.cluster, &space.name, "web").await.unwrap().unwrap();
    let objects = manifest::objects(&release.manifest, &space.name).unwrap();
    let proxy = Proxy::start().await;
    let begun = Instant::now();
    let cluster = proxy.connect(move |_, _| (begun.elapsed() < Duration::from_secs(5)).then_some(Fault::Drop)).await;
    let (result, told) = wait(&cluster, &space, &objects, 60).await;
    result.unwrap_or_else(|error| panic!("{error}\n{told:#?}"));
    assert!(told.iter().any(|line| line.ends_with("still trying")), "{told:#?}");

    // It never comes back: the wait ends in time, says so, and has not hammered.
    let cluster = proxy.connect(|_, _| Some(Fault::Status(503))).await;
    let (result, told) = wait(&cluster, &space, &objects, 8).await;
    let error = result.unwrap_err();
    assert!(
        matches!(error, NotReady::TimedOut { .. }) && error.to_string().contains("made up 503"),
        "{error}\n{told:#?}"
    );
    assert!(proxy.count() <= 40, "{} requests in 8 s", proxy.count());

    // No right to look: no amount of waiting helps.
    let cluster = proxy.connect(|_, path| path.contains("/deployments").then_some(Fault::Status(403))).await;
    let started = Instant::now();
    let error = wait(&cluster, &space, &objects, 60).await.0.unwrap_err();
    assert!(matches!(error, NotReady::Kube(KubeError::Forbidden { .. })), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_repeated_and_writes_are_not() {
    let space = Space::new("reads").await;
    let proxy = Proxy::start().await;
    for code in [429, 500, 503] {
        let cluster = proxy.connect(move |at, _| (at < 2).then_some(Fault::Status(code))).await;
        assert_eq!(cluster.nodes().await.unwrap().len(), space.cluster.nodes().await.unwrap().len(), "{code}");
    }
    let cluster = proxy.connect(|_, _| Some(Fault::Status(503))).await;
    let error = cluster.nodes().await.unwrap_err();
    assert_eq!(error.class(), stack::error::Class::Transient, "{error}");
    assert!(proxy.count() <= 6, "{} requests", proxy.count());

    let kind = stack::tools::kube::Kind::known("v1", "ConfigMap").unwrap();
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}});
    let cluster = proxy.connect(|at, _| (at == 1).then_some(Fault::Status(500))).await;
    assert!(cluster.create(&kind, &space.name, &object).await.is_err());
    assert_eq!(proxy.count(), 2, "whether a write that ends in 500 was done is not known");
    let cluster = proxy.connect(|at, _| (at == 1).then_some(Fault::Status(429))).await;
    cluster.create(&kind, &space.name, &object).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_list_and_watch_of_a_kind_and_namespace_however_many_wait() {
    let space = Space::new("share").await;
    let owned = Owned::new(helms().await.remove(0));
    owned.session(&space).upgrade(&upgrade("web", json!({})), |_, _| {}).await.unwrap();
    let release = releases::latest(&space.cluster, &space.name, "web").await.unwrap().unwrap();
    let objects = manifest::objects(&release.manifest, &space.name).unwrap();
    let proxy = Proxy::start().await;
    let watches = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&watches);
    let cluster = proxy
        .connect(move |_, path| {
            if is_watch(path) {
                seen.lock().unwrap().push(path.split('?').next().unwrap_or_default().to_owned());
            }
            None
        })
        .await;
    space.kubectl(&["rollout", "restart", "deployment/web"]);
    let waits = (0..20).map(|_| wait(&cluster, &space, &objects, 90));
    for (result, told) in futures::future::join_all(waits).await {
        result.unwrap_or_else(|error| panic!("{error}\n{told:#?}"));
    }
    let mut watched = watches.lock().unwrap().clone();
    let all = watched.len();
    watched.sort();
    watched.dedup();
    assert!(!watched.is_empty() && all == watched.len(), "twenty waits, {all} watches of {watched:#?}");
}
