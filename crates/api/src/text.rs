//! Text for people, in fields that hold so much of it.

/// So many characters has `spec.reason` of a RollbackEvent.
pub const EVENT_REASON: usize = 2048;
/// So many has `spec.reason` of a RollbackPoint.
pub const POINT_REASON: usize = 1024;

/// As much of a text as a field of so many characters holds. The API server refuses what is longer.
#[must_use]
pub fn cut(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(characters.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_by_characters_and_says_so() {
        assert_eq!(cut("größer", 6), "größer");
        assert_eq!(cut("größer", 5), "größ…");
        assert_eq!(cut("größer", 5).chars().count(), 5);
    }
}
