//! Bounds, and what happens at them; and how the API ends.

use std::time::Duration;

use crate::fake::FakeControl;
use crate::http::{read, serve};
use phoenix_core::control::Response;
use phoenix_gateway::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const JSON: (&str, &str) = ("content-type", "application/json");
const CALL: &str = "POST /v1/agents/counter/alice/call/add";

#[tokio::test]
async fn a_large_body_is_refused_by_its_announcement_or_its_size() {
    let control = FakeControl::new();
    let limits = Limits {
        max_body: 2_048,
        ..Limits::default()
    };
    let served = serve(control.clone(), limits).await;
    let body = vec![b'1'; 2_048];
    assert_eq!(served.ask(CALL, &[JSON], &body).await.status, 200);
    let problem = served.ask(CALL, &[JSON], &[b'1'; 2_049]).await.problem();
    assert_eq!((problem.status, problem.code.as_str()), (413, "too-large"));
    assert!(problem.detail.contains("api-max-body"));
    // Without an announcement it is counted as it comes.
    let mut request = format!(
        "{CALL} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        served.address(),
        served.token()
    );
    for _ in 0..3 {
        request.push_str(&format!("400\r\n{}\r\n", "1".repeat(1_024)));
    }
    request.push_str("0\r\n\r\n");
    assert_eq!(served.raw(request.as_bytes()).await.status, 413);
    assert_eq!(control.count(), 1);
}

#[tokio::test]
async fn a_component_that_is_too_large_is_refused_to_our_own_client() {
    let limits = Limits {
        max_component: 1 << 20,
        ..Limits::default()
    };
    let served = serve(FakeControl::new(), limits).await;
    let kind = phoenix_core::KindName::new("big").unwrap();
    let component = bytes::Bytes::from(vec![0; 32 << 20]);
    let policy = phoenix_gateway::api::Policy::default();
    let error = served
        .client()
        .deploy(&kind, component, &policy)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("too-large"), "{error}");
}

#[tokio::test]
async fn a_batch_has_a_bound() {
    let limits = Limits {
        max_batch: 2,
        ..Limits::default()
    };
    let served = serve(FakeControl::new(), limits).await;
    let ndjson = [("content-type", "application/x-ndjson")];
    let line = "{\"agent\":\"a/1\",\"method\":\"m\"}\n";
    let target = "POST /v1/messages?client=me";
    let two = served.ask(target, &ndjson, line.repeat(2).as_bytes()).await;
    assert_eq!(two.status, 200);
    let three = served.ask(target, &ndjson, line.repeat(3).as_bytes()).await;
    assert_eq!(three.problem().code, "too-large");
}

#[tokio::test]
async fn long_and_many_headers_end_the_connection() {
    let served = serve(FakeControl::new(), Limits::default()).await;
    let long = "x".repeat(20 << 10);
    let reply = served.ask("GET /v1/kinds", &[("x-long", &long)], b"").await;
    assert_eq!(reply.status, 431);
    let many = vec![("x-many", "1"); 100];
    assert_eq!(served.ask("GET /v1/kinds", &many, b"").await.status, 431);
    // And harm nobody else.
    assert_eq!(served.ask("GET /v1/kinds", &[], b"").await.status, 200);
}

