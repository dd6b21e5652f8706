//! scratch
use std::hint::black_box;
use std::time::Instant;
use torsade::{Deferred, Failure};
type Boxed = Box<dyn FnOnce(Result<u64, Failure>) -> Result<u64, Failure>>;
#[inline(never)]
fn ours(k: u64) -> u64 {
    let (mut d, r) = Deferred::<u64>::pair();
    for i in 0..10 { let c = black_box(k + i); d = d.add_callback(move |n| Ok(n + c)); }
    let out = std::rc::Rc::new(std::cell::Cell::new(0));
    r.callback(1);
    let mut d = std::pin::pin!(d);
    let _ = &out;
    match d.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) { std::task::Poll::Ready(Ok(n)) => n, _ => 0 }
}
#[inline(never)]
fn theirs(k: u64) -> u64 {
    let mut v: Vec<Boxed> = Vec::new();
    for i in 0..10 { let c = black_box(k + i); v.push(Box::new(move |r| r.map(|n| n + c))); }
    let mut r = Ok(1);
    for f in v { r = f(r); }
    r.unwrap_or(0)
}
fn time(f: fn(u64) -> u64) -> f64 {
    let n = 20000;
    let s = Instant::now();
    for i in 0..n { black_box(f(i)); }
    s.elapsed().as_nanos() as f64 / n as f64
}
fn main() {
    if let Ok(w) = std::env::var("CG") { for i in 0..1000 { black_box(if w == "ours" { ours(i) } else { theirs(i) }); } return; }
    let (mut a, mut b) = (f64::MAX, f64::MAX);
    for _ in 0..100 { a = a.min(time(ours)); b = b.min(time(theirs)); }
    println!("ours {a:.1} vec {b:.1} ratio {:.2}", a / b);
}
