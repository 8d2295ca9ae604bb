//! Our own client against the server.

use std::time::Duration;

use crate::fake::FakeControl;
use crate::http::serve;
use bytes::Bytes;
use phoenix_core::control::{LetterFilter, Request, Response, Verdict as CoreVerdict};
use phoenix_core::{AgentId, ClientId, KindName, NodeId};
use phoenix_gateway::Limits;
use phoenix_gateway::api::{ContentType, Message, Policy, Verdict};
use phoenix_gateway::client::{AgentFilter, Client, ClientError};
use phoenix_gateway::token::Token;

#[tokio::test]
async fn every_operation_reaches_the_node() {
    let control = FakeControl::new();
    let served = serve(control.clone(), Limits::default()).await;
    let client = served.client();
    let alice = AgentId::new("counter/alice").unwrap();
    let kind = KindName::new("counter").unwrap();
    let policy = Policy([("memory-bytes".to_owned(), "1MiB".into())].into());

    let deployed = client
        .deploy(&kind, Bytes::from_static(b"\0asm"), &policy)
        .await
        .unwrap();
    assert_eq!(deployed.component_bytes, 4);
    assert_eq!(client.kinds().await.unwrap().kinds.len(), 1);
    let filter = AgentFilter {
        kind: Some(kind),
        node: Some(NodeId(1)),
        after: Some(alice.clone()),
        limit: Some(3),
    };
    client.agents(&filter).await.unwrap();
    let Request::Agents { after, limit, .. } = control.last() else {
        panic!("{:?}", control.last());
    };
    assert_eq!((after, limit), (Some(alice.clone()), 3));
    assert_eq!(client.inspect(&alice).await.unwrap().traps, 1);
    let spawned = client
        .spawn(&alice, ContentType::Json, "1".into(), Some(NodeId(2)))
        .await;
    assert_eq!(spawned.unwrap().node, "node-2");
    assert_eq!(
        client.migrate(&alice, NodeId(2)).await.unwrap().pause_us,
        180
    );
    assert_eq!(client.hibernate(&alice).await.unwrap().bytes, 301);
    let reset = client.reset(&alice, ContentType::Json, "1".into(), true);
    assert_eq!(reset.await.unwrap().dead_letters, 2);
    client.stop(&alice).await.unwrap();
    let page = client
        .logs(Some(&alice), Some(NodeId(1)), Some(1), Some(5))
        .await
        .unwrap();
    assert_eq!(page.next, Some(2));
    assert_eq!(client.nodes().await.unwrap().nodes.len(), 2);
    assert_eq!(client.declare_dead(NodeId(2)).await.unwrap().agents, 40);
    let filter = LetterFilter {
        reason: Some("trapped".into()),
        ..LetterFilter::default()
    };
    let letters = client.dead_letters(&filter, Some(2)).await.unwrap();
    assert_eq!((letters.dead_letters[0].attempts, letters.more), (3, false));
    let id = "1.3.10".parse().unwrap();
    assert_eq!(client.dead_letter(id).await.unwrap().from, "site/main");
    let second = Duration::from_secs(1);
    let replayed = client.replay_dead_letter(id, second).await.unwrap();
    assert_eq!(replayed.verdict, Verdict::Applied);
    let all = client.replay_dead_letters(&filter, None, second).await;
    assert_eq!(all.unwrap().replayed.len(), 2);
    client.purge_dead_letter(id).await.unwrap();
    let all = LetterFilter::default();
    assert_eq!(client.purge_dead_letters(&all).await.unwrap().purged, 2);
    let flows = client.flows(None, None).await.unwrap().flows;
    assert_eq!(flows[0].target, "kind:counter");
    let target = "agent:counter/alice".parse().unwrap();
    let policy = Policy([("rate.amount".to_owned(), "5".into())].into());
    let attached = client.set_flow(&target, &policy).await.unwrap();
    assert_eq!(attached.target, "agent:counter/alice");
    client.clear_flow(&target).await.unwrap();
    assert_eq!(control.last(), Request::ClearFlow { target });
    let token = client.join_token(Duration::from_secs(60)).await.unwrap();
    assert!(!format!("{token:?}").contains("secret"));
    assert_eq!(client.counters().await.unwrap().counters["turns"], 42);
    assert_eq!(client.health().await.unwrap().status, "ok");
    client.shutdown().await.unwrap();
    assert_eq!(control.last(), Request::Shutdown);
}

#[tokio::test]
async fn calls_carry_any_payload() {
    let served = serve(FakeControl::new(), Limits::default()).await;
    let client = served.client();
    let alice = AgentId::new("counter/alice").unwrap();
    let second = Duration::from_secs(1);
    let packed = Bytes::from(rmp_serde::to_vec(&(1, "x")).unwrap());
    for (content_type, bytes) in [
        (ContentType::Json, Bytes::from_static(b"[1,\"x\"]")),
        (ContentType::MessagePack, packed),
    ] {
        let answer = client
            .ask(&alice, "a b/c", content_type, bytes, second, None)
            .await
            .unwrap();
        assert_eq!(answer.content_type, content_type);
        assert_eq!(
            answer.decode::<(u32, String)>().unwrap(),
            (1, "x".to_owned())
        );
    }
    let nothing = client
        .ask(
            &alice,
            "total",
            ContentType::None,
            Bytes::new(),
            second,
            Some("high"),
        )
        .await
        .unwrap();
    assert_eq!(nothing.decode::<Option<u32>>().unwrap(), None);
}

