//! A server that answers each message with the same message; a message is four bytes of length in
//! network byte order, and as many bytes: a codec, as a callback.
//!
//! Run `cargo run --example int32_echo [ADDR]` (default `127.0.0.1:4012`) and try `printf
//! '\0\0\0\5hello' | nc -N 127.0.0.1 4012`. Prints `listening on ADDR`, and what it refuses.

use std::env;

use torsade::prelude::*;
use torsade::protocols::{FrameError, FrameProtocol, LengthCodec, Rejected};

struct Echo(LengthCodec);

impl FrameProtocol for Echo {
    type Codec = LengthCodec;

    fn codec(&mut self) -> &mut LengthCodec {
        &mut self.0
    }

    fn frame_received(&mut self, cx: &mut Context<'_, Self>, message: &[u8]) {
        if self.send(cx, message).is_err() {
            cx.lose_connection();
        }
    }

    fn frame_rejected(&mut self, cx: &mut Context<'_, Self>, rejected: Rejected<'_, FrameError>) {
        println!("{}: {}", cx.peer(), rejected.error);
        cx.lose_connection();
    }
}

fn main() -> Result<(), Failure> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:4012".into());
    torsade::run(async |reactor| {
        let port = reactor.listen(address, |_peer| Echo(LengthCodec::u32()))?;
        println!("listening on {}", port.local_addr());
        reactor.stopped().await
    })
}
