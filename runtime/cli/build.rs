//! Builds the sample agents, so that `phoenix demo` and `phoenix deploy
//! --sample` have them without a file.

use std::path::Path;

/// Packages of the workspace, each a kind of the same name.
const SAMPLES: [&str; 4] = ["alerts", "counter", "site", "visitor"];

fn main() -> Result<(), phoenix_build::Report> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    phoenix_build::embed(&workspace, &SAMPLES)?;
    Ok(())
}
