//! What makes a demo's node end with the demo, however that ends.
//!
//! A demo that is killed can stop nobody. So each node is started by way of
//! this module, with a pipe for its standard input whose other end only the
//! demo holds: when the demo is gone, the pipe ends, and the node with it.

use std::ffi::OsString;
use std::io::Read;
use std::process::ExitCode;
use std::thread;

use super::error::DemoError;

/// The arguments that come before those of the program run by [`run`].
pub(super) const ARGUMENTS: [&str; 3] = ["demo", "--as-node", "--"];

/// Exit status of a node whose demo is gone.
const ORPHANED: i32 = 1;

/// Runs `phoenix ARGUMENTS…` until it ends, or until standard input does.
pub(super) fn run(arguments: Vec<OsString>) -> Result<ExitCode, DemoError> {
    thread::Builder::new()
        .name("lifeline".into())
        .spawn(|| {
            wait_for_the_end(std::io::stdin().lock());
            // Nobody needs what the node holds, and nobody is left to wait for it.
            std::process::exit(ORPHANED)
        })
        .map_err(DemoError::Runtime)?;
    Ok(crate::main(
        std::iter::once(OsString::from("phoenix")).chain(arguments),
    ))
}

/// Nothing is ever written, so whatever reading comes to, it is the end.
fn wait_for_the_end(mut input: impl Read) {
    let mut byte = [0; 1];
    loop {
        match input.read(&mut byte) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn an_interrupted_read_is_not_the_end() {
        struct Interrupted(u32);
        impl Read for Interrupted {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                self.0 = self.0.saturating_sub(1);
                match self.0 {
                    0 => Ok(0),
                    _ => Err(io::ErrorKind::Interrupted.into()),
                }
            }
        }
        let mut input = Interrupted(3);
        wait_for_the_end(&mut input);
        assert_eq!(input.0, 0);
    }
}
