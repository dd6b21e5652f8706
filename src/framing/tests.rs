//! The codecs: the same frames however the bytes are cut, limits, and errors.

use super::*;

/// Returns what a codec finds in `text` when it arrives in pieces of `size` bytes: frames, and
/// errors as text.
fn found<D: Decoder<Owned = Vec<u8>, Error = FrameError>>(
    decoder: D,
    text: &[u8],
    size: usize,
) -> (Vec<String>, Vec<u8>) {
    let (mut buffer, mut found) = (FrameBuffer::new(decoder), Vec::new());
    for piece in text.chunks(size) {
        buffer.feed(piece);
        while let Some(frame) = buffer.next_frame() {
            found.push(match frame {
                Ok(frame) => format!("{}", frame.escape_ascii()),
                Err(error) => format!("error: {error}"),
            });
        }
    }
    (found, buffer.take_rest())
}

/// Asserts that a codec finds these frames, and leaves these bytes, for pieces of every size.
#[track_caller]
fn assert_found<D: Decoder<Owned = Vec<u8>, Error = FrameError> + Clone>(
    decoder: &D,
    text: &[u8],
    frames: &[&str],
    rest: &[u8],
) {
    for size in 1..=text.len() {
        let (found, left) = found(decoder.clone(), text, size);
        assert_eq!(found, frames, "in pieces of {size} bytes");
        assert_eq!(left, rest, "in pieces of {size} bytes");
    }
}

#[test]
fn a_line_ends_with_a_newline_with_or_without_a_carriage_return() {
    let text = b"one\r\n\r\ntwo\nth\rree\r\nfour";
    let frames = ["one", "", "two", "th\\rree"];
    assert_found(&LineCodec::new().limit(6), text, &frames, b"four");
}

#[test]
fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
    let error = "error: a line is longer than 3 bytes";
    assert_found(
        &LineCodec::new().limit(3),
        b"abc\r\nab\n",
        &["abc", "ab"],
        b"",
    );
    assert_found(&LineCodec::new().limit(3), b"abcd", &[error], b"");
}

#[test]
fn the_rest_of_a_line_that_is_too_long_is_skipped() {
    let error = "error: a line is longer than 4 bytes";
    let text = b"abcdefg\r\nfine\r\nabcdefg\nok\n";
    let frames = [error, "fine", error, "ok"];
    assert_found(&LineCodec::new().limit(4), text, &frames, b"");
}

#[test]
fn a_line_of_another_delimiter_ends_with_all_of_it_and_with_nothing_else() {
    let crlf = LineCodec::delimited(&b"\r\n"[..]);
    assert_found(&crlf, b"a\nb\rc\r\nd\r\r\ne", &["a\\nb\\rc", "d\\r"], b"e");
    let nul = LineCodec::delimited(&b"\0"[..]);
    assert_found(&nul, b"a\0\0b", &["a", ""], b"b");
    let long = LineCodec::delimited(&b"abab"[..]);
    assert_found(&long, b"xababab.abab", &["x", "ab."], b"");
}

#[test]
fn a_delimiter_that_is_cut_is_not_lost_behind_a_line_that_is_too_long() {
    let codec = LineCodec::delimited(&b"--end--"[..]).limit(4);
    let error = "error: a line is longer than 4 bytes";
    let text = b"12345678--end--ok--end--1234--end--12345--end--";
    assert_found(&codec, text, &[error, "ok", "1234", error], b"");
}

#[test]
fn an_endless_line_is_searched_once_and_needs_no_memory_beyond_its_limit() {
    for mut codec in [
        LineCodec::new().limit(1 << 20),
        LineCodec::delimited(&b"#\n"[..]).limit(1 << 20),
    ] {
        let mut text = Vec::new();
        for _ in 0..100_000 {
            text.extend_from_slice(b"no end ");
            assert_eq!(codec.decode(&text), Decoded::More);
        }
        // A delimiter in the part that was searched would be missed: it is not looked at again.
        text[10] = b'#';
        text[11] = b'\n';
        assert_eq!(codec.decode(&text), Decoded::More);
    }
    let mut buffer = FrameBuffer::new(LineCodec::new().limit(100));
    let mut errors = 0;
    for _ in 0..10_000 {
        buffer.feed(&[b'x'; 1000]);
        while let Some(frame) = buffer.next_frame() {
            errors += usize::from(frame.is_err());
        }
        assert_eq!(buffer.take_rest().len(), 0);
    }
    assert_eq!(errors, 1);
}

