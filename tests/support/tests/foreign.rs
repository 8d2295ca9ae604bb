//! Agents in other languages, where their tools are installed.

use phoenix_build::World;
use phoenix_support::{Language, foreign};

#[test]
fn other_languages_make_typed_agents() {
    for language in [Language::JavaScript, Language::Python] {
        // Where the tool is missing, `foreign` has said so.
        if let Some(component) = foreign(language) {
            assert_eq!(World::of(&component), Ok(World::Typed), "{language:?}");
        }
    }
}
