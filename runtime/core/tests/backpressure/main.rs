//! What a full mailbox does to messages, and to those who send them: against
//! oracles that are as simple as they can be, and in the hands of a bad network.

mod books;
mod bounces;
mod expiry;
mod harness;
mod options;
mod policies;
mod pubsub;
mod redirect;
mod retries;
mod spill;
mod verdicts;
mod watermarks;
