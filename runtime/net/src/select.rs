//! What a message travels over: one table, read from the top.
//!
//! A row says for which traffic it is and what to try, best first. Whatever
//! does not stand just now is passed over: that is the fallback chain. A row
//! that leaves a column open holds for all of it.

use std::time::Duration;

use phoenix_core::migration::MigrationMessage;
use phoenix_core::{Body, PeerMessage};

/// How far away the receiver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Distance {
    /// In the same process.
    Process,
    /// On the same machine: its address is the loopback's, and it answers as fast.
    Host,
    /// So near that a message is there before anybody misses it: see [`NEAR`].
    Near,
    /// Further away than that.
    Far,
}

/// How large a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// It fits into one packet of the path.
    Packet,
    /// Anything up to the bound of a frame.
    Frame,
    /// A part of something larger: a snapshot, a component.
    Bulk,
}

/// What its receivers have to agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Who owns what: directory, migrations, operators' requests.
    Strong,
    /// What was said before it on its stream.
    Causal,
    /// Nothing.
    Eventual,
}

/// What is done that it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reliability {
    /// Nothing: who sent it has forgotten it.
    AtMostOnce,
    /// Somebody waits for it or for its verdict, and sends it again.
    AtLeastOnce,
}

/// What carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A queue within the process.
    Process,
    /// A QUIC datagram: never sent again, and never waits for another.
    QuicDatagram,
    /// A stream of a QUIC connection.
    QuicStream,
    /// A stream of an HTTP/2 connection, over TLS over TCP.
    Http2Stream,
}

/// What is to travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// How far.
    pub distance: Distance,
    /// How much of it.
    pub size: Size,
    /// For whom.
    pub consistency: Consistency,
    /// How surely.
    pub reliability: Reliability,
}

/// A row of the table. `None` holds for everything.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    distance: Option<Distance>,
    size: Option<Size>,
    consistency: Option<Consistency>,
    reliability: Option<Reliability>,
    /// What to try, best first.
    pub chain: &'static [Carrier],
    /// Why.
    pub why: &'static str,
}

/// The round trip below which a peer is near: within a site, not between two.
pub const NEAR: Duration = Duration::from_millis(5);

/// The table. The first row that holds decides.
#[rustfmt::skip]
pub static TABLE: [Row; 4] = {
    use Carrier::{Http2Stream, Process, QuicDatagram, QuicStream};
    use Consistency::Eventual;
    use Reliability::AtMostOnce;
    [
    //  distance                 size                consistency     reliability
    row(Some(Distance::Process), None,               None,           None,             &[Process],
        "nothing is as near as the same memory"),
    row(None,                    Some(Size::Packet), Some(Eventual), Some(AtMostOnce), &[QuicDatagram, QuicStream, Http2Stream],
        "what may be lost need not wait for what was, nor be sent again"),
    row(Some(Distance::Far),     Some(Size::Bulk),   None,           None,             &[Http2Stream, QuicStream],
        "over a distance the system's TCP has more bytes under way than a QUIC stream"),
    row(None,                    None,               None,           None,             &[QuicStream, Http2Stream],
        "a stream that loses a packet holds up no other, and a path that changes breaks nothing"),
    ]
};

const fn row(
    distance: Option<Distance>,
    size: Option<Size>,
    consistency: Option<Consistency>,
    reliability: Option<Reliability>,
    chain: &'static [Carrier],
    why: &'static str,
) -> Row {
    Row {
        distance,
        size,
        consistency,
        reliability,
        chain,
        why,
    }
}

impl Row {
    fn holds(&self, traffic: &Traffic) -> bool {
        fn is<T: PartialEq>(column: Option<T>, found: T) -> bool {
            column.is_none_or(|wanted| wanted == found)
        }
        is(self.distance, traffic.distance)
            && is(self.size, traffic.size)
            && is(self.consistency, traffic.consistency)
            && is(self.reliability, traffic.reliability)
    }
}

