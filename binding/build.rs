//! Tells the linker how an addon finds its host.

fn main() {
    napi_build::setup();
}
