//! BGP-4 on the wire (RFC 4271 section 4): a codec, without I/O.
//!
//! [`Frames`] finds the messages in a stream, [`decode`] reads one, and [`encode`] writes one. What
//! is wrong is an error with the NOTIFICATION that answers it. Of an UPDATE only that which makes
//! its networks unknown is such an error; with other faults its networks are withdrawn, or the
//! faulty attribute is dropped (RFC 7606).

use std::net::Ipv4Addr;

use torsade::protocols::{Decoded, Decoder, Encoder, LengthCodec};

use super::message::{
    AS_TRANS, Attributes, Message, Notification, Open, Prefix, Segment, Terms, Update,
};

/// The family whose routes this speaker exchanges: IPv4, unicast.
pub(super) const IPV4_UNICAST: (u16, u8) = (1, 1);
/// The number of bytes of a header: a marker, the length of the whole, the type.
const HEADER: usize = 19;
/// The number of networks of one UPDATE. Each takes five bytes at most, of 4,096.
const NETWORKS: usize = 700;

/// Finds messages: the library's codec, with the errors of BGP.
#[derive(Clone, Debug)]
pub(super) struct Frames(LengthCodec);

impl Frames {
    pub(super) fn new() -> Self {
        let codec = LengthCodec::u16().offset(16).length_adjustment(-18);
        Self(codec.keep_header().limit(4096))
    }
}

impl Decoder for Frames {
    type Frame<'a> = &'a [u8];
    type Owned = Vec<u8>;
    type Error = Notification;

    fn decode<'a>(&mut self, input: &'a [u8]) -> Decoded<'a, &'a [u8], Notification> {
        // A stream that is not BGP is refused at its first byte.
        if input.iter().take(16).any(|byte| *byte != 0xff) {
            let error = Notification::new(1, 1, []);
            return Decoded::Broken {
                error,
                bytes: input,
            };
        }
        match self.0.decode(input) {
            Decoded::More => Decoded::More,
            Decoded::Frame { frame, length } if length >= HEADER => {
                Decoded::Frame { frame, length }
            }
            _ => Decoded::Broken {
                error: Notification::new(1, 2, &input[16..18]),
                bytes: input,
            },
        }
    }
}

/// Appends a message to `out`.
pub(super) fn encode(message: &Message, terms: Terms, out: &mut Vec<u8>) {
    let mut frame = [&[0xff; 16][..], &[0, 0, 0]].concat();
    frame[18] = match message {
        Message::Open(open) => {
            write_open(open, &mut frame);
            1
        }
        Message::Update(update) => {
            let withdrawn: Vec<u8> = update.withdrawn.iter().flat_map(write_prefix).collect();
            push_with_length(&mut frame, &withdrawn);
            let attributes = match update.announced.is_empty() {
                true => Vec::new(),
                false => write_attributes(&update.attributes, terms),
            };
            push_with_length(&mut frame, &attributes);
            frame.extend(update.announced.iter().flat_map(write_prefix));
            2
        }
        Message::Notification(error) => {
            frame.extend([error.code, error.subcode]);
            frame.extend_from_slice(&error.data);
            3
        }
        Message::Keepalive => 4,
        Message::Refresh { afi, safi } => {
            let [high, low] = afi.to_be_bytes();
            frame.extend([high, low, 0, *safi]);
            5
        }
    };
    let encoded = Frames::new().0.encode(frame, out);
    debug_assert!(encoded.is_ok(), "this speaker makes short messages only");
}

/// Makes the messages that announce networks of the same attributes.
pub(super) fn announce(
    networks: &[Prefix],
    attributes: &Attributes,
) -> impl Iterator<Item = Message> {
    networks.chunks(NETWORKS).map(|networks| {
        Message::Update(Update {
            attributes: attributes.clone(),
            announced: networks.into(),
            ..Update::default()
        })
    })
}

/// Makes the messages that withdraw networks.
pub(super) fn withdraw(networks: &[Prefix]) -> impl Iterator<Item = Message> {
    networks.chunks(NETWORKS).map(|networks| {
        Message::Update(Update {
            withdrawn: networks.into(),
            ..Update::default()
        })
    })
}

