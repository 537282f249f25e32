//! What users write to say what they want, parsed. Knows nothing but text.

mod acme;
mod family;
mod forward;
mod transport;

pub use acme::{AcmeOptions, AcmeStatus};
pub use family::Family;
pub use forward::{Bind, PortForwardSpec};
pub(crate) use transport::{Place, Places};
pub use transport::{TlsVersion, Transport};
