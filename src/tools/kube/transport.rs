//! The HTTP client beneath the connection to a cluster.
//!
//! kube's own client speaks HTTP/1.1, where requests at the same time each need a connection and a TLS handshake of their
//! own: more work than the requests themselves. Over HTTP/2 they share one. Only upgrades to WebSockets, which HTTP/2 does
//! not have here, need the other client.

use std::time::Duration;

use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

// A connection that died without a word is noticed by pings; a watch would wait for its own limit otherwise.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_PATIENCE: Duration = Duration::from_secs(10);

/// Writes down what the API server warns of, most often that a version of a kind is going to be removed. `stack` causes
/// none by itself: a test collects them.
fn note_warnings<B>(response: http::Response<B>) -> http::Response<B> {
    for warning in response.headers().get_all(http::header::WARNING) {
        let text = String::from_utf8_lossy(warning.as_bytes());
        tracing::warn!(target: "stack::api_warning", %text, "the API server warns");
    }
    response
}

/// A client for requests and watches.
pub(super) fn client(config: &Config, connect_timeout: Duration) -> Result<Client, kube::Error> {
    // Through a proxy, and without TLS, kube's own client knows what to do.
    if config.proxy_url.is_some() || config.cluster_url.scheme_str() != Some("https") {
        return Client::try_from(config.clone());
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(connect_timeout));
    let builder = HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_only();
    let name = config.tls_server_name.clone().and_then(|name| name.try_into().ok());
    let builder = match name {
        Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name)),
        None => builder,
    };
    // Either version, as the server likes: gateways that only know HTTP/1.1 are served too.
    let connector = builder.enable_all_versions().wrap_connector(connector);
    let hyper: HyperClient<_, Body> = HyperClient::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_PATIENCE)
        // A list of a few megabytes should not wait for windows to open.
        .http2_initial_stream_window_size(4 << 20)
        .http2_initial_connection_window_size(16 << 20)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .map_response(note_warnings)
        .service(hyper);
    Ok(Client::new(service, config.default_namespace.clone()))
}