impl Distance {
    /// Of a peer that is this far away, as far as is known. An address of the
    /// loopback may be this end of a tunnel: time tells.
    pub fn of(loopback: bool, round_trip: Option<Duration>) -> Self {
        match round_trip {
            Some(time) if time >= NEAR => Self::Far,
            _ if loopback => Self::Host,
            _ => Self::Near,
        }
    }
}

impl Traffic {
    /// What `message` is, to a peer this far away. That it fits into a packet is
    /// known only once it is encoded.
    pub fn of(message: &PeerMessage, distance: Distance) -> Self {
        let (size, consistency, reliability) = match message {
            PeerMessage::Deliver(envelopes) => {
                let once = envelopes.iter().all(|one| {
                    let one_way = matches!(one.body, Body::Message { ask: None, .. });
                    one.sequence.is_none() && one_way
                });
                if once {
                    (Size::Frame, Consistency::Eventual, Reliability::AtMostOnce)
                } else {
                    (Size::Frame, Consistency::Causal, Reliability::AtLeastOnce)
                }
            }
            // Nothing hangs on one that arrives.
            PeerMessage::AskNotice { .. } => {
                (Size::Frame, Consistency::Eventual, Reliability::AtMostOnce)
            }
            PeerMessage::Migration(MigrationMessage::Ship { .. })
            | PeerMessage::ComponentPart { .. } => {
                (Size::Bulk, Consistency::Strong, Reliability::AtLeastOnce)
            }
            PeerMessage::Forward { .. }
            | PeerMessage::Acknowledge(_)
            | PeerMessage::ForwardVerdicts { .. }
            | PeerMessage::Answer { .. } => {
                (Size::Frame, Consistency::Causal, Reliability::AtLeastOnce)
            }
            PeerMessage::Moved { .. }
            | PeerMessage::Marker { .. }
            | PeerMessage::MarkerSeen { .. }
            | PeerMessage::Migration(_)
            | PeerMessage::DirectoryAsk { .. }
            | PeerMessage::DirectoryAnswer { .. }
            | PeerMessage::ComponentWanted { .. }
            | PeerMessage::ComponentMissing { .. }
            | PeerMessage::Kind(_)
            | PeerMessage::Members(_)
            | PeerMessage::ControlAsk { .. }
            | PeerMessage::ControlAnswer { .. }
            | PeerMessage::DeclaredDead { .. }
            | PeerMessage::Flows(_)
            | PeerMessage::LeaseAsk(_)
            | PeerMessage::LeaseGrant(_)
            | PeerMessage::Leaving => (Size::Frame, Consistency::Strong, Reliability::AtLeastOnce),
        };
        Self {
            distance,
            size,
            consistency,
            reliability,
        }
    }