fn push_with_length(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn write_prefix(prefix: &Prefix) -> Vec<u8> {
    let count = usize::from(prefix.length().div_ceil(8));
    let mut bytes = vec![prefix.length()];
    bytes.extend(&prefix.address().octets()[..count]);
    bytes
}

fn write_open(open: &Open, out: &mut Vec<u8>) {
    let mut capabilities = Vec::new();
    for (afi, safi) in &open.families {
        let [high, low] = afi.to_be_bytes();
        capabilities.extend([1, 4, high, low, 0, *safi]);
    }
    if open.has_refresh {
        capabilities.extend([2, 0]);
    }
    if open.has_four_octets {
        capabilities.extend([65, 4]);
        capabilities.extend(open.asn.to_be_bytes());
    }
    out.push(4);
    out.extend(short(open.asn).to_be_bytes());
    out.extend(open.hold.to_be_bytes());
    out.extend(open.id.octets());
    match capabilities.len() as u8 {
        0 => out.push(0),
        length => out.extend([length + 2, 2, length]),
    }
    out.extend(capabilities);
}

/// An AS number for a peer that knows numbers of two octets.
fn short(asn: u32) -> u16 {
    u16::try_from(asn).unwrap_or(AS_TRANS)
}

fn write_path(path: &[Segment], is_wide: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A segment has 255 numbers at most.
    for (segment, numbers) in path
        .iter()
        .flat_map(|segment| segment.numbers.chunks(255).map(move |some| (segment, some)))
    {
        bytes.extend([if segment.is_set { 1 } else { 2 }, numbers.len() as u8]);
        for asn in numbers {
            match is_wide {
                true => bytes.extend(asn.to_be_bytes()),
                false => bytes.extend(short(*asn).to_be_bytes()),
            }
        }
    }
    bytes
}

fn write_attributes(attributes: &Attributes, terms: Terms) -> Vec<u8> {
    let mut out = Vec::new();
    let mut push = |flags: u8, kind: u8, value: &[u8]| match u8::try_from(value.len()) {
        Ok(length) => {
            out.extend([flags, kind, length]);
            out.extend_from_slice(value);
        }
        Err(_) => {
            out.extend([flags | EXTENDED, kind]);
            push_with_length(&mut out, value);
        }
    };
    push(TRANSITIVE, 1, &[attributes.origin]);
    push(
        TRANSITIVE,
        2,
        &write_path(&attributes.path, terms.has_four_octets),
    );
    if let Some(next_hop) = attributes.next_hop {
        push(TRANSITIVE, 3, &next_hop.octets());
    }
    if let Some(med) = attributes.med {
        push(OPTIONAL, 4, &med.to_be_bytes());
    }
    if let Some(preference) = attributes.local_pref.filter(|_| terms.is_internal) {
        push(TRANSITIVE, 5, &preference.to_be_bytes());
    }
    if attributes.is_atomic {
        push(TRANSITIVE, 6, &[]);
    }
    let is_long = |asn: u32| !terms.has_four_octets && asn > u32::from(u16::MAX);
    if let Some((asn, id)) = attributes.aggregator {
        let number = match terms.has_four_octets {
            true => asn.to_be_bytes().to_vec(),
            false => short(asn).to_be_bytes().to_vec(),
        };
        push(
            OPTIONAL | TRANSITIVE,
            7,
            &[&number[..], &id.octets()].concat(),
        );
        if is_long(asn) {
            let value = [asn.to_be_bytes(), id.octets()].concat();
            push(OPTIONAL | TRANSITIVE, 18, &value);
        }
    }
    if !attributes.communities.is_empty() {
        let all = attributes.communities.iter();
        let bytes: Vec<u8> = all.flat_map(|one| one.to_be_bytes()).collect();
        push(OPTIONAL | TRANSITIVE, 8, &bytes);
    }
    let mut numbers = attributes.path.iter().flat_map(|segment| &segment.numbers);
    if numbers.any(|asn| is_long(*asn)) {
        push(
            OPTIONAL | TRANSITIVE,
            17,
            &write_path(&attributes.path, true),
        );
    }
    out
}

/// Reads a message, which has a valid header.
pub(super) fn decode(frame: &[u8], terms: Terms) -> Result<Message, Notification> {
    let (Some(kind), Some(body)) = (frame.get(18), frame.get(HEADER..)) else {
        return Err(Notification::new(1, 2, (frame.len() as u16).to_be_bytes()));
    };
    let is_long_enough = match kind {
        1 => body.len() >= 10,
        2 => body.len() >= 4,
        3 => body.len() >= 2,
        4 => body.is_empty(),
        5 => body.len() == 4,
        _ => return Err(Notification::new(1, 3, [*kind])),
    };
    if !is_long_enough {
        return Err(Notification::new(1, 2, (frame.len() as u16).to_be_bytes()));
    }
    match (kind, body) {
        (1, body) => read_open(body).map(Message::Open),
        (2, body) => read_update(body, terms).map(Message::Update),
        (3, [code, subcode, data @ ..]) => Ok(Message::Notification(Notification::new(
            *code, *subcode, data,
        ))),
        (5, [high, low, _, safi]) => Ok(Message::Refresh {
            afi: u16::from_be_bytes([*high, *low]),
            safi: *safi,
        }),
        _ => Ok(Message::Keepalive),
    }
}

/// The bytes that are not read yet. Each method returns `None` when there are too few.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// An AS number of four octets, or of two.
    fn asn(&mut self, is_wide: bool) -> Option<u32> {
        match is_wide {
            true => self.u32(),
            false => self.u16().map(u32::from),
        }
    }

    /// Bytes after their length in two bytes.
    fn with_length(&mut self) -> Option<Self> {
        let length = self.u16()?;
        self.take(length.into()).map(Bytes)
    }
}

