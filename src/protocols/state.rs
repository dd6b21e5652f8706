//! The state of a conversation as a function: [`FrameState`].

use std::fmt;

use super::FrameProtocol;
use crate::framing::Decoder;
use crate::protocol::Context;

/// The state of a conversation in which each frame is received by another function: the function
/// that receives the next frame, and returns the state after it.
///
/// A state is a function pointer and can be copied. The protocol stores its current state, as the
/// example shows.
///
/// # Examples
///
/// ```
/// use torsade::Context;
/// use torsade::protocols::{FrameProtocol, NetstringCodec, FrameState};
/// use torsade::testing::Wire;
///
/// struct Greeter {
///     strings: NetstringCodec,
///     state: FrameState<Self>,
///     name: String,
/// }
///
/// impl Greeter {
///     fn new() -> Self {
///         let state = FrameState::<Self>::new(Self::name);
///         Self { strings: NetstringCodec::new(), state, name: String::new() }
///     }
///
///     fn name(&mut self, _cx: &mut Context<'_, Self>, name: &[u8]) -> FrameState<Self> {
///         self.name = String::from_utf8_lossy(name).into_owned();
///         FrameState::<Self>::new(Self::question)
///     }
///
///     fn question(&mut self, cx: &mut Context<'_, Self>, question: &[u8]) -> FrameState<Self> {
///         cx.send_line(format!("{}, {}? Yes.", self.name, question.escape_ascii()));
///         FrameState::DONE
///     }
/// }
///
/// impl FrameProtocol for Greeter {
///     type Codec = NetstringCodec;
///
///     fn codec(&mut self) -> &mut NetstringCodec {
///         &mut self.strings
///     }
///
///     fn frame_received(&mut self, cx: &mut Context<'_, Self>, frame: &[u8]) {
///         self.state = self.state.receive(self, cx, frame);
///     }
/// }
///
/// let mut wire = Wire::new(Greeter::new());
/// wire.send("3:Ada,6:really,");
/// assert_eq!(wire.take_received(), b"Ada, really? Yes.\r\n");
/// assert!(wire.is_closed());
/// ```
pub struct FrameState<P: FrameProtocol>(Option<Receive<P>>);

/// The function of a state.
type Receive<P> = fn(
    &mut P,
    &mut Context<'_, P>,
    <<P as FrameProtocol>::Codec as Decoder>::Frame<'_>,
) -> FrameState<P>;

impl<P: FrameProtocol> FrameState<P> {
    /// The state after the last frame. When a function returns this state,
    /// [`receive`](Self::receive) closes the connection once the queued bytes are sent.
    pub const DONE: Self = Self(None);

    /// Creates a state from the function that receives the next frame.
    pub fn new(receive: Receive<P>) -> Self {
        Self(Some(receive))
    }

    /// Passes a frame to the state's function, and returns the next state.
    pub fn receive(
        self,
        protocol: &mut P,
        cx: &mut Context<'_, P>,
        frame: <P::Codec as Decoder>::Frame<'_>,
    ) -> Self {
        let next = self.0.map_or(self, |receive| receive(protocol, cx, frame));
        if next.0.is_none() {
            cx.lose_connection();
        }
        next
    }
}

impl<P: FrameProtocol> Clone for FrameState<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: FrameProtocol> Copy for FrameState<P> {}

impl<P: FrameProtocol> fmt::Debug for FrameState<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "FrameState"
        } else {
            "FrameState::DONE"
        })
    }
}
