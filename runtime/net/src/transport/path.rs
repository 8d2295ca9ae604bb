//! What is known of QUIC to a peer, and in words why it is reached as it is.

use std::time::Duration;

use phoenix_core::Protocol;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::config::{Protocols, TransportLimits};

/// The longest wait after QUIC's silence, in first ones.
const MOST_DISTRUST: u32 = 8;

/// QUIC that lasted so many first waits is none that dies young.
const PROVEN: u32 = 3;

/// What is known of QUIC to one peer.
pub(super) struct QuicNotes {
    /// Waits between tries while HTTP/2 is in use.
    probes: Backoff,
    /// Waits after a connection that stood fell silent.
    distrust: Backoff,
    /// One that stood longer than this has nothing against it.
    proven: Duration,
    /// Before this it is not tried while there is something else.
    not_before: Option<Instant>,
    tried: Option<Instant>,
    why: Option<String>,
}

impl QuicNotes {
    pub(super) fn new(limits: &TransportLimits) -> Self {
        Self {
            probes: Backoff::new(limits.probe_first, limits.probe_most),
            distrust: Backoff::new(limits.distrust, limits.distrust * MOST_DISTRUST),
            proven: limits.distrust * PROVEN,
            not_before: None,
            tried: None,
            why: None,
        }
    }

    /// A try came to nothing.
    pub(super) fn failed(&mut self, now: Instant, why: String) {
        self.tried = Some(now);
        self.why = Some(why);
    }

    /// A connection stands.
    pub(super) fn works(&mut self, now: Instant) {
        self.tried = Some(now);
        self.why = None;
        self.probes.reset();
    }

    /// A connection that lasted so long was silent while the peer was there, and
    /// is given up.
    pub(super) fn fell_silent(&mut self, now: Instant, lasted: Duration, why: String) {
        if lasted > self.proven {
            self.distrust.reset();
        }
        self.failed(now, why);
        self.not_before = Some(now + self.distrust.failed());
    }

    /// Whether something else is to be tried first.
    pub(super) fn is_distrusted(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|at| at > now)
    }

    /// How long to wait before QUIC is tried beside HTTP/2.
    pub(super) fn next_probe(&mut self, now: Instant) -> Duration {
        let wait = self.probes.failed();
        let rest = self.not_before.map(|at| at.saturating_duration_since(now));
        wait.max(rest.unwrap_or_default())
    }
}

/// Why everything travels over HTTP/2.
pub(super) fn why_http2(quic: &QuicNotes, protocols: Protocols, now: Instant) -> String {
    if !protocols.quic {
        return "http2: QUIC is switched off on this node".to_owned();
    }
    let tried = quic
        .tried
        .map(|at| in_words(now.saturating_duration_since(at)));
    match (&quic.why, tried) {
        (Some(why), Some(ago)) => format!("http2: {why}, last tried {ago} ago"),
        _ => "http2: the other node connected so, QUIC was not tried yet".to_owned(),
    }
}

/// Why everything travels over QUIC, but perhaps for bulk.
pub(super) fn why_quic(bulk: Option<Protocol>, round_trip: Option<Duration>) -> String {
    match bulk {
        Some(Protocol::Http2) => format!(
            "quic, and http2 for bulk: the round trip takes {}",
            in_words(round_trip.unwrap_or_default())
        ),
        _ => "quic".to_owned(),
    }
}

/// Why nothing travels.
pub(super) fn why_nothing(failure: Option<&str>, address: Option<&str>) -> String {
    match (failure, address) {
        (Some(why), Some(address)) => format!("not connected: {address}: {why}"),
        (None, Some(address)) => format!("not connected to {address} yet"),
        (_, None) => "not connected: where it listens is not known".to_owned(),
    }
}

/// A span for people: milliseconds up to a second, then seconds.
pub(super) fn in_words(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        return format!("{} ms", span.as_millis());
    }
    let tenths = span.as_millis() / 100;
    match (tenths / 10, tenths % 10) {
        (seconds, 0) => format!("{seconds} s"),
        (seconds @ ..10, tenth) => format!("{seconds}.{tenth} s"),
        (seconds, _) => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        let shown = |millis| in_words(Duration::from_millis(millis));
        let all = [0, 999, 1_000, 2_500, 9_999, 10_500, 61_000].map(shown);
        let expected = ["0 ms", "999 ms", "1 s", "2.5 s", "9.9 s", "10 s", "61 s"];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_reason_says_what_failed_and_when() {
        let (limits, now) = (TransportLimits::default(), Instant::now());
        let mut quic = QuicNotes::new(&limits);
        let all = Protocols::default();
        assert!(why_http2(&quic, all, now).contains("not tried yet"));
        quic.failed(now, "no QUIC handshake within 3 s".to_owned());
        let later = now + Duration::from_secs(10);
        assert_eq!(
            why_http2(&quic, all, later),
            "http2: no QUIC handshake within 3 s, last tried 10 s ago"
        );
        let off = Protocols { quic: false, ..all };
        assert!(why_http2(&quic, off, now).contains("switched off"));
    }

    #[test]
    fn silence_is_held_against_it_longer_each_time() {
        let (limits, mut now) = (TransportLimits::default(), Instant::now());
        let mut quic = QuicNotes::new(&limits);
        assert!(!quic.is_distrusted(now));
        assert!(quic.next_probe(now) <= limits.probe_first);
        let why = || "silence".to_owned();
        for whole in [1, 2, 4, 8, 8].map(|times| limits.distrust * times) {
            quic.fell_silent(now, limits.quic_silence, why());
            assert!(quic.is_distrusted(now));
            quic.works(now);
            let wait = quic.next_probe(now);
            assert!(wait <= whole && wait >= whole / 2, "{wait:?} of {whole:?}");
            now += wait;
            assert!(!quic.is_distrusted(now));
        }
        // One that lasted has nothing against it.
        quic.fell_silent(now, limits.distrust * 10, why());
        assert!(quic.next_probe(now) <= limits.distrust);
    }
}
