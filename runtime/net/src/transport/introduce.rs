//! Both sides of an introduction; see `hello` for what is said.

use std::sync::Arc;

use super::Shared;
use super::hello::{Close, Hello, NoHello, Verdict, Wish};
use super::link::{Intro, Link};
use super::peer::{Established, Peer};

/// The acceptor's side. A connection that is fine is offered to its peer's task.
pub(super) async fn accepted(
    shared: &Arc<Shared>,
    link: &Link,
    mut intro: Intro,
) -> Result<(), NoHello> {
    let refused = |close| Err(NoHello::Refused(close));
    let hello = Hello::receive(&mut intro).await?;
    let cluster = shared.identity.cluster();
    let own = shared.identity.node();
    if !hello.is_of(cluster) {
        return refused(Close::Cluster);
    }
    if hello.node == own || !link.is_node(hello.node, cluster) {
        return refused(Close::Certificate(hello.node));
    }
    let Some(peer) = shared.peer_or_new(hello.node) else {
        return refused(Close::TooManyPeers);
    };
    shared.check(&hello, &peer).map_err(NoHello::Refused)?;
    link.trust();
    // What an acceptor wishes is of no interest.
    shared.hello(Wish::Fresh).send(&mut intro).await?;
    let established = finish(shared, link, intro, hello.wish, hello).await?;
    peer.offer(established);
    Ok(())
}

/// The dialler's side.
pub(super) async fn dialled(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    link: &Link,
    mut intro: Intro,
    wish: Wish,
) -> Result<Established, NoHello> {
    shared.hello(wish).send(&mut intro).await?;
    let hello = Hello::receive(&mut intro).await?;
    if hello.node != peer.node {
        return Err(NoHello::Refused(Close::Certificate(hello.node)));
    }
    shared.check(&hello, peer).map_err(NoHello::Refused)?;
    finish(shared, link, intro, wish, hello).await
}

/// Waits for the verdict, if it is the other side's.
async fn finish(
    shared: &Arc<Shared>,
    link: &Link,
    mut intro: Intro,
    wish: Wish,
    hello: Hello,
) -> Result<Established, NoHello> {
    let ours = shared.identity.node() < hello.node;
    let verdict = if ours {
        None
    } else {
        Some(Verdict::receive(&mut intro).await?)
    };
    Ok(Established {
        link: link.clone(),
        intro,
        hello,
        wish,
        verdict,
    })
}