#[test]
fn a_buffer_tells_a_fatal_error_from_one_that_it_continues_after() {
    let mut frames = FrameBuffer::new(LengthCodec::u8().limit(2));
    frames.feed(b"\x03abc\x01d");
    assert!(frames.next_frame().unwrap().is_err() && !frames.is_broken());
    assert_eq!(frames.next_frame(), Some(Ok(b"d".to_vec())));
    let mut frames = FrameBuffer::new(NetstringCodec::new());
    frames.feed(b"1:a,x");
    assert_eq!(frames.next_frame(), Some(Ok(b"a".to_vec())));
    assert!(!frames.is_broken());
    assert!(frames.next_frame().unwrap().is_err() && frames.is_broken());
    frames.feed(b"1:b,");
    assert_eq!(frames.next_frame(), None);
}

#[test]
fn bytes_that_are_taken_one_at_a_time_are_not_moved_each_time() {
    let mut unused = Unused::default();
    unused.push(&[7; 100_000]);
    let memory = unused.as_slice().as_ptr();
    for taken in 1..40_000 {
        unused.consume(1);
        unused.push(b"");
        assert_eq!(unused.as_slice().as_ptr() as usize, memory as usize + taken);
    }
    unused.consume(60_000);
    unused.push(b"more");
    assert_eq!(unused.as_slice(), [&[7; 1][..], b"more"].concat());
}

#[test]
fn netstrings_are_found_and_empty_ones_too() {
    let text = b"5:hello,0:,12:hello, world,3:unf";
    let frames = ["hello", "", "hello, world"];
    assert_found(&NetstringCodec::new(), text, &frames, b"3:unf");
}

#[test]
fn a_netstring_is_refused_at_its_first_wrong_byte() {
    let bad = |found: u8, expected| FrameError::BadNetstring { found, expected };
    let long = |length, limit| FrameError::FrameTooLong { length, limit };
    for (text, error) in [
        (&b":"[..], bad(b':', "a digit")),
        (b"-1:x,", bad(b'-', "a digit")),
        (b" 1:x,", bad(b' ', "a digit")),
        (b"01:x,", bad(b'1', "a colon")),
        (b"00:,", bad(b'0', "a colon")),
        (b"1x", bad(b'x', "a digit or a colon")),
        (b"1:xx", bad(b'x', "a comma")),
        (b"0:\n", bad(b'\n', "a comma")),
        (b"100", long(100, 99)),
        (b"999999999999999999999:", long(999, 99)),
    ] {
        for size in 1..=text.len() {
            let mut buffer = FrameBuffer::new(NetstringCodec::new().limit(99));
            let mut errors = Vec::new();
            for piece in text.chunks(size) {
                buffer.feed(piece);
                errors.extend(buffer.next_frame());
            }
            assert_eq!(errors, [Err(error.clone())], "{}", text.escape_ascii());
            buffer.feed(b"1:x,");
            assert_eq!(buffer.next_frame(), None, "no frame is found after it");
        }
    }
}

#[test]
fn frames_with_a_length_field_of_each_width_are_found() {
    assert_found(
        &LengthCodec::u8(),
        b"\x02hi\0\x03the\x01",
        &["hi", "", "the"],
        b"\x01",
    );
    assert_found(
        &LengthCodec::u16(),
        b"\0\x02hi\0\0\0\x01",
        &["hi", ""],
        b"\0\x01",
    );
    assert_found(&LengthCodec::u32(), b"\0\0\0\x02hi\0\0", &["hi"], b"\0\0");
    let little = LengthCodec::u16().little_endian();
    assert_found(&little, b"\x02\0hi\x01", &["hi"], b"\x01");
}

#[test]
fn a_frame_that_is_longer_than_the_limit_is_skipped() {
    let error = "error: a frame of 5 bytes is longer than 4 bytes";
    let codec = LengthCodec::u16().limit(4);
    assert_found(
        &codec,
        b"\0\x05hello\0\x02ok\0\x04four",
        &[error, "ok", "four"],
        b"",
    );
    let mut codec = LengthCodec::u32().limit(10);
    let bomb = Decoded::Bad {
        error: FrameError::FrameTooLong {
            length: u32::MAX.into(),
            limit: 10,
        },
        bytes: &b"x"[..],
        length: 5,
    };
    assert_eq!(codec.decode(b"\xff\xff\xff\xffx"), bomb);
    assert_eq!(codec.decode(&[0; 100]), Decoded::Skip(100));
}

