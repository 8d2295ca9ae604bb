//! What somebody who misspelt a name may have meant.

/// The candidate that differs least from `word`, if it differs little enough to
/// be a slip: at most a third of the word's characters, and at least one.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `nearest`, as the sentence that ends a message.
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(word, candidates).map(|near| format!("did you mean `{near}`?"))
}

/// `text` as it may stand in a message: control characters and invisible ones
/// escaped, at most 80 characters.
pub fn shown(text: &str) -> String {
    const MOST: usize = 80;
    let mut shown: String = text
        .chars()
        .take(MOST)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let kinds = ["counter", "visitor", "site"];
        assert_eq!(nearest("conter", kinds), Some("counter"));
        assert_eq!(nearest("coutner", kinds), Some("counter"));
        assert_eq!(nearest("alerts", kinds), None);
        assert_eq!(nearest("", kinds), None);
    }

    #[test]
    fn what_is_shown_is_short_and_harmless() {
        assert_eq!(shown("a\u{1b}[31m"), "a\\u{1b}[31m");
        assert_eq!(shown(&"x".repeat(200)).chars().count(), 81);
    }
}
