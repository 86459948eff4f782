//! The switch of a Tee, flipped by HTTP on 127.0.0.1: whose replies clients get. Paths and texts are upstream's.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use chain::Switch;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use observe::target;
use tracing::info;

use crate::admin::{Door, body_text, serve_http, text};

const PATH: &str = "/transform/tee/result-source";
const REGULAR: &str = "regular-chain";
const TEE: &str = "tee-chain";

/// Where a switch is flipped.
pub(crate) fn switch_address(switch: &Switch) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, switch.port))
}

/// Listens there, if it can.
pub(crate) async fn open(switch: &Switch) -> Door {
    Door::open(switch_address(switch), "Tee switch").await
}

/// Serves until it is dropped.
pub(crate) async fn serve(door: Door, switch: Switch) {
    serve_http(door, move |request| answer(request, switch.clone())).await;
}

async fn answer(request: Request<Incoming>, switch: Switch) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    Ok(match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/") => text(StatusCode::OK, format!("try {PATH}")),
        (&Method::GET, PATH) => text(StatusCode::OK, if switch.is_on() { TEE } else { REGULAR }),
        (&Method::PUT, PATH) => match body_text(body).await {
            Ok(word) => set(&word, &switch),
            Err(refusal) => refusal,
        },
        (_, "/" | PATH) => text(StatusCode::METHOD_NOT_ALLOWED, "HTTP 405 error"),
        _ => text(StatusCode::NOT_FOUND, format!("HTTP 404 error: try {PATH}")),
    })
}

fn set(word: &str, switch: &Switch) -> Response<Full<Bytes>> {
    match word {
        REGULAR => switch.set(false),
        TEE => switch.set(true),
        _ => {
            let problem = format!(
                "HTTP 500 error: Invalid value for result source: {word:?}, should be 'tee-chain' or 'regular-chain'"
            );
            return text(StatusCode::INTERNAL_SERVER_ERROR, problem);
        }
    }
    info!(target: target::TEE, "result source set to {word}");
    text(StatusCode::OK, "")
}