fn read_open(body: &[u8]) -> Result<Open, Notification> {
    let malformed = || Notification::new(2, 0, []);
    let mut body = Bytes(body);
    if body.u8() != Some(4) {
        return Err(Notification::new(2, 1, [0, 4]));
    }
    let (asn, hold) = (body.u16(), body.u16());
    let (id, length) = (body.array::<4>(), body.u8());
    let mut open = Open {
        asn: asn.ok_or_else(malformed)?.into(),
        hold: hold.ok_or_else(malformed)?,
        id: id.ok_or_else(malformed)?.into(),
        has_four_octets: false,
        has_refresh: false,
        families: Vec::new(),
    };
    if length.map(usize::from) != Some(body.0.len()) {
        return Err(malformed());
    }
    while !body.0.is_empty() {
        let (kind, length) = (body.u8(), body.u8());
        let parameter = length.and_then(|length| body.take(length.into()));
        let mut parameter = Bytes(parameter.ok_or_else(malformed)?);
        if kind != Some(2) {
            return Err(Notification::new(2, 4, []));
        }
        while !parameter.0.is_empty() {
            let (code, length) = (parameter.u8(), parameter.u8());
            let value = length.and_then(|length| parameter.take(length.into()));
            match (code, value.ok_or_else(malformed)?) {
                (Some(1), [high, low, _, safi]) => {
                    let afi = u16::from_be_bytes([*high, *low]);
                    open.families.push((afi, *safi));
                }
                (Some(2), []) => open.has_refresh = true,
                (Some(65), &[a, b, c, d]) => {
                    open.has_four_octets = true;
                    open.asn = u32::from_be_bytes([a, b, c, d]);
                }
                (Some(1 | 2 | 65), _) => return Err(malformed()),
                _ => {}
            }
        }
    }
    if open.families.is_empty() {
        open.families.push(IPV4_UNICAST);
    }
    Ok(open)
}

fn read_prefixes(bytes: &mut Bytes<'_>) -> Option<Vec<Prefix>> {
    let mut prefixes = Vec::new();
    while !bytes.0.is_empty() {
        let length = bytes.u8().filter(|length| *length <= 32)?;
        let taken = bytes.take(usize::from(length.div_ceil(8)))?;
        let mut octets = [0; 4];
        octets[..taken.len()].copy_from_slice(taken);
        prefixes.push(Prefix::new(octets.into(), length));
    }
    Some(prefixes)
}

const OPTIONAL: u8 = 0x80;
const TRANSITIVE: u8 = 0x40;
const EXTENDED: u8 = 0x10;

/// A faulty attribute.
enum Fault {
    /// The networks are treated as withdrawn.
    Withdraw(Notification),
    /// The session ends.
    Reset(Notification),
}

/// An UPDATE that is being read.
struct Reading {
    terms: Terms,
    update: Update,
    seen: Vec<u8>,
    as4_path: Option<Vec<Segment>>,
    as4_aggregator: Option<(u32, Ipv4Addr)>,
    /// What MP_REACH_NLRI contains, of the family of this speaker.
    reached: Option<(Ipv4Addr, Vec<Prefix>)>,
}

