//! Tries the file system in every way the standard library offers. It proves
//! that an agent without a grant sees no file, and that trying is an error of
//! its own and no harm to anyone.
//!
//! Each method answers with the error's text as JSON; `open-worked` is the
//! failure of a test.

use std::fs;
use std::io;

wit_bindgen::generate!({
    path: "../../../wit/agent.wit",
    world: "agent",
});

use exports::phoenix::agent::handler::{Body, Guest, Outcome, Payload};
use phoenix::agent::types::{ContentType, Failure};

struct Files;

impl Guest for Files {
    fn init(_config: Payload) -> Result<(), String> {
        Ok(())
    }

    fn handle(input: Body) -> Outcome {
        let Body::Message(message) = input else {
            return Outcome::Ok(json(String::new()));
        };
        match tried(&message.method) {
            Some(Err(error)) => Outcome::Ok(json(format!("{:?}", error.to_string()))),
            Some(Ok(())) => failed("open-worked", &message.method),
            None if message.method == "alive" => Outcome::Ok(json("true".into())),
            None => failed("no-such-method", &message.method),
        }
    }
}

fn tried(method: &str) -> Option<io::Result<()>> {
    Some(match method {
        "open" => fs::File::open("/etc/passwd").map(drop),
        "open-relative" => fs::File::open("../../../etc/passwd").map(drop),
        "create" => fs::write("/tmp/an-agent-was-here", "x"),
        "list" => fs::read_dir("/").map(drop),
        "remove" => fs::remove_file("/tmp/an-agent-was-here"),
        "link" => fs::hard_link("/etc/passwd", "/tmp/p"),
        "stat" => fs::metadata("/").map(drop),
        _ => return None,
    })
}

fn json(text: String) -> Payload {
    Payload {
        content_type: ContentType::Json,
        bytes: text.into_bytes(),
    }
}

fn failed(code: &str, message: &str) -> Outcome {
    Outcome::Failed(Failure {
        code: code.into(),
        message: message.into(),
        details: json(String::new()),
    })
}

export!(Files);