#[test]
fn a_header_may_have_any_shape() {
    let codec = LengthCodec::u16()
        .offset(2)
        .length_adjustment(-5)
        .keep_header()
        .limit(8);
    // Two bytes of type, the length of the whole and one byte, and a body.
    let text = b"ab\0\x08yet!cd\0\x05ef\0\x0c1234567ok\0\x07yes";
    let error = "error: a frame of 11 bytes is longer than 8 bytes";
    let frames = ["ab\\x00\\x08yet", "!cd\\x00"];
    let (found, _) = found(codec.clone(), text, 3);
    assert_ne!(found, frames);
    let text = b"ab\0\x08yetcd\0\x05ef\0\x0c1234567ok\0\x07ye";
    let frames = ["ab\\x00\\x08yet", "cd\\x00\\x05", error, "ok\\x00\\x07ye"];
    assert_found(&codec, text, &frames, b"");
    let mut codec = codec;
    let negative = Decoded::Broken {
        error: FrameError::NegativeLength { value: 4 },
        bytes: &b"ab\0\x04"[..],
    };
    assert_eq!(codec.decode(b"ab\0\x04"), negative);
}

/// Sends each text and sees that it comes back.
#[track_caller]
fn assert_round_trip<C>(mut codec: C, texts: &[&[u8]])
where
    C: Decoder<Owned = Vec<u8>, Error = FrameError> + Clone,
    C: for<'a> Encoder<&'a [u8], Error = FrameError>,
{
    let mut out = Vec::new();
    for text in texts {
        codec.encode(text, &mut out).unwrap();
    }
    let texts: Vec<_> = texts
        .iter()
        .map(|text| text.escape_ascii().to_string())
        .collect();
    assert_eq!(found(codec, &out, 2), (texts, Vec::new()));
}

#[test]
fn what_is_sent_is_received() {
    assert_round_trip(LineCodec::new(), &[b"one", b"", b"two"]);
    assert_round_trip(LineCodec::delimited(&b"\0\0"[..]), &[b"o\ne", b"", b"t\0o"]);
    assert_round_trip(NetstringCodec::new(), &[b"one", b"", b"1:x,"]);
    assert_round_trip(LengthCodec::u8(), &[b"one", b"", &[7; 255]]);
    assert_round_trip(
        LengthCodec::u32().little_endian(),
        &[b"one", b"", &[7; 300]],
    );
    assert_round_trip(
        LengthCodec::u16().offset(3).length_adjustment(-5),
        &[b"one", b""],
    );
    let whole = LengthCodec::u16()
        .offset(1)
        .length_adjustment(-3)
        .keep_header();
    assert_round_trip(whole, &[b"a\0\x03", b"b\0\x05xy"]);
}

#[test]
fn what_cannot_be_sent_as_a_frame_is_refused_and_nothing_of_it_is_sent() {
    let mut out = b"before".to_vec();
    let mut lines = LineCodec::new().limit(10);
    for (line, error) in [
        ("a\nb", FrameError::ContainsDelimiter { position: 1 }),
        ("a\r\nb", FrameError::ContainsDelimiter { position: 1 }),
        ("0123456789x", FrameError::LineTooLong { limit: 10 }),
    ] {
        assert_eq!(lines.encode(line, &mut out), Err(error));
    }
    let too_long = |length, limit| Err(FrameError::FrameTooLong { length, limit });
    let netstring = NetstringCodec::new().limit(3).encode("four", &mut out);
    assert_eq!(netstring, too_long(4, 3));
    assert_eq!(
        LengthCodec::u8().encode([0; 256], &mut out),
        too_long(256, 255)
    );
    assert_eq!(
        LengthCodec::u8().limit(9).encode([0; 10], &mut out),
        too_long(10, 9)
    );
    let mut whole = LengthCodec::u16().offset(1).keep_header();
    let short = Err(FrameError::Incomplete { received: 2 });
    assert_eq!(whole.encode([0; 2], &mut out), short);
    assert_eq!(out, b"before");
}

#[test]
fn the_last_line_of_a_stream_may_lack_its_end_and_a_netstring_may_not() {
    let last = Decoded::Frame {
        frame: &b"rest"[..],
        length: 4,
    };
    assert_eq!(LineCodec::new().decode_end(b"rest"), last);
    assert_eq!(NetstringCodec::new().decode_end(b"4:res"), Decoded::More);
}
