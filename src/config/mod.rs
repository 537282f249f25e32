//! What users write to say what they want, parsed. Knows nothing but text.

mod forward;

pub use forward::{Bind, PortForwardSpec};
