//! What users write to say what they want, parsed. Knows nothing but text.

mod forward;
mod transport;

pub use forward::{Bind, PortForwardSpec};
pub(crate) use transport::Place;
pub use transport::Transport;
