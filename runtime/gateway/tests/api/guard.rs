//! Who may speak to the API at all.

use crate::fake::FakeControl;
use crate::http::serve;
use phoenix_gateway::{BindError, Gateway, GatewayConfig, Limits};

const KINDS: &str = "GET /v1/kinds";

#[tokio::test]
async fn the_token_opens_and_nothing_else_does() {
    let control = FakeControl::new();
    let served = serve(control.clone(), Limits::default()).await;
    assert_eq!(served.ask(KINDS, &[], b"").await.status, 200);
    let asked = control.count();
    let almost = format!("Bearer {}x", &served.token()[..42]);
    let right = served.token();
    for wrong in [
        None,
        Some("Bearer"),
        Some("Bearer "),
        Some(almost.as_str()),
        Some(right.as_str()),
        Some("Basic dXNlcjpwYXNz"),
    ] {
        let headers: Vec<_> = wrong
            .map(|value| ("authorization", value))
            .into_iter()
            .collect();
        let reply = served.bare(KINDS, &headers, b"").await;
        assert_eq!(reply.status, 401, "{wrong:?}");
        let problem = reply.problem();
        assert_eq!(problem.code, "unauthorized");
        assert!(problem.suggestion.unwrap().contains("api.token"));
        assert!(
            reply
                .header("www-authenticate")
                .unwrap()
                .starts_with("Bearer")
        );
    }
    assert_eq!(control.count(), asked, "the node is not asked");
}

#[tokio::test]
async fn the_scheme_is_read_in_any_case_and_twice_is_refused() {
    let served = serve(FakeControl::new(), Limits::default()).await;
    let token = format!("bearer {}", served.token());
    let reply = served.bare(KINDS, &[("authorization", &token)], b"").await;
    assert_eq!(reply.status, 200);
    let twice = [("authorization", token.as_str()), ("authorization", &token)];
    assert_eq!(served.bare(KINDS, &twice, b"").await.status, 400);
}

#[tokio::test]
async fn health_needs_no_token_and_tells_nothing() {
    let served = serve(FakeControl::new(), Limits::default()).await;
    let reply = served.bare("GET /v1/health", &[], b"").await;
    assert_eq!((reply.status, reply.text()), (200, "{\"status\":\"ok\"}"));
}

#[tokio::test]
async fn what_does_not_exist_is_not_told_to_strangers() {
    let served = serve(FakeControl::new(), Limits::default()).await;
    assert_eq!(served.bare("GET /v1/nothing", &[], b"").await.status, 401);
    assert_eq!(served.bare("POST /v1/kinds", &[], b"").await.status, 401);
}

#[tokio::test]
async fn pages_of_other_sites_are_refused_even_with_the_token() {
    let control = FakeControl::new();
    let served = serve(control.clone(), Limits::default()).await;
    let foreign = [
        ("host", "evil.example:7400"),
        ("host", "127.0.0.1.evil.example"),
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ];
    for header in foreign {
        let reply = served.ask(KINDS, &[header], b"").await;
        assert_eq!(reply.status, 403, "{header:?}");
        assert_eq!(reply.problem().code, "forbidden");
        // Health is no exception.
        let reply = served.bare("GET /v1/health", &[header], b"").await;
        assert_eq!(reply.status, 403, "{header:?}");
    }
    assert_eq!(control.count(), 0);
    let own = format!("http://{}", served.address());
    let headers = [("origin", own.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(served.ask(KINDS, &headers, b"").await.status, 200);
}

#[tokio::test]
async fn a_request_without_a_host_is_refused() {
    let served = serve(FakeControl::new(), Limits::default()).await;
    let reply = served.raw(b"GET /v1/health HTTP/1.0\r\n\r\n").await;
    assert_eq!(reply.status, 400);
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = GatewayConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        data_dir: dir.path().to_owned(),
        limits: Limits::default(),
    };
    let refused = Gateway::bind(
        config,
        FakeControl::new(),
        std::sync::Arc::new(crate::http::JsonEvents),
    )
    .await;
    let Err(error @ BindError::NotLoopback(_)) = refused else {
        panic!("it listens");
    };
    assert!(error.suggestion().contains("127.0.0.1"));
    assert!(
        !dir.path().join("api.token").exists(),
        "nothing is left behind"
    );
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let served = serve(FakeControl::new(), Limits::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let config = GatewayConfig {
        listen: served.address(),
        data_dir: dir.path().to_owned(),
        limits: Limits::default(),
    };
    let Err(error) = Gateway::bind(
        config,
        FakeControl::new(),
        std::sync::Arc::new(crate::http::JsonEvents),
    )
    .await
    else {
        panic!("it listens twice");
    };
    assert!(error.to_string().contains(&served.address().to_string()));
    assert!(error.suggestion().contains("another port"));
}
