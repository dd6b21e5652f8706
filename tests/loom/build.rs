//! Sets the cfg under which `src/sync.rs` takes loom's primitives.

fn main() {
    println!("cargo::rustc-cfg=torsade_loom");
}
