//! CTCP: queries and replies inside of messages, between bytes 1.
//!
//! Inside of a query, `\a` stands for the byte 1 and `\\` for `\`; other backslashes stand for
//! themselves, as clients exist that do not know this.

use super::Text;

/// A query or reply: a word, in capitals, and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tagged {
    pub(super) tag: String,
    pub(super) data: Option<Text>,
}

/// The byte around a query.
const MARK: u8 = 1;

/// Splits the text of a message into its plain part and what is tagged. Text that does not begin
/// with a tagged part has none.
pub(super) fn split(text: &[u8]) -> (Option<Text>, Vec<Tagged>) {
    if !text.starts_with(&[MARK]) {
        return ((!text.is_empty()).then(|| text.into()), Vec::new());
    }
    let (mut plain, mut tagged) = (Vec::<&[u8]>::new(), Vec::new());
    for (index, part) in text.split(|byte| *byte == MARK).enumerate() {
        match index % 2 {
            _ if part.is_empty() => {}
            0 => plain.push(part),
            _ => tagged.push(parse(part)),
        }
    }
    let plain = (!plain.is_empty()).then(|| plain.join(&b' ').into());
    (plain, tagged)
}

fn parse(part: &[u8]) -> Tagged {
    let mut text = Vec::with_capacity(part.len());
    let mut rest = part;
    while let Some((first, after)) = rest.split_first() {
        let escaped = match after.first() {
            Some(b'a') => Some(MARK),
            Some(b'\\') => Some(b'\\'),
            _ => None,
        };
        match escaped.filter(|_| *first == b'\\') {
            Some(byte) => {
                text.push(byte);
                rest = &after[1..];
            }
            None => {
                text.push(*first);
                rest = after;
            }
        }
    }
    let end = memchr::memchr(b' ', &text).unwrap_or(text.len());
    let tag = String::from_utf8_lossy(&text[..end]).to_uppercase();
    let data = text.get(end + 1..).map(Text::from);
    Tagged { tag, data }
}

/// Returns the text of a message that is one query or reply.
pub(super) fn join(tag: &str, data: &[u8]) -> Text {
    let mut text = vec![MARK];
    quote(tag.as_bytes(), &mut text);
    if !data.is_empty() {
        text.push(b' ');
        quote(data, &mut text);
    }
    text.push(MARK);
    text.into()
}

fn quote(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        match *byte {
            MARK => out.extend_from_slice(b"\\a"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            byte => out.push(byte),
        }
    }
}

/// Returns how much longer the text becomes by quoting.
pub(super) fn quoted_len(bytes: &[u8]) -> usize {
    let special = |byte: &&u8| [MARK, b'\\'].contains(*byte);
    bytes.len() + bytes.iter().filter(special).count()
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    fn shown(text: &[u8]) -> String {
        let (plain, tagged) = split(text);
        let plain = plain.map_or_else(|| String::from("-"), |plain| plain.to_string());
        let tagged = tagged.iter().map(|Tagged { tag, data }| match data {
            Some(data) => format!("{tag}[{data:?}]"),
            None => tag.clone(),
        });
        format!("{plain}|{}", tagged.collect::<Vec<_>>().join(","))
    }

    #[test]
    fn tagged_and_plain_parts_are_told_apart() {
        let table: [(&[u8], &str); 11] = [
            (b"hello", "hello|"),
            (b"", "-|"),
            (b"\x01\x01", "-|"),
            (b"\x01VERSION\x01", "-|VERSION"),
            (b"\x01action waves\x01", "-|ACTION[\"waves\"]"),
            (b"\x01ACTION no end", "-|ACTION[\"no end\"]"),
            (b"\x01PING 1\x01b\x01TIME\x01c", "b c|PING[\"1\"],TIME"),
            (b"a\x01PING 1\x01", "a\u{1}PING 1\u{1}|"),
            (b"\x01PING \x01", "-|PING[\"\"]"),
            (
                b"\x01X a\\\\b\\a\\c\\\x01",
                "-|X[\"a\\\\b\\u{1}\\\\c\\\\\"]",
            ),
            (b"\x01\xff\xfe\x01", "-|\u{fffd}\u{fffd}"),
        ];
        for (text, expected) in table {
            assert_eq!(shown(text), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn what_is_joined_is_found_again_and_is_one_query() {
        for data in [
            &b"plain"[..],
            b"\x01",
            b"\\a\\\\",
            b"a\x01VERSION\x01b",
            b"\\",
        ] {
            let text = join("X", data);
            let (plain, tagged) = split(&text);
            assert_eq!(plain, None);
            assert_eq!(tagged.len(), 1);
            assert_eq!(tagged[0].data.as_deref(), Some(data));
            assert_eq!(text.len(), 4 + quoted_len(data));
        }
    }
}
