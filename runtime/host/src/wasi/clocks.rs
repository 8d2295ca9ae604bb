//! Both clocks stand still for a batch, at the `now` of its first turn.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::bindings::wasi::clocks::{monotonic_clock, wall_clock};
use super::{Pollable, WasiState};

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

impl monotonic_clock::Host for WasiState {
    fn now(&mut self) -> Result<u64> {
        Ok(self.now)
    }
    fn resolution(&mut self) -> Result<u64> {
        Ok(1)
    }
    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<Pollable>> {
        Ok(Resource::new_own(self.handles.push(when)?))
    }
    fn subscribe_duration(&mut self, span: u64) -> Result<Resource<Pollable>> {
        let when = self.now.saturating_add(span);
        Ok(Resource::new_own(self.handles.push(when)?))
    }
}

impl wall_clock::Host for WasiState {
    fn now(&mut self) -> Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime {
            seconds: self.now / SECOND,
            nanoseconds: (self.now % SECOND) as u32,
        })
    }
    fn resolution(&mut self) -> Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime {
            seconds: 0,
            nanoseconds: 1,
        })
    }
}
