//! Which path leads to which handler.

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, delete, get, post, put};
use phoenix_core::Control;
use phoenix_core::attributes::EventCodec;

use super::Limits;
use super::admission::admit;
use super::app::{App, Cut};
use super::fault::{Code, Fault};
use super::guard::{Guard, authorize, same_site};
use super::handlers::{agents, broadcast, cluster, dead_letters, flow, kinds, messages, topics};
use crate::suggest::shown;
use crate::token::Token;

struct Route {
    method: &'static str,
    path: &'static str,
    handler: fn() -> MethodRouter<Arc<App>>,
}

macro_rules! routes {
    ($($method:ident $path:literal => $handler:path,)*) => {
        &[$(Route {
            method: stringify!($method),
            path: $path,
            handler: || $method($handler),
        },)*]
    };
}

/// What the token opens.
const GUARDED: &[Route] = routes! {
    get "/v1/kinds" => kinds::list,
    put "/v1/kinds/{kind}" => kinds::deploy,
    get "/v1/agents" => agents::list,
    get "/v1/agents/{kind}/{key}" => agents::inspect,
    post "/v1/agents/{kind}/{key}" => agents::spawn,
    delete "/v1/agents/{kind}/{key}" => agents::stop,
    post "/v1/agents/{kind}/{key}/migrate" => agents::migrate,
    post "/v1/agents/{kind}/{key}/hibernate" => agents::hibernate,
    post "/v1/agents/{kind}/{key}/reset" => agents::reset,
    post "/v1/agents/{kind}/{key}/call/{method}" => messages::call,
    post "/v1/agents/{kind}/{key}/send/{method}" => messages::send,
    post "/v1/messages" => messages::batch,
    post "/v1/broadcasts" => broadcast::broadcast,
    get "/v1/logs" => cluster::logs,
    get "/v1/nodes" => cluster::nodes,
    post "/v1/nodes/{node}/declare-dead" => cluster::declare_dead,
    get "/v1/dead-letters" => dead_letters::list,
    delete "/v1/dead-letters" => dead_letters::purge_some,
    post "/v1/dead-letters/replay" => dead_letters::replay_some,
    get "/v1/dead-letters/{letter}" => dead_letters::show,
    delete "/v1/dead-letters/{letter}" => dead_letters::purge_one,
    post "/v1/dead-letters/{letter}/replay" => dead_letters::replay_one,
    get "/v1/flow" => flow::list,
    put "/v1/flow" => flow::set,
    delete "/v1/flow" => flow::clear,
    get "/v1/topics" => topics::list,
    put "/v1/topics/{pattern}" => topics::configure,
    get "/v1/topics/{pattern}/events" => topics::read,
    post "/v1/topics/{pattern}/publish" => topics::publish,
    get "/v1/subscriptions" => topics::subscriptions,
    put "/v1/subscriptions" => topics::subscribe,
    delete "/v1/subscriptions" => topics::unsubscribe,
    post "/v1/join-tokens" => cluster::join_token,
    get "/v1/counters" => cluster::counters,
    post "/v1/shutdown" => cluster::shutdown,
    get "/metrics" => cluster::metrics,
};

/// What anybody on this machine may ask.
const OPEN: &[Route] = routes! {
    get "/v1/health" => cluster::health,
};

/// Every route as `METHOD /path`, for whoever checks that all are documented.
pub fn listed() -> Vec<String> {
    GUARDED
        .iter()
        .chain(OPEN)
        .map(|route| format!("{} {}", route.method.to_uppercase(), route.path))
        .collect()
}

pub(super) fn router(
    token: &Token,
    limits: Limits,
    control: Arc<dyn Control>,
    events: Arc<dyn EventCodec>,
    cut: Cut,
) -> Router {
    let app = Arc::new(App::new(limits, control, events, cut));
    let guard = Arc::new(Guard::new(token));
    // The last layer is the outermost: nothing is counted before it is authorised.
    with_routes(Router::new(), GUARDED)
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&app), admit))
        .layer(from_fn_with_state(guard, authorize))
        .merge(with_routes(Router::new(), OPEN))
        .layer(from_fn(same_site))
        .with_state(app)
}

fn with_routes(router: Router<Arc<App>>, routes: &[Route]) -> Router<Arc<App>> {
    routes.iter().fold(router, |router, route| {
        router.route(route.path, (route.handler)())
    })
}

async fn no_such_route(uri: Uri) -> Fault {
    let fault = Fault::new(
        Code::NoSuchRoute,
        format!("the API has no path `{}`", shown(uri.path())),
    );
    fault.suggest("a key with a slash is one segment: write the slash as %2F")
}

async fn method_not_allowed(method: Method, uri: Uri) -> Fault {
    Fault::new(
        Code::MethodNotAllowed,
        format!("`{}` does not take {method}", shown(uri.path())),
    )
}
