//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>), which CloudEvents'
//! distributed tracing extension carries.

use std::fmt;

/// Where a message stands in a trace: the header `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// Which trace; never 0.
    trace: u128,
    /// The span that sent the message; never 0.
    span: u64,
    /// Bit 0 says that the trace is recorded.
    flags: u8,
}

/// Bytes of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// Longest `tracestate`, bytes; W3C asks for at least so many.
pub const MAX_TRACE_STATE: usize = 512;

/// Most members of a `tracestate`.
const MAX_MEMBERS: usize = 32;

/// Longest key or value of a member, bytes.
const MAX_MEMBER: usize = 256;

impl TraceParent {
    /// A place in a trace; neither number may be 0.
    pub fn new(trace: u128, span: u64, flags: u8) -> Option<Self> {
        (trace != 0 && span != 0).then_some(Self { trace, span, flags })
    }

    /// Reads the header. Of versions above 00 it reads what 00 has, as W3C asks.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.split_at_checked(LENGTH)?;
        let mut fields = head.split('-');
        let version = hex(fields.next()?, 2)?;
        let trace = hex(fields.next()?, 32)?;
        let span = hex(fields.next()?, 16)?;
        let flags = hex(fields.next()?, 2)?;
        let ends = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let whole = ends && fields.next().is_none();
        let flags = u8::try_from(flags).ok()?;
        whole.then(|| Self::new(trace, u64::try_from(span).ok()?, flags))?
    }

    /// Which trace.
    pub fn trace(self) -> u128 {
        self.trace
    }

    /// Which span sent the message.
    pub fn span(self) -> u64 {
        self.span
    }

    /// Whether the trace is recorded.
    pub fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }

    /// The place of a message that `span` sends in the same trace; a span of 0
    /// is none, and leaves the place as it is.
    #[must_use]
    pub fn child(self, span: u64) -> Self {
        Self::new(self.trace, span, self.flags).unwrap_or(self)
    }
}

/// As version 00.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, flags } = self;
        write!(f, "00-{trace:032x}-{span:016x}-{flags:02x}")
    }
}

/// So many lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let fits = text.len() == digits && text.bytes().all(lower);
    fits.then(|| u128::from_str_radix(text, 16).ok())?
}

/// Whether `text` is a `tracestate`: members `key=value` with commas between
/// them, each key once.
pub(super) fn is_trace_state(text: &str) -> bool {
    if text.len() > MAX_TRACE_STATE {
        return false;
    }
    let mut keys = Vec::new();
    for member in text.split(',') {
        let member = member.trim_matches([' ', '\t']);
        if member.is_empty() {
            continue;
        }
        let Some((key, value)) = member.split_once('=') else {
            return false;
        };
        if !is_key(key) || !is_value(value) || keys.contains(&key) || keys.len() == MAX_MEMBERS {
            return false;
        }
        keys.push(key);
    }
    !keys.is_empty()
}

fn is_key(text: &str) -> bool {
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= MAX_MEMBER
        && text.bytes().next().is_some_and(lower)
        && text
            .bytes()
            .all(|b| lower(b) || matches!(b, b'_' | b'-' | b'*' | b'/' | b'@'))
}

fn is_value(text: &str) -> bool {
    (1..=MAX_MEMBER).contains(&text.len())
        && !text.ends_with(' ')
        && text
            .bytes()
            .all(|b| (b' '..=b'~').contains(&b) && b != b',' && b != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    const W3C: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_header_and_back() {
        let parent = TraceParent::parse(W3C).unwrap();
        assert_eq!(parent.trace(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(parent.span(), 0x00f0_67aa_0ba9_02b7);
        assert!(parent.is_sampled());
        assert_eq!(parent.to_string(), W3C);
        assert_eq!(
            parent.child(7).to_string(),
            W3C.replace("00f067aa0ba902b7", "0000000000000007")
        );
        assert_eq!(parent.child(0), parent);
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known() {
        let later = W3C.replacen("00", "cc", 1);
        assert_eq!(TraceParent::parse(&later), TraceParent::parse(W3C));
        let longer = format!("{later}-what-the-future-holds");
        assert_eq!(TraceParent::parse(&longer), TraceParent::parse(W3C));
    }

    #[test]
    fn what_is_no_header() {
        let zeros = |from: &str| W3C.replace(from, &"0".repeat(from.len()));
        for bad in [
            String::new(),
            W3C[..54].to_owned(),
            format!("{W3C}-01"),
            format!("{W3C}x"),
            W3C.replacen("00", "ff", 1),
            W3C.to_uppercase(),
            W3C.replace('-', "_"),
            zeros("4bf92f3577b34da6a3ce929d0e0e4736"),
            zeros("00f067aa0ba902b7"),
            W3C.replace("4bf9", "é+"),
            format!("{}x", W3C.replacen("00", "cc", 1)),
        ] {
            assert_eq!(TraceParent::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn states() {
        for good in [
            "rojo=00f067aa0ba902b7",
            "congo=t61rcWkgMzE, rojo=1 ,,a@b= x",
            "a=b",
        ] {
            assert!(is_trace_state(good), "{good}");
        }
        let many: Vec<String> = (0..33).map(|n| format!("k{n}=v")).collect();
        for bad in [
            "",
            ",",
            "rojo",
            "Rojo=1",
            "a=1,a=2",
            "a=",
            "a=b=c",
            "a=é",
            &many.join(","),
            &format!("a={}", "x".repeat(257)),
        ] {
            assert!(!is_trace_state(bad), "{bad}");
        }
        assert!(is_trace_state(&many[1..].join(",")));
    }
}