    /// The row that decides for it.
    pub fn row(&self) -> &'static Row {
        let [.., last] = &TABLE;
        // The last row holds for everything: a test says so.
        TABLE.iter().find(|row| row.holds(self)).unwrap_or(last)
    }

    /// The best carrier for it of those that stand.
    pub fn carrier(&self, stands: impl Fn(Carrier) -> bool) -> Option<Carrier> {
        self.row().chain.iter().copied().find(|one| stands(*one))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use phoenix_core::{
        AgentId, Ask, Envelope, Incarnation, Lane, Millis, Payload, ReplyTo, Sender, StreamKey,
    };

    use super::*;

    fn all() -> impl Iterator<Item = Traffic> {
        use Consistency::{Causal, Eventual, Strong};
        use Distance::{Far, Host, Near, Process};
        use Reliability::{AtLeastOnce, AtMostOnce};
        use Size::{Bulk, Frame, Packet};
        [Process, Host, Near, Far].into_iter().flat_map(|distance| {
            [Packet, Frame, Bulk].into_iter().flat_map(move |size| {
                let consistencies = [Strong, Causal, Eventual].into_iter();
                consistencies.flat_map(move |consistency| {
                    [AtMostOnce, AtLeastOnce].map(|reliability| Traffic {
                        distance,
                        size,
                        consistency,
                        reliability,
                    })
                })
            })
        })
    }

    #[test]
    fn the_last_row_holds_for_everything_and_no_row_in_vain() {
        let [.., last] = &TABLE;
        assert!(all().all(|traffic| last.holds(&traffic)));
        for row in &TABLE {
            let decides = all().any(|traffic| std::ptr::eq(traffic.row(), row));
            assert!(decides, "{row:?} never decides");
        }
    }

    #[test]
    fn only_what_may_be_lost_takes_a_datagram() {
        for traffic in all() {
            let chain = traffic.row().chain;
            let datagram = chain.contains(&Carrier::QuicDatagram);
            assert_eq!(
                datagram,
                traffic.distance != Distance::Process
                    && traffic.size == Size::Packet
                    && traffic.reliability == Reliability::AtMostOnce
                    && traffic.consistency == Consistency::Eventual,
                "{traffic:?}"
            );
            // Whatever leaves the process can fall back to either stream.
            let streams = [Carrier::QuicStream, Carrier::Http2Stream];
            let both = streams.iter().all(|one| chain.contains(one));
            assert_eq!(both, traffic.distance != Distance::Process, "{traffic:?}");
        }
    }

    #[test]
    fn a_carrier_that_does_not_stand_is_passed_over() {
        let bulk = |distance| Traffic {
            distance,
            size: Size::Bulk,
            consistency: Consistency::Strong,
            reliability: Reliability::AtLeastOnce,
        };
        assert_eq!(
            bulk(Distance::Far).carrier(|_| true),
            Some(Carrier::Http2Stream)
        );
        assert_eq!(
            bulk(Distance::Near).carrier(|_| true),
            Some(Carrier::QuicStream)
        );
        let no_tcp = |carrier| carrier != Carrier::Http2Stream;
        assert_eq!(
            bulk(Distance::Far).carrier(no_tcp),
            Some(Carrier::QuicStream)
        );
        assert_eq!(bulk(Distance::Far).carrier(|_| false), None);
    }

    fn message(ask: Option<Ask>) -> Body {
        Body::Message {
            method: "add".into(),
            payload: Payload::default(),
            ask: ask.map(Box::new),
        }
    }

    #[test]
    fn an_ask_and_its_reply_are_not_to_be_lost() {
        let is_at_most_once = |body| {
            let envelope = Envelope {
                stream: StreamKey::shared(
                    Sender::System,
                    AgentId::new("counter/1").unwrap(),
                    Lane::Normal,
                ),
                sequence: None,
                body,
                extras: None,
            };
            let deliver = PeerMessage::Deliver(vec![Arc::new(envelope)]);
            Traffic::of(&deliver, Distance::Near).reliability == Reliability::AtMostOnce
        };
        assert!(is_at_most_once(message(None)));
        let ask = Ask {
            id: 1,
            reply_to: ReplyTo::Client(phoenix_core::NodeId(1)),
            deadline: Millis::NEVER,
        };
        assert!(!is_at_most_once(message(Some(ask))));
        let reply = phoenix_core::Reply::Timeout;
        let asker = Incarnation::default();
        assert!(!is_at_most_once(Body::Reply {
            ask: 1,
            asker,
            reply
        }));
    }

    #[test]
    fn distance_is_measured() {
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(Distance::of(true, ms(4)), Distance::Host);
        assert_eq!(Distance::of(true, None), Distance::Host);
        assert_eq!(Distance::of(true, ms(50)), Distance::Far);
        assert_eq!(Distance::of(false, ms(4)), Distance::Near);
        assert_eq!(Distance::of(false, ms(5)), Distance::Far);
        assert_eq!(Distance::of(false, None), Distance::Near);
    }
}
