//! Tries the network in every way the standard library offers. It proves that
//! an agent without a grant reaches nothing, and that trying is an error of its
//! own, or a trap, and no harm to anyone.
//!
//! Each method answers with the error's text as JSON; `connect-worked` is the
//! failure of a test.

use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

wit_bindgen::generate!({
    path: "../../../wit/agent.wit",
    world: "agent",
});

use exports::phoenix::agent::handler::{Body, Guest, Outcome, Payload};
use phoenix::agent::types::{ContentType, Failure};

struct Sockets;

impl Guest for Sockets {
    fn init(_config: Payload) -> Result<(), String> {
        Ok(())
    }

    fn handle(input: Body) -> Outcome {
        let Body::Message(message) = input else {
            return Outcome::Ok(json(String::new()));
        };
        match tried(&message.method) {
            Some(Err(error)) => Outcome::Ok(json(format!("{:?}", error.to_string()))),
            Some(Ok(())) => failed("connect-worked", &message.method),
            None if message.method == "alive" => Outcome::Ok(json("true".into())),
            None => failed("no-such-method", &message.method),
        }
    }
}

fn tried(method: &str) -> Option<io::Result<()>> {
    Some(match method {
        "connect" => TcpStream::connect("127.0.0.1:80").map(drop),
        "listen" => TcpListener::bind("127.0.0.1:0").map(drop),
        "datagram" => UdpSocket::bind("127.0.0.1:0").map(drop),
        "resolve" => ("localhost", 80).to_socket_addrs().map(drop),
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

export!(Sockets);
