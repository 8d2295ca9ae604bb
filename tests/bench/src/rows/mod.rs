//! The rows, in the order they are printed.

mod codec;
mod cross_node;
mod deadlock;
mod durable;
mod fan_out;
mod hostile_neighbour;
pub(crate) mod idle_memory;
mod migration;
pub(crate) mod million;
mod one_way;
mod request_reply;
mod snapshot_bytes;
mod spawn;
mod topics;
mod wake;

use std::time::Duration;

use crate::measure::Row;

/// Longer than any row: agents stay awake until they are put to sleep.
const NEVER: Duration = Duration::from_secs(3_600);

/// Every row.
pub(crate) fn all() -> Vec<Row> {
    vec![
        one_way::against_erlang(),
        one_way::against_bare_calls(),
        one_way::exactly_once(),
        request_reply::row(),
        spawn::row(),
        wake::row(),
        idle_memory::row(),
        million::idle_memory(),
        million::idle_disk(),
        million::wake_memory(),
        million::wake_disk(),
        snapshot_bytes::row(),
        durable::turns_1(),
        durable::turns_8(),
        durable::turns_64(),
        durable::against_fsync(),
        durable::recovery_1000(),
        fan_out::to_1(),
        fan_out::to_100(),
        fan_out::to_10k(),
        migration::row_4k(),
        migration::row_64k(),
        migration::row_4m(),
        hostile_neighbour::row(),
        deadlock::two(),
        deadlock::three(),
        cross_node::one_way(),
        cross_node::against_nats(),
        cross_node::request_reply(),
        codec::compact(),
        codec::message_pack(),
        codec::protobuf(),
        codec::json(),
        topics::filter(),
        topics::topic_match_1m(),
    ]
}

/// Nanoseconds each of `count` took of a span.
fn each(span: Duration, count: u32) -> f64 {
    span.as_secs_f64() * 1e9 / f64::from(count)
}

/// Microseconds each of `count` took of a span.
fn each_micros(span: Duration, count: u32) -> f64 {
    each(span, count) / 1e3
}
