//! Long text, split for several messages.

/// Splits text into pieces of at most `limit` bytes, counted by `len`: at the ends of lines, then
/// between words, then between characters. Pieces without text are left out.
pub(super) fn split(text: &[u8], limit: usize, len: impl Fn(&[u8]) -> usize) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    for line in text.split(|byte| b"\r\n".contains(byte)) {
        let mut rest = line;
        while !rest.is_empty() {
            let end = end_of_piece(rest, limit, &len);
            if rest[..end].iter().any(|byte| *byte != b' ') {
                pieces.push(&rest[..end]);
            }
            rest = &rest[end..];
            // The space between two words is the place where the text was split.
            if let Some(after) = rest.strip_prefix(b" ") {
                rest = after;
            }
        }
    }
    pieces
}

/// Returns the length of the first piece.
fn end_of_piece(text: &[u8], limit: usize, len: impl Fn(&[u8]) -> usize) -> usize {
    if len(text) <= limit {
        return text.len();
    }
    let mut end = limit.min(text.len());
    while len(&text[..end]) > limit {
        end -= 1;
    }
    if text.get(end) == Some(&b' ') {
        return end;
    }
    if let Some(space) = text[..end].iter().rposition(|byte| *byte == b' ') {
        if space > 0 {
            return space;
        }
    }
    // At most three bytes of a character continue it.
    let is_inside = |at: usize| text[at] & 0b1100_0000 == 0b1000_0000;
    let start = (0..=end.min(3))
        .map(|back| end - back)
        .find(|at| !is_inside(*at));
    start.filter(|at| *at > 0).unwrap_or(end).max(1)
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    fn pieces(text: &str, limit: usize) -> Vec<String> {
        let pieces = split(text.as_bytes(), limit, <[u8]>::len);
        let text = |piece: &&[u8]| String::from_utf8(piece.to_vec()).unwrap();
        pieces.iter().map(text).collect()
    }

    #[test]
    fn text_is_split_at_lines_then_between_words_then_between_characters() {
        assert_eq!(pieces("one\r\n\n two\nthree", 9), ["one", " two", "three"]);
        assert_eq!(pieces("one two three", 7), ["one two", "three"]);
        assert_eq!(pieces("one two three", 6), ["one", "two", "three"]);
        assert_eq!(pieces("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(pieces("äöü", 3), ["ä", "ö", "ü"]);
        assert_eq!(pieces("a😀b", 4), ["a", "😀", "b"]);
        assert_eq!(pieces("   \n  ", 4), [""; 0]);
    }

    #[test]
    fn pieces_of_any_text_are_short_enough_and_lose_nothing_but_spaces_and_ends_of_lines() {
        let mut state = 3_u32;
        let mut below = |limit: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 16) % limit) as usize
        };
        for _ in 0..2000 {
            let text: String = (0..below(60))
                .map(|_| ['a', 'b', ' ', '\n', 'ä', '€', '😀', '\r'][below(8)])
                .collect();
            let limit = 4 + below(12);
            let pieces = pieces(&text, limit);
            assert!(
                pieces.iter().all(|piece| piece.len() <= limit),
                "{pieces:?}"
            );
            let kept = |text: &str| text.replace([' ', '\r', '\n'], "");
            assert_eq!(kept(&pieces.concat()), kept(&text));
        }
    }

    #[test]
    fn bytes_that_are_no_characters_are_split_too() {
        let text = [0x80; 50];
        let pieces = split(&text, 7, <[u8]>::len);
        assert_eq!(pieces.concat(), text);
        assert!(pieces.iter().all(|piece| piece.len() <= 7));
    }
}
