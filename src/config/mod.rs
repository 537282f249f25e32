//! What users write to say what they want, parsed. Knows nothing but text.

mod acme;
mod family;
mod forward;
mod relay;
mod transport;

pub use acme::{AcmeOptions, AcmeStatus};
pub use family::Family;
pub use forward::{Bind, PortForwardSpec};
pub use relay::RelayStatus;
pub(crate) use transport::{Place, Places};
pub use transport::{TlsVersion, Transport};
