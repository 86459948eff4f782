//! The admin endpoints: `GET /metrics` for Prometheus, `PUT /filter` for the log filter of the running process.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use observe::{FilterHandle, target};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::{debug, error, info};

/// The longest body that is read, bytes; a filter has some hundred.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Connections at once. A scraper has one.
const CONNECTIONS_MAX: usize = 16;

/// How long a client may take for its request's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may last at all.
const CONNECTION_MAX: Duration = Duration::from_secs(60);

/// The pause before the address is tried again.
const BIND_PAUSE: Duration = Duration::from_secs(5);

/// The type of Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Gives the page of metrics.
pub(crate) type Metrics = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = String> + Send>> + Send + Sync>;

/// An address at which HTTP is answered. One that cannot be had is tried again: clients must not suffer from it.
pub(crate) struct Door {
    address: SocketAddr,
    /// Whose it is, for the log.
    what: &'static str,
    listener: Option<TcpListener>,
}

impl Door {
    /// Listens already, if it can: whoever is told that the process runs finds it.
    pub(crate) async fn open(address: SocketAddr, what: &'static str) -> Self {
        let mut door = Self { address, what, listener: None };
        door.listener = door.bind().await;
        door
    }

    async fn bind(&self) -> Option<TcpListener> {
        let bound = TcpListener::bind(self.address).await;
        let failed = |problem| {
            error!(
                target: target::RUNNER,
                "{} HTTP server failed: Failed to bind to {}\n\nCaused by:\n    {problem}", self.what, self.address
            );
        };
        bound.map_err(failed).ok()
    }

    async fn listener(mut self) -> TcpListener {
        loop {
            if let Some(listener) = self.listener {
                return listener;
            }
            tokio::time::sleep(BIND_PAUSE).await;
            self.listener = self.bind().await;
        }
    }
}

/// Serves until it is dropped.
pub(crate) async fn serve(door: Door, metrics: Metrics, filter: FilterHandle) {
    let answer = move |request| answer(request, Arc::clone(&metrics), filter.clone());
    serve_http(door, answer).await;
}

/// Answers HTTP until it is dropped.
pub(crate) async fn serve_http<A, R>(door: Door, answer: A)
where
    A: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + 'static,
{
    let listener = door.listener().await;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(BIND_PAUSE).await;
            continue;
        };
        let service = service_fn(answer.clone());
        tokio::spawn(async move {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
            let connection = http.serve_connection(TokioIo::new(socket), service);
            if let Ok(Err(problem)) = tokio::time::timeout(CONNECTION_MAX, connection).await {
                debug!("an admin connection failed: {problem}");
            }
            drop(place);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    metrics: Metrics,
    filter: FilterHandle,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    Ok(match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/") => text(StatusCode::OK, "try /filter or /metrics"),
        (&Method::GET, "/metrics") => {
            let mut response = text(StatusCode::OK, metrics().await);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(METRICS_TYPE));
            response
        }
        (&Method::PUT, "/filter") => match body_text(body).await {
            Ok(directives) => set_filter(&directives, &filter),
            Err(refusal) => refusal,
        },
        (_, "/" | "/metrics" | "/filter") => text(StatusCode::METHOD_NOT_ALLOWED, "HTTP 405 error"),
        _ => text(StatusCode::NOT_FOUND, "HTTP 404 error: try /filter or /metrics"),
    })
}

/// The body of a request as text, or what is answered to one that is too long.
pub(crate) async fn body_text(body: Incoming) -> Result<String, Response<Full<Bytes>>> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned()),
        Err(problem) => Err(text(StatusCode::PAYLOAD_TOO_LARGE, format!("HTTP 413 error: {problem}"))),
    }
}

fn set_filter(directives: &str, filter: &FilterHandle) -> Response<Full<Bytes>> {
    match filter.set(directives) {
        Ok(()) => {
            info!(target: target::OBSERVABILITY, "filter set to: {directives}");
            text(StatusCode::OK, "Filter set")
        }
        Err(problem) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("HTTP 500 error: {problem}")),
    }
}

pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
