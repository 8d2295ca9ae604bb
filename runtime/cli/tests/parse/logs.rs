//! The demo's input: logs, plain and packed, whole and harmed.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::demo::count;
use crate::generate::{Chance, cases};

const LINES: [&str; 4] = [
    "192.0.2.7 - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 512 \"-\" \"curl/8.6\"\n",
    "2001:db8::1 - bob [31/Dec/1999:23:59:60 -1130] \"POST /a?b HTTP/2\" 404 - \"http://x/\" \"-\"\n",
    "host - - [29/Feb/2000:00:00:00 +1400] \"\\\"\\x16\" 400 18446744073709551615 \"-\" \"a \\\" b\"\r\n",
    "# no line of a log\n",
];

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn any_log_is_counted_or_refused() {
    let make = |chance: &mut Chance| {
        let lines = (0..chance.below(6)).map(|_| *chance.pick(&LINES));
        let plain = lines.collect::<String>().into_bytes();
        let plain = chance.harm(plain);
        match chance.below(5) {
            0 | 1 => plain,
            2 => packed(&plain),
            3 => {
                let packed = packed(&plain);
                chance.harm(packed)
            }
            _ => chance.bytes(64),
        }
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    cases(10, make, |bytes| {
        std::fs::write(file.path(), bytes).unwrap();
        if let Err(told) = count(file.path()) {
            assert!(!told.is_empty());
        }
    });
}
