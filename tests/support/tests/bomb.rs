//! A component that takes too long to compile, where no compiler process is
//! configured. A program of its own, since the thread that is left behind takes
//! a core until the program ends.
#![allow(clippy::unwrap_used, reason = "a test")]

use phoenix_core::KindPolicy;
use phoenix_host::{AdmissionLimits, AdmitError, Host, HostConfig};
use phoenix_support::zoo;

#[test]
fn one_that_takes_too_long_to_compile() {
    let host = Host::start(HostConfig {
        max_resident: Some(4),
        admission: AdmissionLimits {
            compile_ms: 500,
            ..AdmissionLimits::default()
        },
        ..HostConfig::default()
    })
    .unwrap();
    let bomb = zoo::slow_to_compile(zoo::SLOW);
    assert!(bomb.len() < 8 << 20, "{} bytes", bomb.len());
    let error = host.admit(&bomb, &KindPolicy::default()).unwrap_err();
    assert!(
        matches!(error, AdmitError::CompileTime { limit_ms: 500 }),
        "{error}"
    );
}