fn read_update(body: &[u8], terms: Terms) -> Result<Update, Notification> {
    let bad_list = || Notification::new(3, 1, []);
    let bad_network = || Notification::new(3, 10, []);
    let mut body = Bytes(body);
    let mut withdrawn = body.with_length().ok_or_else(bad_list)?;
    let mut attributes = body.with_length().ok_or_else(bad_list)?;
    let mut reading = Reading {
        terms,
        update: Update {
            withdrawn: read_prefixes(&mut withdrawn).ok_or_else(bad_network)?,
            announced: read_prefixes(&mut body).ok_or_else(bad_network)?,
            ..Update::default()
        },
        seen: Vec::new(),
        as4_path: None,
        as4_aggregator: None,
        reached: None,
    };
    let mut fault = None;
    while !attributes.0.is_empty() {
        let before = attributes.0;
        let Some((flags, kind, value)) = read_attribute(&mut attributes) else {
            fault.get_or_insert_with(bad_list);
            break;
        };
        let whole = &before[..before.len() - attributes.0.len()];
        match reading.attribute(flags, kind, value, whole) {
            Ok(()) => {}
            Err(Fault::Withdraw(error)) => {
                fault.get_or_insert(error);
            }
            Err(Fault::Reset(error)) => return Err(error),
        }
    }
    reading.finish(fault)
}

fn read_attribute<'a>(bytes: &mut Bytes<'a>) -> Option<(u8, u8, &'a [u8])> {
    let (flags, kind) = (bytes.u8()?, bytes.u8()?);
    let length = match flags & EXTENDED {
        0 => bytes.u8()?.into(),
        _ => bytes.u16()?,
    };
    Some((flags, kind, bytes.take(length.into())?))
}

/// Reads a path. A segment must be known and have numbers, and no number is 0 (RFC 7607).
fn read_path(value: &[u8], is_wide: bool) -> Option<Vec<Segment>> {
    let (mut bytes, mut path) = (Bytes(value), Vec::new());
    while !bytes.0.is_empty() {
        let (kind, count) = (bytes.u8()?, bytes.u8()?);
        let numbers = (0..count).map(|_| bytes.asn(is_wide).filter(|asn| *asn != 0));
        let numbers: Vec<u32> = numbers.collect::<Option<_>>()?;
        if !matches!(kind, 1 | 2) || numbers.is_empty() {
            return None;
        }
        let is_set = kind == 1;
        path.push(Segment { is_set, numbers });
    }
    Some(path)
}

impl Reading {
    fn attribute(&mut self, flags: u8, kind: u8, value: &[u8], whole: &[u8]) -> Result<(), Fault> {
        let fault = |subcode: u8| Fault::Withdraw(Notification::new(3, subcode, whole));
        let reset = |subcode: u8, data: &[u8]| Fault::Reset(Notification::new(3, subcode, data));
        if self.seen.contains(&kind) {
            return match kind {
                14 | 15 => Err(reset(1, &[])),
                // The first one counts.
                _ => Ok(()),
            };
        }
        self.seen.push(kind);
        let is_internal = self.terms.is_internal;
        match (kind, flags & (OPTIONAL | TRANSITIVE)) {
            (1..=3 | 5 | 6, TRANSITIVE) => {}
            (4 | 9 | 10 | 14 | 15, OPTIONAL) => {}
            (7 | 8 | 17 | 18, both) if both == OPTIONAL | TRANSITIVE => {}
            (14 | 15, _) => return Err(reset(4, whole)),
            (1..=10 | 17 | 18, _) => return Err(fault(4)),
            (_, flags) if flags & OPTIONAL == 0 => return Err(reset(2, whole)),
            _ => return Ok(()),
        }
        let attributes = &mut self.update.attributes;
        let number = || <[u8; 4]>::try_from(value).map_err(|_| fault(5));
        match kind {
            1 => match value {
                [origin @ 0..=2] => attributes.origin = *origin,
                [_] => return Err(fault(6)),
                _ => return Err(fault(5)),
            },
            2 => {
                let path = read_path(value, self.terms.has_four_octets);
                attributes.path = path.ok_or_else(|| fault(11))?;
            }
            3 => {
                let next_hop = Ipv4Addr::from(number()?);
                if !is_host(next_hop) {
                    return Err(fault(8));
                }
                attributes.next_hop = Some(next_hop);
            }
            4 => attributes.med = Some(u32::from_be_bytes(number()?)),
            5 if is_internal => attributes.local_pref = Some(u32::from_be_bytes(number()?)),
            6 => attributes.is_atomic = value.is_empty(),
            7 => attributes.aggregator = read_aggregator(value, self.terms.has_four_octets),
            8 => {
                if value.is_empty() || value.len() % 4 != 0 {
                    return Err(fault(5));
                }
                let (mut value, mut numbers) = (Bytes(value), Vec::new());
                while let Some(community) = value.u32() {
                    numbers.push(community);
                }
                attributes.communities = numbers;
            }
            9 if is_internal && value.len() != 4 => return Err(fault(5)),
            10 if is_internal && (value.is_empty() || value.len() % 4 != 0) => {
                return Err(fault(5));
            }
            14 => self.reach(value).ok_or_else(|| reset(9, whole))?,
            15 => self.unreach(value).ok_or_else(|| reset(9, whole))?,
            // Both are for peers that do not know numbers of four octets; if faulty, dropped.
            17 if !self.terms.has_four_octets => self.as4_path = read_path(value, true),
            18 if !self.terms.has_four_octets => {
                self.as4_aggregator = read_aggregator(value, true);
            }
            _ => {}
        }
        Ok(())
    }

