//! Mistakes an author can make, and what the compiler says of them, word by word.
//! `TRYBUILD=overwrite cargo test -p phoenix-sdk --test mistakes` writes the
//! expected outputs anew.

#[test]
fn mistakes_are_explained_where_they_are() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
