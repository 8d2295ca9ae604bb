//! A compiler of its own: started by the tests, this program is the compiler.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, and its own harness"
)]

mod common;

use std::process::ExitCode;

use common::{admit, policy, start, turn};
use phoenix_core::KindPolicy;
use phoenix_host::{AdmissionLimits, AdmitError, CompilerProgram, Host, HostConfig};
use phoenix_support::{agent, zoo};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("compile") {
        return phoenix_host::compile_worker();
    }
    // What a harness would list.
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    for (name, test) in [
        ("what_it_compiles_runs", what_it_compiles_runs as fn()),
        (
            "what_is_refused_without_it_is_refused_with_it",
            what_is_refused_without_it_is_refused_with_it,
        ),
        (
            "it_is_killed_when_its_time_is_up",
            it_is_killed_when_its_time_is_up,
        ),
        ("it_ends_at_its_memory_bound", it_ends_at_its_memory_bound),
        (
            "one_that_is_not_there_is_named",
            one_that_is_not_there_is_named,
        ),
    ] {
        test();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

fn limits() -> AdmissionLimits {
    AdmissionLimits {
        compiler: Some(CompilerProgram {
            program: std::env::current_exe().unwrap(),
            arguments: vec!["compile".to_owned()],
        }),
        ..AdmissionLimits::default()
    }
}

fn what_it_compiles_runs() {
    for baseline_cpu in [false, true] {
        let host = start(HostConfig {
            admission: limits(),
            baseline_cpu,
            ..HostConfig::default()
        });
        let component = admit(&host, agent("counter"));
        let mut instance = component.instantiate(&policy()).unwrap();
        turn(&mut instance, 0, "add", "1").unwrap();
    }
}

fn what_is_refused_without_it_is_refused_with_it() {
    let alone = start(HostConfig::default());
    let compiling = start(HostConfig {
        admission: limits(),
        ..HostConfig::default()
    });
    let pinned = KindPolicy {
        movable: false,
        ..policy()
    };
    for item in zoo::refused() {
        for policy in [policy(), pinned.clone()] {
            let said = |host: &Host| {
                let admitted = host.admit(&item.bytes, &policy);
                admitted
                    .map(|component| component.movable())
                    .map_err(|error| error.to_string())
            };
            assert_eq!(said(&compiling), said(&alone), "{}", item.name);
        }
    }
}

fn it_is_killed_when_its_time_is_up() {
    let host = start(HostConfig {
        admission: AdmissionLimits {
            compile_ms: 500,
            ..limits()
        },
        ..HostConfig::default()
    });
    for _ in 0..2 {
        // The second is not held up by the first.
        let error = host
            .admit(&zoo::slow_to_compile(zoo::SLOW), &policy())
            .unwrap_err();
        assert!(
            matches!(error, AdmitError::CompileTime { limit_ms: 500 }),
            "{error}"
        );
    }
}

fn it_ends_at_its_memory_bound() {
    let host = start(HostConfig {
        admission: AdmissionLimits {
            compile_memory_bytes: 64 << 20,
            ..limits()
        },
        ..HostConfig::default()
    });
    let error = host
        .admit(&zoo::slow_to_compile(zoo::SLOW), &policy())
        .unwrap_err();
    assert!(matches!(error, AdmitError::CompileMemory { .. }), "{error}");
}

fn one_that_is_not_there_is_named() {
    let host = start(HostConfig {
        admission: AdmissionLimits {
            compiler: Some(CompilerProgram {
                program: "/nowhere/to/be/found".into(),
                arguments: Vec::new(),
            }),
            ..AdmissionLimits::default()
        },
        ..HostConfig::default()
    });
    let error = host.admit(agent("counter"), &policy()).unwrap_err();
    assert!(
        error.to_string().contains("/nowhere/to/be/found"),
        "{error}"
    );
}
