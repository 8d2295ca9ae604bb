//! Command line: no arguments, no environment, no terminal; `exit` is a trap.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::bindings::wasi::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr,
    terminal_stdin, terminal_stdout,
};
use super::{InputStream, OutputStream, STDERR, STDOUT, Terminal, WasiState};
use crate::error::GuestExit;

impl environment::Host for WasiState {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }
    fn get_arguments(&mut self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    fn initial_cwd(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}

impl exit::Host for WasiState {
    fn exit(&mut self, status: Result<(), ()>) -> Result<()> {
        Err(GuestExit(u8::from(status.is_err())).into())
    }
    fn exit_with_code(&mut self, status: u8) -> Result<()> {
        Err(GuestExit(status).into())
    }
}

impl stdin::Host for WasiState {
    fn get_stdin(&mut self) -> Result<Resource<InputStream>> {
        Ok(Resource::new_own(0))
    }
}

impl stdout::Host for WasiState {
    fn get_stdout(&mut self) -> Result<Resource<OutputStream>> {
        Ok(Resource::new_own(STDOUT))
    }
}

impl stderr::Host for WasiState {
    fn get_stderr(&mut self) -> Result<Resource<OutputStream>> {
        Ok(Resource::new_own(STDERR))
    }
}

impl terminal_input::Host for WasiState {}
impl terminal_input::HostTerminalInput for WasiState {
    fn drop(&mut self, _: Resource<Terminal>) -> Result<()> {
        Ok(())
    }
}

impl terminal_output::Host for WasiState {}
impl terminal_output::HostTerminalOutput for WasiState {
    fn drop(&mut self, _: Resource<Terminal>) -> Result<()> {
        Ok(())
    }
}

impl terminal_stdin::Host for WasiState {
    fn get_terminal_stdin(&mut self) -> Result<Option<Resource<Terminal>>> {
        Ok(None)
    }
}

impl terminal_stdout::Host for WasiState {
    fn get_terminal_stdout(&mut self) -> Result<Option<Resource<Terminal>>> {
        Ok(None)
    }
}

impl terminal_stderr::Host for WasiState {
    fn get_terminal_stderr(&mut self) -> Result<Option<Resource<Terminal>>> {
        Ok(None)
    }
}
