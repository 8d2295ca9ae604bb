//! A class's streams, and the control stream, one way each.

use std::future::poll_fn;
use std::task::Poll;

use bytes::{Buf, Bytes, BytesMut};
use h2::{RecvStream, SendStream};

use super::link::Http2Link;
use crate::transport::{Class, Lost};

/// Where a class's bytes go.
#[derive(Debug)]
pub(crate) struct Http2Sending {
    stream: SendStream<Bytes>,
    link: Http2Link,
    class: Class,
}

/// Where bytes come from.
#[derive(Debug)]
pub(crate) struct Http2Receiving {
    stream: RecvStream,
    /// The link to tell that all was read, and of which class.
    read: Option<(Http2Link, Class)>,
    /// What was read from the stream and not asked for yet.
    rest: Bytes,
    /// Bytes handed out for which the sender has no room again yet.
    handed: usize,
}

impl Http2Sending {
    pub(super) fn new(stream: SendStream<Bytes>, link: Http2Link, class: Class) -> Self {
        Self {
            stream,
            link,
            class,
        }
    }

    pub(crate) async fn write(&mut self, chunks: &mut [Bytes]) -> Result<(), Lost> {
        for chunk in chunks {
            while !chunk.is_empty() {
                let room = self.room(chunk.len()).await?;
                let part = chunk.split_to(room.min(chunk.len()));
                self.stream.send_data(part, false).map_err(|_| Lost)?;
            }
        }
        Ok(())
    }

    /// Waits until some of so many bytes may be sent.
    async fn room(&mut self, wanted: usize) -> Result<usize, Lost> {
        self.stream.reserve_capacity(wanted);
        match self.stream.capacity() {
            0 => match poll_fn(|context| self.stream.poll_capacity(context)).await {
                Some(Ok(room)) => Ok(room),
                Some(Err(_)) | None => Err(Lost),
            },
            room => Ok(room),
        }
    }

    pub(crate) fn finish(&mut self) -> Result<(), Lost> {
        let last = self.stream.send_data(Bytes::new(), true);
        last.map_err(|_| Lost)
    }

    pub(crate) async fn delivered(self) -> Result<(), Lost> {
        self.link.confirmed(self.class).await
    }
}

impl Http2Receiving {
    /// A stream whose end is of no interest.
    pub(super) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            read: None,
            rest: Bytes::new(),
            handed: 0,
        }
    }

    /// A class's stream.
    pub(super) fn of_class(stream: RecvStream, link: Http2Link, class: Class) -> Self {
        Self {
            read: Some((link, class)),
            ..Self::new(stream)
        }
    }

    /// The next byte, left where it is. `None` at the end.
    pub(super) async fn peek(&mut self) -> Result<Option<u8>, Lost> {
        while self.rest.is_empty() {
            self.make_room();
            match self.stream.data().await {
                Some(Ok(bytes)) => {
                    self.handed = bytes.len();
                    self.rest = bytes;
                }
                Some(Err(_)) => return Err(Lost),
                None => {
                    self.is_read();
                    return Ok(None);
                }
            }
        }
        Ok(self.rest.first().copied())
    }

    pub(crate) async fn read_exact(&mut self, mut bytes: &mut [u8]) -> Result<(), Lost> {
        while !bytes.is_empty() {
            if self.peek().await?.is_none() {
                return Err(Lost);
            }
            let part = bytes.len().min(self.rest.len());
            let (now, later) = bytes.split_at_mut(part);
            self.rest.copy_to_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Everything up to the end, if that is at most so many bytes.
    pub(crate) async fn read_to_end(&mut self, most: usize) -> Result<Bytes, Lost> {
        let mut whole = BytesMut::new();
        while self.peek().await?.is_some() {
            let more = std::mem::take(&mut self.rest);
            if whole.len() + more.len() > most {
                return Err(Lost);
            }
            whole.extend_from_slice(&more);
        }
        Ok(whole.freeze())
    }

    /// A number of two bytes, little-endian.
    pub(super) async fn read_u16(&mut self) -> Result<u16, Lost> {
        let mut bytes = [0; 2];
        self.read_exact(&mut bytes).await?;
        Ok(u16::from_le_bytes(bytes))
    }

    pub(crate) async fn read(&mut self, chunks: &mut [Bytes]) -> Result<Option<usize>, Lost> {
        if let (false, Some(first)) = (self.rest.is_empty(), chunks.first_mut()) {
            *first = std::mem::take(&mut self.rest);
            return Ok(Some(1));
        }
        self.make_room();
        let stream = &mut self.stream;
        let handed = &mut self.handed;
        let read = poll_fn(|context| {
            let mut count = 0;
            for chunk in &mut *chunks {
                match stream.poll_data(context) {
                    Poll::Ready(Some(Ok(bytes))) => {
                        *handed += bytes.len();
                        *chunk = bytes;
                        count += 1;
                    }
                    // What came before an error or the end is worked off first.
                    _ if count > 0 => break,
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(Lost)),
                    Poll::Ready(None) => return Poll::Ready(Ok(None)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(Ok(Some(count)))
        })
        .await?;
        if read.is_none() {
            self.is_read();
        }
        Ok(read)
    }

    /// What was handed out is worked off: the sender may send as much again.
    fn make_room(&mut self) {
        let handed = std::mem::take(&mut self.handed);
        // A stream that has ended needs no room.
        let _ = self.stream.flow_control().release_capacity(handed);
    }

    fn is_read(&mut self) {
        if let Some((link, class)) = self.read.take() {
            link.confirm(class);
        }
    }
}