    fn reach(&mut self, value: &[u8]) -> Option<()> {
        let mut value = Bytes(value);
        let family = (value.u16()?, value.u8()?);
        let length = value.u8()?;
        let next_hop = value.take(length.into())?;
        value.u8()?;
        if family == IPV4_UNICAST {
            let next_hop = <[u8; 4]>::try_from(next_hop).ok()?;
            self.reached = Some((next_hop.into(), read_prefixes(&mut value)?));
        }
        Some(())
    }

    fn unreach(&mut self, value: &[u8]) -> Option<()> {
        let mut value = Bytes(value);
        if (value.u16()?, value.u8()?) == IPV4_UNICAST {
            self.update.withdrawn.extend(read_prefixes(&mut value)?);
        }
        Some(())
    }

    /// Checks what only the whole shows.
    fn finish(mut self, mut fault: Option<Notification>) -> Result<Update, Notification> {
        self.merge_as4();
        let mut update = self.update;
        let needs_next_hop = !update.announced.is_empty();
        if let Some((next_hop, networks)) = self.reached {
            if needs_next_hop {
                // Networks with two next hops: no speaker sends them in one message.
                fault.get_or_insert_with(|| Notification::new(3, 9, []));
            } else if !is_host(next_hop) {
                fault.get_or_insert_with(|| Notification::new(3, 8, next_hop.octets()));
            }
            update.attributes.next_hop = Some(next_hop);
            update.announced.extend(networks);
        }
        if !update.announced.is_empty() {
            let required = [
                (1, true),
                (2, true),
                (3, needs_next_hop),
                (5, self.terms.is_internal),
            ];
            for (kind, is_required) in required {
                if is_required && !self.seen.contains(&kind) {
                    fault.get_or_insert_with(|| Notification::new(3, 3, [kind]));
                }
            }
        }
        match fault {
            // Which networks the faulty attributes were meant for cannot be known.
            Some(error) if update.announced.is_empty() => return Err(error),
            Some(error) => {
                update.withdrawn.append(&mut update.announced);
                update.attributes = Attributes::default();
                update.error = Some(error);
            }
            None => {}
        }
        Ok(update)
    }

    /// Puts the AS numbers of four octets where those of two stand for them (RFC 6793, 4.2.3).
    fn merge_as4(&mut self) {
        let attributes = &mut self.update.attributes;
        if let (Some((asn, _)), Some(real)) = (attributes.aggregator, self.as4_aggregator) {
            if asn != u32::from(AS_TRANS) {
                return;
            }
            attributes.aggregator = Some(real);
        }
        let Some(tail) = self.as4_path.take() else {
            return;
        };
        let count = |segment: &Segment| match segment.is_set {
            true => 1,
            false => segment.numbers.len(),
        };
        let length = |path: &[Segment]| path.iter().map(count).sum::<usize>();
        let Some(mut left) = length(&attributes.path).checked_sub(length(&tail)) else {
            return;
        };
        let mut path = Vec::new();
        for mut segment in std::mem::take(&mut attributes.path) {
            let numbers = count(&segment);
            if left == 0 {
                break;
            }
            if !segment.is_set {
                segment.numbers.truncate(left);
            }
            left -= numbers.min(left);
            path.push(segment);
        }
        for segment in tail {
            match path.last_mut() {
                Some(last) if !last.is_set && !segment.is_set => {
                    last.numbers.extend(segment.numbers);
                }
                _ => path.push(segment),
            }
        }
        attributes.path = path;
    }
}

/// Returns whether an address may be that of a router: not 0.0.0.0, a group, or reserved.
fn is_host(address: Ipv4Addr) -> bool {
    !address.is_unspecified() && address.octets()[0] < 224
}

/// One of a wrong length is dropped.
fn read_aggregator(value: &[u8], is_wide: bool) -> Option<(u32, Ipv4Addr)> {
    let mut value = Bytes(value);
    let (asn, id) = (value.asn(is_wide)?, value.array::<4>()?);
    value.0.is_empty().then_some((asn, id.into()))
}
