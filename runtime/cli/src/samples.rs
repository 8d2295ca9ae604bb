//! The sample agents that come with the program.

use embedded::AGENTS;

#[allow(
    unreachable_pub,
    reason = "the build script writes it for any place it may be included in"
)]
mod embedded {
    //! Name and component of each, as the build script writes them.
    include!(concat!(env!("OUT_DIR"), "/agents.rs"));
}

/// The samples' names.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    AGENTS.iter().map(|(name, _)| *name)
}

/// Every sample with its component.
pub(crate) fn all() -> &'static [(&'static str, &'static [u8])] {
    AGENTS
}

/// A sample's component.
pub(crate) fn component(name: &str) -> Option<&'static [u8]> {
    AGENTS
        .iter()
        .find(|(sample, _)| *sample == name)
        .map(|(_, component)| *component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_are_components() {
        let names: Vec<_> = names().collect();
        assert_eq!(names, ["alerts", "counter", "site", "visitor"]);
        for (name, component) in all() {
            // The preamble of a component: magic, version 13, layer 1.
            assert!(component.starts_with(b"\0asm\x0d\0\x01\0"), "{name}");
        }
        assert_eq!(component("none"), None);
    }
}
