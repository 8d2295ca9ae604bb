//! Raw HTTP/1.1, to say what no proper client would.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::Control;
use phoenix_core::attributes::{self, BadEvent, CloudEvent, EventBuilder, EventCodec, Format};
use phoenix_gateway::api::Problem;
use phoenix_gateway::client::Client;
use phoenix_gateway::{Gateway, GatewayConfig, Limits, TOKEN_FILE};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A gateway on a free port with its data directory.
pub(crate) struct Served {
    pub(crate) gateway: Gateway,
    pub(crate) dir: TempDir,
}

/// Serves `control` with limits of choice.
pub(crate) async fn serve(control: Arc<dyn Control>, limits: Limits) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let config = GatewayConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: dir.path().to_owned(),
        limits,
    };
    let gateway = Gateway::bind(config, control, Arc::new(JsonEvents))
        .await
        .unwrap();
    Served { gateway, dir }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn problem(&self) -> Problem {
        assert!(self.head.contains("application/problem+json"), "{self:?}");
        let problem: Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem.status, self.status);
        problem
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Served {
    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    pub(crate) fn client(&self) -> Client {
        Client::of_data_dir(self.dir.path(), None).unwrap()
    }

    pub(crate) fn token(&self) -> String {
        let text = std::fs::read_to_string(self.dir.path().join(TOKEN_FILE)).unwrap();
        text.trim().to_owned()
    }

    /// Sends `METHOD /target` with the token, extra header lines and a body.
    pub(crate) async fn ask(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let token = format!("Bearer {}", self.token());
        let mut all = vec![("authorization", token.as_str())];
        all.extend_from_slice(headers);
        self.bare(line, &all, body).await
    }

    /// The same without the token.
    pub(crate) async fn bare(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut head = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head.push_str(&format!("host: {}\r\n", self.address()));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        self.raw(&[head.as_bytes(), body].concat()).await
    }

    /// Sends bytes as they are and reads to the end.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        // The server may answer and close before it has read all of it.
        let _ = stream.write_all(bytes).await;
        read(&mut stream).await
    }
}

/// Reads a whole response from a connection that the server closes.
pub(crate) async fn read(stream: &mut TcpStream) -> Reply {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    let end = all.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no response: {:?}", String::from_utf8_lossy(&all)));
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = all[end + 4..].to_vec();
    if head.to_lowercase().contains("transfer-encoding: chunked") {
        body = unchunk(&body);
    }
    Reply { status, head, body }
}

fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(end) = body.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&body[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        all.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
    all
}

/// Events in JSON and nothing else, as far as tests of the API need them.
pub(crate) struct JsonEvents;

impl EventCodec for JsonEvents {
    fn encode(&self, _: Format, event: &CloudEvent) -> Bytes {
        let data = event.data.as_ref();
        let data = data.map(|data| serde_json::from_slice::<Value>(data).unwrap_or(Value::Null));
        let mut shown = serde_json::json!({
            "specversion": "1.0",
            "id": &*event.id,
            "source": &*event.source,
            "type": &*event.event_type,
            "subject": event.subject.as_deref(),
            "data": data,
        });
        for (name, value) in event.extensions.iter() {
            shown[name] = Value::String(value.to_string());
        }
        serde_json::to_vec(&shown).unwrap().into()
    }

    fn encode_batch(&self, format: Format, events: &[CloudEvent]) -> Bytes {
        let all = events.iter().map(|event| self.encode(format, event));
        let all: Vec<Value> = all
            .map(|bytes| serde_json::from_slice(&bytes).unwrap())
            .collect();
        serde_json::to_vec(&all).unwrap().into()
    }

    fn decode(&self, format: Format, bytes: Bytes) -> Result<CloudEvent, BadEvent> {
        let syntax = |what: String| BadEvent::Syntax {
            format,
            what: what.into(),
            at: None,
        };
        let Value::Object(map) =
            serde_json::from_slice(&bytes).map_err(|error| syntax(error.to_string()))?
        else {
            return Err(syntax("no object".to_owned()));
        };
        let mut event = EventBuilder::new();
        for (name, value) in map {
            match value {
                value if name == "data" => event.set_data(value.to_string().into()),
                Value::String(text) => event.set(&name, attributes::Value::text(text))?,
                Value::Bool(value) => event.set(&name, attributes::Value::Boolean(value))?,
                other => return Err(syntax(other.to_string())),
            }
        }
        Ok(event.build()?)
    }

    fn decode_batch(&self, format: Format, bytes: Bytes) -> Result<Vec<CloudEvent>, BadEvent> {
        let all: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
        let all = all.iter().enumerate().map(|(index, one)| {
            self.decode(format, one.to_string().into())
                .map_err(|bad| bad.of_batch(index))
        });
        all.collect()
    }
}