#[tokio::test]
async fn malformed_requests_are_answered_and_survived() {
    let served = serve(FakeControl::new(), Limits::default()).await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nhost : x\r\n\r\n",
        b"POST /v1/shutdown HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/shutdown HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(served.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    assert_eq!(served.ask("GET /v1/kinds", &[], b"").await.status, 200);
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_at_once() {
    let control = FakeControl::new();
    let limits = Limits {
        max_requests: 1,
        ..Limits::default()
    };
    let served = serve(control.clone(), limits).await;
    control.hold();
    let client = served.client();
    let first = tokio::spawn(async move { client.kinds().await });
    while control.holding() == 0 {
        tokio::task::yield_now().await;
    }
    let reply = served.ask("GET /v1/kinds", &[], b"").await;
    let problem = reply.problem();
    assert_eq!((reply.status, problem.code.as_str()), (503, "overloaded"));
    assert!(problem.detail.contains("api-max-requests"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    control.release(Some(Response::Kinds(Vec::new())));
    assert_eq!(first.await.unwrap().unwrap().kinds, []);
    assert_eq!(served.ask("GET /v1/kinds", &[], b"").await.status, 200);
}

#[tokio::test]
async fn bodies_have_a_bound_all_together() {
    let limits = Limits {
        max_body: 1 << 20,
        max_buffered: 1 << 20,
        ..Limits::default()
    };
    let served = serve(FakeControl::new(), limits).await;
    // One body takes all the room and never comes.
    let mut slow = TcpStream::connect(served.address()).await.unwrap();
    let head = format!(
        "{CALL} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: 1048576\r\nexpect: 100-continue\r\n\r\n",
        served.address(),
        served.token()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body once it has made room for it.
    let mut go_on = [0; 25];
    slow.read_exact(&mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"));
    let reply = served.ask(CALL, &[JSON], b"5").await;
    assert_eq!(
        (reply.status, reply.problem().code.as_str()),
        (503, "overloaded")
    );
    drop(slow);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_and_a_silent_node_end() {
    let control = FakeControl::new();
    let served = serve(control.clone(), Limits::default()).await;
    control.hold();
    let problem = served.ask("GET /v1/kinds", &[], b"").await.problem();
    assert_eq!((problem.status, problem.code.as_str()), (504, "unknown"));
    let problem = served
        .ask(&format!("{CALL}?timeout=1s"), &[JSON], b"5")
        .await
        .problem();
    assert_eq!((problem.status, problem.code.as_str()), (504, "unknown"));

    let mut slow = TcpStream::connect(served.address()).await.unwrap();
    let head = format!(
        "{CALL} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: 5\r\n\r\n12",
        served.address(),
        served.token()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let reply = read(&mut slow).await;
    assert_eq!(
        (reply.status, reply.problem().code.as_str()),
        (408, "slow-request")
    );
}

#[tokio::test]
async fn a_node_that_drops_the_request_is_unknown() {
    let control = FakeControl::new();
    let served = serve(control.clone(), Limits::default()).await;
    control.hold();
    let client = served.client();
    let call = tokio::spawn(async move { client.kinds().await });
    while control.holding() == 0 {
        tokio::task::yield_now().await;
    }
    control.release(None);
    let error = call.await.unwrap().unwrap_err();
    assert!(error.is_unknown(), "{error}");
}

#[tokio::test]
async fn closing_lets_requests_end_and_answers_those_that_do_not() {
    let control = FakeControl::new();
    let served = serve(control.clone(), Limits::default()).await;
    assert!(served.dir.path().join("api.address").exists());
    control.hold();
    let client = served.client();
    let call = tokio::spawn(async move { client.kinds().await });
    while control.holding() == 0 {
        tokio::task::yield_now().await;
    }
    let address = served.address();
    let closing = tokio::spawn(served.gateway.close(Duration::from_secs(60)));
    // Nobody else gets in.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    control.release(Some(Response::Kinds(Vec::new())));
    assert!(call.await.unwrap().is_ok());
    assert!(closing.await.unwrap());
    assert!(!served.dir.path().join("api.address").exists());

    let served = serve(control.clone(), Limits::default()).await;
    control.hold();
    let client = served.client();
    let call = tokio::spawn(async move { client.kinds().await });
    while control.holding() == 0 {
        tokio::task::yield_now().await;
    }
    // Whoever waits is told, by the API itself: nobody's connection breaks.
    assert!(served.gateway.close(Duration::ZERO).await);
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some("unknown"), "{error}");
    assert!(error.to_string().contains("stopping"), "{error}");
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let served = serve(FakeControl::new(), Limits::default()).await;
    let client = served.client();
    client.kinds().await.unwrap();
    assert!(served.gateway.close(Duration::from_secs(60)).await);
    // The client finds out and says so.
    assert!(client.kinds().await.unwrap_err().is_unreachable());
}
