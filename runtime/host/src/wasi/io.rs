//! Streams and waiting. Input is always at its end, output is a log, and what
//! is not ready now is never waited for.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::bindings::wasi::io::streams::StreamError;
use super::bindings::wasi::io::{error, poll, streams};
use super::{InputStream, IoError, OutputStream, Pollable, STDERR, WasiState};
use crate::error::WouldBlock;
use crate::log::Stream;

/// Bytes a guest may write at once, as `check-write` tells it.
const WRITE_PERMIT: u64 = 64 << 10;

/// A pollable that is always ready.
const NOW: u64 = 0;

impl error::Host for WasiState {}
impl error::HostError for WasiState {
    fn to_debug_string(&mut self, _: Resource<IoError>) -> Result<String> {
        Ok(String::new())
    }
    fn drop(&mut self, _: Resource<IoError>) -> Result<()> {
        Ok(())
    }
}

impl poll::Host for WasiState {
    fn poll(&mut self, pollables: Vec<Resource<Pollable>>) -> Result<Vec<u32>> {
        let mut ready = Vec::new();
        for (index, pollable) in (0u32..).zip(&pollables) {
            if self.handles.ready_at(pollable.rep())? <= self.now {
                ready.push(index);
            }
        }
        if ready.is_empty() {
            return Err(WouldBlock("wasi:io/poll.poll").into());
        }
        Ok(ready)
    }
}

impl poll::HostPollable for WasiState {
    fn ready(&mut self, pollable: Resource<Pollable>) -> Result<bool> {
        Ok(self.handles.ready_at(pollable.rep())? <= self.now)
    }
    fn block(&mut self, pollable: Resource<Pollable>) -> Result<()> {
        if self.ready(pollable)? {
            Ok(())
        } else {
            Err(WouldBlock("wasi:io/poll.[method]pollable.block").into())
        }
    }
    fn drop(&mut self, pollable: Resource<Pollable>) -> Result<()> {
        self.handles.remove(pollable.rep());
        Ok(())
    }
}

impl streams::Host for WasiState {}

type Streamed<T> = Result<Result<T, StreamError>>;

impl streams::HostInputStream for WasiState {
    fn read(&mut self, _: Resource<InputStream>, _: u64) -> Streamed<Vec<u8>> {
        Ok(Err(StreamError::Closed))
    }
    fn blocking_read(&mut self, _: Resource<InputStream>, _: u64) -> Streamed<Vec<u8>> {
        Ok(Err(StreamError::Closed))
    }
    fn skip(&mut self, _: Resource<InputStream>, _: u64) -> Streamed<u64> {
        Ok(Err(StreamError::Closed))
    }
    fn blocking_skip(&mut self, _: Resource<InputStream>, _: u64) -> Streamed<u64> {
        Ok(Err(StreamError::Closed))
    }
    fn subscribe(&mut self, _: Resource<InputStream>) -> Result<Resource<Pollable>> {
        Ok(Resource::new_own(self.handles.push(NOW)?))
    }
    fn drop(&mut self, _: Resource<InputStream>) -> Result<()> {
        Ok(())
    }
}

impl WasiState {
    fn print(&mut self, stream: &Resource<OutputStream>, bytes: &[u8]) {
        let stream = if stream.rep() == STDERR {
            Stream::Err
        } else {
            Stream::Out
        };
        self.log.print(stream, bytes);
    }
}

impl streams::HostOutputStream for WasiState {
    fn check_write(&mut self, _: Resource<OutputStream>) -> Streamed<u64> {
        Ok(Ok(WRITE_PERMIT))
    }
    fn write(&mut self, stream: Resource<OutputStream>, bytes: Vec<u8>) -> Streamed<()> {
        self.print(&stream, &bytes);
        Ok(Ok(()))
    }
    fn blocking_write_and_flush(
        &mut self,
        stream: Resource<OutputStream>,
        bytes: Vec<u8>,
    ) -> Streamed<()> {
        self.write(stream, bytes)
    }
    fn flush(&mut self, _: Resource<OutputStream>) -> Streamed<()> {
        Ok(Ok(()))
    }
    fn blocking_flush(&mut self, _: Resource<OutputStream>) -> Streamed<()> {
        Ok(Ok(()))
    }
    fn subscribe(&mut self, _: Resource<OutputStream>) -> Result<Resource<Pollable>> {
        Ok(Resource::new_own(self.handles.push(NOW)?))
    }
    fn write_zeroes(&mut self, stream: Resource<OutputStream>, len: u64) -> Streamed<()> {
        // Nobody wants zeros in a log; what a guest asks for past the permit is cut.
        let len = usize::try_from(len.min(WRITE_PERMIT))?;
        self.print(&stream, &vec![0; len]);
        Ok(Ok(()))
    }
    fn blocking_write_zeroes_and_flush(
        &mut self,
        stream: Resource<OutputStream>,
        len: u64,
    ) -> Streamed<()> {
        self.write_zeroes(stream, len)
    }
    fn splice(
        &mut self,
        _: Resource<OutputStream>,
        _: Resource<InputStream>,
        _: u64,
    ) -> Streamed<u64> {
        Ok(Err(StreamError::Closed))
    }
    fn blocking_splice(
        &mut self,
        _: Resource<OutputStream>,
        _: Resource<InputStream>,
        _: u64,
    ) -> Streamed<u64> {
        Ok(Err(StreamError::Closed))
    }
    fn drop(&mut self, _: Resource<OutputStream>) -> Result<()> {
        Ok(())
    }
}