#[tokio::test]
async fn a_batch_has_a_verdict_each() {
    let control = FakeControl::new();
    let served = serve(control.clone(), Limits::default()).await;
    control.script(|request| match request {
        Request::Send { messages, .. } => Some(Ok(Response::Sent(
            messages
                .iter()
                .map(|message| match message.sequence {
                    Some(1) => CoreVerdict::Applied,
                    Some(number) => CoreVerdict::Refused {
                        expected: Some(number - 1),
                        reason: "out-of-order".into(),
                    },
                    None => CoreVerdict::Dead {
                        code: "no-such-kind".into(),
                        detail: "d".into(),
                    },
                })
                .collect(),
        ))),
        _ => None,
    });
    let message = |agent: &'static str, sequence| Message {
        agent: agent.into(),
        method: "hit".into(),
        content_type: ContentType::Json,
        payload: b"{\"bytes\":1}".as_slice().into(),
        sequence,
        ..Message::default()
    };
    let messages = [
        message("visitor/::1", Some(1)),
        message("visitor/::2", Some(9)),
        message("visitor/a/b", None),
    ];
    let me = ClientId::new("me").unwrap();
    let verdicts = served
        .client()
        .send(&me, &messages, Duration::from_secs(1))
        .await
        .unwrap();
    assert_eq!(
        verdicts,
        [
            Verdict::Applied,
            Verdict::Refused {
                expected: Some(8),
                reason: "out-of-order".to_owned()
            },
            Verdict::Dead {
                code: "no-such-kind".to_owned(),
                detail: "d".to_owned()
            },
        ]
    );
    let Request::Send { messages, .. } = control.last() else {
        panic!("{:?}", control.last());
    };
    assert_eq!(messages[0].agent.as_str(), "visitor/::1");
    assert_eq!(&messages[2].payload.bytes[..], b"{\"bytes\":1}");
}

#[tokio::test]
async fn one_wrong_message_stops_the_whole_batch() {
    let control = FakeControl::new();
    let served = serve(control.clone(), Limits::default()).await;
    let ndjson = [("content-type", "application/x-ndjson")];
    let good = "{\"agent\":\"a/1\",\"method\":\"m\",\"payload\":1}";
    for bad in [
        "{\"agent\":\"nobody\",\"method\":\"m\"}",
        "{\"agent\":\"a/1\"}",
        "{\"agent\":\"a/1\",\"method\":\"\"}",
        "{\"agent\":\"a/1\",\"method\":\"m\",\"sequence\":0}",
        "{\"agent\":\"a/1\",\"method\":\"m\",\"sequenc\":1}",
        "{\"agent\":\"a/1\",\"method\":\"m\",\"payload\":}",
        "[]",
        "x",
    ] {
        let body = format!("{good}\n\n{bad}\n");
        let target = "POST /v1/messages?client=me";
        let problem = served.ask(target, &ndjson, body.as_bytes()).await.problem();
        assert_eq!(problem.code, "invalid", "{bad}");
        assert!(problem.detail.starts_with("line 3: "), "{}", problem.detail);
    }
    let no_client = served.ask("POST /v1/messages", &ndjson, b"").await;
    assert_eq!(no_client.problem().code, "invalid");
    let json = [("content-type", "application/json")];
    let other = served
        .ask("POST /v1/messages?client=me", &json, b"[]")
        .await;
    assert_eq!(other.problem().code, "unsupported-type");
    assert_eq!(control.count(), 0);
}

#[tokio::test]
async fn connections_are_kept_and_replaced_when_the_node_restarts() {
    let control = FakeControl::new();
    let served = serve(control.clone(), Limits::default()).await;
    let client = served.client();
    for _ in 0..100 {
        client.kinds().await.unwrap();
    }
    let (address, dir) = (served.address(), served.dir);
    served.gateway.close(Duration::from_secs(60)).await;
    let config = phoenix_gateway::GatewayConfig {
        listen: address,
        data_dir: dir.path().to_owned(),
        limits: Limits::default(),
    };
    // The token lasts over the restart, so the same client goes on.
    let again = phoenix_gateway::Gateway::bind(
        config,
        control,
        std::sync::Arc::new(crate::http::JsonEvents),
    )
    .await
    .unwrap();
    client.kinds().await.unwrap();
    again.close(Duration::ZERO).await;
}

#[tokio::test]
async fn many_requests_at_once() {
    let served = serve(FakeControl::new(), Limits::default()).await;
    let client = served.client();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let client = client.clone();
        tasks.spawn(async move { client.kinds().await.map(drop) });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
}

#[tokio::test]
async fn no_node_is_told_apart_from_a_wrong_one() {
    let dir = tempfile::tempdir().unwrap();
    let error = Client::of_data_dir(dir.path(), None).err().unwrap();
    assert!(matches!(error, ClientError::NoAddress { .. }) && error.is_unreachable());
    assert!(error.suggestion().unwrap().contains("is the node running?"));

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let token = Token::random().unwrap();
    drop(listener);
    let error = Client::new(address, token.clone())
        .kinds()
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::NotReachable { .. }), "{error}");
    assert!(error.suggestion().unwrap().contains("is the node running?"));

    // Something else that listens.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9\r\n").await;
        }
    });
    let error = Client::new(address, token).kinds().await.unwrap_err();
    assert!(!matches!(error, ClientError::Refused(_)), "{error}");

    let served = serve(FakeControl::new(), Limits::default()).await;
    let stranger = Client::new(served.address(), Token::random().unwrap());
    assert_eq!(
        stranger.kinds().await.unwrap_err().code(),
        Some("unauthorized")
    );
}

#[tokio::test]
async fn a_node_that_dies_in_between_leaves_it_unknown() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::AsyncReadExt;
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut some = [0; 16];
            let _ = stream.read(&mut some).await;
        }
    });
    let client = Client::new(address, Token::random().unwrap());
    let error = client.shutdown().await.unwrap_err();
    assert!(error.is_unknown(), "{error:?}");
}
